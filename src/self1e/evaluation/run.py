"""A model on a benchmark: every record once, by any number of processes, and again only where it was interrupted.

Processes share nothing but the folder of results: process p of P takes records p, p + P, p + 2 P, ...
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers

from self1e.data.records import DataError, Query, Record, evaluation_turn, fitting_mask
from self1e.data.words import VqaTest
from self1e.evaluation.benchmarks import Benchmark
from self1e.evaluation.metrics import MaskScores
from self1e.evaluation.samples import RecordDone, Sample, SampleFile, mask_figures, word_figures, write_csv
from self1e.evaluation.vqa import exact_score, vqa_score
from self1e.files import write_json
from self1e.processing.images import ImageError, load_image
from self1e.processing.prompts import PromptError
from self1e.segmenter import Segmenter
from self1e.version import __version__

Answer = Literal["given", "generated"]
LONGEST_ANSWER = 128
"""Tokens of a generated answer that points; explanations take less."""

LONGEST_WORDS = 16
"""Tokens of an answer "in a single word or phrase"."""

SETTINGS, FIGURES, TABLE = "evaluation.json", "figures.json", "samples.csv"


class EvaluationError(ValueError):
    """A folder of results that belongs to another evaluation, or is not complete."""


def evaluate(
    segmenter: Segmenter,
    benchmark: Benchmark,
    folder: Path,
    *,
    answer: Answer = "given",
    limit: int | None = None,
    weights_sha256: str = "",
    process: int = 0,
    processes: int = 1,
    on_record: Callable[[int, int], None] | None = None,
) -> None:
    """Does the records of one process that are not done yet.

    Args:
        segmenter: The model.
        benchmark: What to ask.
        folder: Of the results. Records that it holds already are not done again.
        answer: "given": masks are read behind `[SEG].`, the published protocol. "generated": the model writes its own
            answer; all masks of an answer count together, and none counts as an empty one. Words are always its own.
        limit: Only the first records. An evaluation may go on with another limit.
        weights_sha256: Of the model's files, which a segmenter does not know. With other weights an evaluation does not
            go on.
        process: Which of the processes this is.
        processes: How many there are.
        on_record: Called after each record with (done, all) of this process.

    Raises:
        EvaluationError: When the folder holds the results of something else.
    """
    check_settings(segmenter, benchmark, folder, answer, weights_sha256)
    done = {each.record for each in records_done(folder) if not each.broken}  # what was broken may be mended
    file = SampleFile(folder / f"samples-{process}.jsonl")
    own = range(process, record_count(benchmark, limit), processes)
    for count, index in enumerate(own, start=1):
        if index not in done:
            try:
                file.add(RecordDone(index, tuple(_samples(segmenter, benchmark, index, answer))))
            except DataError as error:
                file.add(RecordDone(index, (), str(error)))
        if on_record is not None:
            on_record(count, len(own))


def record_count(benchmark: Benchmark, limit: int | None) -> int:
    """How many records are asked about."""
    return min(len(benchmark.source), limit or len(benchmark.source))


def answer_of(benchmark: Benchmark, answer: Answer) -> Answer:
    """Whose answer is measured when this one is asked for: words are always generated."""
    return "generated" if benchmark.answers == "words" else answer


def records_done(folder: Path, count: int | None = None) -> list[RecordDone]:
    """Of all processes, in the order of the source; only those among the first `count` records."""
    found: dict[int, RecordDone] = {}
    for path in sorted(folder.glob("samples-*.jsonl")):
        for each in SampleFile(path):
            if each.record not in found or not each.broken:
                found[each.record] = each
    return [found[record] for record in sorted(found) if count is None or record < count]


def check_settings(
    segmenter: Segmenter, benchmark: Benchmark, folder: Path, answer: Answer, weights_sha256: str
) -> None:
    """Writes down all that the results depend on, or checks that it is as before; how paths are spelled does not count.

    Raises:
        EvaluationError: When it is not.
    """
    config = segmenter.model.config.to_dict() | {"_name_or_path": ""}
    settings = {
        "benchmark": benchmark.folder,
        "data": benchmark.data,
        "answer": answer_of(benchmark, answer),
        "min_area": benchmark.min_area,
        "weights_sha256": weights_sha256,
        "config_sha256": hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest(),
        "quantize": segmenter.quantization.scheme if segmenter.quantization else None,
        "dtype": str(segmenter.model.dtype).removeprefix("torch."),
        "device": segmenter.model.device.type,
        "max_tiles": segmenter.processor.max_tiles,
        "longest_answer": LONGEST_ANSWER,
        "longest_words": LONGEST_WORDS,
        "versions": versions(),
    }
    path = folder / SETTINGS
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_json(path, settings, indent=1, overwrite=True)
    earlier = json.loads(path.read_text("utf-8"))
    if earlier != settings:
        changed = ", ".join(
            f"{key}: {earlier.get(key)} there, {value} now"
            for key, value in (dict.fromkeys(earlier) | settings).items()
            if earlier.get(key) != value
        )
        raise EvaluationError(f"{folder} holds another evaluation ({changed}): choose another folder, or delete it")


def versions() -> dict[str, str]:
    """Versions of what a figure may depend on."""
    return {
        "self1e": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        "numpy": np.__version__,
    }


def summarise(
    benchmark: Benchmark, folder: Path, limit: int | None = None, facts: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Writes the figures of a finished evaluation, and the table of samples, into the folder.

    Args:
        benchmark: As in the evaluation.
        folder: Of the results.
        limit: As in the evaluation.
        facts: What else to write down with the figures: the model's name, the device.

    Returns:
        What the file of figures holds: settings, facts, and figures.

    Raises:
        EvaluationError: When records are missing: a process is not done, or was killed.
    """
    count = record_count(benchmark, limit)
    done = records_done(folder, count)
    missing = count - len(done)
    if missing:
        raise EvaluationError(f"{missing} records of {folder} are not done: run the evaluation again to go on with it")
    samples = [sample for each in done for sample in each.samples]
    figures = figures_of(benchmark, samples)
    kinds = sorted({sample.kind for sample in samples if sample.kind})
    if len(kinds) > 1:
        by_kind = ([sample for sample in samples if sample.kind == kind] for kind in kinds)
        figures["kinds"] = {kind: figures_of(benchmark, each) for kind, each in zip(kinds, by_kind, strict=True)}
    figures["broken"] = [f"{each.record}: {each.broken}" for each in done if each.broken]
    write_csv(folder / TABLE, samples)
    settings = json.loads((folder / SETTINGS).read_text("utf-8"))
    asked = {"benchmark": benchmark.name, "records": count, "limit": limit}
    whole = settings | asked | dict(facts or {}) | figures
    write_json(folder / FIGURES, whole, indent=1, overwrite=True)
    return whole


