"""Your own data: one JSON object a line, about one picture each.

    {"image": "photos/a.jpg", "prompt": "left guy", "masks": ["masks/a-1.png"]}
    {"image": "photos/a.jpg", "prompt": "Who is late?", "masks": [[10, 10, 60, 10, 60, 90]], "answer": "He is running."}
    {"image": "photos/a.jpg", "prompt": "the unicorn", "masks": []}
    {"image": "photos/a.jpg", "prompt": "What is the weather like?", "answer": "It is raining."}
    {"image": "photos/b.jpg", "prompts": [{"prompt": "the cat", "masks": [...]}, {"prompt": "the dog", "masks": [...]}]}
    {"image": "photos/b.jpg", "conversations": [{"question": "Who is here?", "answer": "A cat [SEG] and a dog [SEG]."},
     {"question": "Which is older?", "answer": "I cannot tell."}], "masks": ["masks/b-cat.png", "masks/b-dog.png"]}

Paths are relative to the file; on Windows or as written there, with backslashes. Lines about the same picture (the same
path) become one record.

- `prompt` is a noun phrase or a sentence; `form` ("phrase" or "sentence") says which, else it is read from the words.
  `kind` names the kind of query in tables.
- `masks` is a list whose union is meant, [] where what is asked for is not there. A mask is the path of a picture of
  the photograph's size (lossless, without transparency), in which every pixel that is not black is inside, whatever its
  number in a palette; or a COCO run-length code; or one polygon [x0, y0, x1, y1, ...] or [[x0, y0], [x1, y1], ...], or
  a list of such polygons. Polygons of fewer than three points are left out, and so is a prompt of which none is left.
- `answer` beside masks is an explanation in words; it may begin with "It is [SEG]." or another of the trained answers.
- `conversations` are turns, learnt in these very words; they may also be written {"from": "human", "value": ...},
  {"from": "gpt", "value": ...}. Their `masks` hold one mask, or a list of masks whose union is meant, for each `[SEG]`
  in the answers, in order.
- `id`, `width` and `height` are left aside. Other keys are, too, with a warning, unless they look like a slip ("mask").
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from self1e.conversation import SEG, Turn
from self1e.data.json_records import JsonRecords, exchanges, image_name, words_only
from self1e.data.masks import decode_segmentation, union, without_stubs
from self1e.data.records import DataError, Query, Record, Talk
from self1e.files import as_listed
from self1e.processing.images import read_head, turned_upright
from self1e.processing.prompts import SEG_ANSWERS, reads_as_sentence

_PROMPT_KEYS = frozenset(("prompt", "form", "kind", "masks", "answer"))
_LINE_KEYS = _PROMPT_KEYS | {"image", "prompts", "conversations", "id", "width", "height"}
_TURN_KEYS = frozenset(("question", "answer"))
_KEYS = _LINE_KEYS | _TURN_KEYS | {"from", "value"}

#: Formats whose pixels are those that were saved.
_LOSSLESS = frozenset(("BMP", "DIB", "GIF", "PNG", "PPM", "TGA", "TIFF"))


class OwnSource:
    """A file of one's own, see above; one record a picture, in the order of their paths."""

    def __init__(self, file: Path, *, stored: bool = False) -> None:
        """Reads the file once to find which lines are about which picture.

        A line that does not even say its picture is a record of its own, and is told of when it is asked for.

        Args:
            file: See above.
            stored: Whether masks are of pictures as they are stored, before their EXIF orientation is applied. They are
                turned as the pictures are; words are about the upright picture all the same.

        Raises:
            DataError: When there is no such file, or nothing in it.
        """
        self._file = Path(file)
        self.name = self._file.stem
        if not self._file.is_file():
            raise DataError(f"there is no file {file}: give a JSONL file, one object a line (see self1e.data.own)")
        self._lines = JsonRecords.of_lines(self._file)
        if not len(self._lines):
            raise DataError(f"{file} is empty: it should hold one JSON object a line (see self1e.data.own)")
        self.stored = stored
        of_picture: dict[str, list[int]] = {}
        self._faults: list[str] = []
        unknown: set[str] = set()
        for line in range(len(self._lines)):
            try:
                tree = self._lines.read(line)
                name = as_listed(image_name(tree, self._lines.where(line)), self._file.parent)
            except DataError as error:
                self._faults.append(str(error))
            else:
                of_picture.setdefault(Path(os.path.normpath(name)).as_posix(), []).append(line)
                unknown |= {key for each in _objects(tree) for key in each.keys() - _KEYS if not _is_like_known(key)}
        self._pictures = sorted(of_picture.items())
        if unknown:
            named = ", ".join(map(repr, sorted(unknown)[:10]))
            warnings.warn(f"{file}: keys that mean nothing here are left aside: {named}", stacklevel=2)

    def __len__(self) -> int:
        return len(self._pictures) + len(self._faults)

    def __getitem__(self, index: int) -> Record:
        name, lines = self._of(index)
        image = self._file.parent / name
        dropped: list[str] = []
        items: list[Query | Talk | None] = []
        for line in lines:
            at = _Place(self._lines.where(line), image, self._file.parent, self.stored, dropped)
            items += _items(self._lines.read(line), at)
        queries = tuple(item for item in items if isinstance(item, Query))
        talks = tuple(item for item in items if isinstance(item, Talk))
        if not queries and not talks:
            raise DataError("; ".join(dropped))
        return Record(f"{self.name}/{name}", image, queries, talks, tuple(dropped))

    def image_path(self, index: int) -> Path:
        return self._file.parent / self._of(index)[0]

    def files(self) -> Iterator[Path]:
        """What its records are read from beside the list: pictures, and those of masks."""
        base = self._file.parent
        for name, lines in self._pictures:
            yield base / name
            for said in chain.from_iterable(_objects(self._lines.read(line)) for line in lines):
                masks = said.get("masks")
                for path in chain.from_iterable(map(_several, masks if isinstance(masks, list) else ())):
                    if isinstance(path, str):
                        yield base / as_listed(path, base)

    def _of(self, index: int) -> tuple[str, list[int]]:
        """Path and lines of a picture."""
        index = range(len(self))[index]
        if index >= len(self._pictures):
            raise DataError(self._faults[index - len(self._pictures)])
        return self._pictures[index]


