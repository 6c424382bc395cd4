"""`self1e export`: a trained model becomes one to give away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from self1e.cli.options import Device, ModelArgument
from self1e.cli.terminal import CliError, progress_bar, show
from self1e.files import folder_when_complete, write_json

NAME = "export"
EXAMPLES = """[dim]Examples:[/]

  self1e export runs/nano/2-packed/model models/nano

  self1e export runs/nano/2-packed/model models/nano --dtype float32 --scenes 0"""


def command(
    model: ModelArgument,
    destination: Annotated[Path, typer.Argument(metavar="DST", show_default=False, help="Folder to make.")],
    dtype: Annotated[str, typer.Option(metavar="TYPE", help="Of the weights: float32, bfloat16, float16.")] = "float16",
    scenes: Annotated[
        int, typer.Option(min=0, metavar="N", help="Toyland scenes to fit the scores on; 0 leaves scores raw.")
    ] = 200,
    seed: Annotated[int, typer.Option(metavar="S", help="Which scenes; figures should be taken on others.")] = 99,
    device: Device = "auto",
) -> None:
    """Write a trained model in half precision, with scores that read as the IoU to expect.

    The scores are fitted on generated scenes that no training run sees.
    """
    from self1e.cli.options import load_segmenter
    from self1e.devices import DTYPES
    from self1e.loading import CALIBRATION_NAME

    if dtype not in DTYPES:
        raise CliError(f"unknown --dtype {dtype!r}: use {', '.join(DTYPES)}")
    if destination.exists():
        raise CliError(f"{destination} exists: choose another folder, or delete it first")
    segmenter = load_segmenter(model, device=device, dtype="float32")
    with folder_when_complete(destination) as staging:
        segmenter.model.to(DTYPES[dtype])
        segmenter.model.save_pretrained(staging)
        segmenter.processor.save_pretrained(staging)
        segmenter.model.float()  # the rounded weights, computed with as they will be on a CPU
        if scenes:
            from self1e.evaluation.calibrate import calibrate_on_toyland

            with progress_bar() as progress:
                task = progress.add_task("calibrating", total=scenes)
                calibration = calibrate_on_toyland(
                    segmenter, seed, scenes, on_scene=lambda done: progress.update(task, completed=done)
                )
            write_json(staging / CALIBRATION_NAME, calibration.to_dict(), indent=1)
    size = sum(path.stat().st_size for path in destination.iterdir())
    show(f"{destination}: {size / 1e6:.1f} MB")
