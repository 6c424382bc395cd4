"""What a benchmark is: `Benchmark`. Those on records are in `record_benchmarks`; other packages may bring their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from PIL import Image
from rich.console import RenderableType

from self1e.evaluation.samples import RecordDone, Sample
from self1e.segment.segmenter import Segmenter

Answer = Literal["given", "generated"]
"""Whose answer masks are read behind: the given one, `[SEG].`, which is the published protocol; or the model's own, of
which all masks count together, and none counts as an empty one."""


class Shown(NamedTuple):
    """The picture of a record, and masks to draw on it.

    Attributes:
        picture: RGB.
        masks: Number of a question -> "marked" and "predicted" -> uint8[H, W] as `Query.mask`; no entry for a question
            that is answered in words alone.
    """

    picture: Image.Image
    masks: Mapping[int, Mapping[str, np.ndarray]]


class Benchmark(Protocol):
    """Records, each a picture with questions about it, and how the answers are scored."""

    @property
    def name(self) -> str:
        """As it was asked for."""

    @property
    def folder(self) -> str:
        """Name of a folder for results."""

    @property
    def answer(self) -> Answer:
        """Whose answer is measured; words are always generated."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """All of the benchmark that results depend on, ready for JSON: those of other settings are not gone on with."""

    def __len__(self) -> int:
        """How many records there are."""

    def ask(self, segmenter: Segmenter, index: int) -> list[Sample]:
        """Asks all questions of a record, and scores the answers.

        Raises:
            DataError: When the record is broken.
        """

    def shown(self, segmenter: Segmenter, index: int, numbers: Sequence[int]) -> Shown:
        """What the page of the worst shows of a record. Masks are asked for again, as samples keep numbers only.

        Args:
            segmenter: As in `ask`.
            index: Of the record.
            numbers: Which of its questions; see `Sample.number`.

        Raises:
            DataError: When the record is broken.
        """

    def figures(self, done: Sequence[RecordDone]) -> dict[str, Any]:
        """All figures of these records, as shares from 0 to 1, ready for JSON."""

    def summary(self, figures: Mapping[str, Any]) -> RenderableType:
        """What is printed of the figures."""
