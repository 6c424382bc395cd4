"""Per-pixel labels as a second teacher.

A mask says little about a picture: which of its patches belong together, of one thing. The generated world knows more:
the kind, part and colour of every pixel, and where and how large the thing is that owns it. Two linear probes read
these from the uncompressed and the compressed features, so both must carry them. A third reads from the state that
predicts a `[SEG]` what that token is about to point at: the labels of the pixels inside its mask, their centre and
spread, and whether there are any. The probes are thrown away afterwards.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from self1e.data.toyland.dense import KIND_NAMES, NO_COLOUR, PART_LABELS, dense_labels
from self1e.data.toyland.scene import COLOURS, Scene
from self1e.modeling.refilling import as_map, pixel_unshuffle

CLASSES = {"kind": len(KIND_NAMES), "part": len(PART_LABELS), "colour": len(COLOURS)}
GEOMETRY = 4  # offset to the centre (x, y), width, height


def dense_targets(scene: Scene, side: int) -> dict[str, Tensor]:
    """The labels of `side` x `side` evenly spaced pixels: "kind", "part", "colour" int64[side, side], and "geometry"
    float[side, side, 4]."""
    labels = dense_labels(scene)
    height, width = scene.object_map.shape
    rows = ((np.arange(side) + 0.5) * height / side).astype(int)[:, None]
    columns = ((np.arange(side) + 0.5) * width / side).astype(int)
    targets = {name: torch.from_numpy(labels[name][rows, columns]).long() for name in CLASSES}
    geometry = np.concatenate([labels["offset"], labels["extent"]])[:, rows, columns]
    return {**targets, "geometry": torch.from_numpy(geometry).permute(1, 2, 0).contiguous()}


class DenseProbe(nn.Module):
    """Linear readers of the per-pixel labels, at twice the patch grid and of what a `[SEG]` points at."""

    def __init__(self, width: int) -> None:
        super().__init__()
        outputs = sum(CLASSES.values()) + GEOMETRY
        self.uncompressed = nn.Linear(width, 4 * outputs)
        self.compressed = nn.Linear(width, 16 * outputs)
        self.pointed = nn.Linear(width, outputs + 1)

    def forward(self, compressed: Tensor, uncompressed: Tensor | None, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """The loss of each label, averaged over the two probes.

        Args:
            compressed: F_V1, float[T, n, D].
            uncompressed: F_V1^HQ, float[T, 4 n, D]; None for `baseline`, which has none.
            targets: From `dense_targets`, stacked: [T, 4 sqrt(n), 4 sqrt(n), ...].
        """
        losses = [_losses(self.read_compressed(compressed), targets)]
        if uncompressed is not None:
            losses.append(_losses(self.read_uncompressed(uncompressed), targets))
        return {name: torch.stack([each[name] for each in losses]).mean() for name in losses[0]}

    def read_compressed(self, compressed: Tensor) -> Tensor:
        """float[T, n, D] -> float[T, 4 sqrt(n), 4 sqrt(n), outputs]."""
        return pixel_unshuffle(pixel_unshuffle(self.compressed(as_map(compressed))))

    def read_uncompressed(self, uncompressed: Tensor) -> Tensor:
        """float[T, 4 n, D] -> float[T, 4 sqrt(n), 4 sqrt(n), outputs]."""
        return pixel_unshuffle(self.uncompressed(as_map(uncompressed)))

    def pointed_loss(self, seg_states: Tensor, masks: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """How badly the states before the `[SEG]`s of one picture tell what is inside their masks.

        Args:
            seg_states: F_SEG, float[K, D].
            masks: uint8[K, H, W], their ground truth.
            targets: Of that picture, from `dense_targets`: [h, w, ...].

        Returns:
            Scalar, the sum over the K masks. Only the question whether there is anything counts for an empty mask.
        """
        *classes, geometry, present = self.pointed(seg_states).float().split([*CLASSES.values(), GEOMETRY, 1], dim=-1)
        inside = at_cell_centres(masks, targets["kind"].shape[-1]).flatten(1).float()  # K, cells
        there = inside.sum(dim=1) > 0
        losses = [F.binary_cross_entropy_with_logits(present[:, 0], there.float(), reduction="sum")]
        for logits, (name, count) in zip(classes, CLASSES.items(), strict=True):
            label = targets[name].flatten()
            known = label != NO_COLOUR
            histogram = inside[:, known] @ F.one_hot(label[known], count).float()
            share = histogram / histogram.sum(dim=1, keepdim=True).clamp(min=1)
            losses.append(-(share * logits.log_softmax(dim=-1)).sum())
        error = F.smooth_l1_loss(geometry, centre_and_spread(inside), reduction="none", beta=0.02)
        losses.append(10 * (error.mean(dim=1) * there).sum())
        return torch.stack(losses).sum()


def at_cell_centres(masks: Tensor, side: int) -> Tensor:
    """The pixels of [..., H, W] in the middle of `side` x `side` cells."""
    rows, columns = (((torch.arange(side) + 0.5) * length / side).long() for length in masks.shape[-2:])
    return masks[..., rows[:, None], columns]


def centre_and_spread(inside: Tensor) -> Tensor:
    """Mean and doubled deviation of x and y, over the picture's side, of masks float[K, side * side] -> float[K, 4]."""
    side = round(inside.shape[1] ** 0.5)
    steps = (torch.arange(side, device=inside.device) + 0.5) / side
    places = torch.stack([steps.repeat(side), steps.repeat_interleave(side)], dim=1)  # x, y
    weight = inside / inside.sum(dim=1, keepdim=True).clamp(min=1)
    centre = weight @ places
    variance = weight @ places.square() - centre.square()
    return torch.cat([centre, 2 * variance.clamp(min=0).sqrt()], dim=1)


def _losses(predicted: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of one probe, float[T, h, w, outputs].

    Things weigh as much together as the ten times as many pixels of stuff, and among things a pixel weighs 1 / sqrt of
    its thing's box: with every pixel alike, a probe is right nine times in ten without telling a dog from a cat.
    """
    *classes, geometry = predicted.float().split([*CLASSES.values(), GEOMETRY], dim=-1)
    box = targets["geometry"][..., 2:].prod(dim=-1)
    things = torch.where(box > 0, box.clamp(min=1e-6).rsqrt(), 0)
    losses = {}
    for name, logits in zip(CLASSES, classes, strict=True):
        each = F.cross_entropy(logits.movedim(-1, 1), targets[name], ignore_index=NO_COLOUR, reduction="none")
        known = targets[name] != NO_COLOUR
        losses[name] = (_mean(each, things * known) + _mean(each, (box == 0) * known)) / 2
    error = F.smooth_l1_loss(geometry, targets["geometry"], reduction="none", beta=0.02).mean(dim=-1)
    losses["geometry"] = 10 * _mean(error, things)
    return losses


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=1e-6)


def label_accuracy(probe: DenseProbe, compressed: Tensor, targets: dict[str, Tensor]) -> dict[str, float]:
    """Share of the pixels of things whose kind, part and colour can be read rightly from the compressed features."""
    with torch.no_grad():
        predicted = probe.read_compressed(compressed)
    classes = predicted.split([*CLASSES.values(), GEOMETRY], dim=-1)[:-1]
    on_thing = targets["geometry"][..., 2:].amax(dim=-1) > 0
    scores = {}
    for name, logits in zip(CLASSES, classes, strict=True):
        counted = on_thing & (targets[name] != NO_COLOUR)
        scores[name] = (logits.argmax(-1) == targets[name])[counted].float().mean().item()
    return scores
