"""From the words of a conversation to token ids and labels, and back; and the tokenizer of the small bundled model.

A fast tokenizer looks for its added tokens in all text it is given, so a user who types "[SEG]" or "<|im_end|>" would
insert the token. Here plain text takes the tokenizer's other three steps only (normaliser, pre-tokeniser, model), which
know nothing of added tokens, and special tokens are put in by id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from self1e.conversation import (
    END_OF_TEXT,
    IGNORED_LABEL,
    IM_END,
    IM_START,
    IMG_CONTEXT,
    SEG,
    SPECIAL_TOKENS,
    Turn,
    add_seg_token,
)
from self1e.processing.prompts import SYSTEM_PROMPT, Piece, continuation_pieces, prefix_pieces


@dataclass(frozen=True)
class EncodedConversation:
    """Token ids of a conversation or of a part of one, and a label for each (its own id, or -100 if not supervised)."""

    input_ids: list[int]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.input_ids)

    def __getitem__(self, part: slice) -> EncodedConversation:
        return EncodedConversation(self.input_ids[part], self.labels[part])

    def __add__(self, other: EncodedConversation) -> EncodedConversation:
        return EncodedConversation(self.input_ids + other.input_ids, self.labels + other.labels)


def encode_prefix(tokenizer: PreTrainedTokenizerFast, image_tokens: int) -> EncodedConversation:
    """The part that all conversations about one picture share: system prompt, "user\\n" and the picture's tokens."""
    return _encode_pieces(tokenizer, prefix_pieces(image_tokens))


def encode_continuation(
    tokenizer: PreTrainedTokenizerFast, turns: Sequence[Turn], question: str | None = None
) -> EncodedConversation:
    """What follows the picture: finished turns, then, if given, an open question for the model to answer."""
    return _encode_pieces(tokenizer, continuation_pieces(turns, question))


def encode_conversation(
    tokenizer: PreTrainedTokenizerFast, turns: Sequence[Turn], image_tokens: int, question: str | None = None
) -> EncodedConversation:
    """A whole conversation about one picture: its prefix and its continuation.

    Args:
        tokenizer: a tokenizer that knows `SPECIAL_TOKENS`, see `add_seg_token`.
        turns: questions with their answers. Each answer and its `<|im_end|>` is supervised.
        image_tokens: tiles x tokens per tile.
        question: an open question, asked last; the ids then end in `<|im_start|>assistant\\n`, ready for generation.
    """
    return encode_prefix(tokenizer, image_tokens) + encode_continuation(tokenizer, turns, question)


def encode_text(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Token ids of `text` as plain characters, never as special or added tokens, whatever it contains."""
    backend = tokenizer.backend_tokenizer
    # Half of a surrogate pair (from a badly cut string) is no character, and the tokenizer cannot read it.
    text = text.encode("utf-8", "replace").decode("utf-8")
    if backend.normalizer is not None:
        text = backend.normalizer.normalize_str(text)
    words = backend.pre_tokenizer.pre_tokenize_str(text)
    return [token.id for word, _ in words for token in backend.model.tokenize(word)]


def decode_answer(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> str:
    """The text of a generated answer: up to its `<|im_end|>`, with `[SEG]` as the only special token left in it."""
    special = special_ids(tokenizer)
    ids = list(ids)
    if special[IM_END] in ids:
        ids = ids[: ids.index(special[IM_END])]
    hidden = set(tokenizer.all_special_ids) | set(special.values()) - {special[SEG]}
    return tokenizer.decode([i for i in ids if i == special[SEG] or i not in hidden])


def special_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """The id of each of `SPECIAL_TOKENS`.

    Raises:
        ValueError: if the tokenizer lacks one of them.
    """
    vocabulary = tokenizer.get_added_vocab()
    missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
    if missing == [SEG]:
        raise ValueError(f"the tokenizer has no {SEG} token: call add_seg_token(tokenizer) first")
    if missing:
        raise ValueError(f"the tokenizer has no {', '.join(missing)}: use that of an InternVL model or train_tokenizer")
    return {token: vocabulary[token] for token in SPECIAL_TOKENS}


def _encode_pieces(tokenizer: PreTrainedTokenizerFast, pieces: Iterable[Piece]) -> EncodedConversation:
    special = special_ids(tokenizer)
    input_ids: list[int] = []
    labels: list[int] = []
    for piece in pieces:
        ids = [special[piece.text]] if piece.special else encode_text(tokenizer, piece.text)
        input_ids += ids
        labels += ids if piece.supervised else [IGNORED_LABEL] * len(ids)
    return EncodedConversation(input_ids, labels)


# How Qwen2 cuts text into words before byte-pair encoding: English clitics, letters with one leading mark or space,
# single digits, runs of punctuation, line ends, spaces.
_QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Messages in the layout of `prompts`; an image stands as one <IMG_CONTEXT>, as in transformers' own InternVL template.
CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}"
    f"{{{{ '{IM_START}system\\n{SYSTEM_PROMPT}{IM_END}\\n' }}}}"
    "{% endif %}"
    "{% for message in messages %}"
    f"{{{{ '{IM_START}' + message['role'] + '\\n' }}}}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    f"{{% if part['type'] == 'image' %}}{{{{ '{IMG_CONTEXT}\\n' }}}}{{% else %}}{{{{ part['text'] }}}}{{% endif %}}"
    "{% endfor %}{% endif %}"
    f"{{{{ '{IM_END}\\n' }}}}"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{{{{ '{IM_START}assistant\\n' }}}}{{% endif %}}"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer that cuts text like Qwen2's and has the same special tokens, `[SEG]` included.

    The same texts always give the same tokenizer. All 256 bytes are in its vocabulary, so that it encodes any text.

    Args:
        texts: what to learn word pieces from: questions, answers, the prompt templates.
        vocab_size: number of tokens, special ones included. Texts with little variety give fewer.

    Raises:
        ValueError: if `vocab_size` leaves no room for the bytes and the special tokens.
    """
    special = [END_OF_TEXT, *SPECIAL_TOKENS]
    smallest = 256 + len(special)
    if vocab_size < smallest:
        raise ValueError(f"vocab_size {vocab_size} is too small: bytes and special tokens alone take {smallest}")
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN2_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # "[SEG]" in an answer is a token of its own, no text to learn word pieces from.
    marks = re.compile("|".join(re.escape(token) for token in special))
    backend.train_from_iterator((part for text in texts for part in marks.split(text)), trainer)
    return chat_tokenizer(backend)


def chat_tokenizer(backend: Tokenizer, **options: str) -> PreTrainedTokenizerFast:
    """A tokenizer with InternVL's special tokens and `[SEG]`, and its chat template.

    Args:
        backend: A trained tokenizer without them. Beside its vocabulary, not in it: no plain text can become one.
        options: Others of `PreTrainedTokenizerFast`.
    """
    special = [END_OF_TEXT, *(token for token in SPECIAL_TOKENS if token != SEG)]
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=IM_END,
        pad_token=END_OF_TEXT,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        **options,
    )
    add_seg_token(tokenizer)
    return tokenizer
