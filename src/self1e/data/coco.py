"""COCO-style JSON by category: the base of PACO-LVIS, PASCAL-Part and instances of one's own."""

from __future__ import annotations

import json
import warnings
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from self1e.data.json_records import read_json
from self1e.data.masks import union_of_segmentations, without_stubs
from self1e.data.records import DRAW_OUTLINES, UNSURE, Canvas, DataError, Query, Record
from self1e.data.semantic import not_negative, some_of
from self1e.files import as_listed
from self1e.processing.classes import same_class
from self1e.processing.images import MAX_PIXELS, turned_upright


class Outlined(NamedTuple):
    """An annotation.

    Attributes:
        name: Of its category.
        outline: A COCO `segmentation` without pieces that are none; [] if nothing is left of it.
        stubs: What is wrong with each of those pieces.
        score: How sure a model was of it; None if nobody says.
        crowd: Whether it is marked as a crowd.
    """

    name: str
    outline: Any
    stubs: list[str]
    score: float | None
    crowd: bool


class CocoFile:
    """A COCO-style JSON.

    Annotations of pictures that are not listed are left aside, as a shortened list of pictures is common, and a warning
    counts them.

    The file is parsed once, which for PACO's takes some gigabytes for a moment. What stays is one compressed byte
    string a picture, a fraction of the file, which worker processes share or copy cheaply.

    Attributes:
        names: Of categories, by id.
        occurring: Those that some picture has.
        ids: Of the pictures, in their order.
    """

    def __init__(self, name: str, path: Path, images: Path) -> None:
        """Reads the file.

        Args:
            name: Begins messages about pictures.
            path: The JSON, with `images`, `annotations` and `categories`.
            images: The folder to which the pictures' `file_name` is relative.

        Raises:
            DataError: When the file cannot be read, is no such JSON, or has no outlines or no pictures.
        """
        tree = _read(path)
        self._name, self._images = name, images
        self.names = _category_names(tree["categories"], path)
        annotated: dict[str, list[list[Any]]] = defaultdict(list)
        for annotation in tree["annotations"]:
            kept = [annotation.get(key) for key in ("category_id", "segmentation", "score", "iscrowd")]
            annotated[_key(annotation.get("image_id"))].append(kept)
        outlines = (segmentation for several in annotated.values() for _, segmentation, *_ in several)
        if annotated and all(map(_is_nothing, outlines)):
            boxes = ", only boxes" if any(each.get("bbox") for each in tree["annotations"]) else ""
            what = f"none of its {len(tree['annotations']):,} annotations has an outline (`segmentation`){boxes}"
            raise DataError(f"{path}: {what}. {DRAW_OUTLINES}")
        seen = {_key(category) for several in annotated.values() for category, *_ in several}
        self.occurring = tuple(dict.fromkeys(name for category, name in self.names.items() if category in seen))
        entries: dict[str, list[Any]] = defaultdict(list)
        for entry in tree["images"]:
            entries[_key(entry.get("id"))].append({key: entry[key] for key in _OF_A_PICTURE if key in entry})
        # Ids are numbers, rarely text: zeros in front sort both.
        self.ids = tuple(sorted(entries, key=lambda key: key.zfill(20)))
        self.files = tuple(entries[key][0].get("file_name") for key in self.ids)
        self._packed = [_pack([entries[key], annotated.pop(key, [])]) for key in self.ids]
        if not self.ids:
            raise DataError(f"{path} lists no pictures")
        if annotated:
            count, total = sum(map(len, annotated.values())), len(tree["annotations"])
            warnings.warn(
                f"{path} does not list the pictures of {count:,} of its {total:,} annotations, such as picture "
                f"{next(iter(annotated))}: these are left aside",
                stacklevel=2,
            )

    def where(self, index: int) -> str:
        """The picture, for messages."""
        return f"{self._name}, picture {self.ids[index]}"

    def image_path(self, index: int) -> Path:
        """A picture.

        Raises:
            DataError: When the file does not name it.
        """
        file = self.files[index]
        if not file or not isinstance(file, str):
            raise DataError(f"{self.where(index)}: has no `file_name`")
        return self._images / as_listed(file, self._images)

    def picture(self, index: int) -> tuple[Mapping[str, Any], tuple[int, int] | None, list[Outlined]]:
        """The entry of a picture, its (height, width) if the file states them, and its annotations.

        Raises:
            DataError: When one of them lacks something, or contradicts another.
        """
        where = self.where(index)
        entries, annotations = json.loads(zlib.decompress(self._packed[index]))
        if self.ids[index] == "None":
            raise DataError(f"{where}: an entry of `images` has no `id`")
        if any(entry != entries[0] for entry in entries):
            raise DataError(f"{where}: {len(entries)} entries of `images` have this id, but differ")
        found = []
        for category, segmentation, score, crowd in annotations:
            if _key(category) not in self.names:
                raise DataError(f"{where}: category {category!r} is not among the file's `categories`")
            rest, stubs = without_stubs([] if _is_nothing(segmentation) else segmentation)
            score = float(score) if isinstance(score, int | float) else None
            found.append(Outlined(self.names[_key(category)], rest, stubs, score, bool(crowd)))
        return entries[0], _size(entries[0], where), found


