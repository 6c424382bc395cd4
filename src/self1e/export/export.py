"""From a model to folders of exported ones: `export_model`, and `Exporter` for several."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from self1e.checkpoints.errors import ModelError
from self1e.checkpoints.hub import open_checkpoint
from self1e.engines.artefact import KINDS, MASKS, PICTURE, TOKENIZER, Artefact, sha256_of
from self1e.export.trace import trace
from self1e.export.verify import MapsToCheck, maps_to_check, samples_to_check, verify_exported
from self1e.files import expand_user, folder_when_complete
from self1e.processing.prompts import EVAL_ANSWER, PHRASE_QUESTIONS, SENTENCE_QUESTIONS
from self1e.processing.tiles import IMAGENET_MEAN, IMAGENET_STD
from self1e.processing.tokens import special_ids
from self1e.segment.agreement import PromptedPicture
from self1e.segment.load import load_model
from self1e.segment.on_torch import TorchRunner
from self1e.segment.options import LoadOptions
from self1e.version import __version__

PRECISIONS = ("float32", "float16", "int8")

NEEDED = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino"), "torch": ()}
"""Packages that it takes to export to a kind, and to compare masks then."""


def export_model(
    name: str,
    kind: str,
    destination: Path,
    precision: str = "float32",
    *,
    samples: Sequence[PromptedPicture] | None = None,
    options: LoadOptions | None = None,
) -> Artefact:
    """Exports a model once; see `Exporter` and `Exporter.write`."""
    check_choice(kind, precision, destination)
    return Exporter(name, options).write(kind, destination, precision, samples=samples)


class Exporter:
    """A model whose programs were traced, to be written in any number of ways.

    Args:
        name: Of the model, as for `Segmenter.from_pretrained`.
        options: Revision, subfolder and tiles of the model.

    Raises:
        ModelError: If the model cannot be loaded.
    """

    def __init__(self, name: str, options: LoadOptions | None = None) -> None:
        options = replace(options or LoadOptions(), device="cpu", dtype="float32")
        self.checkpoint = open_checkpoint(name, revision=options.revision, subfolder=options.subfolder)
        self.sha256 = self.checkpoint.sha256()
        self.loaded = load_model(self.checkpoint, options)
        self.runner = TorchRunner(self.loaded.model, self.loaded.processor)
        self.prefix = self.loaded.processor.before_picture()
        self.traced = trace(self.runner.fast, self.prefix)
        self._made: tuple[Sequence[PromptedPicture], MapsToCheck] | None = None

    @cached_property
    def usual(self) -> TorchRunner:
        """The model as torch runs it where nothing is asked for: on a GPU, or in bfloat16, if that is usual here."""
        loaded = load_model(self.checkpoint, LoadOptions(max_tiles=self.loaded.processor.max_tiles))
        return TorchRunner(loaded.model, loaded.processor)

    def maps(self, samples: Sequence[PromptedPicture]) -> MapsToCheck:
        """What the model itself makes of pictures, in float32; of the same list it is made once."""
        if self._made is None or self._made[0] is not samples:
            self._made = samples, maps_to_check(self.runner, samples)
        return self._made[1]

    def write(
        self,
        kind: str,
        destination: Path,
        precision: str = "float32",
        *,
        samples: Sequence[PromptedPicture] | None = None,
    ) -> Artefact:
        """Writes a folder, and looks whether what is in it gives the same masks. Nothing is left if it does not.

        Args:
            kind: One of `KINDS`.
            destination: Folder to make.
            precision: Of the weights, one of `PRECISIONS`.
            samples: Pictures to compare masks on, with prompts. None: `samples_to_check`. An empty list, as a benchmark
                of speed gives it: masks are not compared, and the settings say so.

        Raises:
            FileExistsError: If there is such a folder already, or something in it by the time the masks are compared.
            ExportError: If the masks are not those of the model.
            ModelError: If a package is missing.
            ValueError: If kind or precision are unknown, or do not go together.
        """
        check_choice(kind, precision, destination)
        write = _writer(kind)
        with folder_when_complete(destination, replace=False) as folder:
            for program, traced in self.traced.items():
                write(traced, folder / f"{program}{KINDS[kind]}", precision)
            self.loaded.processor.tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))
            artefact = self._described(folder, kind, precision)
            artefact.write()
            if samples is None:
                samples = samples_to_check()
            if samples:
                artefact = replace(artefact, verified=verify_exported(artefact, self.maps(samples), samples))
                artefact.write()
        return replace(artefact, folder=destination)

    def _described(self, folder: Path, kind: str, precision: str) -> Artefact:
        """The settings of what is in a folder."""
        loaded, model, processor = self.loaded, self.loaded.model, self.loaded.processor
        files = sorted(path.name for path in folder.iterdir())
        return Artefact(
            folder=folder,
            model=bare_name(loaded.name),
            version=__version__,
            source_sha256=self.sha256,
            kind=kind,
            precision=precision,
            programs={program: f"{program}{KINDS[kind]}" for program in (PICTURE, MASKS)},
            outputs={program: traced.outputs for program, traced in self.traced.items()},
            files={name: sha256_of(folder / name) for name in files},
            image_size=processor.image_size,
            tokens_per_tile=processor.tokens_per_tile,
            max_tiles=processor.max_tiles,
            mean=list(IMAGENET_MEAN),
            deviation=list(IMAGENET_STD),
            map_side=model.config.map_side,
            context=model.config.text_config.max_position_embeddings,
            packed=not model.config.image_to_segmentation,
            prefix=self.prefix,
            special=special_ids(processor.tokenizer),
            questions={"phrase": PHRASE_QUESTIONS[-1], "sentence": SENTENCE_QUESTIONS[-1]},
            answer=EVAL_ANSWER,
            parameters=sum(weight.numel() for weight in model.parameters()),
            calibration=None if loaded.calibration is None else loaded.calibration.to_dict(),
            refine=processor.refine,
            nouns=None if loaded.nouns is None else loaded.nouns.to_dict(),
        )


def bare_name(name: str) -> str:
    """A model's name without the folders that it lies in, which concern nobody who is given what was made of it."""
    folder = expand_user(name)
    return Path(os.path.abspath(folder)).name if folder.is_dir() else name  # noqa: PTH100 - a link keeps its name


def check_choice(kind: str, precision: str, destination: Path) -> None:
    """Looks whether a model can be exported so, before any work is done; see `Exporter.write`."""
    if destination.exists():
        raise FileExistsError(f"{destination} exists: choose another folder, or delete it first")
    if kind not in KINDS:
        raise ValueError(f"a model is exported to {', '.join(KINDS)}, not to {kind!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
    if kind == "torch" and precision != "float32":
        raise ValueError(f"what is exported to torch is in float32, not in {precision}: use onnx or openvino for that")
    needed = NEEDED[kind] + (("nncf",) if (kind, precision) == ("openvino", "int8") else ())
    if missing := [package for package in needed if find_spec(package) is None]:
        raise ModelError(f"to export to {kind} needs {', '.join(missing)}: pip install 'self1e[export]'")


def _writer(kind: str) -> Any:
    """What writes programs of a kind: write(program, path, precision)."""
    return getattr(import_module(f"self1e.export.to_{kind}"), f"write_{kind}")
