"""A photograph seen a little differently: another section of it, mirrored, in other light, out of focus."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageFilter

from self1e.photos.scene import PhotoScene, under_cells

P_WHOLE = 0.2
SMALLEST_SIDE = 0.55
"""Of the sides of a section, as shares of the picture's."""
P_FLIP = 0.5
P_GREY = 0.03
P_BLUR = 0.12
TRIES = 4
LEAST_LABELLED = 0.02
"""Share of a section that has to be labelled with something."""

Box = tuple[float, float, float, float]


def cropped(scene: PhotoScene, size: int, rng: Generator) -> PhotoScene:
    """A random section of a scene at `size` x `size` pixels, mirrored or not."""
    return resized(scene, size, _section(scene.labels, rng), flip=bool(rng.random() < P_FLIP))


def section_of(labels: np.ndarray, rng: Generator) -> np.ndarray:
    """The labels that such a section has, at their own size."""
    left, top, right, bottom = _section(labels, rng)
    return labels[int(top) : ceil(bottom), int(left) : ceil(right)]


def relit(scene: PhotoScene, rng: Generator) -> PhotoScene:
    """A scene with other brightness, contrast, saturation and warmth; sometimes colours go, or the focus."""
    grey = scene.grey or bool(rng.random() < P_GREY)
    return replace(scene, picture=_relit(scene.picture, grey, rng), grey=grey)


def resized(scene: PhotoScene, size: int, box: Box | None = None, *, flip: bool = False) -> PhotoScene:
    """A section of a scene (left, top, right, bottom in pixels; default all of it), stretched to a square."""
    box = box or (0, 0, scene.picture.shape[1], scene.picture.shape[0])
    side = (size, size)
    image = Image.fromarray(scene.picture).resize(side, Image.Resampling.BICUBIC, box=box, reducing_gap=None)
    rows, columns = under_cells(box[1], box[3], size), under_cells(box[0], box[2], size)
    at = np.ix_(rows, columns[::-1] if flip else columns)
    picture = np.asarray(image)
    return replace(
        scene,
        picture=picture[:, ::-1] if flip else picture,
        labels=scene.labels[at],
        things=scene.things[at],
    )


def _section(labels: np.ndarray, rng: Generator) -> Box:
    height, width = labels.shape
    if rng.random() < P_WHOLE:
        return (0, 0, width, height)
    box: Box = (0, 0, width, height)
    for _ in range(TRIES):
        share = rng.uniform(SMALLEST_SIDE, 1, 2) if rng.random() < 0.5 else np.full(2, rng.uniform(SMALLEST_SIDE, 1))
        left, top = rng.random(2) * (1 - share) * (width, height)
        box = (left, top, left + share[0] * width, top + share[1] * height)
        inside = labels[int(top) : int(box[3]) : 4, int(left) : int(box[2]) : 4]
        if (inside > 0).mean() > LEAST_LABELLED:
            return box
    return box


def _relit(picture: np.ndarray, grey: bool, rng: Generator) -> np.ndarray:
    pixels = picture.astype(np.float32)
    luma = pixels @ np.array((0.299, 0.587, 0.114), np.float32)
    saturation = 0.0 if grey else rng.uniform(0.6, 1.35)
    contrast, brightness = rng.uniform(0.75, 1.3), rng.uniform(0.75, 1.25)
    warmth = np.zeros(3) if grey else rng.uniform(-0.05, 0.05, 3)
    gain = (contrast * brightness * (1 + warmth)).astype(np.float32)
    middle = float(luma.mean()) * brightness * (1 - contrast)
    pixels = (luma[..., None] * (1 - saturation) + pixels * saturation) * gain + middle
    relit = np.clip(pixels, 0, 255).astype(np.uint8)
    if rng.random() < P_BLUR:
        blurred = Image.fromarray(relit).filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.6)))
        relit = np.asarray(blurred)
    return relit