class CategoryMasks:
    """The pictures of a COCO-style JSON. Every category in a picture is a query for all its instances together.

    Crowds belong to their category; an annotation with no outline at all is left out, and so are polygons of less than
    three points. Of federated annotations (LVIS, PACO), a category that is marked as not exhaustively annotated in a
    picture is not asked for there, nor its parts.
    """

    def __init__(
        self,
        name: str,
        annotations: Path,
        images: Path,
        spoken: Callable[[str], tuple[str, str]],
        *,
        absent_classes: int = 0,
        min_score: float = 0.0,
        stored: bool = False,
    ) -> None:
        """Reads the file.

        Args:
            name: What settings and reports call the source.
            annotations: See `CocoFile`.
            images: See `CocoFile`.
            spoken: Makes a category's name a phrase and a kind of query. Categories of the same phrase, as `same_class`
                says, are one.
            absent_classes: How many categories that are not in a picture are added to its queries. Where the file
                lists them (`neg_category_ids`) they are taken from there, otherwise from those that some picture has.
            min_score: A category of which an annotation has a score, and one below this, is not asked for there.
            stored: Whether outlines are of pictures as they are stored, before their EXIF orientation is applied. They
                are turned as the pictures are.

        Raises:
            DataError: When the file cannot be read, is no such JSON, has no outlines, or none of its pictures exists.
        """
        self._coco = CocoFile(name, annotations, images)
        self.name = name
        self._stored = stored
        self._absent_classes = not_negative(absent_classes, "absent_classes")
        self._min_score = min_score
        first: dict[str, str] = {}
        self._spoken: dict[str, tuple[str, str]] = {}
        for each in self._coco.names.values():
            phrase, kind = spoken(each)
            self._spoken[each] = first.setdefault(same_class(phrase), phrase), kind
        if not any(path.is_file() for path in self.files()):
            first_file = self._coco.files[0]
            raise DataError(f"{images} has none of the {len(self)} pictures of {annotations} ({first_file}, ...)")

    def __len__(self) -> int:
        return len(self._coco.ids)

    def image_path(self, index: int) -> Path:
        """The picture of a record.

        Raises:
            DataError: When the file does not name it.
        """
        return self._coco.image_path(index)

    def files(self) -> Iterator[Path]:
        """What its records are read from beside the JSON: pictures."""
        for index in range(len(self)):
            with suppress(DataError):  # which is told when that record is read
                yield self.image_path(index)

    def __getitem__(self, index: int) -> Record:
        """Sorts a picture's annotations by category.

        Raises:
            DataError: When the picture or one of its annotations lacks something, or contradicts another entry.
        """
        record_id, where = self._coco.ids[index], self._coco.where(index)
        image = self.image_path(index)
        entry, size, annotations = self._coco.picture(index)
        mask = partial(outlined_mask, size=size, canvas=Canvas(image), stored=self._stored)

        outlines: dict[str, list[Any]] = defaultdict(list)
        dropped: list[str] = []
        bare: list[str] = []
        incomplete = set(self._known(entry, "not_exhaustive_category_ids", where))
        for each in annotations:
            phrase = self._spoken[each.name][0]
            dropped += [f"{phrase!r}: {stub}" for stub in each.stubs]
            if not each.outline and not each.stubs:
                bare.append(f"{phrase!r}: an annotation has no outline")
            if each.score is not None and each.score < self._min_score:
                incomplete.add(each.name)
                bare.append(UNSURE.format(phrase))
            outlines[each.name] += [each.outline] if each.outline else []
        of_phrase: dict[tuple[str, str], list[Any]] = defaultdict(list)
        for name in self._spoken:
            of_phrase[self._spoken[name]] += outlines.get(name, ())
        unclear = {self._spoken[name] for name in self._spoken if {name, _whole_of(name)} & incomplete}
        queries = tuple(
            Query(phrase, "phrase", partial(mask, segmentations), kind=kind)
            for (phrase, kind), segmentations in of_phrase.items()
            if segmentations and (phrase, kind) not in unclear
        )
        listed = entry.get("neg_category_ids") is not None
        candidates = self._known(entry, "neg_category_ids", where) if listed else self._coco.occurring
        taken = {self._spoken[name][0] for name in outlines} | {phrase for phrase, _ in unclear}
        absent = dict.fromkeys(self._spoken[name][0] for name in candidates)
        chosen = some_of([phrase for phrase in absent if phrase not in taken], self._absent_classes, record_id)
        queries += tuple(Query(phrase, "phrase", partial(mask, []), kind="absent", absent=True) for phrase in chosen)
        if dropped and not queries:
            raise DataError(f"{where}, {dropped[0]}")
        return Record(record_id, image, queries, dropped=(*dropped, *bare))

    def _known(self, entry: Mapping[str, Any], key: str, where: str) -> list[str]:
        """Names of categories; PACO's pictures come from LVIS and may list categories that only LVIS has."""
        categories = entry.get(key)
        if not isinstance(categories, list | None):
            raise DataError(f"{where}: its `{key}` should be a list of numbers, but is {str(categories)[:60]!r}")
        return [self._coco.names[_key(each)] for each in categories or () if _key(each) in self._coco.names]


