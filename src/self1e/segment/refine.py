"""Edges: mask logits brought to the picture's size with the picture as guide.

The model's map has a cell for each 7 x 7 pixels of a tile (InternVL3). Bilinear resizing draws a smooth edge through
these; the guided filter (He, Sun and Tang, Guided Image Filtering, ECCV 2010; its fast form: He and Sun 2015) draws it
where the picture has one: in every window of the map the logits are taken to be a linear function of the colours there,
fitted by least squares, and what is resized is that function, applied to the colours of the full picture.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from self1e.processing.processor import mask_logits_to_picture
from self1e.processing.tiles import as_tensor

Refinement = Literal["none", "guided"]

RADIUS = 1
"""Cells of the map on each side of a window's middle."""

SMOOTHNESS = 1e-3
"""Variance of colours (0 to 1) below which a window counts as flat: its logits are averaged there, not fitted."""


def to_picture(logits: Tensor, image: Image.Image, refine: Refinement = "none") -> Tensor:
    """Mask logits float[K, h, w] of the model at the picture's size: float32[K, height, width].

    Args:
        logits: They cover the picture.
        image: RGB.
        refine: "none" resizes bilinearly, as the published figures are measured; "guided": see `guided`.

    Raises:
        ValueError: If `refine` is neither.
    """
    if refine not in get_args(Refinement):
        raise ValueError(f"refine is one of {', '.join(get_args(Refinement))}, not {refine!r}")
    return guided(logits, image) if refine == "guided" else mask_logits_to_picture(logits, image.size)


def guided(logits: Tensor, image: Image.Image, radius: int = RADIUS, smoothness: float = SMOOTHNESS) -> Tensor:
    """Mask logits at the picture's size, with the picture as guide.

    Args:
        logits: float[K, h, w], as the model gives them; they cover the picture.
        image: RGB.
        radius: Of windows, in cells of the map.
        smoothness: See `SMOOTHNESS`.

    Returns:
        float32[K, height, width]
    """
    height, width = image.height, image.width
    count, *size = logits.shape
    if count == 0:
        return mask_logits_to_picture(logits, image.size)
    full = as_tensor(image).to(logits.device)[None]
    guide = F.interpolate(full, size=tuple(size), mode="area")[0]  # [3, h, w]
    target = logits.float()
    means = _box(torch.cat([guide, target]), radius)
    of_guide, of_target = means[:3], means[3:]
    pairs = torch.einsum("ihw,jhw->ijhw", guide, guide).flatten(0, 1)
    covariance = _box(pairs, radius).unflatten(0, (3, 3)) - of_guide[:, None] * of_guide
    shared = torch.einsum("ihw,khw->ikhw", guide, target).flatten(0, 1)
    both = _box(shared, radius).unflatten(0, (3, count)) - of_guide[:, None] * of_target
    regularised = covariance.permute(2, 3, 0, 1) + smoothness * torch.eye(3, device=logits.device)
    slopes = torch.linalg.solve(regularised, both.permute(2, 3, 0, 1)).permute(2, 3, 0, 1)  # [3, K, h, w]
    offsets = of_target - (slopes * of_guide[:, None]).sum(0)
    # A cell lies in many windows: their functions are averaged.
    functions = _box(torch.cat([slopes.flatten(0, 1), offsets]), radius)
    at_pixels = F.interpolate(functions[None], size=(height, width), mode="bilinear", align_corners=False)[0]
    slopes, offsets = at_pixels[: 3 * count].unflatten(0, (3, count)), at_pixels[3 * count :]
    return (slopes * full[0][:, None]).sum(0) + offsets


def _box(maps: Tensor, radius: int) -> Tensor:
    """Means over windows of float[C, h, w]; of those at the rim, over what there is."""
    side = 2 * radius + 1
    return F.avg_pool2d(maps[None], side, stride=1, padding=radius, count_include_pad=False)[0]
