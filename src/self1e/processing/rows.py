"""Rows of a batch from the conversations about a picture: one each, or several behind the prefix that they share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from self1e.model.batch import Row
from self1e.processing.tokens import EncodedConversation


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
