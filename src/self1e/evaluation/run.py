"""A model on a benchmark: every record once, by any number of processes, and again only where it was interrupted.

Processes share nothing but the folder of results: process p of P takes records p, p + P, p + 2 P, ...
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from self1e.data.records import DataError
from self1e.engines.programs import import_engine
from self1e.evaluation.base import Benchmark
from self1e.evaluation.samples import RecordDone, SampleFile, write_csv
from self1e.files import write_json
from self1e.processing.tokens import backend_of
from self1e.segment.segmenter import Segmenter
from self1e.version import __version__

SETTINGS, FIGURES, TABLE = "evaluation.json", "figures.json", "samples.csv"


class EvaluationError(ValueError):
    """A folder of results that belongs to another evaluation, or is not complete."""


def evaluate(
    segmenter: Segmenter,
    benchmark: Benchmark,
    folder: Path,
    *,
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
        limit: Only the first records. An evaluation may go on with another limit.
        weights_sha256: Of the model's files, which a segmenter does not know. With other weights an evaluation does not
            go on.
        process: Which of the processes this is.
        processes: How many there are.
        on_record: Called after each record with (done, all) of this process.

    Raises:
        EvaluationError: When the folder holds the results of something else.
    """
    check_settings(segmenter, benchmark, folder, weights_sha256)
    done = {each.record for each in records_done(folder) if not each.broken}  # what was broken may be mended
    file = SampleFile(folder / f"samples-{process}.jsonl")
    own = range(process, record_count(benchmark, limit), processes)
    for count, index in enumerate(own, start=1):
        if index not in done:
            file.add(ask_record(segmenter, benchmark, index))
        if on_record is not None:
            on_record(count, len(own))


def ask_record(segmenter: Segmenter, benchmark: Benchmark, index: int) -> RecordDone:
    """Asks all questions of a record, which may be broken."""
    started = time.perf_counter()
    samples, broken = [], ""
    try:
        samples = benchmark.ask(segmenter, index)
    except DataError as error:
        broken = str(error)
    return RecordDone(index, tuple(samples), broken, round(time.perf_counter() - started, 4))


def record_count(benchmark: Benchmark, limit: int | None) -> int:
    """How many records are asked about."""
    return min(len(benchmark), limit or len(benchmark))


def records_done(folder: Path, count: int | None = None) -> list[RecordDone]:
    """Of all processes, in the order of the source; only those among the first `count` records."""
    found: dict[int, RecordDone] = {}
    for path in sorted(folder.glob("samples-*.jsonl")):
        for each in SampleFile(path):
            if each.record not in found or not each.broken:
                found[each.record] = each
    return [found[record] for record in sorted(found) if count is None or record < count]


def check_settings(segmenter: Segmenter, benchmark: Benchmark, folder: Path, weights_sha256: str) -> None:
    """Writes down all that the results depend on, or checks that it is as before; how paths are spelled does not count.

    Raises:
        EvaluationError: When it is not.
    """
    runner, processor = segmenter.runner, segmenter.runner.processor
    facts = runner.facts()
    of_runner = ("attention", "compiled") if facts["engine"] == "torch" and "attention" in facts else ("engine",)
    tokenizer = json.loads(backend_of(processor.tokenizer).to_str())
    # How a tokenizer was called last is kept there, too, and changes nothing here.
    tokenizer = {name: value for name, value in tokenizer.items() if name not in ("padding", "truncation")}
    settings = {
        "benchmark": benchmark.folder,
        **benchmark.settings,
        "answer": benchmark.answer,
        "weights_sha256": weights_sha256,
        "config_sha256": _sha256(facts["config"]),
        "calibration_sha256": _sha256(segmenter.calibration.to_dict()) if segmenter.calibration else None,
        "tokenizer_sha256": _sha256(tokenizer),
        "image_size": processor.image_size,
        "tokens_per_tile": processor.tokens_per_tile,
        "quantize": segmenter.quantization.scheme if segmenter.quantization else None,
        "dtype": runner.dtype,
        "device": runner.device.partition(":")[0],
        **{name: facts[name] for name in of_runner},
        "max_tiles": processor.max_tiles,
        "refine": processor.refine,
        "versions": versions(facts["engine"]),
    }
    path = folder / SETTINGS
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_json(path, settings, indent=1, overwrite=True)
    earlier = json.loads(path.read_text("utf-8"))
    if earlier != settings:
        changed = ", ".join(
            f"{key}: {earlier.get(key, 'not written down')} there, {settings.get(key, 'not asked for')} now"
            for key in earlier | settings
            if key not in earlier or key not in settings or earlier[key] != settings[key]
        )
        raise EvaluationError(f"{folder} holds another evaluation ({changed}): choose another folder, or delete it")


def _sha256(tree: object) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True, default=str).encode()).hexdigest()


def versions(engine: str) -> dict[str, str]:
    """Versions of what a figure may depend on, the engine of an exported model among them."""
    found = {
        "self1e": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        "numpy": np.__version__,
    }
    return found if engine == "torch" else found | {engine: import_engine(engine).__version__}


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
    figures = benchmark.figures(done)
    figures["nothing_asked"] = sum(not each.samples and not each.broken for each in done)
    figures["broken"] = [f"{each.record}: {each.broken}" for each in done if each.broken]
    write_csv(folder / TABLE, (sample for each in done for sample in each.samples))
    settings = json.loads((folder / SETTINGS).read_text("utf-8"))
    asked = {"benchmark": benchmark.name, "records": count, "limit": limit}
    whole = settings | asked | dict(facts or {}) | figures
    write_json(folder / FIGURES, whole, indent=1, overwrite=True)
    return whole
