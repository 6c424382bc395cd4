"""The runner of exported models: an engine's two programs, and nothing of torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from self1e.checkpoints.errors import ModelError
from self1e.conversation import SEG
from self1e.engines.artefact import LOGITS, MASKS, PICTURE, SETTINGS, TOKENIZER, Artefact, open_artefact
from self1e.engines.programs import Program, choose_computing, choose_engine, import_engine, open_program
from self1e.engines.words import words_of
from self1e.model.rows import Row
from self1e.processing.plain import PlainProcessor
from self1e.processing.prompts import EVAL_ANSWER, PHRASE_QUESTIONS, SENTENCE_QUESTIONS, PromptError
from self1e.processing.tiles import IMAGENET_MEAN, IMAGENET_STD
from self1e.processing.tokens import special_ids
from self1e.segment.calibration import Calibration
from self1e.segment.nouns import TaughtNouns
from self1e.segment.options import LoadOptions
from self1e.segment.runner import EncodedPicture, NumbersError, TiledPicture
from self1e.version import __version__

T = TypeVar("T")


def load_exported(name: str | Path | Artefact, options: LoadOptions) -> EngineRunner:
    """Loads what `self1e export` wrote.

    Args:
        name: Its folder, opened or not.
        options: How.

    Raises:
        ModelError: If it is incomplete or damaged, or a file is not what was exported, or its engine is not installed.
        ValueError: If something is asked for that was settled when it was exported.
    """
    artefact = name if isinstance(name, Artefact) else open_artefact(name, options.subfolder)
    if str(options.device) not in ("auto", "cpu"):
        raise ValueError(f"exported models run on the CPU, not on {str(options.device)!r}: leave the device out")
    settled = {
        "quantize": options.quantize is not None,
        "compile": options.compile,
        "revision": options.revision is not None,
    }
    if asked := [option for option, given in settled.items() if given]:
        raise ValueError(
            f"{artefact.name} is an exported model, whose {', '.join(asked)} cannot be chosen any more: leave it out, "
            "or export the model anew"
        )
    return EngineRunner(artefact, options.engine, options.max_tiles, str(options.dtype).removeprefix("torch."))


class EngineRunner:
    """See `self1e.segment.runner.Runner`, whose methods these are.

    Goes to other processes as the name of its folder, and is loaded again there. Whenever it is loaded, its files are
    read to the end first, as flipped bits of weights would only show in masks.

    Args:
        artefact: The exported model.
        engine: One of `self1e.engines.programs.ENGINES`; None: the usual one.
        max_tiles: Most tiles to cut a picture into; None: as it was exported.
        dtype: What to compute in, whatever weights are stored in; "auto": float32.

    Raises:
        ModelError: If the engine is not installed, or cannot load the programs; or files are not what was exported, or
            the tokenizer is of another model.
        ValueError: If the engine does not run such programs, or not in this type, or `max_tiles` is out of range.
    """

    def __init__(
        self, artefact: Artefact, engine: str | None = None, max_tiles: int | None = None, dtype: str = "auto"
    ) -> None:
        self.artefact = artefact
        self.engine = choose_engine(engine, artefact.kind)
        self.computing = choose_computing(self.engine, artefact.kind, dtype)
        artefact.check_files()
        self.processor = PlainProcessor(
            _tokenizer(artefact.folder / TOKENIZER),
            artefact.image_size,
            artefact.tokens_per_tile,
            max_tiles or artefact.max_tiles,
            artefact.refine,
        )
        _check_settled(artefact, self.processor)
        self._load()

    def _load(self) -> None:
        self._process = os.getpid()
        import_engine(self.engine)
        with ThreadPoolExecutor(2) as pool:  # engines take a while to make a program fast, each on one core
            self._encode, self._masks = pool.map(self._open, (PICTURE, MASKS))

    def _open(self, name: str) -> Program:
        return open_program(self.artefact.program(name), self.engine, self.artefact.outputs[name], dtype=self.computing)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_encode", "_masks")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self.artefact.check_files()
        self._load()

    @property
    def context(self) -> int:
        return self.artefact.context

    @property
    def seg_token_id(self) -> int:
        return self.artefact.special[SEG]

    @property
    def map_side(self) -> int:
        return self.artefact.map_side

    @property
    def packed(self) -> bool:
        return self.artefact.packed

    @property
    def writes_answers(self) -> bool:
        return False

    @property
    def device(self) -> str:
        return "cpu"

    @property
    def dtype(self) -> str:
        stored = self.artefact.precision
        return stored if self.computing == "float32" else f"{stored} in {self.computing}"

    def facts(self) -> dict[str, Any]:
        return {"engine": self.engine, "parameters": self.artefact.parameters, "config": self.artefact.files}

    def check_process(self) -> None:
        if os.getpid() != self._process:
            raise RuntimeError(
                f"this process was forked from the one that loaded the model, and {self.engine}'s threads, which a "
                "fork leaves behind, would be waited for forever: start processes by multiprocessing's 'spawn'"
            )

    def tiled(self, picture: Image.Image) -> TiledPicture:
        return TiledPicture(picture, *self.processor.pixels(picture))

    def encode(self, picture: TiledPicture) -> EncodedPicture:
        columns, rows = picture.grid
        pixels = picture.tiles.reshape(rows, columns, *picture.tiles.shape[1:])
        features = self._encode({"pixels": pixels})
        size = sum(each.nbytes for each in features.values())
        return EncodedPicture(picture.image, picture.grid, features, self, 0, size)

    def check_encoded(self, picture: EncodedPicture) -> None:
        theirs = getattr(picture.runner, "artefact", None)
        if theirs is None or theirs.files != self.artefact.files:
            raise ValueError("the picture was encoded by another model: encode it with this segmenter")

    def mask_logits(self, pictures: Sequence[EncodedPicture], rows: Sequence[Row]) -> list[np.ndarray]:
        found: dict[int, np.ndarray] = {}
        for index, picture in enumerate(pictures):
            about = {number: row for number, row in enumerate(rows) if row.picture == index}
            if about:
                found |= zip(about, self._logits_of(picture, list(about.values())), strict=True)
        return [found[number] for number in range(len(rows))]

    def _logits_of(self, picture: EncodedPicture, rows: Sequence[Row]) -> list[np.ndarray]:
        """Of rows about one picture."""
        before = len(self.artefact.prefix) + picture.grid[0] * picture.grid[1] * self.artefact.tokens_per_tile
        words = words_of(rows, before, self.seg_token_id)
        logits = self._masks(picture.features | words)[LOGITS]
        if not np.isfinite(logits).all():
            raise NumbersError(f"the model's numbers overflow in {self._overflow()}")
        ends = np.searchsorted(words["marks"], np.arange(1, len(rows)) * words["words"].shape[1])
        return np.split(logits, ends)

    def _overflow(self) -> str:
        """In what, and what to do."""
        if self.computing != "float32":
            return f"{self.computing}: leave dtype out"
        stored = self.artefact.precision
        return stored if stored == "float32" else f"{stored}: export it in float32"

    def answer(self, *_: Any, **__: Any) -> NoReturn:
        raise PromptError(
            "an exported model gives masks, and writes no answers: chat with the model that it was made of "
            f"({self.artefact.model}), or segment"
        )


def _tokenizer(path: Path) -> Tokenizer:
    """Reads a tokenizer.

    Raises:
        ModelError: When it is damaged, or of another model.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library has none of its own
        raise ModelError(f"{path} cannot be read ({error}): export or copy the model again") from None
    try:
        special_ids(tokenizer)
    except ValueError as error:
        raise ModelError(f"{path} is of another model ({error}): export or copy the model again") from None
    return tokenizer


