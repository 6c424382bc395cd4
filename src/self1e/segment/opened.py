"""Finding a model without loading it, whichever kind it is. Importing this needs no torch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from self1e.checkpoints.errors import ModelError
from self1e.engines.artefact import Artefact, is_artefact, open_artefact
from self1e.segment.options import LoadOptions

if TYPE_CHECKING:
    from self1e.checkpoints.hub import Checkpoint


def open_model(name: str | Path, options: LoadOptions | None = None) -> Checkpoint | Artefact:
    """Opens an exported model, or a checkpoint that torch is to run. Both have a `name` and a `sha256`.

    Args:
        name: As for `Segmenter.from_pretrained`.
        options: Of which revision, subfolder and engine matter here.

    Raises:
        ModelError: When there is no such model, or it is incomplete or damaged; or it needs torch, which is missing.
        ValueError: If an engine is asked for, which runs exported models only.
    """
    options = options or LoadOptions()
    if is_artefact(name, options.subfolder):
        return open_artefact(name, options.subfolder)
    check_torch(name, options)
    from self1e.checkpoints.hub import open_checkpoint

    return open_checkpoint(name, revision=options.revision, subfolder=options.subfolder)


def check_torch(name: object, options: LoadOptions) -> None:
    """Looks whether a model that is not exported can be run.

    Raises:
        ValueError: If an engine is asked for, which runs exported models only.
        ModelError: If torch is missing.
    """
    if options.engine not in (None, "torch"):
        raise ValueError(
            f"engine={options.engine!r} runs exported models, and {name} is none: self1e export {name} --to onnx DIR "
            "makes one of it"
        )
    if not has_torch():
        raise ModelError(
            f"{name} is no folder that `self1e export` made, and all else needs torch and the whole package, which "
            "are not installed here: pip install self1e, or name such a folder"
        )


def has_torch() -> bool:
    """Whether more than exported models can be run: not without torch, nor in self1e-runtime (`runtime/`)."""
    return find_spec("torch") is not None and find_spec("self1e.segment.load") is not None
