"""From the model's map of mask logits to the picture's own size: bilinearly, or with the picture as guide.

The map has a cell for each 7 x 7 pixels of a tile (InternVL3). Tiling only stretches the picture, so that the map of
the stitched tiles covers it exactly. Bilinear resizing draws a smooth edge through the cells; the guided filter (He,
Sun and Tang, Guided Image Filtering, ECCV 2010; its fast form: He and Sun 2015) draws it where the picture has one: in
every window of the map the logits are taken to be a linear function of the colours there, fitted by least squares, and
what is resized is that function, applied to the colours of the full picture, between the logits that it is made of.

All is numpy, so that masks of an exported model, which runs without torch, are made in the same way.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from PIL import Image

from self1e.processing.tiles import as_array

Refinement = Literal["none", "guided"]
REFINEMENTS: tuple[Refinement, ...] = get_args(Refinement)

RADIUS = 1
"""Cells of the map on each side of a window's middle."""

SMOOTHNESS = 1e-3
"""Variance of colours (0 to 1) below which a window counts as flat: its logits are averaged there, not fitted."""


def to_picture(logits: np.ndarray, image: Image.Image, refine: Refinement = "none") -> np.ndarray:
    """Mask logits float[K, h, w] of the model at the picture's size: float32[K, height, width].

    Args:
        logits: They cover the picture. K may be 0.
        image: RGB.
        refine: "none" resizes bilinearly, as the published figures are measured; "guided": see `guided`.

    Raises:
        ValueError: If `refine` is neither.
    """
    check_refinement(refine)
    return guided(logits, image) if refine == "guided" else resized(logits, image.size)


def check_refinement(refine: str) -> None:
    """Raises ValueError if it is not one of `Refinement`."""
    if refine not in REFINEMENTS:
        raise ValueError(f"refine is one of {', '.join(REFINEMENTS)}, not {refine!r}")


def resized(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Maps float[C, h, w] at another size, bilinearly between the middles of cells: float32[C, height, width].

    Args:
        maps: C may be 0.
        size: (width, height), as PIL gives it.
    """
    width, height = size
    if not len(maps):
        return np.zeros((0, height, width), np.float32)
    maps = maps.astype(np.float32, copy=False)
    rows, columns = (_between(*lengths) for lengths in ((maps.shape[1], height), (maps.shape[2], width)))
    return rows @ maps @ columns.T


def _between(cells: int, pixels: int) -> np.ndarray:
    """float32[pixels, cells]: how much of each cell there is in a pixel, the rest being its neighbour's."""
    # In float32, as torch has it.
    places = (np.arange(pixels, dtype=np.float32) + np.float32(0.5)) * np.float32(cells / pixels) - np.float32(0.5)
    places = np.clip(places, 0, cells - 1)
    lower = places.astype(int)
    share = places - lower.astype(np.float32)
    weights = np.zeros((pixels, cells), np.float32)
    weights[np.arange(pixels), lower] = 1 - share
    weights[np.arange(pixels), np.minimum(lower + 1, cells - 1)] += share
    return weights


def guided(logits: np.ndarray, image: Image.Image, radius: int = RADIUS, smoothness: float = SMOOTHNESS) -> np.ndarray:
    """Mask logits at the picture's size, with the picture as guide. They stay between those that they are made of.

    Args:
        logits: float[K, h, w], as the model gives them; they cover the picture.
        image: RGB.
        radius: Of windows, in cells of the map.
        smoothness: See `SMOOTHNESS`.

    Returns:
        float32[K, height, width]
    """
    count, *size = logits.shape
    if count == 0:
        return resized(logits, image.size)
    full = as_array(image).transpose(2, 0, 1)
    guide = _shrunk(full, *size)
    target = logits.astype(np.float32, copy=False)
    means = _box(np.concatenate([guide, target]), radius)
    of_guide, of_target = means[:3], means[3:]
    pairs = (guide[:, None] * guide).reshape(9, *size)
    covariance = _box(pairs, radius).reshape(3, 3, *size) - of_guide[:, None] * of_guide
    shared = (guide[:, None] * target).reshape(3 * count, *size)
    both = _box(shared, radius).reshape(3, count, *size) - of_guide[:, None] * of_target
    regularised = covariance.transpose(2, 3, 0, 1) + smoothness * np.eye(3, dtype=np.float32)
    slopes = np.linalg.solve(regularised, both.transpose(2, 3, 0, 1)).transpose(2, 3, 0, 1)  # [3, K, h, w]
    offsets = of_target - (slopes * of_guide[:, None]).sum(0)
    # A cell lies in many windows: their functions are averaged.
    functions = _box(np.concatenate([slopes.reshape(3 * count, *size), offsets]), radius)
    refined = resized(functions[3 * count :], image.size)
    for colour, slope in zip(full, functions[: 3 * count].reshape(3, count, *size), strict=True):
        refined += resized(slope, image.size) * colour
    # A function that is extended to other colours would find specks where no logit is above 0.
    lowest, highest = (resized(each, image.size) for each in _extremes(target, 2 * radius))
    return np.clip(refined, lowest, highest, out=refined)


def _box(maps: np.ndarray, radius: int) -> np.ndarray:
    """Means over windows of float[C, h, w]; of those at the rim, over what there is."""
    for axis in (1, 2):
        length = maps.shape[axis]
        places = np.arange(length)
        first, last = np.maximum(places - radius, 0), np.minimum(places + radius, length - 1)
        near = (places >= first[:, None]) & (places <= last[:, None])
        weights = (near / near.sum(axis=1, keepdims=True)).astype(np.float32)  # [length, length]
        maps = weights @ maps if axis == 1 else maps @ weights.T
    return maps


def _extremes(maps: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest of each window of float[C, h, w]."""
    lowest = highest = maps
    for axis in (1, 2):
        padded = [(0, 0), (0, 0), (0, 0)]
        padded[axis] = (radius, radius)
        lowest, highest = (
            np.lib.stride_tricks.sliding_window_view(np.pad(each, padded, mode="edge"), 2 * radius + 1, axis=axis)
            for each in (lowest, highest)
        )
        lowest, highest = lowest.min(-1), highest.max(-1)
    return lowest, highest


def _shrunk(full: np.ndarray, height: int, width: int) -> np.ndarray:
    """Means of float[C, H, W] over the cells of a map: float32[C, height, width]. Cells share pixels at their rims."""
    rows, columns = (_share(*lengths) for lengths in ((height, full.shape[1]), (width, full.shape[2])))
    return rows @ full @ columns.T


def _share(cells: int, pixels: int) -> np.ndarray:
    """float32[cells, pixels]: the share of each pixel in the mean of a cell."""
    numbers = np.arange(cells)
    first, end = numbers * pixels // cells, -(-(numbers + 1) * pixels // cells)
    places = np.arange(pixels)
    inside = (places >= first[:, None]) & (places < end[:, None])
    return (inside / inside.sum(axis=1, keepdims=True)).astype(np.float32)
