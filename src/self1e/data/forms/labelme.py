"""LabelMe: a JSON file a picture, with polygons through the pixels of the rim, as labelme and supervision fill them."""

from __future__ import annotations

import base64
import io
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image

from self1e.data.forms import marked
from self1e.data.forms.marked import Marked, Thing
from self1e.data.forms.needs import package
from self1e.data.forms.shapes import shapes_of
from self1e.data.json_records import read_json
from self1e.data.masks import MaskError
from self1e.data.records import DataError
from self1e.files import files_of_user, write_json
from self1e.processing.images import read_head

VERSION = "6.3.1"
"""Of the program whose files these are."""


class Writer(marked.Writer):
    """A shape for each part of a thing; parts of one thing share a `group_id`. A score is a key of its own."""

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
            "imagePath": marked.name if marked.image is None else beside(marked.image, file.parent),
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


class LabelMe:
    """A folder of LabelMe's files, and folders in it. Shapes of one label and `group_id` are one thing.

    Polygons and rectangles are filled by supervision; masks are read; circles, lines and points are no masks here.
    """

    def __init__(self, labelme: Path, images: Path | None = None) -> None:
        """Reads all files once for their pictures and labels.

        Args:
            labelme: The folder.
            images: Folder of the pictures, if they are not where the files say: below it they have the folders that
                the files have.

        Raises:
            DataError: When there is no such folder, or no file of this form in it.
            ImportError: Without supervision.
        """
        package("supervision")
        files = files_of_user(labelme, "**/*.json")
        self.name = labelme.name
        self._files: list[tuple[Path, Path, str]] = []  # file, picture, name
        labels: set[str] = set()
        for file in files:
            tree = read_json(file, "cannot read {path}: {error}")
            if not isinstance(tree, dict) or not isinstance(tree.get("shapes"), list) or not tree.get("imagePath"):
                raise DataError(f"{file} is no file of LabelMe: it needs `shapes` and `imagePath`")
            path = Path(PureWindowsPath(tree["imagePath"]).as_posix())  # Windows' separators, too
            inside = file.parent.relative_to(labelme)
            picture = file.parent / path if images is None else images / inside / path.name
            self._files.append((file, picture, (inside / path.name).as_posix()))
            labels |= {str(shape.get("label")) for shape in tree["shapes"]}
        if not files:
            raise DataError(f"{labelme} has no files of LabelMe: give the folder of its .json files")
        self.labels = sorted(labels)

    def __len__(self) -> int:
        return len(self._files)

    def image_path(self, index: int) -> Path:
        return self._files[index][1]

    def files(self) -> Iterator[Path]:
        for file, image, _ in self._files:
            yield from (image, file)

    def __getitem__(self, index: int) -> Marked:
        file, image, name = self._files[index]
        things: defaultdict[tuple[str, Any], list[dict[str, Any]]] = defaultdict(list)
        lost = []
        for number, shape in enumerate(read_json(file)["shapes"]):
            label, kind, points = str(shape.get("label")), shape.get("shape_type", "polygon"), shape.get("points") or []
            group = shape.get("group_id")
            if kind not in ("polygon", "rectangle", "mask"):
                lost.append((label, f"a {kind}"))
            elif len(points) < (3 if kind == "polygon" else 2):
                lost.append(("", f"a {kind} of {len(points)} points"))
            else:
                things[label, number if group is None else ("group", group)].append(shape | {"shape_type": kind})
        return Marked(
            name,
            tuple(
                Thing(label, partial(_pixels, shapes, image, str(file)), _score(shapes))
                for (label, _), shapes in things.items()
            ),
            image,
            lost=tuple(lost),
        )


def open_set(labelme: Path, images: Path | None = None) -> LabelMe:
    """See `LabelMe`."""
    return LabelMe(labelme, images)


def _score(shapes: Sequence[dict[str, Any]]) -> float | None:
    score = shapes[0].get("score")
    return float(score) if isinstance(score, int | float) else None


def _pixels(shapes: Sequence[dict[str, Any]], image: Path, where: str) -> np.ndarray:
    """The union of shapes, bool[H, W].

    Raises:
        MaskError: When a shape cannot be filled.
    """
    from supervision.dataset.formats.labelme import labelme_shapes_to_detections

    height, width = read_head(image).upright
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
