"""Per-pixel labels as a second teacher of the vision side.

A mask says little about a picture: which of its patches belong together, of one thing. The generated world knows more:
the kind, part and colour of every pixel, and where and how large the thing is that owns it. Two linear probes read
these from the uncompressed and the compressed features, so both must carry them. The probes are thrown away afterwards.
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
    """Linear readers of the per-pixel labels at twice the patch grid."""

    def __init__(self, width: int) -> None:
        super().__init__()
        outputs = sum(CLASSES.values()) + GEOMETRY
        self.uncompressed = nn.Linear(width, 4 * outputs)
        self.compressed = nn.Linear(width, 16 * outputs)

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


def _losses(predicted: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of one probe, float[T, h, w, outputs]."""
    *classes, geometry = predicted.split([*CLASSES.values(), GEOMETRY], dim=-1)
    on_thing = targets["geometry"][..., 2:].amax(dim=-1) > 0
    losses = {name: _even(logits, targets[name], on_thing) for name, logits in zip(CLASSES, classes, strict=True)}
    error = F.smooth_l1_loss(geometry, targets["geometry"], reduction="none", beta=0.02) * on_thing[..., None]
    losses["geometry"] = error.sum() / (on_thing.sum() * GEOMETRY).clamp(min=1) * 10
    return losses


def _even(logits: Tensor, target: Tensor, on_thing: Tensor) -> Tensor:
    """Cross-entropy in which the pixels of things weigh as much together as the ten times as many pixels of stuff.

    With every pixel alike, a probe is right nine times in ten without telling a dog from a cat.
    """
    each = F.cross_entropy(logits.flatten(0, -2), target.flatten(), ignore_index=NO_COLOUR, reduction="none")
    counted = (target != NO_COLOUR).flatten()
    on_thing = on_thing.flatten()
    halves = [each[counted & part].sum() / (counted & part).sum().clamp(min=1) for part in (on_thing, ~on_thing)]
    return torch.stack(halves).mean()


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
