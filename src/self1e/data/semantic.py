"""Index maps, PNGs whose pixels are class numbers, as queries: ADE20K, COCO-Stuff, and the base of all such sources."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from glob import escape
from pathlib import Path
from random import Random
from typing import Literal

import numpy as np

from self1e.data.masks import IGNORE, read_index_map
from self1e.data.records import DataError, Query, Record
from self1e.files import files_of_user
from self1e.processing.classes import class_names, same_class
from self1e.processing.images import read_head, turned_upright


class IndexMaps:
    """Pictures with an index map each. Every class in a map is a query for all pixels of that class.

    Attributes:
        name: What settings and reports call the source.
        phrases: What can be asked for, each with its pixel values. Phrases may share values ("wall", "brick wall").
    """

    def __init__(
        self,
        name: str,
        images: Path,
        masks: Path,
        files: Sequence[str],
        phrases: Mapping[str, Sequence[int]],
        *,
        values: Collection[int],
        ignored: Collection[int] = (IGNORE,),
        absent_classes: int = 0,
        stored: bool = False,
    ) -> None:
        """Takes the pictures as they are listed; maps are read with their records.

        Args:
            name: Of the source.
            images: Folder of the pictures.
            masks: Folder of the maps: that of `a.jpg` is `a.png`.
            files: File names of the pictures, which are the ids of the records, in their order.
            phrases: What can be asked for, each with its pixel values.
            values: All class numbers. A map that holds another one is refused: its numbering is not the expected one.
            ignored: Values of pixels that count neither way, 255 in the masks.
            absent_classes: How many phrases that do not apply to a picture are added to its queries.
            stored: Whether maps are of pictures as they are stored, before their EXIF orientation is applied. They are
                turned as the pictures are.

        Raises:
            DataError: When none of the pictures, or of their maps, exists.
        """
        if not files:
            raise DataError(f"{name}: no pictures are listed for {images} and {masks}: download or unpack them")
        maps: dict[str, str] = {}
        for file in files:
            if (other := maps.setdefault(file.rpartition(".")[0], file)) != file:
                raise DataError(f"{name}: {other} and {file} cannot share one index map: rename one of them")
        self.name = name
        self.phrases = {phrase: tuple(values) for phrase, values in phrases.items()}
        self._images, self._masks, self._files = images, masks, tuple(files)
        self._known = frozenset(values) | frozenset(ignored)
        self._ignored = tuple(ignored)
        self._absent_classes = not_negative(absent_classes, "absent_classes")
        self._stored = stored
        for folder, paths in ((images, map(self.image_path, range(len(self)))), (masks, map(self._map_of, files))):
            if not any(path.is_file() for path in paths):
                pair = f"{files[0]} with {Path(files[0]).with_suffix('.png')}"
                raise DataError(f"{name}: {folder} has none of the {len(self)} files that belong there ({pair}, ...)")

    def __len__(self) -> int:
        return len(self._files)

    def image_path(self, index: int) -> Path:
        """The picture of a record."""
        return self._images / self._files[index]

    def __getitem__(self, index: int) -> Record:
        """Looks up which classes are in the picture's map.

        Raises:
            DataError: When there is no map, or it has colours or unknown class numbers.
        """
        file = self._files[index]
        present = self._present(file)
        there = [phrase for phrase, values in self.phrases.items() if not present.isdisjoint(values)]
        absent = some_of([phrase for phrase in self.phrases if phrase not in there], self._absent_classes, file)
        # A class that is absent may still be where nothing is known: ignored pixels stay ignored.
        queries = [self._query(file, phrase, self.phrases[phrase], "semantic") for phrase in there]
        queries += [self._query(file, phrase, (), "absent") for phrase in absent]
        return Record(file, self.image_path(index), tuple(queries))

    def files(self) -> Iterator[Path]:
        """What its records are read from: pictures and maps."""
        for index, file in enumerate(self._files):
            yield self.image_path(index)
            yield self._map_of(file)

    def _query(self, file: str, phrase: str, values: tuple[int, ...], kind: str) -> Query:
        mask = partial(
            mask_of_map, self._map_of(file), values, self._ignored, self._images / file if self._stored else None
        )
        return Query(phrase, "phrase", mask, kind=kind, absent=not values)

    def _map_of(self, file: str) -> Path:
        return self._masks / Path(file).with_suffix(".png")

    def _present(self, file: str) -> frozenset[int]:
        """The values in a picture's map."""
        path = self._map_of(file)
        try:
            index_map = read_index_map(path)
        except FileNotFoundError:
            near = ", ".join(each.name for each in files_of_user(self._masks, f"{escape(path.stem)}.*"))
            instead = f"; {near} cannot take its place" if near else ""
            raise DataError(f"{self.name}, {file}: there is no index map {path}{instead}") from None
        except (OSError, ValueError, SyntaxError) as error:  # SyntaxError: Pillow's word for a broken PNG
            raise DataError(f"{self.name}, {file}: {error}") from error
        present = frozenset(np.flatnonzero(np.bincount(index_map.ravel(), minlength=256)).tolist())
        if unknown := sorted(present - self._known):
            numbers = f"{', '.join(map(str, unknown[:10]))}{', ...' if unknown[10:] else ''}"
            raise DataError(
                f"{self.name}, {file}: {path} has pixels of value {numbers}, for which there is no class; "
                f"classes go up to {max(self._known - {*self._ignored})}, and {self._ignored[-1]} is ignored"
            )
        return present


