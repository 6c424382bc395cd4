"""What the model takes: rows of tokens padded to one length, with the tiles of all pictures, each picture once.

A row is one conversation, or several about one picture, packed behind the prefix that they share:

    tokens            prefix . . . . . . | first conversation | second conversation | padding
    conversation_ids  0 0 0 0 0 0 0 0 0 0  1 1 1 1 1 1 1 1 1 1  2 2 2 2 2 2 2 2 2 2   0 0 0
    position_ids      0 1 2 ...        p   p+1 p+2 ...          p+1 p+2 ...           0 0 0

With these positions, and an attention mask that lets a conversation see the prefix and itself, each continues the
prefix as if it stood there alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import takewhile
from typing import Any, Literal

import torch
from torch import Tensor

from self1e.conversation import IGNORED_LABEL
from self1e.model.transfers import to_device
from self1e.processing.tokens import EncodedConversation

Grid = tuple[int, int]
"""(columns, rows) of tiles."""

Purpose = Literal["training", "masks", "generation"]


@dataclass(frozen=True)
class Row:
    """One row of a batch before padding; all lists have the same length. `picture` is an index into the batch's."""

    input_ids: list[int]
    labels: list[int]
    conversation_ids: list[int]
    position_ids: list[int]
    picture: int = 0

    def behind(self, tokens: int) -> Row:
        """The row without its first tokens; those that stay keep their positions."""
        return Row(
            self.input_ids[tokens:],
            self.labels[tokens:],
            self.conversation_ids[tokens:],
            self.position_ids[tokens:],
            self.picture,
        )


def single(conversation: EncodedConversation, picture: int = 0) -> Row:
    """A row that is one conversation: all conversation ids 0, positions 0, 1, 2, ..."""
    length = len(conversation)
    return Row(conversation.input_ids, conversation.labels, [0] * length, list(range(length)), picture)


def pack(prefix: EncodedConversation, continuations: Sequence[EncodedConversation], picture: int = 0) -> Row:
    """A row that holds a prefix once and several conversations that go on from it.

    Conversation ids are 0 for the prefix and 1, 2, ... for the continuations, whose positions each start right after
    the prefix. The supervised tokens of a continuation all come after its question, so that none is ever predicted from
    the last token of the conversation packed before it.

    Raises:
        ValueError: if there is no continuation.
    """
    if not continuations:
        raise ValueError("there is no conversation to pack behind the prefix: give at least one")
    row = single(prefix, picture)
    for number, continuation in enumerate(continuations, start=1):
        row = Row(
            row.input_ids + continuation.input_ids,
            row.labels + continuation.labels,
            row.conversation_ids + [number] * len(continuation),
            row.position_ids + list(range(len(prefix), len(prefix) + len(continuation))),
            picture,
        )
    return row


def pack_tightly(prefix: EncodedConversation, continuations: Sequence[EncodedConversation], picture: int = 0) -> Row:
    """As `pack`, for masks only: the words that all continuations begin with join the prefix and are read once.

    Labels of these words are lost. What is left of each continuation is at least its last two tokens, the `[SEG]` and
    the one that predicts it.
    """
    starts = zip(*(continuation.input_ids[:-2] for continuation in continuations), strict=False)
    common = sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, starts))
    return pack(prefix + continuations[0][:common], [each[common:] for each in continuations], picture)


@dataclass(frozen=True)
class ModelInputs:
    """A batch of B rows of N tokens about P pictures of T tiles in all; the model takes `**inputs.as_kwargs()`.

    Attributes:
        pixel_values: float[T, 3, S, S], the tiles of all pictures, one picture after the other.
        tile_grids: (columns, rows) of each of the P pictures.
        picture_index: long[B], the picture that each row is about.
        input_ids: long[B, N].
        attention_mask: long[B, N], 1 for tokens and 0 for padding. Only this says what padding is, never a token id.
        position_ids: long[B, N].
        conversation_ids: long[B, N], 0 for what all conversations of a row share, 1, 2, ... for these. 0 everywhere in
            a row that is one conversation. None for generation, which knows no packed rows.
        labels: long[B, N], the token's own id where the model is to predict it and -100 elsewhere; not shifted. None
            for a batch that is not for training.
    """

    pixel_values: Tensor
    tile_grids: list[Grid]
    picture_index: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    conversation_ids: Tensor | None = None
    labels: Tensor | None = None

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> ModelInputs:
        """The same batch on a device, which the host does not wait for; `dtype` is for the pixels only."""
        target = self.input_ids.device if device is None else torch.device(device)
        moved: dict[str, Any] = {
            name: to_device(value, target) for name, value in self.as_kwargs().items() if isinstance(value, Tensor)
        }
        moved["pixel_values"] = moved["pixel_values"].to(dtype=dtype)
        return replace(self, **moved)

    def as_kwargs(self) -> dict[str, Any]:
        """The fields by name, without those that are None."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def collate(
    tiles: Sequence[Tensor],
    tile_grids: Sequence[Grid],
    rows: Sequence[Row],
    *,
    pad_id: int,
    purpose: Purpose = "training",
) -> ModelInputs:
    """Put pictures and rows together into one batch.

    Args:
        tiles: float[T_i, 3, S, S] of each picture.
        tile_grids: (columns, rows) of each picture.
        rows: rows of tokens; each names its picture.
        pad_id: token id to fill short rows with.
        purpose: "training"; "masks", the same without labels; or "generation", where in addition rows are padded on
            the left, so that all end together, and hold one conversation each.

    Raises:
        ValueError: if there are no rows, or a row's picture is not in the batch.
    """
    if not rows:
        raise ValueError("the batch has no rows: give at least one conversation")
    strays = sorted({row.picture for row in rows} - set(range(len(tiles))))
    if strays:
        raise ValueError(f"there are rows about pictures {strays}, but the batch has only {len(tiles)} pictures")
    longest = max(len(row.input_ids) for row in rows)

    def padded(columns: Sequence[list[int]], fill: int) -> Tensor:
        out = torch.full((len(rows), longest), fill)
        for target, values in zip(out, columns, strict=True):
            start = longest - len(values) if purpose == "generation" else 0
            target[start : start + len(values)] = torch.tensor(values)
        return out

    return ModelInputs(
        pixel_values=torch.cat(list(tiles)),
        tile_grids=list(tile_grids),
        picture_index=torch.tensor([row.picture for row in rows]),
        input_ids=padded([row.input_ids for row in rows], pad_id),
        attention_mask=padded([[1] * len(row.input_ids) for row in rows], 0),
        position_ids=padded([row.position_ids for row in rows], 0),
        conversation_ids=None if purpose == "generation" else padded([row.conversation_ids for row in rows], 0),
        labels=padded([row.labels for row in rows], IGNORED_LABEL) if purpose == "training" else None,
    )