def figures_of(benchmark: Benchmark, samples: list[Sample]) -> dict[str, Any]:
    """All figures that the benchmark has. gRefCOCO's N-acc and T-acc come by its convention and raw."""
    if benchmark.answers == "words":
        return word_figures(samples)
    return mask_figures(samples, classes=benchmark.classes, min_area=benchmark.min_area)


def _samples(segmenter: Segmenter, benchmark: Benchmark, index: int, answer: Answer) -> Iterator[Sample]:
    """Asks all questions of a record.

    Raises:
        DataError: When the record is broken.
    """
    if isinstance(benchmark.source, VqaTest):
        yield _words(segmenter, benchmark.source, index)
        return
    record = benchmark.source[index]
    masks = predicted_masks(segmenter, record, answer)
    for number, (query, (predicted, text)) in enumerate(zip(record.queries, masks, strict=True)):
        truth = fitting_mask(query.mask, predicted.shape, f"{record.id}, {query.text!r}")
        raw = MaskScores()
        raw.update(predicted, truth)
        yield Sample(
            index,
            number,
            record.image.name,
            query.text,
            query.kind,
            text,
            MaskScores(benchmark.min_area).update(predicted, truth),
            raw.intersections[0],
            raw.unions[0],
            raw.predicted[0],
            raw.targets[0],
            absent=query.absent,
        )


def predicted_masks(segmenter: Segmenter, record: Record, answer: Answer) -> list[tuple[np.ndarray, str]]:
    """bool[H, W] for each query of a record, and the answer it stands behind.

    Raises:
        DataError: When the picture cannot be read, or a question is longer than the model can read.
    """
    try:
        picture = segmenter.encode(load_image(record.image))
        questions = [question_of(query) for query in record.queries]
        if answer == "given":
            results = segmenter.segment(picture, questions, template="none")
        else:
            results = [segmenter.chat(picture, question, max_new_tokens=LONGEST_ANSWER) for question in questions]
    except (ImageError, PromptError) as error:
        raise DataError(f"{record.id}: {error}") from error
    return [(result.mask, result.text) for result in results]


def question_of(query: Query) -> str:
    """In the words of the protocol."""
    return evaluation_turn(query).question


def _words(segmenter: Segmenter, test: VqaTest, index: int) -> Sample:
    asked = test[index]
    try:
        text = segmenter.chat(load_image(asked.image), asked.question, max_new_tokens=LONGEST_WORDS).text
    except (ImageError, PromptError) as error:
        raise DataError(f"{asked.id}: {error}") from error
    score = exact_score(text, asked.given[0]) if asked.exact else vqa_score(text, asked.given)
    question = asked.question.partition("\n")[0]
    return Sample(index, 0, asked.image.name, question, asked.kind, text, score, given=" | ".join(asked.given))
