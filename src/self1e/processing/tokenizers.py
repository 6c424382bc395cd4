"""Tokenizers with InternVL's special tokens and `[SEG]`: learnt from texts, from a vocabulary, or of any model."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from self1e.conversation import (
    END_OF_TEXT,
    IM_END,
    IM_START,
    IMG_CONTEXT,
    SEG,
    SPECIAL_TOKENS,
    add_seg_token,
)
from self1e.processing.prompts import SYSTEM_PROMPT

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


def with_special_tokens(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """A tokenizer of any model, with the special tokens of a conversation added where it lacks them.

    Raises:
        ValueError: When it does not cut text as a fast tokenizer with a pre-tokeniser does.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.pre_tokenizer is None:
        raise ValueError("it has no pre-tokeniser of the `tokenizers` library: take that of a Qwen or GPT-2 model")
    known = tokenizer.get_added_vocab()
    missing = [token for token in (END_OF_TEXT, *SPECIAL_TOKENS) if token not in known and token != SEG]
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=True) for token in missing], special_tokens=True)
    add_seg_token(tokenizer)
    tokenizer.eos_token, tokenizer.pad_token = IM_END, END_OF_TEXT
    return tokenizer
