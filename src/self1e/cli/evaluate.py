"""`self1e eval`: figures of a model on a benchmark."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from self1e.cli.options import Device, Dtype, ModelArgument, Overwrite, Revision, Subfolder
from self1e.cli.terminal import progress_bar, show
from self1e.files import write_json

NAME = "eval"
EXAMPLES = """[dim]Examples:[/]

  self1e eval nano toyland

  self1e eval runs/nano/2-packed/model toyland --seed 2 --n 500 --json nano.json

  self1e eval nano toyland --answer generated"""


class Benchmark(StrEnum):
    """What there is to measure on."""

    toyland = "toyland"


class Answer(StrEnum):
    """Who writes the answer that masks are read behind."""

    given = "given"
    generated = "generated"


def command(
    model: ModelArgument,
    benchmark: Annotated[
        Benchmark, typer.Argument(show_default=False, help="toyland: generated scenes that no training run sees.")
    ],
    seed: Annotated[int, typer.Option(metavar="S", help="Which scenes; two seeds share none.")] = 1,
    n: Annotated[
        int, typer.Option("--n", "-n", metavar="N", help="How many scenes, of about 12 questions each.")
    ] = 200,
    answer: Annotated[
        Answer, typer.Option(help="Read masks behind the given answer '[SEG].', or let the model write its own.")
    ] = Answer.given,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures there too.", show_default=False)
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    revision: Revision = None,
    subfolder: Subfolder = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure a model on a benchmark.

    Prints cIoU, gIoU, N-acc and T-acc of its masks, and how often its words are right. Absent things count in cIoU and
    gIoU too (an empty mask for nothing is an IoU of 1); a mask of fewer than 50 pixels counts as empty. Captions have
    no one right answer and are not asked.
    """
    from self1e.cli.checkpoint import sha256
    from self1e.cli.options import load_segmenter
    from self1e.cli.output import check_writable

    if json_file is not None:
        check_writable([json_file], overwrite)
    segmenter = load_segmenter(model, device=device, dtype=dtype, revision=revision, subfolder=subfolder)
    from self1e.evaluation.toyland import evaluate_toyland
    from self1e.loading import find_model
    from self1e.modeling.weights import WeightFiles

    with progress_bar() as progress:
        task = progress.add_task(f"{segmenter.model_name} on {benchmark.value}", total=n)
        report = evaluate_toyland(
            segmenter, seed, n, answer=answer.value, on_scene=lambda done: progress.update(task, completed=done)
        )
    show(f"{segmenter.model_name} ({segmenter.model.device}, {str(segmenter.model.dtype).removeprefix('torch.')})")
    show(report.__rich__())
    if json_file is not None:
        figures: dict[str, Any] = {"model": segmenter.model_name, "benchmark": benchmark.value, **report.to_dict()}
        figures["weights_sha256"] = sha256(WeightFiles(find_model(model, revision, subfolder)).paths)
        figures["dtype"] = str(segmenter.model.dtype).removeprefix("torch.")
        figures["device"] = str(segmenter.model.device)
        figures["versions"] = versions()
        write_json(json_file, figures, overwrite=overwrite, indent=2)
        show(f"figures: {json_file}")


def versions() -> dict[str, str]:
    """Versions of what a figure may depend on."""
    import numpy
    import torch
    import transformers

    from self1e.version import __version__

    modules = {"torch": torch, "transformers": transformers, "numpy": numpy}
    return {"self1e": __version__} | {name: str(module.__version__) for name, module in modules.items()}