def _check_settled(artefact: Artefact, processor: PlainProcessor) -> None:
    """Looks whether a model was exported with what this version takes for granted, and other readers take from it.

    Raises:
        ModelError: When it was not.
    """
    here = {
        "special": special_ids(processor.tokenizer),
        "prefix": processor.before_picture(),
        "mean": list(IMAGENET_MEAN),
        "deviation": list(IMAGENET_STD),
        "questions": {"phrase": PHRASE_QUESTIONS[-1], "sentence": SENTENCE_QUESTIONS[-1]},
        "answer": EVAL_ANSWER,
    }
    for name, value in here.items():
        if (there := getattr(artefact, name)) != value:
            raise ModelError(
                f"{artefact.folder} was exported with another `{name}` than self1e {__version__} has: {there!r}, in "
                f"place of {value!r}; export the model again"
            )


def calibration_of(artefact: Artefact) -> Calibration | None:
    """What turns scores into the IoU to expect; None where there is nothing.

    Raises:
        ModelError: When it is damaged.
    """
    return _read(artefact, "calibration", Calibration.from_dict)


def nouns_of(artefact: Artefact) -> TaughtNouns | None:
    """What the model was taught; None where nothing is said of it.

    Raises:
        ModelError: When it is damaged.
    """
    return _read(artefact, "nouns", TaughtNouns.from_dict)


def _read(artefact: Artefact, name: str, read: Callable[[dict[str, Any]], T]) -> T | None:
    given = getattr(artefact, name)
    try:
        return None if given is None else read(given)
    except (ValueError, TypeError) as error:
        path = artefact.folder / SETTINGS
        raise ModelError(f"{path} cannot be used ({name}: {error}): export the model again") from None