def mask_of_map(path: Path, values: Sequence[int], ignored: Sequence[int], turned_as: Path | None = None) -> np.ndarray:
    """uint8[H, W] of an index map: 1 where it holds one of `values`, 255 where one of `ignored`, else 0.

    Turned as EXIF turns the picture `turned_as`.
    """
    index_map = read_index_map(path)
    mask = np.isin(index_map, values).astype(np.uint8)
    mask[np.isin(index_map, ignored)] = IGNORE
    return mask if turned_as is None else turned_upright(mask, read_head(turned_as).orientation)


def some_of(phrases: Sequence[str], count: int, record_id: str) -> list[str]:
    """`count` of the phrases, or all if there are no more: always the same ones for a record."""
    return Random(os.fsencode(record_id)).sample(phrases, min(count, len(phrases)))  # names may be no UTF-8


def not_negative(value: int, name: str) -> int:
    """The value. Raises ValueError if it is negative."""
    if value < 0:
        raise ValueError(f"{name} must be at least 0, got {value}")
    return value


def require(path: Path, expected: str, *, folder: bool = True) -> Path:
    """The path. Raises DataError if there is no such folder (or file); `expected` shows the tree and its source."""
    if not (path.is_dir() if folder else path.is_file()):
        raise DataError(f"there is no {'folder' if folder else 'file'} {path}. Expected:\n{expected}")
    return path


def files_in(folder: Path, suffix: str) -> list[str]:
    """Names of the user's files with that ending, sorted."""
    return [path.name for path in files_of_user(folder) if path.suffix == suffix]


ADE20K_TREE = """    ROOT/ade20k/images/{training,validation}/ADE_*.jpg
    ROOT/ade20k/annotations/{training,validation}/ADE_*.png    (values 0 to 150)
from ADEChallengeData2016.zip, http://sceneparsing.csail.mit.edu"""


class Ade20kSource(IndexMaps):
    """ADE20K's SceneParsing benchmark. Value 0, unlabelled, is ignored as in its protocol.

    Attributes:
        classes: The 150 names; `classes[i]` has the value i + 1.
    """

    def __init__(
        self, root: Path, split: Literal["training", "validation"] = "training", *, name: str = "ade20k"
    ) -> None:
        """Lists the maps of a split.

        Args:
            root: The folder that holds `ade20k`.
            split: Folder of images and annotations.
            name: Of the source.

        Raises:
            DataError: When a folder is missing or empty.
        """
        self.classes = class_names("ade20k")
        images = require(root / "ade20k" / "images" / split, ADE20K_TREE)
        masks = require(root / "ade20k" / "annotations" / split, ADE20K_TREE)
        files = [f"{Path(file).stem}.jpg" for file in files_in(masks, ".png")]
        super().__init__(
            name,
            images,
            masks,
            files,
            phrases_of_values(dict(enumerate(self.classes, 1))),
            values=range(1, 151),
            ignored=(0, IGNORE),
        )


COCO_STUFF_TREE = """    ROOT/cocostuff/{train2017,val2017}/000000000000.png    (values 0 to 181, and 255)
    ROOT/coco/{train2017,val2017}/000000000000.jpg
from stuffthingmaps_trainval2017.zip, https://github.com/nightrome/cocostuff, and https://cocodataset.org/#download"""