#: What is kept of an entry of `images`.
_OF_A_PICTURE = ("file_name", "height", "width", "not_exhaustive_category_ids", "neg_category_ids")


def outlined_mask(
    segmentations: Sequence[Any], size: tuple[int, int] | None, canvas: Canvas, stored: bool
) -> np.ndarray:
    """uint8[H, W]: all these outlines in the upright picture.

    Args:
        segmentations: Of annotations.
        size: (height, width) by the file; None: that of the picture.
        canvas: The picture.
        stored: See `CategoryMasks`.
    """
    if size is not None and not stored:
        return union_of_segmentations(segmentations, *size)
    head = canvas.head
    mask = union_of_segmentations(segmentations, *(size or (head.stored if stored else head.upright)))
    return turned_upright(mask, head.orientation) if stored else mask


def _whole_of(name: str) -> str:
    return name.partition(":")[0]


def _read(annotations: Path) -> dict[str, list[Any]]:
    tree = read_json(annotations, "cannot read {path}: {error}")
    for key in ("images", "annotations", "categories"):
        content = tree.get(key) if isinstance(tree, Mapping) else None
        if not isinstance(content, list) or not all(isinstance(each, Mapping) for each in content):
            raise DataError(f"{annotations} is no COCO instances JSON: it needs a list `{key}` of objects")
    return tree


def _category_names(categories: Sequence[Mapping[str, Any]], annotations: Path) -> dict[str, str]:
    """Names by id."""
    names: dict[str, str] = {}
    for category in categories:
        name, number = category.get("name"), category.get("id")
        if number is None or not isinstance(name, str) or not name.strip():
            raise DataError(f"{annotations}: a category needs `id` and `name`, but one is {dict(category)}")
        if names.setdefault(_key(number), name) != name:
            raise DataError(f"{annotations}: category {number} is both {names[_key(number)]!r} and {name!r}")
    return names


def _key(number: Any) -> str:
    """An id as text, as some programs write 7 here, and "7" or 7.0 there."""
    return str(int(number) if isinstance(number, float) and number.is_integer() else number)


def _pack(content: Any) -> bytes:
    return zlib.compress(json.dumps(content, separators=(",", ":")).encode(), level=1)


def _size(entry: Mapping[str, Any], where: str) -> tuple[int, int] | None:
    """(height, width); None where the file does not say, or says 0."""
    if not entry.get("height") or not entry.get("width"):
        return None
    height, width = (_side(entry, key, where) for key in ("height", "width"))
    if height * width > MAX_PIXELS:  # masks of that size would fill the memory
        raise DataError(f"{where}: {width} x {height} pixels are more than a picture may have, {MAX_PIXELS:,}")
    return height, width


def _side(entry: Mapping[str, Any], key: str, where: str) -> int:
    side = entry.get(key)
    if not (isinstance(side, int) or (isinstance(side, float) and side.is_integer())) or side < 1:
        raise DataError(f"{where}: its `{key}` should be a number of pixels, but is {side!r}")
    return int(side)


def _is_nothing(segmentation: Any) -> bool:
    """Whether it outlines nothing: None, [], [[]]."""
    if isinstance(segmentation, Mapping | str):
        return False
    return not segmentation or (isinstance(segmentation, list) and all(each in ([], None) for each in segmentation))
