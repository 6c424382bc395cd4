"""Figures on photographs, the same wherever they are measured: by kind of question, and by noun."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from self1e.evaluation.samples import Sample, mask_figures, word_figures
from self1e.metrics import GREFCOCO_MIN_AREA, mean_class_iou
from self1e.photos.language import TEXTUAL

ENOUGH = 10
"""Photographs with a noun that make it count for mIoU."""


def photo_figures(samples: Sequence[Sample]) -> dict[str, Any]:
    """All figures of samples, as shares from 0 to 1.

    Returns:
        "kinds": kind of question -> its figures, see `kind_figures`.
        "nouns": what is asked for as "noun" -> its IoU, the sum of intersections over that of unions, and in how many
            photographs.
        "miou": mean of these over nouns in at least `ENOUGH` photographs, of which there are "classes"; left out where
            there is none.
    """
    kinds = {
        kind: kind_figures([each for each in samples if each.kind == kind])
        for kind in sorted({s.kind for s in samples})
    }
    by_noun: dict[str, list[Sample]] = {}
    for sample in samples:
        if sample.kind == "noun":
            by_noun.setdefault(sample.question, []).append(sample)
    often = [sample for asked in by_noun.values() if len(asked) >= ENOUGH for sample in asked]
    nouns = {name: [round(mean_iou(asked), 4), len(asked)] for name, asked in sorted(by_noun.items())}
    figures: dict[str, Any] = {"kinds": kinds, "nouns": nouns, "classes": len({sample.question for sample in often})}
    return figures | ({"miou": mean_iou(often)} if often else {})


def kind_figures(samples: Sequence[Sample]) -> dict[str, Any]:
    """Figures of samples of one kind: of masks, where fewer than 50 pixels are none, or of words."""
    if samples and samples[0].kind in TEXTUAL:
        return word_figures(samples)
    return mask_figures(samples, classes=False, min_area=GREFCOCO_MIN_AREA)


def mean_iou(samples: Sequence[Sample]) -> float:
    """Mean over what is asked for of the sum of intersections over that of unions."""
    return mean_class_iou(
        [each.question for each in samples], [each.intersection for each in samples], [each.union for each in samples]
    )


def evenly(places: Sequence[int], count: int) -> list[int]:
    """At most `count` of them, evenly spread."""
    count = min(count, len(places))
    return [places[number * len(places) // count] for number in range(count)]
