"""`self1e merge`: adapters and their base, or two models, become one, which is rounded and calibrated if asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from self1e.cli.options import MODEL_HELP, Device
from self1e.cli.terminal import CliError, busy, notice, progress_bar, quiet_libraries, show
from self1e.files import folder_when_complete, write_json
from self1e.segment.options import LoadOptions

if TYPE_CHECKING:
    import torch

    from self1e.checkpoints.hub import Checkpoint
    from self1e.evaluation.base import Benchmark
    from self1e.segment.calibration import Calibration
    from self1e.segment.load import LoadedModel
    from self1e.segment.segmenter import Segmenter

NAME = "merge"
EXAMPLES = """[dim]Examples:[/]

  self1e merge runs/mine/adapter models/mine

  self1e merge runs/mine/adapter models/mine --base models/InternVL3-2B --dtype bfloat16

  self1e merge runs/mine/model models/mine --dtype float16 --calibrate held-out.jsonl

  self1e merge runs/nano/6-finish/model models/nano --average runs/nano/7-settle/model --share 0.6"""

MAY_DIFFER = {"_name_or_path", "transformers_version", "ce_weight", "bce_weight", "dice_weight", "mask_loss_side"}
"""Settings that two models to average need not share, as no mask depends on them."""


def command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", show_default=False, help=f"Folder of adapters, or a model: {MODEL_HELP}")
    ],
    destination: Annotated[Path, typer.Argument(metavar="DST", show_default=False, help="Folder to make.")],
    base: Annotated[
        str | None,
        typer.Option(metavar="MODEL", show_default="the one they name", help="The model adapters were trained on."),
    ] = None,
    dtype: Annotated[
        str, typer.Option(metavar="TYPE", help="Of the weights: auto (as stored), float32, bfloat16, float16.")
    ] = "auto",
    average: Annotated[
        str | None,
        typer.Option(metavar="MODEL", show_default=False, help="Another model of the same run of stages, to mix in."),
    ] = None,
    share: Annotated[float, typer.Option(min=0, max=1, help="Of that other model in the average.")] = 0.5,
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
    device: Device = "auto",
) -> None:
    """Write the model that adapters, an average or a calibration make, as a folder like any other.

    Sums are taken in float32, whatever the weights are stored in. With --average the weights are those of MODEL and of
    the other, averaged: a model that was trained on often keeps in this way what the last stage taught it, and loses
    less of what it knew (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022).

    With --calibrate scores read as the IoU to expect, and masks with the lowest scores are withheld, up to the score at
    which the mean IoU is highest, but 95 in 100 of what is there are still found if they were. Without it scores stay
    as they are, and read as confidence.
    """
    from self1e.cli.options import load_segmenter
    from self1e.evaluation.benchmarks import open_benchmark
    from self1e.segment.devices import DTYPES
    from self1e.segment.load import CALIBRATION_NAME, load_model

    if dtype not in ("auto", *DTYPES):
        raise CliError(f"unknown --dtype {dtype!r}: use auto, {', '.join(DTYPES)}")
    if destination.exists():
        raise CliError(f"{destination} exists: choose another folder, or delete it first")
    quiet_libraries()
    benchmark = None if calibrate is None else open_benchmark(calibrate, root)
    with busy(f"loading {model}"):
        loaded, stored = _loaded(model, base)
        if average is not None:
            _mix_in(loaded, load_model(average, LoadOptions(device="cpu", dtype="float32")), share)
        loaded.model.to(DTYPES.get(dtype, stored))
    with folder_when_complete(destination, replace=False) as staging:
        loaded.model.save_pretrained(staging)
        loaded.processor.save_pretrained(staging)
        if loaded.nouns is not None:
            nouns = loaded.nouns if average is None else replace(loaded.nouns, iou={})  # measured of other weights
            nouns.write(staging)
        calibration = loaded.calibration
        if benchmark is not None:
            # The rounded weights, computed with as they will be on a CPU.
            segmenter = load_segmenter(str(staging), LoadOptions(device=device, dtype="float32"))
            calibration = _fitted(segmenter, benchmark, limit)
        elif average is not None and calibration is not None:
            notice(f"the average is another model than {model}: its scores are raw until you --calibrate them")
            calibration = None
        if calibration is not None:
            write_json(staging / CALIBRATION_NAME, calibration.to_dict(), indent=1)
    size = sum(path.stat().st_size for path in destination.iterdir())
    show(f"{destination}: {size / 1e6:,.1f} MB")


def _loaded(model: str, base: str | None) -> tuple[LoadedModel, torch.dtype]:
    """The model in float32, and the type that it is stored in.

    Raises:
        CliError: When a base is given for what are no adapters, or packages of training are missing for these.
    """
    import torch

    from self1e.checkpoints.hub import open_checkpoint
    from self1e.processing.processor import SELF1EProcessor
    from self1e.segment.load import LoadedModel, load_model

    checkpoint = open_checkpoint(model)
    if checkpoint.base is None:
        if base is not None:
            raise CliError(f"--base goes with adapters, and {model} is a whole model: leave it out")
        return load_model(checkpoint, LoadOptions(device="cpu", dtype="float32")), _stored(checkpoint)
    from self1e.cli.train import need_training_extra

    need_training_extra("merging")
    from self1e.checkpoints.adapters import merge

    network = merge(checkpoint.folder, base, torch.float32)
    processor = SELF1EProcessor.from_pretrained(checkpoint.folder)
    whole = open_checkpoint(base) if base else checkpoint.open_base()
    return LoadedModel(network, processor, None, model), _stored(whole)


def _stored(checkpoint: Checkpoint) -> torch.dtype:
    return checkpoint.numbers().most_common(1)[0][0]


def _fitted(segmenter: Segmenter, benchmark: Benchmark, limit: int | None) -> Calibration:
    from self1e.evaluation.calibrate import calibrate

    with progress_bar() as progress:
        task = progress.add_task("calibrating", total=None)
        return calibrate(
            segmenter,
            benchmark,
            limit,
            on_record=lambda done, whole: progress.update(task, completed=done, total=whole),
        )


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
