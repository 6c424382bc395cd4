"""Options that several sub-commands share, and how they become a model."""

from __future__ import annotations

import gc
import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from self1e.cli.inputs import find_pictures
from self1e.cli.terminal import CliError
from self1e.segment.options import LoadOptions

if TYPE_CHECKING:
    import torch

    from self1e.checkpoints.hub import Checkpoint
    from self1e.engines.artefact import Artefact
    from self1e.segment.segmenter import Segmenter

Result = TypeVar("Result")

DEFAULT_MODEL = "mini"
MODEL_HELP = (
    "'mini' (bundled, for photographs), 'nano' (bundled, for generated cartoon scenes), a folder of a model or of what "
    "self1e export made of one, or a Hub id such as owner/name."
)

Model = Annotated[str, typer.Option("--model", "-m", metavar="MODEL", help=MODEL_HELP)]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", show_default=False, help=MODEL_HELP)]
Revision = Annotated[
    str | None, typer.Option(metavar="REV", help="Branch, tag or commit of a model on the Hub.", show_default=False)
]
Subfolder = Annotated[
    str | None, typer.Option(metavar="NAME", help="Folder of the model inside of MODEL.", show_default=False)
]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="Where to run: auto, cpu, cuda, cuda:1, mps.")]
Dtype = Annotated[
    str,
    typer.Option(
        metavar="TYPE",
        help="Precision: auto, float32, bfloat16, float16. Of exported models: float32, or bfloat16 in openvino.",
    ),
]
MaxTiles = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Most tiles a picture is cut into: more see finer, and take longer. Default: as the model was trained.",
        show_default=False,
    ),
]
Quantize = Annotated[
    str | None,
    typer.Option(
        metavar="SCHEME",
        help="Weights in fewer bits: int8 (CPU, CUDA), int4, nf4, 8bit (CUDA). Refused where it changes the masks.",
        show_default=False,
    ),
]
CheckFolder = Annotated[
    Path | None,
    typer.Option(
        "--check-pictures",
        metavar="DIR",
        help="Pictures to compare masks on with --quantize; bundled ones by default.",
        show_default=False,
    ),
]
Compile = Annotated[bool, typer.Option("--compile", help="Compile the text model, which takes a while at first.")]
Engine = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What runs an exported model: onnxruntime, openvino, torch. Default: that which it was exported for.",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]

Host = Annotated[str, typer.Option(metavar="HOST", help="Where to listen; 0.0.0.0 is all networks.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")]
ApiKeys = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        show_default=False,
        help="Keys, one a line, one of which a request must bring, a browser's as its password; or in SELF1E_API_KEYS, "
        "joined by commas.",
    ),
]
OpenToAll = Annotated[bool, typer.Option("--open", help="Listen on a network without keys.")]
MaxMegabytes = Annotated[
    float, typer.Option("--max-mb", min=0.01, metavar="MB", help="Of a request, and so of a picture's file.")
]
MaxPixels = Annotated[int, typer.Option(min=1, metavar="N", help="Of a picture.")]


_LOADING: dict[str, tuple[Any, object]] = {
    "device": (Device, "auto"),
    "dtype": (Dtype, "auto"),
    "max_tiles": (MaxTiles, None),
    "quantize": (Quantize, None),
    "check_pictures": (CheckFolder, None),
    "compile": (Compile, False),
    "engine": (Engine, None),
    "revision": (Revision, None),
    "subfolder": (Subfolder, None),
}
"""Options of every command that loads a model, by the names of their parameters: what they are, and their defaults."""


def with_load_options(command: Callable[..., Result]) -> Callable[..., Result]:
    """Gives a command all options that say how a model is loaded. It gets them as one parameter, `loading`."""
    signature = inspect.signature(command, eval_str=True)
    parameters = []
    for parameter in signature.parameters.values():
        parameter = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        if parameter.name == "loading":
            parameters += [
                parameter.replace(name=name, annotation=annotation, default=default)
                for name, (annotation, default) in _LOADING.items()
            ]
        else:
            parameters.append(parameter)

    def with_options(**given: Any) -> Result:
        loading = load_options(**{name: given.pop(name) for name in _LOADING})
        return command(loading=loading, **given)

    with_options.__doc__ = command.__doc__
    # What typer reads.
    with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options


def load_options(*, check_pictures: Path | None, quantize: str | None, **options: Any) -> LoadOptions:
    """What the options of a command line say.

    Raises:
        CliError: When `--check-pictures` names no picture, or nothing is to be quantised.
    """
    if check_pictures is None:
        return LoadOptions(quantize=quantize, **options)
    if quantize is None:
        raise CliError("--check-pictures goes with --quantize: give both, or leave it out")
    pictures = find_pictures([str(check_pictures)], recursive=False)
    return LoadOptions(quantize=quantize, quantize_check=pictures, **options)


def load_segmenter(model: str | Checkpoint | Artefact, loading: LoadOptions) -> Segmenter:
    """The model, with a spinner while it loads, and a notice of how it was quantised."""
    from self1e.cli.terminal import busy

    name = model if isinstance(model, str) else model.name
    checking = f", and comparing its masks in {loading.quantize}" if loading.quantize else ""
    with busy(f"loading {name}{checking}"):
        return load_on_device(model, loading, loading.device)


def load_in_process(model: str | Checkpoint | Artefact, loading: LoadOptions, device: torch.device | str) -> Segmenter:
    """`load_segmenter` in a process of its own, whose warnings nobody carries to this one."""
    from self1e.cli.terminal import show_own_warnings

    warnings.showwarning = show_own_warnings
    return load_on_device(model, loading, device)


def load_on_device(model: str | Checkpoint | Artefact, loading: LoadOptions, device: str | torch.device) -> Segmenter:
    """The model, and a warning of how it was quantised, if it was."""
    from self1e.cli.terminal import quiet_libraries
    from self1e.engines.artefact import Artefact, is_artefact
    from self1e.segment.segmenter import Segmenter

    if not (isinstance(model, Artefact) or (isinstance(model, str) and is_artefact(model, loading.subfolder))):
        quiet_libraries()
    segmenter = Segmenter.load(model, replace(loading, device=device))
    if segmenter.quantization is not None:
        warnings.warn(str(segmenter.quantization), stacklevel=2)
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
