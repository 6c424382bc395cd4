"""Whether a model that was changed (quantised, exported) still gives the masks that it gave before. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from self1e.metrics import intersection_and_union
from self1e.processing.images import ImageSource, load_image
from self1e.processing.prompts import question_for
from self1e.processing.refine import resized
from self1e.processing.tokens import single
from self1e.segment.runner import Runner
from self1e.segment.words import given_answer

LEAST_IOU = 0.97
"""Masks of a changed model have to agree with those from before to this mean IoU."""

LEAST_FOUND = 0.01
"""A mask of this share of its map must not turn empty; smaller ones come and go by rounding."""

PromptedPicture = tuple[ImageSource, Sequence[str]]
"""A picture and what to ask for in it: a prompt or several."""

MaskMap = tuple[np.ndarray, tuple[int, int]]
"""Mask logits as the model gives them, float32[1, h, w], and (width, height) of the picture."""


def mask_maps(runner: Runner, samples: Sequence[PromptedPicture]) -> list[MaskMap]:
    """The maps of all prompts about all pictures, in order. They are small, unlike the masks made of them.

    Raises:
        ImageError: If a picture cannot be read.
        ValueError: If a prompt is empty or too long, or numbers overflow.
    """
    maps = []
    for image, prompts in samples:
        picture = runner.encode(runner.tiled(load_image(image)))
        prefix = runner.processor.prefix(picture.grid)
        for prompt in prompts:
            words = given_answer(runner, prefix, question_for(prompt))
            [logits] = runner.mask_logits([picture], [single(prefix + words)])
            maps.append((logits, picture.image.size))
    return maps


def agreement(before: Sequence[MaskMap], after: Sequence[MaskMap]) -> float:
    """Mean IoU from 0 to 1 of masks, at the size of the pictures, of a model before and after a change.

    Two empty masks have an IoU of 1, but prove nothing, as a model that sees nothing any more has them everywhere;
    the same goes for two full ones. So the mean is that of all other pairs. Where there are none, the maps are compared
    above another level: that which the upper quarter of each map from before lies above.
    """
    telling: list[float] = []
    by_level: list[float] = []
    for (one, size), (other, _) in zip(before, after, strict=True):
        both = resized(np.concatenate([one, other]), size)
        masks = both > 0
        if masks.all() or not masks.any():
            by_level.append(mask_iou(*(both >= np.quantile(one, 0.75))))
        else:
            telling.append(mask_iou(*masks))
    return float(np.mean(telling or by_level))


def turned_blank(before: Sequence[MaskMap], after: Sequence[MaskMap]) -> int:
    """How many masks of at least `LEAST_FOUND` of their map are empty after a change. A mean can hide one."""
    return sum(
        bool((one > 0).mean() >= LEAST_FOUND) and not bool((other > 0).any())
        for (one, _), (other, _) in zip(before, after, strict=True)
    )


def mask_iou(one: np.ndarray, other: np.ndarray) -> float:
    """IoU of two masks, bool[h, w]; 1 if both are empty."""
    both, either = intersection_and_union(one, other)
    return both / either if either else 1.0
