"""Where things stand in the rows of a batch: what the host has to know of tokens that are on the device.

A GPU is kept busy by a host that runs ahead of it, and a host that asks the GPU which tokens are those of a picture has
to wait for all that is under way. So this is found on the CPU, before the tokens are copied. What the GPU needs of it
are places: indices among the tokens of all rows, one row after the other, of which the first has those from 0 to N - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from self1e.conversation import IGNORED_LABEL
from self1e.model.config import SELF1EConfig
from self1e.model.transfers import to_device_together
from self1e.processing.rows import Grid


class Picture(NamedTuple):
    """A picture of a batch: its tiles among those of all pictures, and (columns, rows) of them."""

    tiles: range
    grid: Grid


@dataclass(frozen=True)
class AskedPicture:
    """A picture of which masks are made.

    Attributes:
        picture: Which.
        rows: The rows that ask for them.
        segs: How many each of these rows asks for.
    """

    picture: Picture
    rows: list[int]
    segs: list[int]


@dataclass(frozen=True)
class TokenLayout:
    """Of a batch of B rows of N tokens.

    Attributes:
        pictures: The picture that each row is about; None for none.
        image_token_counts: Of each row.
        image_tokens: long[I], places of all image tokens.
        tiles: long[tiles of all rows], the tiles that these show, in the same order.
        asked: The pictures of which masks are made.
        asked_image_tokens: long[A], places of the image tokens of the rows of `asked`, in the order in which these
            stand there.
        before_seg: long[K], places of the tokens that predict a `[SEG]`, in the same way.
        supervised: long[P], places of the tokens that predict a label. None without labels.
        conversations: How many there are in all rows.
    """

    pictures: list[Picture | None]
    image_token_counts: list[int]
    image_tokens: Tensor
    tiles: Tensor
    asked: list[AskedPicture]
    asked_image_tokens: Tensor
    before_seg: Tensor
    supervised: Tensor | None
    conversations: int

    @classmethod
    def of(
        cls,
        config: SELF1EConfig,
        input_ids: Tensor,
        *,
        tiles: int | None,
        attention_mask: Tensor | None = None,
        tile_grids: Sequence[Grid] | None = None,
        picture_index: Tensor | None = None,
        conversation_ids: Tensor | None = None,
        perceiving: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> TokenLayout:
        """Looks at a batch. The host waits for the tensors that are not on the CPU.

        Args:
            config: Of the model.
            input_ids: As `SELF1EForSegmentation.forward` will be given them; the same goes for all that follows.
            tiles: Of all pictures; None without pictures.
            attention_mask: See `forward`.
            tile_grids: See `forward`.
            picture_index: See `forward`.
            conversation_ids: See `forward`.
            perceiving: See `forward`.
            labels: See `forward`.

        Raises:
            ValueError: When grids, tiles and the pictures of the rows do not match, or a row that is to give masks
                starts with `[SEG]`.
        """
        input_ids = input_ids.cpu()
        ids = None if conversation_ids is None else conversation_ids.cpu()
        pictures = pictures_of_rows(len(input_ids), tiles, tile_grids, picture_index)
        real = torch.ones_like(input_ids).bool() if attention_mask is None else attention_mask.cpu().bool()
        image_tokens = (input_ids == config.image_token_id) & real
        seg_tokens = (input_ids == config.seg_token_id) & real
        if perceiving is not None:
            seg_tokens = seg_tokens & perceiving.cpu()[:, None]
        if tiles is not None and bool(seg_tokens[:, 0].any()):
            row = seg_tokens[:, 0].tolist().index(True)
            raise ValueError(f"row {row} starts with [SEG]: there is no position before it that predicts it")
        asked = _asked(pictures, seg_tokens.sum(dim=1).tolist())
        order = [row for each in asked for row in each.rows]
        return cls(
            pictures=pictures,
            image_token_counts=image_tokens.sum(dim=1).tolist(),
            image_tokens=_places(image_tokens),
            tiles=torch.tensor(
                [tile for each in pictures if each is not None for tile in each.tiles], dtype=torch.long
            ),
            asked=asked,
            asked_image_tokens=_places(image_tokens, order),
            before_seg=_places(F.pad(seg_tokens[:, 1:], (0, 1)), order),
            supervised=None if labels is None else _places(F.pad(labels.cpu()[:, 1:] != IGNORED_LABEL, (0, 1))),
            conversations=len(input_ids) if ids is None else int(ids.amax(dim=1).clamp(min=1).sum()),
        )

    def to(self, device: torch.device) -> TokenLayout:
        """The same with the places on a device; the host does not wait."""
        if self.image_tokens.device == device:
            return self
        names = ["image_tokens", "tiles", "asked_image_tokens", "before_seg"]
        names += [] if self.supervised is None else ["supervised"]
        places = to_device_together([getattr(self, name) for name in names], device)
        moved: dict[str, Any] = dict(zip(names, places, strict=True))
        return replace(self, **moved)

    @property
    def seg_due(self) -> Tensor:
        """long[K], places of the tokens that predict a `[SEG]`."""
        return self.before_seg


def pictures_of_rows(
    rows: int, tiles: int | None, tile_grids: Sequence[Grid] | None, picture_index: Tensor | None
) -> list[Picture | None]:
    """The picture that each row is about, None for none; for the arguments see `TokenLayout.of`.

    Raises:
        ValueError: When the grids do not have as many tiles as there are, or a row is about a picture that is not in
            the batch.
    """
    if tiles is None:
        return [None] * rows
    grids = [(1, 1)] * tiles if tile_grids is None else [(columns, rows_) for columns, rows_ in tile_grids]
    ends = list(accumulate(columns * rows_ for columns, rows_ in grids))
    if ends[-1:] != [tiles]:
        raise ValueError(f"tile_grids {grids} have {sum(ends[-1:])} tiles, but {tiles} were given")
    index = list(range(rows)) if picture_index is None else picture_index.tolist()
    if len(index) != rows or max(index) >= len(grids):
        raise ValueError(
            f"{rows} rows are about the pictures {index}, but the batch has {len(grids)}; "
            "say by picture_index which picture each row is about, -1 for none"
        )
    pictures = [Picture(range(*span), grid) for *span, grid in zip([0, *ends[:-1]], ends, grids, strict=True)]
    return [pictures[each] if each >= 0 else None for each in index]


def _asked(pictures: Sequence[Picture | None], segs: Sequence[int]) -> list[AskedPicture]:
    """Rows about one picture go together."""
    shown = [(row, picture) for row, picture in enumerate(pictures) if picture is not None]
    # Without a [SEG] no masks, but a head that has run, with gradients of 0: processes that share a model have to do
    # the same.
    asking = [(row, picture) for row, picture in shown if segs[row]] or shown[:1]
    about: dict[Picture, list[int]] = {}
    for row, picture in asking:
        about.setdefault(picture, []).append(row)
    return [AskedPicture(picture, rows, [segs[row] for row in rows]) for picture, rows in about.items()]


def _places(marks: Tensor, rows: Sequence[int] | None = None) -> Tensor:
    """bool[B, N] -> long, the places that are True; of some rows, in their order, if these are given."""
    places = torch.arange(marks.numel()).view_as(marks)
    if rows is None:
        return places[marks]
    chosen = torch.tensor(rows, dtype=torch.long)
    return places[chosen][marks[chosen]]
