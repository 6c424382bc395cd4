"""Figures on photographs, the same for our model and its rivals: whole, by size, and on edges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from self1e.data.records import Record
from self1e.evaluation.samples import Sample, measured_mask
from self1e.metrics import GREFCOCO_MIN_AREA
from self1e.photos.figures import kind_figures, photo_figures
from self1e.photos.source import ABSENT_NOUN, PhotoSource

Masks = Callable[[Record], Sequence[np.ndarray]]
"""bool[H, W] for each query of a record."""

SIZES = {"small": (0.0, 0.02), "middle": (0.02, 0.1), "large": (0.1, 1.0)}
"""Share of the picture that all of what is asked for fills."""


def records_of_test(folder: Path, count: int) -> Iterator[Record]:
    """Test photographs, evenly spread over a folder: each noun that people marked, and some that are not there."""
    source = PhotoSource(folder, "test", ("noun", ABSENT_NOUN))
    for place in np.linspace(0, len(source) - 1, min(count, len(source))).astype(int):
        if (record := source[int(place)]).queries:
            yield record


def figures_of_masks(masks: Masks, folder: Path, count: int) -> dict[str, Any]:
    """cIoU, gIoU, mIoU, T-acc, gIoU by size and the mean boundary F of what is there; N-acc of what is not.

    A figure that no question bears on is left out. See `records_of_test` for what is asked, and `photo_figures`.
    """
    samples: list[Sample] = []
    by_size: dict[str, list[Sample]] = {name: [] for name in SIZES}
    for number, record in enumerate(records_of_test(folder, count)):
        for place, (query, found) in enumerate(zip(record.queries, masks(record), strict=True)):
            truth = query.mask()
            measured = measured_mask(found, truth, GREFCOCO_MIN_AREA)
            sample = Sample(
                number, place, record.image.name, query.text, query.kind, "", absent=query.absent, **measured
            )
            samples.append(sample)
            if not query.absent:
                by_size[_size_of(sample.target / truth.size)].append(sample)
    whole = photo_figures(samples)
    there, missing = (whole["kinds"].get(kind, {}) for kind in ("noun", ABSENT_NOUN))
    figures = {name: there[name] for name in ("t_acc", "ciou", "giou", "boundary") if name in there}
    figures |= {name: each[name] for name, each in (("n_acc", missing), ("miou", whole)) if name in each}
    figures |= {name: kind_figures(asked)["giou"] for name, asked in by_size.items() if asked}
    return figures | {"questions": len(samples)}


def _size_of(share: float) -> str:
    return next(name for name, (_, most) in SIZES.items() if share <= most)
