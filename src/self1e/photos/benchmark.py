"""Photographs with masks as a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from self1e.data.records import DataError
from self1e.evaluation.base import Answer, Benchmark
from self1e.evaluation.record_benchmarks import MaskBenchmark, WordBenchmark
from self1e.evaluation.samples import RecordDone
from self1e.metrics import GREFCOCO_MIN_AREA
from self1e.photos.figures import photo_figures
from self1e.photos.index import Split
from self1e.photos.source import MEASURED, PhotoQuestions, PhotoSource

SPLITS = ("validation", "test")
KINDS = ("noun", "absent")
WORDS = "words"


def open_photos(arguments: Sequence[str], root: Path, answer: Answer) -> Benchmark:
    """The benchmark `photos|test`, or `photos|validation|noun,ordinal`, of a folder as `self1e.photos.index` reads it.

    `photos|test|words` are questions to answer in words, word for word. Predicted masks of fewer than 50 pixels count
    as none, as in gRefCOCO; see `self1e.evaluation.benchmarks.OpenBenchmark`.

    Raises:
        DataError: When a split or kind is unknown, or the folder cannot be used.
    """
    split, *chosen = arguments or [""]
    kinds = chosen[0].split(",") if chosen else list(KINDS)
    name, data = "|".join(["photos", *arguments]), str(root.resolve())
    if split in SPLITS and chosen == [WORDS]:
        return WordBenchmark(name, data, PhotoQuestions(root, cast(Split, split)))
    if split not in SPLITS or len(chosen) > 1 or not set(kinds) <= set(MEASURED):
        raise DataError(
            f"photos takes a split ({' or '.join(SPLITS)}) and kinds of question ({', '.join(MEASURED)}), as in "
            f"photos|test|noun,absent, or {WORDS} for questions to answer in words: {name}"
        )
    return PhotoBenchmark(name, data, PhotoSource(root, cast(Split, split), kinds), answer, GREFCOCO_MIN_AREA)


class PhotoBenchmark(MaskBenchmark):
    """Masks of photographs. mIoU is over nouns alone, which are asked for where they are."""

    def figures(self, done: Sequence[RecordDone]) -> dict[str, Any]:
        """Those of all samples, of each kind and of each noun, and mIoU."""
        return super().figures(done) | photo_figures([sample for each in done for sample in each.samples])
