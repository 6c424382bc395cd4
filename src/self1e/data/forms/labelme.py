"""LabelMe: a JSON file a picture, with polygons through the pixels of the rim, as labelme and supervision fill them."""

from __future__ import annotations

import base64
import io
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image

from self1e.data.forms import marked
from self1e.data.forms.marked import Lost, Marked, MarkedSet, Thing, in_words
from self1e.data.forms.needs import package
from self1e.data.forms.shapes import shapes_of
from self1e.data.json_records import read_json
from self1e.data.masks import MaskError
from self1e.data.records import Canvas, DataError
from self1e.files import files_of_user, write_json

VERSION = "6.3.1"
"""Of the program whose files these are."""


class Writer(marked.Writer):
    """A shape for each part of a thing; parts of one thing share a `group_id`. A score is a key of its own."""

    names_pictures = True

    def write(self, file: Path, marked: Marked) -> None:
        height, width = marked.height_and_width()
        shapes = [
            shape
            for number, thing in enumerate(marked.present)
            for shape in shapes_of(thing.pixels(), thing.label, thing.score, number=number, tolerance=self.tolerance)
        ]
        tree: dict[str, Any] = {
            "version": VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": beside(self.picture_file(marked), file.parent),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        write_json(file, tree, overwrite=True, indent=2)


def beside(path: Path, folder: Path) -> str:
    """The path as it is written in a file of that folder: relative, or absolute if it is on another drive."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return str(path.absolute())


class Reader(MarkedSet):
    """A folder of LabelMe's files, and folders in it. Shapes of one label and `group_id` are one thing.

    Polygons and rectangles are filled by supervision; masks are read; circles, lines and points are no masks here.
    """

    def __init__(self, labelme: Path, images: Path | None = None) -> None:
        """Reads all files once for their pictures and labels; JSON of other forms is passed over.

        Args:
            labelme: The folder.
            images: Folder of the pictures, if they are not where the files say: below it they have the folders that
                the files have.

        Raises:
            DataError: When there is no such folder, no file of this form or no outline in it; without supervision.
        """
        package("supervision")
        self._files: list[Path] = []
        pictures: list[Path | DataError] = []
        kinds: Counter[str] = Counter()
        labels: set[str] = set()
        for file in files_of_user(labelme, "**/*.json"):
            try:
                tree = read_json(file, "cannot read {path}: {error}")
            except DataError as error:
                pictures.append(error)
            else:
                if not isinstance(tree, dict) or not isinstance(tree.get("shapes"), list):
                    continue
                pictures.append(
                    _picture(tree, file, None if images is None else images / file.parent.relative_to(labelme))
                )
                with suppress(DataError):  # which is told when the picture is read
                    for shape in _shapes(tree, file):
                        labels.add(shape["label"])
                        kinds[shape["shape_type"]] += 1
            self._files.append(file)
        if not self._files:
            raise DataError(f"{labelme} has no files of LabelMe: give the folder of its .json files")
        if kinds["rectangle"]:
            warnings.warn(
                f"{labelme}: {kinds['rectangle']:,} of {kinds.total():,} shapes are rectangles, of which all that is "
                "inside is the mask: if they are boxes around things, draw outlines",
                stacklevel=2,
            )
        super().__init__(labelme.resolve().name, sorted(labels), pictures, images or labelme)
        self.refuse_boxes()

    def files(self) -> Iterator[Path]:
        for file, image in zip(self._files, self._pictures, strict=True):
            yield from (image, file) if isinstance(image, Path) else (file,)

    def _read(self, index: int, canvas: Canvas) -> tuple[list[Thing], list[Lost]]:
        file = self._files[index]
        things: defaultdict[tuple[str, Any], list[dict[str, Any]]] = defaultdict(list)
        lost = []
        tree = read_json(file)
        stated = tree.get("imageHeight"), tree.get("imageWidth")
        for number, shape in enumerate(_shapes(tree, file)):
            label, kind, count, group = shape["label"], shape["shape_type"], len(shape["points"]), shape["group_id"]
            if kind not in ("polygon", "rectangle", "mask"):
                lost.append(Lost(label, in_words(kind), gap=True))
            elif count < (3 if kind == "polygon" else 2):
                lost.append(Lost(label, f"a {kind} of {count} points"))
            else:
                things[label, number if group is None else ("group", group)].append(shape)
        made = [
            Thing(label, partial(_pixels, shapes, canvas, str(file), stated), _score(shapes))
            for (label, _), shapes in things.items()
        ]
        return made, lost


def _picture(tree: dict[str, Any], file: Path, folder: Path | None) -> Path | DataError:
    """The picture of a file: where that says, or in a folder."""
    if not isinstance(name := tree.get("imagePath"), str) or not name:
        return DataError(f"{file}: `imagePath` should be the path of a picture, not {name!r}")
    path = Path(PureWindowsPath(name).as_posix())  # Windows' separators, too
    place = file.parent / path if folder is None else folder / path.name
    if tree.get("imageData") and not place.exists():
        return DataError(
            f"{place} is missing; the copy in {file} (`imageData`) is not read: save it there as a picture"
        )
    return place


def _shapes(tree: dict[str, Any], file: Path) -> list[dict[str, Any]]:
    """The shapes of a file with all their keys. Raises DataError when one is none, or its values are of other types."""
    kinds = {"label": str, "points": list, "shape_type": str, "group_id": str | int | None}
    found = []
    for shape in tree["shapes"]:
        if not isinstance(shape, dict):
            raise DataError(f"{file}: a shape is {str(shape)[:60]}")
        known: dict[str, Any] = (
            {"points": [], "group_id": None} | shape | {"shape_type": shape.get("shape_type") or "polygon"}
        )
        for key, kind in kinds.items():
            if not isinstance(known.get(key), kind):
                raise DataError(f"{file}: the `{key}` of a shape is {str(known.get(key))[:60]}")
        found.append(known)
    return found


def _score(shapes: Sequence[dict[str, Any]]) -> float | None:
    score = shapes[0].get("score")
    return float(score) if isinstance(score, int | float) else None


def _pixels(shapes: Sequence[dict[str, Any]], canvas: Canvas, where: str, stated: tuple[Any, Any]) -> np.ndarray:
    """The union of shapes, bool[H, W].

    Raises:
        MaskError: When a shape cannot be filled, or the picture is not of the height and width that the file states.
    """
    from supervision.dataset.formats.labelme import labelme_shapes_to_detections

    height, width = canvas.head.upright
    if all(stated) and stated != (height, width):
        size = f"{stated[1]} x {stated[0]} pixels, and {canvas.image} has {width} x {height}"
        raise MaskError(f"{where} is about a picture of {size}")
    inside = np.zeros((height, width), bool)
    for shape in shapes:
        try:
            if shape["shape_type"] == "mask":
                _place(shape, inside)
                continue
            alone = shape | {"group_id": None}
            found = labelme_shapes_to_detections([alone], {shape["label"]: 0}, (width, height), with_masks=True)
        except Exception as error:  # whatever stands there in place of numbers and pictures
            raise MaskError(f"{where}: a shape of {shape['label']!r} cannot be read: {error}") from error
        inside |= found.mask[0]
    return inside


def _place(shape: dict[str, Any], inside: np.ndarray) -> None:
    """Adds a mask, which is a PNG as large as the box of the shape, both corners included."""
    (left, top), (right, bottom) = np.array(shape["points"]).astype(int)
    mask = np.array(Image.open(io.BytesIO(base64.b64decode(shape["mask"])))) > 0
    inside[top : bottom + 1, left : right + 1] |= mask
