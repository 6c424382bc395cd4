"""What was measured on each sample of a benchmark: kept as it comes in, so that an evaluation can be interrupted.

A file has a line for each record, a picture with all that is asked about it. A line that was cut off when the process
ended is not read, and its record is done again.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from self1e.metrics import EDGE_TOLERANCE, MaskScores, boundary_f, mean_class_iou
from self1e.processing.classes import same_class


@dataclass(frozen=True)
class Sample:
    """One question and what came of it.

    Attributes:
        record: Number of the record in its source.
        number: Of the question in its record.
        picture: Name of the picture's file.
        question: What was asked for, or asked.
        kind: Name of the kind of question, "" if it has none.
        answer: The model's words.
        score: IoU by the benchmark's `min_area` (1 when nothing is there or marked), or that of what is said.
        intersection: Pixels; 0 where there is no mask.
        union: Pixels.
        predicted: Pixels, however few.
        target: Pixels.
        given: The right answer, or answers of people joined by " | "; "" where words do not count.
        absent: Whether the data say that what was asked for is not there.
        confidence: The model's score of the mask; None where there is no mask, or more than it counts.
        boundary: How well its edge agrees, see `boundary_f`; None where there is no edge to agree with.
        drawn: Predicted pixels, with those that do not count.
    """

    record: int
    number: int
    picture: str
    question: str
    kind: str
    answer: str
    score: float = 0.0
    intersection: int = 0
    union: int = 0
    predicted: int = 0
    target: int = 0
    given: str = ""
    absent: bool = False
    confidence: float | None = None
    boundary: float | None = None
    drawn: int = 0


MEASURED = {"edges": f"as DAVIS, {EDGE_TOLERANCE}"}
"""Settings of all benchmarks of masks: samples that were measured otherwise, or less, are not gone on with."""


class MeasuredMask(TypedDict):
    """What a mask says in a `Sample`."""

    score: float
    intersection: int
    union: int
    predicted: int
    drawn: int
    target: int
    boundary: float | None


def measured_mask(predicted: np.ndarray, target: np.ndarray, min_area: int) -> MeasuredMask:
    """The score and the pixels of a mask.

    Args:
        predicted: bool[H, W].
        target: uint8[H, W] as `Query.mask`.
        min_area: A prediction of fewer pixels is empty to the score; pixels are counted as they are.

    Raises:
        ValueError: The shapes differ.
    """
    raw = MaskScores()
    raw.update(predicted, target)
    return {
        "score": MaskScores(min_area).update(predicted, target),
        "intersection": raw.intersections[0],
        "union": raw.unions[0],
        "predicted": raw.predicted[0],
        "drawn": int(np.count_nonzero(predicted)),
        "target": raw.targets[0],
        "boundary": boundary_f(predicted, target),
    }


@dataclass(frozen=True)
class RecordDone:
    """A record with its samples; none, and a reason, when it is broken. `seconds` is how long it took."""

    record: int
    samples: tuple[Sample, ...]
    broken: str = ""
    seconds: float = 0.0


class SampleFile:
    """The lines of one process, written as they come."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, done: RecordDone) -> None:
        """Appends a record in one write."""
        line = json.dumps(asdict(done))
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("" if self._ends_whole() else "\n") + line + "\n")

    def __iter__(self) -> Iterator[RecordDone]:
        if not self.path.exists():
            return
        for line in self.path.read_text("utf-8", errors="replace").split("\n"):
            try:
                tree = json.loads(line)
                samples = tuple(Sample(**each) for each in tree["samples"])
                yield RecordDone(tree["record"], samples, tree["broken"], tree["seconds"])
            except (ValueError, TypeError, KeyError):
                continue

    def _ends_whole(self) -> bool:
        if not self.path.exists() or not self.path.stat().st_size:
            return True
        with self.path.open("rb") as file:
            file.seek(-1, 2)
            return file.read() == b"\n"


def write_csv(path: Path, samples: Iterable[Sample]) -> None:
    """A table with a row for each sample."""
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, [each.name for each in fields(Sample)])
        writer.writeheader()
        writer.writerows(asdict(sample) for sample in samples)


def mask_figures(samples: Sequence[Sample], *, classes: bool, min_area: int) -> dict[str, Any]:
    """The figures of `MaskScores`, and "boundary": the mean `boundary_f` of what is there.

    With `classes` also mIoU: the mean over all that was asked for of the sum of intersections over the sum of unions.
    With a `min_area` also N-acc and T-acc without it ("n_acc_raw", "t_acc_raw").
    """
    figures: dict[str, Any] = _scores(samples, min_area).compute() if samples else {}
    if min_area > 1 and samples:
        raw = _scores(samples, 1).compute()
        figures |= {f"{name}_raw": raw[name] for name in ("n_acc", "t_acc") if name in raw}
    if classes and samples:
        names, unions = [same_class(sample.question) for sample in samples], [sample.union for sample in samples]
        figures["classes"] = len(set(names))
        if any(unions):
            figures["miou"] = mean_class_iou(names, [sample.intersection for sample in samples], unions)
    if edges := [sample.boundary for sample in samples if sample.boundary is not None]:
        figures["boundary"] = float(np.mean(edges))
    return figures | {"samples": len(samples)}


def _scores(samples: Sequence[Sample], min_area: int) -> MaskScores:
    scores = MaskScores(min_area)
    for sample in samples:
        scores.count(sample.predicted, sample.target, sample.intersection, absent=sample.absent)
    return scores


def word_figures(samples: Sequence[Sample]) -> dict[str, Any]:
    """Accuracy: the mean score."""
    figures: dict[str, Any] = {"samples": len(samples)}
    return figures | ({"accuracy": float(np.mean([sample.score for sample in samples]))} if samples else {})
