"""Options that several sub-commands share, and how they become a model."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from self1e.cli.inputs import find_pictures
from self1e.cli.terminal import CliError, notice

if TYPE_CHECKING:
    from self1e.segment.quantise import Samples
    from self1e.segment.segmenter import Segmenter

MODEL_HELP = "'nano' (bundled, knows generated cartoon scenes only), a model folder, or a Hub id such as owner/name."

Model = Annotated[str, typer.Option("--model", "-m", metavar="MODEL", help=MODEL_HELP)]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", show_default=False, help=MODEL_HELP)]
Revision = Annotated[
    str | None, typer.Option(metavar="REV", help="Branch, tag or commit of a model on the Hub.", show_default=False)
]
Subfolder = Annotated[
    str | None, typer.Option(metavar="NAME", help="Folder of the model inside of MODEL.", show_default=False)
]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="Where to run: auto, cpu, cuda, cuda:1, mps.")]
Dtype = Annotated[str, typer.Option(metavar="TYPE", help="Precision: auto, float32, bfloat16, float16.")]
MaxTiles = Annotated[
    int, typer.Option(min=1, metavar="N", help="Most tiles a picture is cut into: more see finer, and take longer.")
]
Quantize = Annotated[
    str | None,
    typer.Option(
        metavar="SCHEME",
        help="Weights in fewer bits: int8 (CPU, CUDA), int4, nf4, 8bit (CUDA). Refused where it changes the masks.",
        show_default=False,
    ),
]
CalibrationFolder = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        metavar="DIR",
        help="Pictures to compare masks on with --quantize; bundled ones by default.",
        show_default=False,
    ),
]
Compile = Annotated[bool, typer.Option("--compile", help="Compile the text model, which takes a while at first.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]


def pictures_to_check(quantize: str | None, calibration: Path | None) -> list[Path] | None:
    """What `--calibration` names; None without it.

    Raises:
        CliError: When it holds no picture, or nothing is to be quantised.
    """
    if calibration is None:
        return None
    if quantize is None:
        raise CliError("--calibration goes with --quantize: give both, or leave it out")
    return find_pictures([str(calibration)], recursive=False)


def load_segmenter(
    model: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    subfolder: str | None = None,
    max_tiles: int = 1,
    quantize: str | None = None,
    quantize_check: Samples | None = None,
    compile: bool = False,
) -> Segmenter:
    """The model, with a spinner while it loads, and a notice of how it was quantised."""
    from self1e.cli.terminal import busy

    with busy(f"loading {model}" if quantize is None else f"loading {model}, and comparing its masks in {quantize}"):
        return _load(
            model,
            device=device,
            dtype=dtype,
            revision=revision,
            subfolder=subfolder,
            max_tiles=max_tiles,
            quantize=quantize,
            quantize_check=quantize_check,
            compile=compile,
        )


def load_in_process(model: str, **options: Any) -> Segmenter:
    """`load_segmenter` in one of several processes, where a parent draws on the terminal."""
    from self1e.cli.terminal import show_own_warnings

    warnings.showwarning = show_own_warnings
    return _load(model, **options)


def _load(model: str, **options: Any) -> Segmenter:
    """The model, and a notice of how it was quantised, if it was."""

    from self1e.cli.terminal import quiet_libraries
    from self1e.segment.segmenter import Segmenter

    quiet_libraries()
    segmenter = Segmenter.from_pretrained(model, **options)
    if segmenter.quantization is not None:
        notice(str(segmenter.quantization))
    return segmenter


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Imports and loads without Python's search for garbage, which would go through a growing heap of what stays."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # nor are later searches to go through it
        gc.enable()
