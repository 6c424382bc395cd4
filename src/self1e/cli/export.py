"""`self1e export`: a model for engines that need no torch."""

from __future__ import annotations

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from self1e.cli.inputs import find_pictures
from self1e.cli.options import MaxTiles, ModelArgument, Revision, Subfolder
from self1e.cli.terminal import CliError, busy, notice, quiet_libraries, show
from self1e.segment.options import LoadOptions

NAME = "export"
EXAMPLES = """[dim]Examples:[/]

  self1e export mini --to onnx exported/mini

  self1e export mini --to openvino exported/mini-int8 --precision int8

  self1e export mini --to fastest exported/mini-here

  self1e export models/mine --to onnx exported/mine --check-pictures photos

  self1e segment street.jpg -p 'the red car' --model exported/mini"""


class Kind(StrEnum):
    """What a model can be exported to."""

    onnx = "onnx"
    openvino = "openvino"
    torch = "torch"
    fastest = "fastest"


class Precision(StrEnum):
    """What weights are stored in."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


def command(
    model: ModelArgument,
    destination: Annotated[Path, typer.Argument(metavar="DIR", show_default=False, help="Folder to make.")],
    to: Annotated[
        Kind,
        typer.Option(
            "--to",
            show_default=False,
            help="What for: ONNX Runtime, OpenVINO, torch alone, or what of the first two is the fastest here.",
        ),
    ],
    precision: Annotated[Precision, typer.Option(help="What weights are stored in.")] = Precision.float32,
    check_pictures: Annotated[
        Path | None,
        typer.Option(
            "--check-pictures",
            metavar="DIR",
            show_default=False,
            help="Pictures to compare masks on, besides 20 made of bundled ones.",
        ),
    ] = None,
    check_prompts: Annotated[
        list[str] | None,
        typer.Option("--check-prompt", metavar="TEXT", show_default=False, help="What to ask about these. Repeatable."),
    ] = None,
    max_tiles: MaxTiles = None,
    revision: Revision = None,
    subfolder: Subfolder = None,
) -> None:
    """Export a model to two programs that run without torch: one reads a picture, the other makes masks of words.

    Masks of the exported model are compared with the model's on 20 pictures, in each engine installed that runs it. In
    float32 logits have to agree to 0.001, else masks to an IoU of 0.97: a folder is made only if they do. It stands for
    a model in `self1e segment`, `self1e serve` and `Segmenter.from_pretrained`. Answers in words are not exported.

    With --to fastest all engines that are installed are tried, in turns with the model in torch.
    """
    if destination.exists():
        raise CliError(f"{destination} exists: choose another folder, or delete it first")
    if check_prompts and check_pictures is None:
        raise CliError("--check-prompt goes with --check-pictures: give both, or leave it out")
    from self1e.export.export import export_model
    from self1e.export.speed import IN_BFLOAT16, Fastest, export_fastest
    from self1e.export.verify import samples_to_check
    from self1e.processing.images import load_image
    from self1e.segment.quantise import CHECK_PROMPTS

    quiet_libraries()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of packages that are not needed
    samples = samples_to_check()
    if check_pictures is not None:
        asked = check_prompts or list(CHECK_PROMPTS)
        pictures = find_pictures([str(check_pictures)], recursive=False)
        for picture in pictures:
            load_image(picture)  # a broken one is found before the work, not after it
        samples += [(picture, asked) for picture in pictures]
    options = LoadOptions(max_tiles=max_tiles, revision=revision, subfolder=subfolder)
    with busy(f"exporting {model} to {to.value}"):
        if to is Kind.fastest:
            found = export_fastest(model, destination, precision.value, samples=samples, options=options)
        else:
            artefact = export_model(model, to.value, destination, precision.value, samples=samples, options=options)
            found = Fastest(artefact, artefact.kind, {}, {})
    for way, speed in found.speeds.items():
        show(f"{way}: {speed}")
    for way, reason in found.refused.items():
        notice(f"{way} is left out: {reason}")
    if found.way != found.artefact.kind:
        show(f"{found.way} is the fastest here: give {IN_BFLOAT16.strip()} to what runs {destination}")
    size = sum(path.stat().st_size for path in destination.iterdir())
    show(f"{destination}: {size / 1e6:,.1f} MB, {found.artefact.kind} in {precision.value}; {found.artefact.verified}")
