"""`self1e export`: a trained model becomes one to give away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from self1e.cli.options import Device, ModelArgument
from self1e.cli.terminal import CliError, busy, notice, progress_bar, show
from self1e.files import folder_when_complete, write_json
from self1e.segment.options import LoadOptions

if TYPE_CHECKING:
    from self1e.segment.load import LoadedModel

NAME = "export"
EXAMPLES = """[dim]Examples:[/]

  self1e export runs/mine/model models/mine

  self1e export runs/mine/model models/mine --calibrate held-out.jsonl

  self1e export runs/nano/9-absent/model models/nano --calibrate "toyland|seed=99"

  self1e export runs/nano/6-finish/model models/nano --average runs/nano/7-settle/model --share 0.6"""

MAY_DIFFER = {"_name_or_path", "transformers_version", "ce_weight", "bce_weight", "dice_weight", "mask_loss_side"}
"""Settings that two models to average need not share, as no mask depends on them."""


def command(
    model: ModelArgument,
    destination: Annotated[Path, typer.Argument(metavar="DST", show_default=False, help="Folder to make.")],
    dtype: Annotated[str, typer.Option(metavar="TYPE", help="Of the weights: float32, bfloat16, float16.")] = "float16",
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="BENCH",
            show_default=False,
            help="Fit the scores on this benchmark, named as for `self1e eval`; figures should be taken on another.",
        ),
    ] = None,
    root: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the data sets of --calibrate.")] = Path(
        "dataset"
    ),
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", show_default=False, help="Only the first pictures of --calibrate.")
    ] = None,
    average: Annotated[
        str | None,
        typer.Option(metavar="MODEL", show_default=False, help="Another model of the same run of stages, to mix in."),
    ] = None,
    share: Annotated[float, typer.Option(min=0, max=1, help="Of that other model in the average.")] = 0.5,
    device: Device = "auto",
) -> None:
    """Write a trained model in half precision; with --calibrate, scores read as the IoU to expect.

    Without --calibrate scores stay as they are, and read as confidence. With --average the weights are those of MODEL
    and of the other, averaged: a model that was trained on often keeps in this way what the last stage taught it, and
    loses less of what it knew (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022).
    """
    from self1e.cli.options import load_segmenter
    from self1e.evaluation.benchmarks import open_benchmark
    from self1e.evaluation.calibrate import calibrate as fit_scores
    from self1e.segment.devices import DTYPES
    from self1e.segment.load import CALIBRATION_NAME, load_model

    if dtype not in DTYPES:
        raise CliError(f"unknown --dtype {dtype!r}: use {', '.join(DTYPES)}")
    if destination.exists():
        raise CliError(f"{destination} exists: choose another folder, or delete it first")
    benchmark = None if calibrate is None else open_benchmark(calibrate, root)
    in_full = LoadOptions(device="cpu", dtype="float32")
    with busy(f"loading {model}"):
        loaded = load_model(model, in_full)
        if average is not None:
            _mix_in(loaded, load_model(average, in_full), share)
        loaded.model.to(DTYPES[dtype])
    with folder_when_complete(destination) as staging:
        loaded.model.save_pretrained(staging)
        loaded.processor.save_pretrained(staging)
        if loaded.nouns is not None:
            loaded.nouns.write(staging)
        if benchmark is None and loaded.calibration is not None:
            if average is None:
                write_json(staging / CALIBRATION_NAME, loaded.calibration.to_dict(), indent=1)
            else:
                notice(f"the average is another model than {model}: its scores are raw until you --calibrate them")
        if benchmark is not None:
            # The rounded weights, computed with as they will be on a CPU.
            segmenter = load_segmenter(str(staging), LoadOptions(device=device, dtype="float32"))
            with progress_bar() as progress:
                task = progress.add_task("calibrating", total=None)
                calibration = fit_scores(
                    segmenter,
                    benchmark,
                    limit,
                    on_record=lambda done, whole: progress.update(task, completed=done, total=whole),
                )
            write_json(staging / CALIBRATION_NAME, calibration.to_dict(), indent=1)
    size = sum(path.stat().st_size for path in destination.iterdir())
    show(f"{destination}: {size / 1e6:.1f} MB")


def _mix_in(model: LoadedModel, other: LoadedModel, share: float) -> None:
    """Weights of a model become (1 - share) of their own and `share` of the other's."""
    ours, theirs = (each.model.config.to_dict() for each in (model, other))
    names = (ours.keys() | theirs.keys()) - MAY_DIFFER
    differing = sorted(name for name in names if ours.get(name) != theirs.get(name))
    if model.processor.tokenizer.get_vocab() != other.processor.tokenizer.get_vocab():
        differing.append("vocabulary")
    if differing:
        raise CliError(f"the two models differ in {', '.join(differing)}: both must come from stages of one training")
    weights = dict(other.model.named_parameters())  # those that are shared: once
    for name, weight in model.model.named_parameters():
        weight.detach().lerp_(weights[name].detach(), share)
