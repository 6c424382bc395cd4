"""What kinds of mistakes a model makes, and on what: samples sorted for the eye."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from self1e.evaluation.samples import Sample
from self1e.processing.classes import same_class

RIGHT = 0.8
"""IoU from which a mask counts as right."""

MOST = 0.75
"""Share of what is there that is found, or of what is found that is right, from which it is most of it."""

HARDLY = 0.1
"""IoU below which something else was found, unless one of both masks has most of the other."""

ERRORS = {
    "missed": "Nothing found",
    "invented": "Found, but not there",
    "elsewhere": "Something else found",
    "too little": "Too little",
    "too much": "Too much",
    "mixed": "Partly right, and partly something else",
    "edge": "Most of it, with a rough edge",
    "words": "Wrong in words",
}

SIZES = {"small": 32**2, "medium": 96**2, "large": np.inf}
"""By pixels of what is marked, below each limit: those of COCO."""


def has_mask(sample: Sample) -> bool:
    """Whether it was to be answered by a mask, also one without a pixel."""
    return not sample.given


def error_of(sample: Sample, min_area: int = 1) -> str | None:
    """The kind of mistake, of `ERRORS`; None if there is none. Each sample is of one kind at most.

    Args:
        sample: What was measured.
        min_area: Predictions of fewer pixels are empty.
    """
    if not has_mask(sample):
        return None if sample.score == 1 else "words"
    found = sample.predicted if sample.predicted >= min_area else 0
    if not sample.target:
        return "invented" if found else None
    if not found:
        return "missed"
    if sample.score >= RIGHT:
        return None
    whole, clean = sample.intersection / sample.target >= MOST, sample.intersection / found >= MOST
    if whole:
        return "edge" if clean else "too much"
    if clean:
        return "too little"
    return "elsewhere" if sample.score < HARDLY else "mixed"


def size_of(sample: Sample) -> str:
    """The class of `SIZES`."""
    return next(name for name, limit in SIZES.items() if sample.target < limit)


@dataclass(frozen=True)
class Group:
    """Samples that have something in common, of things that are there.

    Attributes:
        name: What.
        count: How many.
        giou: Their mean score.
        ciou: All their intersections over all their unions.
    """

    name: str
    count: int
    giou: float
    ciou: float


def groups(samples: Sequence[Sample], name_of: Callable[[Sample], str]) -> list[Group]:
    """Groups by a name, in the order in which names come up, of what is there."""
    named: dict[str, list[Sample]] = {}
    for sample in samples:
        if has_mask(sample) and sample.target:
            named.setdefault(name_of(sample), []).append(sample)
    return [
        Group(
            name,
            len(group),
            float(np.mean([sample.score for sample in group])),
            sum(sample.intersection for sample in group) / sum(sample.union for sample in group),
        )
        for name, group in named.items()
    ]


def by_size(samples: Sequence[Sample]) -> list[Group]:
    """Groups from small to large."""
    return sorted(groups(samples, size_of), key=lambda group: list(SIZES).index(group.name))


def by_phrase(samples: Sequence[Sample], least: int = 2) -> list[Group]:
    """Groups by what was asked for, the worst first; phrases that came less often are left out."""
    found = [group for group in groups(samples, lambda sample: same_class(sample.question)) if group.count >= least]
    return sorted(found, key=lambda group: group.giou)


def histogram(samples: Sequence[Sample], bins: int = 20) -> list[int]:
    """How many masks of what is there have an IoU in each of so many equal parts of 0 to 1."""
    scores = [sample.score for sample in samples if has_mask(sample) and sample.target]
    return np.histogram(scores, bins=bins, range=(0, 1))[0].tolist()