class CocoStuffSource(IndexMaps):
    """COCO-Stuff, things and stuff. Value 255, unlabelled, is ignored.

    The values are COCO-Stuff's ids minus 1. 11 of the 182 (hat, street sign, ...) were planned but never drawn.

    Attributes:
        classes: The 182 names as COCO-Stuff writes them; `classes[i]` has the value i. `phrases` has the spoken ones.
    """

    def __init__(self, root: Path, split: Literal["train2017", "val2017"] = "train2017") -> None:
        """Lists the maps of a split.

        Args:
            root: The folder that holds `cocostuff` and `coco`.
            split: Folder of pictures and maps.

        Raises:
            DataError: When a folder is missing or empty.
        """
        self.classes = class_names("coco_stuff")
        images = require(root / "coco" / split, COCO_STUFF_TREE)
        masks = require(root / "cocostuff" / split, COCO_STUFF_TREE)
        files = [f"{Path(file).stem}.jpg" for file in files_in(masks, ".png")]
        phrases = coco_stuff_phrases(self.classes)
        super().__init__("cocostuff", images, masks, files, phrases, values=range(len(self.classes)))


def phrases_of_values(names: Mapping[int, str]) -> dict[str, tuple[int, ...]]:
    """What is asked for by each name: its pixel values, several if several have the same name, as `same_class` says.

    >>> phrases_of_values({1: "dog", 2: "cat", 7: "Dog"})
    {'dog': (1, 7), 'cat': (2,)}
    """
    phrases: dict[str, tuple[int, ...]] = {}
    first: dict[str, str] = {}
    for value, name in names.items():
        phrase = first.setdefault(same_class(name), name)
        phrases[phrase] = (*phrases.get(phrase, ()), value)
    return phrases


#: COCO-Stuff's remainders of a group that no phrase describes: "a plant, but no tree, flower, bush, grass, moss, ...".
COCO_STUFF_NOT_ASKED = frozenset(
    ("furniture-other", "ground-other", "plant-other", "solid-other", "structural-other", "textile-other")
)

#: Words for more than the class of that name. A person who asks for the wall means the brick one, too.
COCO_STUFF_GENERAL: dict[str, tuple[str, ...]] = {
    "building": ("building-other", "house", "skyscraper"),
    "ceiling": ("ceiling-other", "ceiling-tile"),
    "desk": ("desk", "desk-stuff"),
    "door": ("door", "door-stuff"),
    "floor": ("floor-marble", "floor-other", "floor-stone", "floor-tile", "floor-wood"),
    "food": (
        *("food-other", "fruit", "vegetable", "salad", "banana", "apple", "sandwich", "orange", "broccoli", "carrot"),
        *("hot dog", "pizza", "donut", "cake"),
    ),
    "fruit": ("fruit", "banana", "apple", "orange"),
    "mirror": ("mirror", "mirror-stuff"),
    "sky": ("sky-other", "clouds"),
    "table": ("table", "dining table"),
    "vegetable": ("vegetable", "broccoli", "carrot"),
    "wall": ("wall-brick", "wall-concrete", "wall-other", "wall-panel", "wall-stone", "wall-tile", "wall-wood"),
    "water": ("water-other", "river", "sea", "waterdrops"),
    "window": ("window", "window-other"),
}

#: Names that the rule of `coco_stuff_phrase` would not turn into English.
COCO_STUFF_SPOKEN = {
    "playingfield": "playing field",
    "waterdrops": "water drops",
    "window-blind": "window blind",
}
_ADJECTIVES = {"panel": "panelled", "tile": "tiled", "wood": "wooden"}


def coco_stuff_phrase(name: str) -> str:
    """How a person would say COCO-Stuff's name of a class.

    >>> [coco_stuff_phrase(name) for name in ("wall-brick", "floor-wood", "sky-other", "tree-merged", "hot dog")]
    ['brick wall', 'wooden floor', 'sky', 'tree', 'hot dog']
    """
    if name in COCO_STUFF_SPOKEN:
        return COCO_STUFF_SPOKEN[name]
    thing, _, kind = name.partition("-")
    return thing if kind in ("", "other", "stuff", "merged") else f"{_ADJECTIVES.get(kind, kind)} {thing}"


def coco_stuff_phrases(classes: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """What can be asked for of COCO-Stuff's classes (`classes[i]` has the value i), each with its pixel values."""
    names = {value: name for value, name in enumerate(classes) if name not in COCO_STUFF_NOT_ASKED}
    phrases = phrases_of_values({value: coco_stuff_phrase(name) for value, name in names.items()})
    for phrase, members in COCO_STUFF_GENERAL.items():
        phrases[phrase] = tuple(sorted(classes.index(name) for name in members))
    return phrases
