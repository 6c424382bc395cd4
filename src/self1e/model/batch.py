"""What the mask pass takes: rows of tokens (`rows`), each picture once, and where in the rows things stand.

A batch is built once, on the CPU, and then moved: a host that asked the GPU which tokens belong to a picture would have
to wait for all that is under way. What the GPU needs are *places*: indices among the tokens of all rows, one row after
the other, of which the first has those from 0 to N - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from self1e.conversation import IGNORED_LABEL
from self1e.model.rows import Grid, Row


class PictureTiles(NamedTuple):
    """A picture of a batch: its tiles among those of all pictures, and (columns, rows) of them."""

    tiles: range
    grid: Grid


class AskedPicture(NamedTuple):
    """A picture of which masks are made: the rows that ask for them, and how many each of these asks for."""

    picture: PictureTiles
    rows: list[int]
    segs: list[int]


@dataclass(frozen=True)
class Batch:
    """B rows of N tokens about P pictures of T tiles in all; from `build_batch`.

    Attributes:
        input_ids: long[B, N].
        attention_mask: bool[B, N], False at padding. Only this says what padding is, never a token id.
        position_ids: long[B, N].
        conversation_ids: long[B, N].
        bidirectional: bool[B], the rows in which the dual perception pathways are open.
        image_tokens: bool[B, N].
        seg_tokens: bool[B, N].
        pixel_values: float[T, 3, S, S], the tiles of all pictures; None when their features are given in their place.
        pictures: All P.
        picture_index: The picture that each row is about, -1 for none.
        image_token_counts: Of each row.
        image_places: long[I], places of all image tokens.
        tiles: long[tiles of all rows], the tiles that these show, in the same order.
        asked: The pictures of which masks are made.
        asked_image_places: long[A], places of the image tokens of the rows of `asked`, in the order of these.
        before_seg: long[K], places of the tokens that predict a `[SEG]`, in the same order.
        supervised: long[L], places of the tokens that predict a label; None without labels.
        targets: long[L], these labels.
        masks: Ground truth, one uint8[K, H, W] a row with a mask for each of its `[SEG]`: 1, 0, or 255 (ignored).
        conversations: How many there are in all rows.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    conversation_ids: Tensor
    bidirectional: Tensor
    image_tokens: Tensor
    seg_tokens: Tensor
    pixel_values: Tensor | None
    pictures: list[PictureTiles]
    picture_index: list[int]
    image_token_counts: list[int]
    image_places: Tensor
    tiles: Tensor
    asked: list[AskedPicture]
    asked_image_places: Tensor
    before_seg: Tensor
    supervised: Tensor | None
    targets: Tensor | None
    masks: list[Tensor] | None
    conversations: int

    def __len__(self) -> int:
        return len(self.input_ids)

    def to(self, device: torch.device | str) -> Batch:
        """The same on a device; see `self1e.fast.transfers.moved` for one that does not wait for it."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **values | moved | {"masks": self.masks and [mask.to(device) for mask in self.masks]})


def build_batch(
    rows: Sequence[Row],
    grids: Sequence[Grid] = (),
    *,
    image_token_id: int,
    seg_token_id: int,
    pad_id: int = 0,
    pixel_values: Tensor | None = None,
    masks: Sequence[Tensor] | None = None,
    labels: bool = False,
    left_padded: bool = False,
) -> Batch:
    """Pads rows to one length and finds what stands where in them. All tensors are on the CPU.

    Args:
        rows: Each names its picture.
        grids: (columns, rows) of tiles of each picture, in order.
        image_token_id: As in the model's configuration.
        seg_token_id: As in the model's configuration.
        pad_id: What short rows are filled with; any id will do.
        pixel_values: float[T, 3, S, S], the tiles of all pictures, one picture after the other. None when the model is
            given their features.
        masks: One [K, H, W] a row, see `Batch`.
        labels: Whether the rows' labels are to be learnt.
        left_padded: Pad on the left, so that all rows end together and answers can be generated.

    Raises:
        ValueError: When tiles, grids and the pictures of the rows do not match, or a row that is to give masks starts
            with `[SEG]`.
    """
    pictures = _pictures(grids, None if pixel_values is None else len(pixel_values))
    strays = sorted({row.picture for row in rows} - set(range(-1, len(pictures))))
    if strays:
        raise ValueError(f"there are rows about pictures {strays}, but the batch has only {len(pictures)} pictures")
    of_rows = [pictures[row.picture] if row.picture >= 0 else None for row in rows]
    length = max((len(row.input_ids) for row in rows), default=0)
    starts = [length - len(row.input_ids) if left_padded else 0 for row in rows]

    def padded(columns: Sequence[Sequence[int]], fill: int) -> Tensor:
        out = torch.full((len(rows), length), fill)
        for target, start, values in zip(out, starts, columns, strict=True):
            target[start : start + len(values)] = torch.tensor(values)
        return out

    input_ids = padded([row.input_ids for row in rows], pad_id)
    real = padded([[1] * len(row.input_ids) for row in rows], 0).bool()
    image_tokens = (input_ids == image_token_id) & real
    seg_tokens = (input_ids == seg_token_id) & real
    with_seg = seg_tokens.any(dim=1).tolist()
    bidirectional = torch.tensor(
        [has if row.bidirectional is None else row.bidirectional for row, has in zip(rows, with_seg, strict=True)],
        dtype=torch.bool,
    )
    due = seg_tokens & bidirectional[:, None]  # of which masks are made
    for row, start in enumerate(starts):
        if pictures and start < length and due[row, start]:
            raise ValueError(f"row {row} starts with [SEG]: there is no position before it that predicts it")
    asked = _asked(of_rows, due.sum(dim=1).tolist())
    order = [row for each in asked for row in each.rows]
    supervised = targets = None
    if labels:
        all_labels = padded([row.labels for row in rows], IGNORED_LABEL)
        supervised = _places(_shifted(all_labels != IGNORED_LABEL))
        targets = all_labels.flatten()[supervised + 1]
    return Batch(
        input_ids=input_ids,
        attention_mask=real,
        position_ids=padded([row.position_ids for row in rows], 0),
        conversation_ids=padded([row.conversation_ids for row in rows], 0),
        bidirectional=bidirectional,
        image_tokens=image_tokens,
        seg_tokens=seg_tokens,
        pixel_values=pixel_values,
        pictures=pictures,
        picture_index=[row.picture for row in rows],
        image_token_counts=image_tokens.sum(dim=1).tolist(),
        image_places=_places(image_tokens),
        tiles=torch.tensor([tile for each in of_rows if each is not None for tile in each.tiles], dtype=torch.long),
        asked=asked,
        asked_image_places=_places(image_tokens, order),
        before_seg=_places(_shifted(due), order),
        supervised=supervised,
        targets=targets,
        masks=None if masks is None else list(masks),
        conversations=sum(max(1, *row.conversation_ids) for row in rows if row.conversation_ids),
    )


def _pictures(grids: Sequence[Grid], tiles: int | None) -> list[PictureTiles]:
    """The pictures of a batch, whose tiles stand one picture after the other."""
    ends = list(accumulate((columns * rows for columns, rows in grids), initial=0))
    if tiles is not None and ends[-1] != tiles:
        raise ValueError(f"the grids {list(grids)} have {ends[-1]} tiles, but {tiles} were given")
    return [PictureTiles(range(*span), grid) for *span, grid in zip(ends[:-1], ends[1:], grids, strict=True)]


def _asked(pictures: Sequence[PictureTiles | None], segs: Sequence[int]) -> list[AskedPicture]:
    """Rows about one picture go together."""
    shown = [(row, picture) for row, picture in enumerate(pictures) if picture is not None]
    # Without a [SEG] no masks, but a head that has run, with gradients of 0: processes that share a model have to do
    # the same.
    asking = [(row, picture) for row, picture in shown if segs[row]] or shown[:1]
    about: dict[PictureTiles, list[int]] = {}
    for row, picture in asking:
        about.setdefault(picture, []).append(row)
    return [AskedPicture(picture, rows, [segs[row] for row in rows]) for picture, rows in about.items()]


def _shifted(marks: Tensor) -> Tensor:
    """bool[B, N], True one place before each mark: where a token is predicted. The first of a row never is."""
    return F.pad(marks[:, 1:], (0, 1))


def _places(marks: Tensor, rows: Sequence[int] | None = None) -> Tensor:
    """bool[B, N] -> long, the places that are True; of some rows, in their order, if these are given."""
    places = torch.arange(marks.numel()).view_as(marks)
    if rows is None:
        return places[marks]
    chosen = torch.tensor(rows, dtype=torch.long)
    return places[chosen][marks[chosen]]
