"""From a model to the folder of an exported one: `export_model`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from self1e.checkpoints.hub import open_checkpoint
from self1e.engines.artefact import KINDS, MASKS, PICTURE, TOKENIZER, Artefact, sha256_of
from self1e.export.trace import trace
from self1e.export.verify import samples_to_check, verify
from self1e.files import folder_when_complete
from self1e.processing.prompts import EVAL_ANSWER, PHRASE_QUESTIONS, SENTENCE_QUESTIONS
from self1e.processing.tiles import IMAGENET_MEAN, IMAGENET_STD
from self1e.processing.tokens import encode_prefix, special_ids
from self1e.segment.agreement import PromptedPicture
from self1e.segment.load import LoadedModel, load_model
from self1e.segment.on_engine import EngineRunner
from self1e.segment.on_torch import TorchRunner
from self1e.segment.options import LoadOptions
from self1e.version import __version__

PRECISIONS = ("float32", "float16", "int8")


def export_model(
    name: str,
    kind: str,
    destination: Path,
    precision: str = "float32",
    *,
    samples: Sequence[PromptedPicture] | None = None,
    options: LoadOptions | None = None,
    on_step: Callable[[str], object] = lambda step: None,
) -> Artefact:
    """Exports a model, and looks whether what was made gives the same masks. Nothing is left behind if it does not.

    Args:
        name: Of the model, as for `Segmenter.from_pretrained`.
        kind: One of `KINDS`.
        destination: Folder to make.
        precision: Of the weights, one of `PRECISIONS`.
        samples: Pictures to compare masks on, with prompts. None: `samples_to_check`.
        options: Revision, subfolder and tiles of the model.
        on_step: Is told what is done next.

    Raises:
        FileExistsError: If there is such a folder already.
        ExportError: If the masks are not those of the model.
        ModelError: If the model cannot be loaded, or a package is missing.
        ValueError: If kind or precision are unknown, or do not go together.
    """
    check_choice(kind, precision)
    if destination.exists():
        raise FileExistsError(f"{destination} exists: choose another folder, or delete it first")
    options = replace(options or LoadOptions(), device="cpu", dtype="float32")
    on_step(f"loading {name}")
    loaded = load_model(name, options)
    model = TorchRunner(loaded.model, loaded.processor)
    prefix = encode_prefix(loaded.processor.tokenizer, 0).input_ids[:-1]  # without that which ends the picture
    with folder_when_complete(destination) as folder:
        on_step("tracing its programs")
        traced = trace(model.fast, prefix)
        for program in (PICTURE, MASKS):
            on_step(f"writing {program}{KINDS[kind]}")
            _writer(kind)(traced.pop(program), folder / f"{program}{KINDS[kind]}", precision)
        loaded.processor.tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))
        sha256 = open_checkpoint(name, revision=options.revision, subfolder=options.subfolder).sha256()
        artefact = _described(loaded, folder, kind, precision, prefix, sha256)
        artefact.write()
        on_step("comparing masks")
        verified = verify(model, EngineRunner(artefact), precision, samples_to_check() if samples is None else samples)
        replace(artefact, verified=verified).write()
    return replace(artefact, folder=destination, verified=verified)


def check_choice(kind: str, precision: str) -> None:
    """Raises ValueError if kind or precision are unknown, or ModelError if what writes such programs is not there."""
    if kind not in KINDS:
        raise ValueError(f"a model is exported to {', '.join(KINDS)}, not to {kind!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
    _writer(kind)


def _writer(kind: str) -> Any:
    """What writes programs of a kind: write(program, path, precision)."""
    from self1e.checkpoints.errors import ModelError

    try:
        return getattr(import_module(f"self1e.export.to_{kind}"), f"write_{kind}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("self1e"):
            raise
        raise ModelError(f"to export to {kind} needs {error.name}: pip install 'self1e[export]'") from None


def _described(
    loaded: LoadedModel, folder: Path, kind: str, precision: str, prefix: list[int], source_sha256: str
) -> Artefact:
    """The settings of what is in a folder."""
    model, processor = loaded.model, loaded.processor
    files = sorted(path.name for path in folder.iterdir())
    return Artefact(
        folder=folder,
        model=loaded.name,
        version=__version__,
        source_sha256=source_sha256,
        kind=kind,
        precision=precision,
        programs={program: f"{program}{KINDS[kind]}" for program in (PICTURE, MASKS)},
        files={name: sha256_of(folder / name) for name in files},
        image_size=processor.image_size,
        tokens_per_tile=processor.tokens_per_tile,
        max_tiles=processor.max_tiles,
        mean=list(IMAGENET_MEAN),
        deviation=list(IMAGENET_STD),
        map_side=round(processor.tokens_per_tile**0.5) * model.config.rung.scale,
        context=model.config.text_config.max_position_embeddings,
        packed=not model.config.image_to_segmentation,
        prefix=prefix,
        special=special_ids(processor.tokenizer),
        questions={"phrase": PHRASE_QUESTIONS[-1], "sentence": SENTENCE_QUESTIONS[-1]},
        answer=EVAL_ANSWER,
        parameters=sum(weight.numel() for weight in model.parameters()),
        calibration=None if loaded.calibration is None else loaded.calibration.to_dict(),
        nouns=None if loaded.nouns is None else {noun: list(words) for noun, words in loaded.nouns.words.items()},
    )
