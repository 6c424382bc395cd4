"""`self1e eval`: figures of a model on a benchmark."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from self1e.cli.options import ModelArgument, Overwrite, load_segmenter, with_load_options
from self1e.cli.terminal import CliError, notice, progress_bar, show
from self1e.files import write_json
from self1e.segment.options import LoadOptions
from self1e.segment.share import take_gpu

if TYPE_CHECKING:
    from self1e.evaluation.base import Benchmark
    from self1e.segment.segmenter import Segmenter

NAME = "eval"
EXAMPLES = """[dim]Examples:[/]

  self1e eval nano toyland

  self1e eval models/self1e-2b "refcoco|unc|val" "reasonseg|val" --root DATASETS --out results

  self1e eval models/self1e-2b "grefcoco|unc|val" --root DATASETS --answer generated --worst 100

  torchrun --nproc-per-node 8 -m self1e eval models/self1e-2b "refcoco|unc|val" --root DATASETS"""


class AnswerChoice(StrEnum):
    """Who writes the answer that masks are read behind."""

    given = "given"
    generated = "generated"


@with_load_options
def command(
    model: ModelArgument,
    benchmarks: Annotated[
        list[str],
        typer.Argument(
            metavar="BENCH...",
            show_default=False,
            help="refcoco|unc|val, refcoco+|unc|testA, refcocog|umd|test, grefcoco|unc|val, reasonseg|val, ade20k-150, "
            "pascal-context-59, pascal-voc-20, vqav2|val, gqa|testdev, ..., or FILE.jsonl or FILE.yaml of your own; or "
            "one of a plugin, as toyland|seed=2|scenes=400 (generated scenes that no training run sees).",
        ),
    ],
    root: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder of the data sets, in LISA's tree (docs/data.md)."),
    ] = Path("dataset"),
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder of results: figures, a table of samples, a page to look at."),
    ] = Path("results"),
    answer: Annotated[
        AnswerChoice, typer.Option(help="Read masks behind the given answer '[SEG].', or let the model write its own.")
    ] = AnswerChoice.given,
    worst: Annotated[int, typer.Option(min=0, metavar="N", help="Mistakes drawn on the page; 0: no page.")] = 50,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", show_default=False, help="Only the first pictures of each benchmark."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures there too.", show_default=False)
    ] = None,
    *,
    loading: LoadOptions,
    overwrite: Overwrite = False,
) -> int:
    """Measure a model on benchmarks, by the published protocol or by what it writes itself.

    Prints cIoU, gIoU, N-acc, T-acc and Pr@0.5 of masks, mIoU where classes are asked for, and how often words are
    right. An interrupted evaluation goes on where it was when it is started again, and a finished one with another
    limit; several processes (torchrun) share the pictures.

    The exit code is 2 when a benchmark could not be measured at all, all of its records being broken.
    """
    from self1e.cli.output import check_writable
    from self1e.evaluation.benchmarks import open_benchmark
    from self1e.segment.opened import open_model

    if json_file is not None:
        check_writable([json_file], overwrite)
    opened = [open_benchmark(name, root, answer.value) for name in benchmarks]
    process, processes = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        take_gpu(int(os.environ.get("LOCAL_RANK", "0")))  # threads were divided by torchrun
    with _process_group(processes):
        subject = open_model(model, loading)
        segmenter = load_segmenter(subject, loading)
        wordy = [benchmark.name for benchmark in opened if benchmark.answer == "generated"]
        if wordy and not segmenter.writes_answers:
            raise CliError(
                f"{', '.join(wordy)} asks for answers that are generated, and {model} is an exported model, which "
                "writes none: leave that out, or measure the model that it was made of"
            )
        facts = _facts(segmenter, subject.sha256())
        if process == 0:
            show(f"{segmenter.model_name} ({facts['device']}, {facts['dtype']})")
        figures: list[dict[str, Any]] = []
        parts = [
            Path(segmenter.model_name).name,
            facts["weights_sha256"][:8],
            *filter(None, [loading.quantize]),
        ]
        for benchmark in opened:
            folder = out / "-".join(parts) / benchmark.folder / benchmark.answer
            measured = _measured(segmenter, benchmark, folder, limit, worst, process, processes, facts)
            if measured is not None:
                figures.append(measured)
    if json_file is not None and process == 0:
        whole = facts | figures[0] if len(figures) == 1 else facts | {"benchmarks": figures}
        write_json(json_file, whole, overwrite=overwrite, indent=2)
        show(f"figures: {json_file}")
    return 2 if any(not each["samples"] for each in figures) else 0


@contextmanager
def _process_group(processes: int) -> Iterator[None]:
    """Joins the processes before any work is done, so that a launch that lacks something fails at once."""
    if processes == 1:
        yield
        return
    from datetime import timedelta

    from torch import distributed

    # One may have hours to do when others are done. None waits for one that died: torchrun ends all processes when one
    # fails, and gloo raises in those that wait when a connection is closed.
    distributed.init_process_group("gloo", timeout=timedelta(days=7))
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _facts(segmenter: Segmenter, weights_sha256: str) -> dict[str, Any]:
    """What was measured."""
    from self1e.evaluation.run import versions

    return {
        "model": segmenter.model_name,
        "weights_sha256": weights_sha256,
        "dtype": segmenter.runner.dtype,
        "device": segmenter.runner.device,
        "max_tiles": segmenter.runner.processor.max_tiles,
        "quantization": asdict(segmenter.quantization) if segmenter.quantization else None,
        "versions": versions(segmenter.runner.facts()["engine"]),
    }


def _measured(
    segmenter: Segmenter,
    benchmark: Benchmark,
    folder: Path,
    limit: int | None,
    worst: int,
    process: int,
    processes: int,
    facts: dict[str, Any],
) -> dict[str, Any] | None:
    """One benchmark; settings, facts and figures, which of several processes only the first has."""
    from torch import distributed

    from self1e.evaluation.page import write_page
    from self1e.evaluation.run import check_settings, evaluate, record_count, records_done, summarise

    count = record_count(benchmark, limit)
    check_settings(segmenter, benchmark, folder, facts["weights_sha256"])
    before = sum(not each.broken for each in records_done(folder, count))
    if before and process == 0:
        notice(f"{before:,} of {count:,} pictures were done before and are not asked about again: {folder}")
    if processes > 1:
        distributed.barrier()  # nobody writes while somebody looks
    with progress_bar() as progress:
        task = progress.add_task(f"{segmenter.model_name} on {benchmark.name}", total=None)
        evaluate(
            segmenter,
            benchmark,
            folder,
            limit=limit,
            weights_sha256=facts["weights_sha256"],
            process=process,
            processes=processes,
            on_record=lambda done, whole: progress.update(task, completed=done, total=whole),
        )
    if processes > 1:
        distributed.barrier()
    if process:
        return None
    figures = summarise(benchmark, folder, limit, facts)
    show(benchmark.summary(figures))
    if figures["nothing_asked"]:
        notice(f"in {figures['nothing_asked']:,} of {count:,} pictures there is nothing to find (see `absent_classes`)")
    if figures["broken"]:
        notice(f"{len(figures['broken'])} records are broken and left out, the first: {figures['broken'][0]}")
    if worst:
        samples = [sample for each in records_done(folder, count) for sample in each.samples]
        show(f"mistakes and the worst: {write_page(segmenter, benchmark, folder, samples, worst, figures)}")
    show(f"figures and samples: {folder}")
    return figures
