"""From the words of a conversation to token ids and labels, to rows of a batch, and back.

A fast tokenizer looks for its added tokens in all text it is given, so a user who types "[SEG]" or "<|im_end|>" would
insert the token. Here plain text takes the tokenizer's other three steps only (normaliser, pre-tokeniser, model), which
know nothing of added tokens, and special tokens are put in by id. Importing this needs neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, TypeAlias

from tokenizers import Tokenizer

from self1e.conversation import (
    IGNORED_LABEL,
    IM_END,
    SEG,
    SPECIAL_TOKENS,
    Turn,
)
from self1e.model.rows import Row
from self1e.processing.prompts import Piece, continuation_pieces, prefix_pieces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

AnyTokenizer: TypeAlias = "PreTrainedTokenizerFast | Tokenizer"


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


def encode_prefix(tokenizer: AnyTokenizer, image_tokens: int) -> EncodedConversation:
    """The part that all conversations about one picture share: system prompt, "user\\n" and the picture's tokens."""
    return _encode_pieces(tokenizer, prefix_pieces(image_tokens))


def encode_continuation(
    tokenizer: AnyTokenizer, turns: Sequence[Turn], question: str | None = None
) -> EncodedConversation:
    """What follows the picture: finished turns, then, if given, an open question for the model to answer."""
    return _encode_pieces(tokenizer, continuation_pieces(turns, question))


def encode_conversation(
    tokenizer: AnyTokenizer, turns: Sequence[Turn], image_tokens: int, question: str | None = None
) -> EncodedConversation:
    """A whole conversation about one picture: its prefix and its continuation.

    Args:
        tokenizer: a tokenizer that knows `SPECIAL_TOKENS`, see `add_seg_token`.
        turns: questions with their answers. Each answer and its `<|im_end|>` is supervised.
        image_tokens: tiles x tokens per tile.
        question: an open question, asked last; the ids then end in `<|im_start|>assistant\\n`, ready for generation.
    """
    return encode_prefix(tokenizer, image_tokens) + encode_continuation(tokenizer, turns, question)


def backend_of(tokenizer: AnyTokenizer) -> Tokenizer:
    """The tokenizer of the `tokenizers` library that is behind one of transformers; such a one as it is."""
    return tokenizer if isinstance(tokenizer, Tokenizer) else tokenizer.backend_tokenizer


def encode_text(tokenizer: AnyTokenizer, text: str) -> list[int]:
    """Token ids of `text` as plain characters, never as special or added tokens, whatever it contains."""
    backend = backend_of(tokenizer)
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


def special_ids(tokenizer: AnyTokenizer) -> dict[str, int]:
    """The id of each of `SPECIAL_TOKENS`.

    Raises:
        ValueError: if the tokenizer lacks one of them.
    """
    vocabulary = {token.content: number for number, token in backend_of(tokenizer).get_added_tokens_decoder().items()}
    missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
    if missing == [SEG]:
        raise ValueError(f"the tokenizer has no {SEG} token: call add_seg_token(tokenizer) first")
    if missing:
        raise ValueError(f"the tokenizer has no {', '.join(missing)}: use that of an InternVL model or train_tokenizer")
    return {token: vocabulary[token] for token in SPECIAL_TOKENS}


def _encode_pieces(tokenizer: AnyTokenizer, pieces: Iterable[Piece]) -> EncodedConversation:
    special = special_ids(tokenizer)
    input_ids: list[int] = []
    labels: list[int] = []
    for piece in pieces:
        ids = [special[piece.text]] if piece.special else encode_text(tokenizer, piece.text)
        input_ids += ids
        labels += ids if piece.supervised else [IGNORED_LABEL] * len(ids)
    return EncodedConversation(input_ids, labels)


def single(conversation: EncodedConversation, picture: int = 0, bidirectional: bool | None = None) -> Row:
    """A row that is one conversation: all conversation ids 0, positions 0, 1, 2, ..."""
    length = len(conversation)
    ids, positions = [0] * length, list(range(length))
    return Row(conversation.input_ids, conversation.labels, ids, positions, picture, bidirectional)


def pack(
    prefix: EncodedConversation,
    continuations: Sequence[EncodedConversation],
    picture: int = 0,
    bidirectional: bool | None = None,
) -> Row:
    """A row that holds a prefix once and several conversations that go on from it.

    Conversation ids are 0 for the prefix and 1, 2, ... for the continuations, whose positions each start right after
    the prefix. The supervised tokens of a continuation all come after its question, so that none is ever predicted from
    the last token of the conversation packed before it.

    Raises:
        ValueError: If there is no continuation.
    """
    if not continuations:
        raise ValueError("there is no conversation to pack behind the prefix: give at least one")
    start = len(prefix)
    ids, labels, conversations, positions = [*prefix.input_ids], [*prefix.labels], [0] * start, list(range(start))
    for number, continuation in enumerate(continuations, start=1):
        ids += continuation.input_ids
        labels += continuation.labels
        conversations += [number] * len(continuation)
        positions += range(start, start + len(continuation))
    return Row(ids, labels, conversations, positions, picture, bidirectional)


def pack_tightly(prefix: EncodedConversation, continuations: Sequence[EncodedConversation], picture: int = 0) -> Row:
    """As `pack`, for masks only: the words that all continuations begin with join the prefix and are read once.

    Labels of these words are lost. What is left of each continuation is at least its last two tokens, the `[SEG]` and
    the one that predicts it.
    """
    starts = zip(*(continuation.input_ids[:-2] for continuation in continuations), strict=False)
    common = sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, starts))
    return pack(prefix + continuations[0][:common], [each[common:] for each in continuations], picture)
