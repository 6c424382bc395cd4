"""What losses that teach with labels of single pixels have in common; see `self1e.training.losses`.

A mask says little about a picture: which of its patches belong together, of one thing. Labels say more: what every
pixel is, and where and how large the thing is that owns it. Linear probes read them from the features, so that these
must carry them; another reads from the state that predicts a `[SEG]` what that token is about to point at. Probes are
thrown away after the training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from self1e.training.losses import LossInputs

WAVES = 4
GEOMETRY, PLACE = 4, 4 * WAVES
"""Numbers of the two labels of a thing.

Geometry of a pixel: offset to the centre of its thing (x, y), width and height, over the picture's side; of what a
`[SEG]` points at: see `centre_and_spread`. Place: cosine and sine of pi, 2 pi, ... times the centre's x and y. Their
product with those of another place peaks where the two are the same, so with them a linear reader can pick one of
several alike.
"""


def place_waves(places: Tensor) -> Tensor:
    """float[..., 2], x and y from 0 to 1 -> float[..., PLACE]."""
    angles = (places[..., None] * (torch.pi * torch.arange(1, WAVES + 1, device=places.device))).flatten(-2)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def geometry_error(values: Tensor, targets: Tensor) -> Tensor:
    """float[..., GEOMETRY] -> float[...], on the scale of the losses of classes."""
    return 10.0 * F.smooth_l1_loss(values, targets, reduction="none", beta=0.02).mean(dim=-1)


def place_error(values: Tensor, targets: Tensor) -> Tensor:
    """float[..., PLACE] -> float[...], on the scale of the losses of classes."""
    return 4.0 * F.smooth_l1_loss(values, targets, reduction="none", beta=0.2).mean(dim=-1)


def picture_mean(values: Tensor, weights: Tensor) -> Tensor:
    """float[T, h, w] -> scalar: the weighted mean of each picture, 0 where it has no weights, and the mean of these."""
    of_pictures = (values * weights).flatten(1).sum(dim=1) / weights.flatten(1).sum(dim=1).clamp(min=1e-6)
    return of_pictures.mean()


def at_cell_centres(masks: Tensor, side: int) -> Tensor:
    """The pixels of [..., H, W] in the middle of `side` x `side` cells."""
    steps = torch.arange(side, device=masks.device) + 0.5
    rows, columns = ((steps * length / side).long() for length in masks.shape[-2:])
    return masks[..., rows[:, None], columns]


def presence_error(logits: Tensor, masks: Tensor) -> Tensor:
    """How badly logits float[K] tell whether masks uint8[K, H, W] have a pixel of 1; summed over masks."""
    there = (masks == 1).flatten(1).any(dim=1)
    return F.binary_cross_entropy_with_logits(logits, there.float(), reduction="sum")


def shares_of_classes(inside: Tensor, label: Tensor, known: Tensor, classes: int) -> Tensor:
    """Of each class the share of the cells inside of a mask, float[K, classes]; 0 for a mask without any.

    Args:
        inside: float[K, cells].
        label: int64[cells].
        known: bool[cells], which labels count.
        classes: How many there are.
    """
    histogram = inside @ (F.one_hot(label.clamp(min=0, max=classes - 1), classes) * known[:, None]).float()
    return histogram / histogram.sum(dim=1, keepdim=True).clamp(min=1)


def centre_and_spread(inside: Tensor) -> Tensor:
    """Mean and doubled deviation of x and y, over the picture's side, of masks float[K, side * side] -> float[K, 4]."""
    side = round(inside.shape[1] ** 0.5)
    steps = (torch.arange(side, device=inside.device) + 0.5) / side
    places = torch.stack([steps.repeat(side), steps.repeat_interleave(side)], dim=1)  # x, y
    weight = inside / inside.sum(dim=1, keepdim=True).clamp(min=1)
    centre = weight @ places
    variance = weight @ places.square() - centre.square()
    return torch.cat([centre, 2 * variance.clamp(min=0).sqrt()], dim=1)


class Pointing(NamedTuple):
    """The `[SEG]`s of a row.

    Attributes:
        picture: Number of their picture in the batch.
        states: float[K, D], the states that predict them.
        masks: uint8[K, H, W], what they are to point at.
        share: By which a sum over them becomes a share of the mean over the masks of each picture, and over pictures.
    """

    picture: int
    states: Tensor
    masks: Tensor
    share: float


def pointings(inputs: LossInputs) -> Iterator[Pointing]:
    """Of every row with `[SEG]`s."""
    batch, outputs = inputs.batch, inputs.outputs
    assert batch.masks is not None and outputs is not None and outputs.last_hidden_state is not None
    states = outputs.last_hidden_state.flatten(0, 1)[batch.before_seg]
    of_rows = states.split([segs for each in batch.asked for segs in each.segs])
    masks: Counter[int] = Counter()
    for row, picture in enumerate(batch.picture_index):
        masks[picture] += len(batch.masks[row])
    for row, of_row in zip((row for each in batch.asked for row in each.rows), of_rows, strict=True):
        picture = batch.picture_index[row]
        if len(of_row):
            yield Pointing(picture, of_row, batch.masks[row], 1 / masks[picture] / len(batch.pictures))
