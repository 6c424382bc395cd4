"""Fits the calibration of a model's scores on a benchmark whose figures nobody takes."""

from __future__ import annotations

from collections.abc import Callable

from self1e.evaluation.base import Benchmark
from self1e.evaluation.run import ask_record, record_count
from self1e.segment.calibration import Calibration
from self1e.segment.segmenter import Segmenter


class CalibrationError(ValueError):
    """A benchmark that no calibration can be fitted on."""


def calibrate(
    segmenter: Segmenter,
    benchmark: Benchmark,
    limit: int | None = None,
    on_record: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Compares raw scores with the IoU that each mask reaches.

    Args:
        segmenter: Any calibration it has is left aside.
        benchmark: Whose samples have a `confidence`: all that ask for a mask.
        limit: Only the first records.
        on_record: Called after each record with (done, all).

    Raises:
        CalibrationError: When no record gives a mask.
    """
    raw = Segmenter(segmenter.runner)
    scores: list[float] = []
    ious: list[float] = []
    empty: list[bool] = []
    there: list[bool] = []
    broken = ""
    count = record_count(benchmark, limit)
    for index in range(count):
        done = ask_record(raw, benchmark, index)
        broken = broken or done.broken
        for sample in done.samples:
            nothing_known = sample.drawn and not sample.predicted  # all of it lies where pixels do not count
            if sample.confidence is not None and not nothing_known:
                scores.append(sample.confidence)
                ious.append(sample.intersection / sample.union if sample.union else 1.0)
                empty.append(sample.predicted == 0)
                there.append(not sample.absent)  # a tiny target has no pixel, and is there all the same
        if on_record is not None:
            on_record(index + 1, count)
    if not scores:
        raise CalibrationError(
            f"{benchmark.name} asks for no mask that scores could be compared with{broken and f' ({broken})'}: take "
            "another benchmark"
        )
    return Calibration.fit(scores, ious, empty, there)
