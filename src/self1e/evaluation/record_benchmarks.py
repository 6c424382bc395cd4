"""Records of files, the field's or one's own, as benchmarks: of masks, or of answers in words."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from self1e.data.records import DataError, Query, Record, Source, evaluation_turn, fitting_mask
from self1e.data.vqa import Question
from self1e.evaluation.base import Answer, Shown
from self1e.evaluation.samples import MEASURED, RecordDone, Sample, mask_figures, measured_mask, word_figures
from self1e.evaluation.vqa import exact_score, vqa_score
from self1e.processing.images import ImageError, load_image
from self1e.processing.prompts import PromptError
from self1e.segment.results import Segmentation
from self1e.segment.segmenter import Segmenter

LONGEST_ANSWER = 128
"""Tokens of a generated answer that points; explanations take less."""

LONGEST_WORDS = 16
"""Tokens of an answer "in a single word or phrase"."""

OWN_FILES = (".jsonl", ".yaml", ".yml")


@dataclass(frozen=True)
class RecordBenchmark:
    """What benchmarks on files have in common.

    Attributes:
        name: As it was asked for.
        data: Where the data are, and of one's own a hash of the lists, and of size and time of the pictures and masks
            that they name: results of other data are not gone on with.
    """

    name: str
    data: str

    @property
    def folder(self) -> str:
        """Name of a folder for results; of one's own data that have changed, another one.

        >>> RecordBenchmark("refcoco+|unc|val", "").folder, RecordBenchmark("photos/mine.jsonl", "/photos 1f0c").folder
        ('refcoco+_unc_val', 'mine-65a0b000')
        """
        if self.name.endswith(OWN_FILES):
            return f"{Path(self.name).stem}-{hashlib.sha256(os.fsencode(self.data)).hexdigest()[:8]}"
        return self.name.replace("|", "_")

    def summary(self, figures: Mapping[str, Any]) -> str:
        """One line, in percent."""
        shown = ("miou", "ciou", "giou", "n_acc", "t_acc", "pr@0.5", "boundary", "accuracy")
        cells = [f"{figure} {100 * figures[figure]:.1f}" for figure in shown if figure in figures]
        return f"{self.name}: {', '.join(cells) or 'nothing measured'} ({figures['samples']:,} samples)"


@dataclass(frozen=True)
class MaskBenchmark(RecordBenchmark):
    """Things to find, each with its mask; see `Benchmark` for the methods.

    Attributes:
        source: Records with queries.
        answer: Whose answer masks are read behind.
        min_area: Predictions of fewer pixels are empty; see `MaskScores`.
        classes: Whether mIoU over what is asked for is a figure: class names, not sentences.
    """

    source: Source
    answer: Answer = "given"
    min_area: int = 1
    classes: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        return {"data": self.data, "min_area": self.min_area, "longest_answer": LONGEST_ANSWER, **MEASURED}

    def __len__(self) -> int:
        return len(self.source)

    def ask(self, segmenter: Segmenter, index: int) -> list[Sample]:
        record = self.source[index]
        if not record.queries:  # a picture without objects
            return []
        samples = []
        answered = zip(record.queries, predicted_masks(segmenter, record, self.answer), strict=True)
        for number, (query, found) in enumerate(answered):
            target = fitting_mask(query.mask, found.mask.shape, f"{record.id}, {query.text!r}")
            samples.append(
                Sample(
                    index,
                    number,
                    record.image.name,
                    query.text,
                    query.kind,
                    found.text,
                    absent=query.absent,
                    confidence=found.score,
                    **measured_mask(found.mask, target, self.min_area),
                )
            )
        return samples

    def shown(self, segmenter: Segmenter, index: int, numbers: Sequence[int]) -> Shown:
        record = self.source[index]
        predicted = [found.mask.astype(np.uint8) for found in predicted_masks(segmenter, record, self.answer)]
        masks = {each: {"marked": record.queries[each].mask(), "predicted": predicted[each]} for each in numbers}
        return Shown(load_image(record.image), masks)

    def figures(self, done: Sequence[RecordDone]) -> dict[str, Any]:
        """gRefCOCO's N-acc and T-acc come by its convention and raw."""
        return _with_kinds(partial(mask_figures, classes=self.classes, min_area=self.min_area), done)


class WordTest(Protocol):
    """Records of questions that are answered in words."""

    def __len__(self) -> int:
        """How many records there are."""

    def __getitem__(self, index: int) -> Sequence[Question]:
        """Questions about one picture.

        Raises:
            DataError: When the record is broken.
        """


@dataclass(frozen=True)
class WordBenchmark(RecordBenchmark):
    """Questions to answer in words; see `Benchmark` for the methods.

    Attributes:
        test: The questions.
    """

    test: WordTest
    answer: ClassVar[Answer] = "generated"

    @property
    def settings(self) -> dict[str, Any]:
        return {"data": self.data, "longest_words": LONGEST_WORDS}

    def __len__(self) -> int:
        return len(self.test)

    def ask(self, segmenter: Segmenter, index: int) -> list[Sample]:
        asked = self.test[index]
        if not asked:
            return []
        try:
            picture = segmenter.encode(load_image(asked[0].image))
            texts = [segmenter.chat(picture, each.question, max_new_tokens=LONGEST_WORDS).text for each in asked]
        except (ImageError, PromptError) as error:
            raise DataError(f"{asked[0].id}: {error}") from error
        return [self._sample(index, *each) for each in zip(range(len(asked)), asked, texts, strict=True)]

    def _sample(self, index: int, number: int, asked: Question, text: str) -> Sample:
        score = exact_score(text, asked.given[0]) if asked.exact else vqa_score(text, asked.given)
        question, given = asked.question.partition("\n")[0], " | ".join(asked.given)
        return Sample(index, number, asked.image.name, question, asked.kind, text, score, given=given)

    def shown(self, segmenter: Segmenter, index: int, numbers: Sequence[int]) -> Shown:
        return Shown(load_image(self.test[index][0].image), {})

    def figures(self, done: Sequence[RecordDone]) -> dict[str, Any]:
        return _with_kinds(word_figures, done)


def _with_kinds(figures_of: Callable[[Sequence[Sample]], dict[str, Any]], done: Sequence[RecordDone]) -> dict[str, Any]:
    """Figures of all samples, and of each kind where there are several."""
    samples = [sample for each in done for sample in each.samples]
    figures = figures_of(samples)
    kinds = sorted({sample.kind for sample in samples if sample.kind})
    if len(kinds) > 1:
        figures["kinds"] = {kind: figures_of([each for each in samples if each.kind == kind]) for kind in kinds}
    return figures


def predicted_masks(segmenter: Segmenter, record: Record, answer: Answer) -> list[Segmentation]:
    """What is found for each query of a record.

    Raises:
        DataError: When the picture cannot be read, or a question is longer than the model can read.
    """
    try:
        picture = segmenter.encode(load_image(record.image))
        questions = [question_of(query) for query in record.queries]
        if answer == "given":
            return segmenter.segment(picture, questions, template="none")
        return [segmenter.chat(picture, question, max_new_tokens=LONGEST_ANSWER) for question in questions]
    except (ImageError, PromptError) as error:
        raise DataError(f"{record.id}: {error}") from error


def question_of(query: Query) -> str:
    """In the words of the protocol."""
    return evaluation_turn(query.text, query.form).question