@dataclass(frozen=True)
class _Place:
    """File and line for messages, the picture, the folder that paths begin at, and see `OwnSource` and `Record`."""

    where: str
    image: Path
    base: Path
    stored: bool
    dropped: list[str]

    def part(self, name: str) -> _Place:
        return replace(self, where=f"{self.where}, {name}")


def _objects(tree: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A line, and the prompts or turns in it."""
    yield tree
    for several in (tree.get("prompts"), tree.get("conversations")):
        yield from (each for each in several if isinstance(each, dict)) if isinstance(several, list) else ()


def _items(tree: Mapping[str, Any], at: _Place) -> list[Query | Talk | None]:
    """What a line says; None for a prompt of which nothing remains."""
    _refuse_unknown(tree, _LINE_KEYS, at)
    forms = [key for key in ("prompt", "prompts", "conversations") if key in tree]
    if len(forms) != 1:
        named = " and ".join(forms) or "none of them"
        raise DataError(f"{at.where}: needs one of `prompt`, `prompts` and `conversations`, but has {named}")
    if forms == ["conversations"]:
        _refuse_unknown(tree, _LINE_KEYS - {"prompt", "prompts", "form", "answer"}, at)
        return [_of_conversation(tree, at)]
    if forms == ["prompt"]:
        return [_of_prompt(tree, at)]
    _refuse_unknown(tree, _LINE_KEYS - _PROMPT_KEYS, at)
    prompts = tree["prompts"]
    if not isinstance(prompts, list) or not prompts or not all(isinstance(prompt, dict) for prompt in prompts):
        raise DataError(f"{at.where}: `prompts` should be a list of objects {{...}}, not {str(prompts)[:60]!r}")
    places = [at.part(f"prompt {number}") for number in range(1, len(prompts) + 1)]
    for prompt, place in zip(prompts, places, strict=True):
        _refuse_unknown(prompt, _PROMPT_KEYS, place)
    return [_of_prompt(prompt, place) for prompt, place in zip(prompts, places, strict=True)]


def _of_prompt(tree: Mapping[str, Any], at: _Place) -> Query | Talk | None:
    text = _text(tree, "prompt", at)
    answer = _text(tree, "answer", at) if "answer" in tree else ""
    if "masks" in tree:
        form = tree.get("form", "sentence" if reads_as_sentence(text) else "phrase")
        if form not in ("phrase", "sentence"):
            raise DataError(f"{at.where}: `form` should be 'phrase' or 'sentence', not {str(form)[:60]!r}")
        given = _masks(tree, at)
        masks = [_without_stubs(mask, at.part(f"mask {number}")) for number, mask in enumerate(given, start=1)]
        if any(given) and not any(masks):
            return None
        mask = partial(_union_of_masks, masks, at)
        return Query(text, form, mask, _explanation(answer, at), _kind(tree, at), absent=not masks)
    if not answer:
        raise DataError(f"{at.where}: needs `masks` ([] if it is not there) or `answer`")
    if "form" in tree or "kind" in tree:
        raise DataError(f"{at.where}: `form` and `kind` belong to prompts with `masks`, and there are none")
    return words_only([(text, answer)], at.where)


def _of_conversation(tree: Mapping[str, Any], at: _Place) -> Talk:
    turns = _turns(tree["conversations"], at)
    marks = sum(answer.count(SEG) for _, answer in turns)
    masks = _masks(tree, at) if "masks" in tree else []
    if marks != len(masks):
        raise DataError(f"{at.where}: the answers hold {marks} {SEG}, but `masks` has {len(masks)} entries")
    if not marks:
        if "kind" in tree:
            raise DataError(f"{at.where}: `kind` belongs to conversations with {SEG}, and this one has none")
        return words_only(turns, at.where)
    if not all(question and answer for question, answer in turns):
        raise DataError(f"{at.where}: a question or an answer is empty")
    sound = [_without_stubs(mask, at.part(f"mask {number}")) for number, mask in enumerate(masks, start=1)]
    if lost := [mask for mask, rest in zip(masks, sound, strict=True) if mask and not rest]:
        raise DataError(f"{at.where}: of the mask of a {SEG} nothing remains: {str(lost[0])[:60]}")
    made = tuple(partial(_union_of_masks, _several(mask), at) for mask in sound)
    return Talk(tuple(Turn(question, answer) for question, answer in turns), made, _kind(tree, at))


def _several(mask: Any) -> list[Any]:
    """The masks of one `[SEG]`: a list of paths or run-length codes holds several, anything else is one."""
    if isinstance(mask, list) and all(isinstance(each, str | dict) for each in mask):
        return mask
    return [mask]


def _union_of_masks(masks: Sequence[Any], at: _Place) -> np.ndarray:
    """uint8[H, W] of the picture's size, 0 or 1.

    Raises:
        DataError: When a mask cannot be read or does not fit; the message names file and line.
    """
    head = read_head(at.image)
    height, width = head.stored if at.stored else head.upright
    found = []
    for number, mask in enumerate(masks, start=1):
        try:
            if isinstance(mask, str):
                found.append(_read_mask(at.base / as_listed(mask, at.base), height, width))
            else:
                found.append(decode_segmentation(mask, height, width))
        except Exception as error:  # Pillow's decoders let all kinds of errors through for broken files
            other = "displayed" if at.stored else "stored"
            hint = f"; EXIF turns the picture: is it `exif: {other}`?" if head.stored != head.upright else ""
            raise DataError(f"{at.where}, mask {number}: {error}{hint}") from error
    whole = union(found, height, width)
    return turned_upright(whole, head.orientation) if at.stored else whole


def _read_mask(path: Path, height: int, width: int) -> np.ndarray:
    """uint8[height, width], 1 where the picture is not black: palettes are in any order, often with white first."""
    with Image.open(path) as image:
        if image.format not in _LOSSLESS or image.info.get("compression") in ("jpeg", "webp"):
            raise DataError(f"{path} is a {image.format} that may blur the rim of a mask: save masks as PNG")
        if image.has_transparency_data and image.mode != "P":
            raise DataError(_TRANSPARENT.format(path))
        if image.size != (width, height):
            size = f"{image.width} x {image.height}"
            raise DataError(f"{path} is {size} pixels, but the picture is {width} x {height}")
        if image.mode in ("1", "L", "F") or image.mode.startswith("I"):
            numbers = np.array(image)
            if np.isnan(numbers).any():
                raise DataError(f"{path} has pixels that are no number (NaN)")
            return (numbers != 0).astype(np.uint8)
        colours = np.array(image.convert("RGBA"))
        if image.mode == "P" and not colours[..., :3].any() and len(np.unique(np.array(image))) > 1:
            raise DataError(f"{path} has several numbers, but all are black in its palette: save it in black and white")
    inside = (colours[..., :3] != 0).any(axis=2)
    if (colours[inside, 3] < 255).any():
        raise DataError(_TRANSPARENT.format(path))
    return np.asarray(inside, np.uint8)


_TRANSPARENT = "{} has transparency, and it is not clear what of it is inside: save it without"


def _without_stubs(mask: Any, at: _Place) -> Any:
    """The mask without polygons that are none, which are told of in `at.dropped`."""
    rest, stubs = without_stubs(_flat_polygons(mask))
    at.dropped.extend(f"{at.where}: {stub}" for stub in stubs)
    return rest


def _flat_polygons(mask: Any) -> Any:
    """Polygons of [x, y] pairs as COCO writes them, [[x0, y0, x1, y1, ...]]; anything else as it is."""
    if not isinstance(mask, list):
        return mask
    if _is_pairs(mask):
        return [[number for point in mask for number in point]]
    return [[number for point in item for number in point] if _is_pairs(item) else item for item in mask]


def _is_pairs(polygon: Any) -> bool:
    return (
        isinstance(polygon, list)
        and len(polygon) > 0
        and all(isinstance(point, list) and len(point) == 2 for point in polygon)
    )


def _masks(tree: Mapping[str, Any], at: _Place) -> list[Any]:
    masks = tree["masks"]
    if not isinstance(masks, list) or not all(isinstance(mask, str | dict | list) for mask in masks):
        raise DataError(
            f"{at.where}: `masks` should be a list of paths, run-length codes or polygons, not {str(masks)[:60]!r}"
        )
    return masks


def _explanation(answer: str, at: _Place) -> str:
    """What an answer says beside pointing: all of it, or what follows a trained answer ("It is [SEG].")."""
    rest = next((answer.removeprefix(start).strip() for start in SEG_ANSWERS if answer.startswith(start)), answer)
    if SEG in rest:
        raise DataError(
            f"{at.where}: {SEG} can stand only at the beginning of an answer, with the explanation behind it, as in "
            f"{', '.join(map(repr, SEG_ANSWERS))}; this one is {answer[:60]!r}"
        )
    return rest


def _kind(tree: Mapping[str, Any], at: _Place) -> str:
    return _text(tree, "kind", at) if "kind" in tree else ""


def _turns(conversations: Any, at: _Place) -> list[tuple[str, str]]:
    """(question, answer) of each turn, in either way of writing; answers may hold `[SEG]`."""
    if not isinstance(conversations, list) or not all(isinstance(turn, dict) for turn in conversations):
        raise DataError(f"{at.where}: `conversations` should be a list of turns, not {str(conversations)[:60]!r}")
    if not conversations or "from" in conversations[0]:
        return exchanges(conversations, at.where)
    found = []
    for number, turn in enumerate(conversations, start=1):
        here = at.part(f"turn {number}")
        _refuse_unknown(turn, _TURN_KEYS, here)
        found.append((_text(turn, "question", here), _text(turn, "answer", here)))
    return found


def _text(tree: Mapping[str, Any], key: str, at: _Place) -> str:
    value = tree.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{at.where}: `{key}` should be text that says something, not {str(value)[:60]!r}")
    return value.strip()


def _refuse_unknown(tree: Mapping[str, Any], known: frozenset[str], at: _Place) -> None:
    """Raises DataError for a key that belongs elsewhere, or looks like a slip; `OwnSource` warns of others."""
    for key in sorted(tree.keys() - known):
        if _is_like_known(key):
            raise DataError(f"{at.where}: unknown key {key!r}: keys here are {', '.join(sorted(known))}")


@cache
def _is_like_known(key: str) -> bool:
    return bool(get_close_matches(key, _KEYS, 1, 0.85))
