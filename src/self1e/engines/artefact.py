"""The folder of an exported model: two programs, a tokenizer, and one file of settings.

    artefact.json     all that is not numbers: see `Artefact`
    tokenizer.json    as the library `tokenizers` and its ports read it
    picture.*         a program: tiles of a picture -> what depends on the picture alone
    masks.*           a program: that, and words -> mask logits

What the first program gives goes into the second one by the names that it has there, whatever these are: they differ
with what the model is. A picture is encoded once, and every question about it runs the second program only.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from self1e.checkpoints.errors import ModelError
from self1e.files import expand_user, write_json
from self1e.processing.refinement import REFINEMENTS, Refinement

FORMAT = 1
"""Of `artefact.json` and of what the programs take and give. Another one is refused."""

SETTINGS, TOKENIZER = "artefact.json", "tokenizer.json"
PICTURE, MASKS = "picture", "masks"
"""The two programs."""

LOGITS = "logits"
"""What the second one gives, among other things."""

KINDS = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
"""What a model can be exported to, and how files of programs end."""


TYPES: dict[type, tuple[str, ...]] = {
    str: ("model", "version", "source_sha256", "kind", "precision", "answer", "refine"),
    bool: ("packed",),
    int: ("image_size", "tokens_per_tile", "max_tiles", "map_side", "context", "parameters"),
    list: ("mean", "deviation", "prefix"),
    dict: ("files", "programs", "outputs", "special", "questions"),
}
"""Of settings, as JSON has them. Whole numbers are at least 1."""


@dataclass(frozen=True)
class Verified:
    """How the masks of an exported model compare with those of the model in torch.

    Attributes:
        pictures: How many were looked at.
        masks: How many masks were compared.
        largest_difference: Between logits, also of prompts that were asked together.
        largest_logit: By its amount, of the model in torch; says how much the difference is.
        iou: Mean IoU of masks; see `self1e.segment.agreement.agreement_and_telling`.
        changed: Pixels of all maps that are in one mask and not in the other.
        telling: How many masks are not empty, or full, before and after; None: not noted, as by earlier versions.
        engines: In which all of this was looked at; figures are those of the one that is furthest off.
    """

    pictures: int
    masks: int
    largest_difference: float
    largest_logit: float
    iou: float
    changed: int
    telling: int | None = None
    engines: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        masks = f"{self.masks} masks of {self.pictures} pictures"
        if self.telling == 0:
            of_masks = f"nothing to compare was found in any of {masks}: give --check-pictures"
        else:
            telling = "" if self.telling is None else f", {self.telling} with pixels"
            of_masks = f"masks agree to an IoU of {self.iou:.4f} ({masks}{telling})"
        where = f" in {' and '.join(self.engines)}" if self.engines else ""
        return (
            f"logits of up to {self.largest_logit:g} differ by {self.largest_difference:g} at most{where}, {of_masks}"
        )


@dataclass(frozen=True)
class Artefact:
    """An exported model. All but `folder` is in `artefact.json` under the same names.

    Attributes:
        folder: Where it is.
        model: Name of the model that it was made of.
        version: Of self1e, which made it.
        source_sha256: Of that model's weights; see `Checkpoint.sha256`.
        kind: One of `KINDS`.
        precision: What its weights are stored in: "float32", "float16" or "int8".
        programs: File of each of the two programs.
        outputs: Names of what each of them gives.
        files: All but `artefact.json`, and the SHA-256 of each.
        image_size: Side of a tile, pixels.
        tokens_per_tile: Image tokens of a tile.
        max_tiles: Most tiles to cut a picture into.
        mean: Of the colours (0 to 1) of a picture, red, green and blue: taken off, then divided by `deviation`.
        deviation: See `mean`.
        map_side: Side of the map of logits of one tile.
        context: Most tokens of a conversation.
        packed: Whether prompts about one picture go into one row, as conversations 1, 2, ... of it.
        prefix: Tokens before the picture. The programs have read them; positions begin behind them.
        special: Ids of the special tokens.
        questions: What is asked for a "phrase" and for a "sentence", with that word in braces.
        answer: What follows the question; `[SEG]` in it is a special token.
        parameters: How many numbers the model has.
        calibration: Knots of the calibration of scores, or None; see `self1e.segment.calibration.Calibration.to_dict`.
        nouns: What the model was taught, or None; see `self1e.segment.nouns.TaughtNouns.to_dict`.
        refine: How masks get to the picture's size where nothing else is asked for; see `self1e.processing.refine`.
        verified: How it compares with the model in torch; None if that was not looked at.
        format: See `FORMAT`.
    """

    folder: Path
    model: str
    version: str
    source_sha256: str
    kind: str
    precision: str
    programs: dict[str, str]
    outputs: dict[str, list[str]]
    files: dict[str, str]
    image_size: int
    tokens_per_tile: int
    max_tiles: int
    mean: list[float]
    deviation: list[float]
    map_side: int
    context: int
    packed: bool
    prefix: list[int]
    special: dict[str, int]
    questions: dict[str, str]
    answer: str
    parameters: int
    calibration: dict[str, Any] | None = None
    nouns: dict[str, Any] | None = None
    refine: Refinement = "none"
    verified: Verified | None = None
    format: int = field(default=FORMAT)

    @property
    def name(self) -> str:
        """As people name it."""
        return str(self.folder)

    def sha256(self) -> str:
        """Of all files together, as they were exported; a model that is loaded has no others (`check_files`)."""
        return hashlib.sha256(" ".join(self.files.values()).encode()).hexdigest()

    def program(self, name: str) -> Path:
        """The file of a program."""
        return self.folder / self.programs[name]

    def write(self) -> None:
        """Writes the settings into the folder, in place of older ones."""
        settings = asdict(self)
        del settings["folder"]
        if self.refine == "none":  # which versions do without that know no other
            del settings["refine"]
        write_json(self.folder / SETTINGS, settings, overwrite=True, indent=1)

    def check_files(self) -> None:
        """Reads all files to the end.

        Raises:
            ModelError: When one is missing or cannot be read, or is not what was exported.
        """
        paths = [self.folder / name for name in self.files]
        try:
            with ThreadPoolExecutor(2) as pool:  # it lets go of the lock, and nobody segments before
                found = list(pool.map(sha256_of, paths))
        except FileNotFoundError as error:
            missing = Path(error.filename).name
            raise ModelError(f"{self.folder} is incomplete: it has no {missing}; export or copy it again") from None
        except OSError as error:
            raise ModelError(f"{self.folder} cannot be read ({error}): export or copy it again") from None
        for path, ours, exported in zip(paths, found, self.files.values(), strict=True):
            if ours != exported:
                raise ModelError(f"{path} is not what was exported (its SHA-256 differs): export or copy it again")


def is_artefact(name: str | Path, subfolder: str | None = None) -> bool:
    """Whether a name of a model is the folder of an exported one."""
    return (_folder(name, subfolder) / SETTINGS).is_file()


def open_artefact(name: str | Path, subfolder: str | None = None) -> Artefact:
    """Reads the settings of an exported model, and looks whether its files are there; see `Artefact.check_files`.

    Raises:
        ModelError: When it cannot be used here.
    """
    folder = _folder(name, subfolder)
    path = folder / SETTINGS
    try:
        settings = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read ({error}): export the model again") from None
    form = settings.get("format") if isinstance(settings, dict) else None
    if form != FORMAT:
        raise ModelError(
            f"{path} has format {form!r}, and {FORMAT} is known here: export the model again, or update self1e"
        )
    known = {each.name for each in fields(Artefact)} - {"folder"}
    verified = settings.pop("verified", None)
    try:
        artefact = Artefact(folder, **settings, verified=None if verified is None else Verified(**verified))
    except TypeError as error:
        strange = sorted(settings.keys() - known)
        reason = f"unknown: {', '.join(strange)}" if strange else str(error)
        raise ModelError(f"{path} cannot be used ({reason}): export the model again") from None
    if fault := _fault_of(artefact):
        raise ModelError(f"{path} cannot be used ({fault}): export the model again")
    if missing := [name for name in artefact.files if not (folder / name).is_file()]:
        raise ModelError(f"{folder} is incomplete: it has no {', '.join(missing)}; export or copy it again")
    return artefact


def _fault_of(artefact: Artefact) -> str | None:
    """What is wrong with the settings of which file is what. Folders come from others: none may lead out of itself."""
    if fault := _wrong_type(artefact):
        return fault
    if artefact.kind not in KINDS:
        return f"unknown kind {artefact.kind!r}"
    if artefact.refine not in REFINEMENTS:
        return f"unknown refine {artefact.refine!r}"
    if outside := [name for name in artefact.files if Path(name).name != name]:
        return f"{outside[0]!r} is not in the folder"
    for program in (PICTURE, MASKS):
        file, outputs = artefact.programs.get(program), artefact.outputs.get(program)
        if not isinstance(file, str) or file not in artefact.files or not outputs or not _are(outputs, list, str):
            return f"no program {program!r} among its files"
    if LOGITS not in artefact.outputs[MASKS]:
        return f"its program {MASKS!r} gives {', '.join(artefact.outputs[MASKS])}, and no {LOGITS}"
    return None if TOKENIZER in artefact.files else f"no {TOKENIZER} among its files"


def _wrong_type(artefact: Artefact) -> str | None:
    """Which of the settings are not what they must be. What is compared with this version's when the model is loaded
    (`self1e.segment.on_engine`) need be no more than a list or a dict."""
    for kind, names in TYPES.items():
        for name in names:
            if type(value := getattr(artefact, name)) is not kind:
                return f"{name} is {value!r}, and must be {kind.__name__}"
            if type(value) is int and value < 1:
                return f"{name} is {value!r}, and must be at least 1"
    if not _are(artefact.files, dict, str):
        return f"files is {artefact.files!r}, and must have a text for each file"
    for name in ("calibration", "nouns"):
        if not isinstance(value := getattr(artefact, name), dict | None):
            return f"{name} is {value!r}, and must be dict, or null"
    if artefact.verified is not None:
        figures = asdict(artefact.verified)
        engines = figures.pop("engines")
        if figures["telling"] is None:
            del figures["telling"]
        if not (_are(figures, dict, int, float) and _are(engines, list, str)):
            return f"verified is {asdict(artefact.verified)!r}, and must have numbers, and names of engines, or be null"
    return None


def _are(values: Any, kind: type[dict[str, Any] | list[Any]], *kinds: type) -> bool:
    """Whether something is a list or a dict of values of some kinds."""
    if not isinstance(values, kind):
        return False
    return all(type(value) in kinds for value in (values.values() if isinstance(values, dict) else values))


def sha256_of(path: Path) -> str:
    """Of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder(name: str | Path, subfolder: str | None) -> Path:
    folder = expand_user(name)
    return folder / subfolder if subfolder else folder
