"""Whether a model that was changed (quantised, exported) still gives the masks that it gave before. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from self1e.metrics import intersection_and_union
from self1e.processing.images import ImageSource, load_image
from self1e.processing.prompts import question_for
from self1e.processing.refine import resized
from self1e.segment.requests import Job, checked_size, passes, rows_of
from self1e.segment.runner import Runner
from self1e.segment.votes import View, Vote
from self1e.segment.words import given_answer

LEAST_IOU = 0.97
"""Masks of a changed model have to agree with those from before to this mean IoU."""

LEAST_FOUND = 0.01
"""A mask of this share of its map must not turn empty; smaller ones come and go by rounding."""

PromptedPicture = tuple[ImageSource, Sequence[str]]
"""A picture and what to ask for in it: a prompt or several."""

MaskMap = tuple[np.ndarray, tuple[int, int]]
"""Mask logits as the model gives them, float32[1, h, w], and (width, height) of the picture."""


def mask_maps(runner: Runner, samples: Sequence[PromptedPicture], together: bool = False) -> list[MaskMap]:
    """The maps of all prompts about all pictures, in order. They are small, unlike the masks made of them.

    Args:
        runner: Of the model.
        samples: Pictures, and what to ask about each.
        together: Ask all prompts about a picture in one pass, as `Segmenter.segment` asks a list, and not one by one.

    Raises:
        ImageError: If a picture cannot be read.
        ValueError: If a prompt is empty or too long, or numbers overflow.
    """
    maps = []
    packed = runner.packed
    for image, prompts in samples:
        picture = runner.encode(runner.tiled(load_image(image)))
        prefix = runner.processor.prefix(picture.grid)
        jobs = []
        for place, prompt in enumerate(prompts):
            vote = Vote(View(), place, prompt, question_for(prompt))
            jobs.append(Job(0, vote, picture, prefix, given_answer(runner, prefix, vote.question), ends_block=False))
        for of_pass in passes(jobs, checked_size(None, packed) if together else 1, packed):
            found = runner.mask_logits([picture], rows_of(of_pass, 0, packed))
            maps += [(mask[None], picture.image.size) for row in found for mask in row]
    return maps


def agreement(before: Sequence[MaskMap], after: Sequence[MaskMap]) -> float:
    """Mean IoU of masks of a model before and after a change; see `agreement_and_telling`."""
    return agreement_and_telling(before, after)[0]


def agreement_and_telling(before: Sequence[MaskMap], after: Sequence[MaskMap]) -> tuple[float, int]:
    """Mean IoU from 0 to 1 of masks, at the size of the pictures, of a model before and after a change.

    Two empty masks have an IoU of 1, but prove nothing, as a model that sees nothing any more has them everywhere;
    the same goes for two full ones. So the mean is that of all other pairs. Where there are none, the maps are compared
    above another level: that which the upper quarter of each map from before lies above.

    Returns:
        The mean, and the number of pairs that it is of; 0 where it is that above the other level.
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
    return float(np.mean(telling or by_level)), len(telling)


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
