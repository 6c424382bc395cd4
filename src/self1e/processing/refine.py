"""From the model's map of mask logits to the picture's own size: bilinearly, or with the picture as guide.

The map has a cell for each 7 x 7 pixels of a tile (InternVL3). Tiling only stretches the picture, so that the map of
the stitched tiles covers it exactly. Bilinear resizing draws a smooth edge through the cells; the guided filter (He,
Sun and Tang, Guided Image Filtering, ECCV 2010; its fast form: He and Sun 2015) draws it where the picture has one: in
every window of the map the logits are taken to be a linear function of the colours there, fitted by least squares, and
what is resized is that function, applied to the colours of the full picture, between the logits that it is made of.

All is numpy, so that masks of an exported model, which runs without torch, are made in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from PIL import Image

from self1e.processing.refinement import Refinement, check_refinement

RADIUS = 1
"""Cells of the map on each side of a window's middle."""

SMOOTHNESS = 1e-3
"""Variance of colours (0 to 1) below which a window counts as flat: its logits are averaged there, not fitted."""

BLOCK = 2**16
"""Pixels that are worked on at a time."""


def enlarger(image: Image.Image, size: tuple[int, ...], refine: Refinement) -> Callable[[np.ndarray], np.ndarray]:
    """What brings mask logits float[K, h, w] of a model to the size of a picture: float32[K, height, width].

    Args:
        image: RGB, which the maps cover. It is looked at once for all of them.
        size: (h, w) of the maps.
        refine: "none" resizes bilinearly, as the published figures are measured; "guided": see `Guide`.

    Raises:
        ValueError: If `refine` is neither.
    """
    check_refinement(refine)
    return Guide(image, size) if refine == "guided" else partial(resized, size=image.size)


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


class Guide:
    """A picture as the guide of mask logits: called with float[K, h, w], gives float32[K, height, width].

    K is 1 or more. What comes out stays between the logits that it is made of: a function that is extended to other
    colours would find specks where no logit is above 0.

    Args:
        image: RGB.
        size: (h, w) of the maps.
        radius: Of windows, in cells of the map.
        smoothness: See `SMOOTHNESS`.
    """

    def __init__(
        self, image: Image.Image, size: tuple[int, ...], radius: int = RADIUS, smoothness: float = SMOOTHNESS
    ) -> None:
        self.pixels, self.size, self.radius = np.asarray(image), size, radius
        self.colours = self._in_cells()
        self.means = _box(self.colours, radius)
        pairs = (self.colours[:, None] * self.colours).reshape(9, *size)
        covariance = _box(pairs, radius).reshape(3, 3, *size) - self.means[:, None] * self.means
        self.covariance = covariance.transpose(2, 3, 0, 1) + smoothness * np.eye(3, dtype=np.float32)

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """See the class."""
        count = len(logits)
        height, width = self.pixels.shape[:2]
        refined = np.empty((count, height, width), np.float32)
        rows, columns = (_between(*lengths) for lengths in zip(self.size, (height, width), strict=True))
        narrow = self._functions(logits.astype(np.float32, copy=False)) @ columns.T
        for block in self._blocks(count):
            offset, *slopes, lowest, highest = np.split(rows[block] @ narrow, 6)
            for slope, colour in zip(slopes, self._colours(block), strict=True):
                slope *= colour
                offset += slope
            np.clip(offset, lowest, highest, out=refined[:, block])
        return refined

    def _functions(self, logits: np.ndarray) -> np.ndarray:
        """float32[6 K, h, w], K each: a logit for black, what red, green and blue add to it, the least and the most."""
        count, means = len(logits), _box(logits, self.radius)
        shared = (self.colours[:, None] * logits).reshape(3 * count, *self.size)
        both = _box(shared, self.radius).reshape(3, count, *self.size) - self.means[:, None] * means
        slopes = np.linalg.solve(self.covariance, both.transpose(2, 3, 0, 1)).transpose(2, 3, 0, 1)  # [3, K, h, w]
        offsets = means - (slopes * self.means[:, None]).sum(0)
        # A cell lies in many windows: their functions are averaged.
        averaged = _box(np.concatenate([offsets, slopes.reshape(3 * count, *self.size)]), self.radius)
        return np.concatenate([averaged, *_extremes(logits, 2 * self.radius)])

    def _in_cells(self) -> np.ndarray:
        """The mean colour of each cell of the map, float32[3, h, w]."""
        rows, columns = (_share(*lengths) for lengths in zip(self.size, self.pixels.shape[:2], strict=True))
        means = np.zeros((3, *self.size), np.float32)
        for block in self._blocks(1):
            means += rows[:, block] @ (self._colours(block) @ columns.T)
        return means

    def _blocks(self, count: int) -> Iterator[slice]:
        """Rows of the picture, few enough that what `count` maps need of them stays in the caches."""
        height, width = self.pixels.shape[:2]
        step = max(1, BLOCK // (width * count))
        return (slice(top, top + step) for top in range(0, height, step))

    def _colours(self, block: slice) -> np.ndarray:
        """float32[3, rows, width] from 0 to 1."""
        return self.pixels[block].transpose(2, 0, 1).astype(np.float32, order="C") / np.float32(255)


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


def _share(cells: int, pixels: int) -> np.ndarray:
    """float32[cells, pixels]: the share of each pixel in the mean of a cell. Cells share pixels at their rims."""
    numbers = np.arange(cells)
    first, end = numbers * pixels // cells, -(-(numbers + 1) * pixels // cells)
    places = np.arange(pixels)
    inside = (places >= first[:, None]) & (places < end[:, None])
    return (inside / inside.sum(axis=1, keepdims=True)).astype(np.float32)
