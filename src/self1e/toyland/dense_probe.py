"""Per-pixel labels as a second teacher: probes that read them.

The generated world knows the kind, part and colour of every pixel, and where and how large the thing is that owns it.
Two linear probes read these from the uncompressed and the compressed features, so both must carry them. A third reads
from the state that predicts a `[SEG]` what that token is about to point at: the labels of the pixels inside its mask,
their centre and spread, and whether there are any. See `self1e.training.probes`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from self1e.model.refilling import as_map, pixel_unshuffle
from self1e.toyland.dense_labels import KIND_NAMES, PART_LABELS, POSES, UNLABELLED, dense_labels
from self1e.toyland.scene import COLOURS, SIZES, TEXTURES, Scene
from self1e.training.losses import Share
from self1e.training.probes import (
    GEOMETRY,
    PLACE,
    at_cell_centres,
    centre_and_spread,
    geometry_error,
    picture_mean,
    place_error,
    place_waves,
    presence_error,
    shares_of_classes,
)

#: Labels that are one of several names, and how many there are.
CLASSES = {
    "kind": len(KIND_NAMES),
    "part": len(PART_LABELS),
    "colour": len(COLOURS),
    "thing_colour": len(COLOURS),
    "texture": len(TEXTURES),
    "pose": len(POSES),
    "size": len(SIZES),
}
#: Labels that are numbers, and how many; see `self1e.training.probes`.
NUMBERS = {"geometry": GEOMETRY, "place": PLACE}
ERRORS = {"geometry": geometry_error, "place": place_error}
LABELS = (*CLASSES, *NUMBERS)


def dense_targets(scene: Scene, side: int) -> dict[str, Tensor]:
    """All labels of `side` x `side` evenly spaced pixels: int64[side, side] of `CLASSES`, float[side, side, n] of
    `NUMBERS`."""
    labels = dense_labels(scene)
    height, width = scene.object_map.shape
    rows = ((np.arange(side) + 0.5) * height / side).astype(int)[:, None]
    columns = ((np.arange(side) + 0.5) * width / side).astype(int)
    targets = {name: torch.from_numpy(labels[name][rows, columns]).long() for name in CLASSES}
    geometry = np.concatenate([labels["offset"], labels["extent"]])[:, rows, columns]
    targets["geometry"] = torch.from_numpy(geometry).permute(1, 2, 0).contiguous()
    here = np.stack(np.broadcast_arrays(columns + 0.5, rows + 0.5), axis=-1).astype(np.float32) / width
    targets["place"] = place_waves(targets["geometry"][..., :2] + torch.from_numpy(here))
    targets["place"] *= targets["geometry"][..., 2:3] > 0
    return targets


class DenseProbe(nn.Module):
    """Linear readers of the per-pixel labels, at twice the patch grid and of what a `[SEG]` points at.

    Args:
        width: D of the features.
        labels: Which of `LABELS` are read.
    """

    def __init__(self, width: int, labels: Sequence[str] = LABELS) -> None:
        super().__init__()
        self.outputs = {name: count for name, count in (CLASSES | NUMBERS).items() if name in labels}
        outputs = sum(self.outputs.values())
        self.uncompressed = nn.Linear(width, 4 * outputs)
        self.compressed = nn.Linear(width, 16 * outputs)
        self.pointed = nn.Linear(width, outputs + 1)

    def split(self, read: Tensor) -> dict[str, Tensor]:
        """What was read, float[..., outputs], by label."""
        return dict(zip(self.outputs, read.float().split(list(self.outputs.values()), dim=-1), strict=True))

    def forward(self, compressed: Tensor, uncompressed: Tensor | None, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """The loss of each label, averaged over the two probes.

        Args:
            compressed: F_V1, float[T, n, D].
            uncompressed: F_V1^HQ, float[T, 4 n, D]; None for `baseline`, which has none.
            targets: From `dense_targets`, stacked: [T, 4 sqrt(n), 4 sqrt(n), ...].
        """
        losses = [dense_losses(self.split(self.read_compressed(compressed)), targets)]
        if uncompressed is not None:
            losses.append(dense_losses(self.split(self.read_uncompressed(uncompressed)), targets))
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
        read = self.pointed(seg_states).float()
        inside = at_cell_centres(masks, targets["kind"].shape[-1]).flatten(1).float()  # K, cells
        there = inside.sum(dim=1) > 0
        losses = [presence_error(read[:, -1], masks)]
        for name, values in self.split(read[:, :-1]).items():
            if name in CLASSES:
                label = targets[name].flatten()
                share = shares_of_classes(inside, label, label != UNLABELLED, CLASSES[name])
                losses.append(-(share * values.log_softmax(dim=-1)).sum())
            elif name == "geometry":
                losses.append((ERRORS[name](values, centre_and_spread(inside)) * there).sum())
            else:
                mean = inside @ targets[name].flatten(0, 1) / inside.sum(dim=1, keepdim=True).clamp(min=1)
                losses.append((ERRORS[name](values, mean) * there).sum())
        return torch.stack(losses).sum()


def dense_losses(read: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of one probe; by label float[T, h, w, outputs], and targets as `DenseProbe.forward` takes them.

    Each is the mean over the T pictures of a picture's own mean: which pictures share a batch does not matter. In one,
    things weigh as much together as the ten times as many pixels of stuff, and among things a pixel weighs 1 / sqrt of
    its thing's box: with every pixel alike, a probe is right nine times in ten without telling a dog from a cat.
    """
    box = targets["geometry"][..., 2:].prod(dim=-1)
    things = torch.where(box > 0, box.clamp(min=1e-6).rsqrt(), 0)
    losses = {}
    for name, values in read.items():
        if name in NUMBERS:
            losses[name] = picture_mean(ERRORS[name](values, targets[name]), things)
            continue
        each = F.cross_entropy(values.movedim(-1, 1), targets[name], ignore_index=UNLABELLED, reduction="none")
        known = targets[name] != UNLABELLED
        losses[name] = (picture_mean(each, things * known) + picture_mean(each, (box == 0) * known)) / 2
    return losses


def label_accuracy(probe: DenseProbe, compressed: Tensor, targets: dict[str, Tensor]) -> dict[str, Share]:
    """How many pixels of things have a label that is read rightly from the compressed features, for each class."""
    with torch.no_grad():
        read = probe.split(probe.read_compressed(compressed))
    on_thing = targets["geometry"][..., 2:].amax(dim=-1) > 0
    scores = {}
    for name, logits in read.items():
        if name in CLASSES:
            counted = on_thing & (targets[name] != UNLABELLED)
            right = (logits.argmax(-1) == targets[name]) & counted
            scores[name] = Share(int(right.sum()), int(counted.sum()))
    return scores
