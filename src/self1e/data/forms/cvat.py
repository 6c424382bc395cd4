"""CVAT's XML ("CVAT for images 1.1"): polygons and masks of pictures, by class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from self1e.data.forms.marked import Marked, Thing
from self1e.data.forms.needs import package
from self1e.data.masks import MaskError, decode_segmentation
from self1e.data.records import DataError

#: An outline or mask as it stands in the file: its kind, and its attributes.
Shape = tuple[str, Mapping[str, str]]


class Cvat:
    """The pictures of an XML file. Shapes of one label and `group_id` are one thing.

    Polygons are filled by pycocotools, as in CVAT's own export to COCO.
    """

    def __init__(self, cvat: Path, images: Path) -> None:
        """Reads the file.

        Args:
            cvat: The XML file.
            images: The folder to which names of pictures are relative.

        Raises:
            DataError: When it cannot be read, is about a video, or has no pictures.
            ImportError: Without defusedxml.
        """
        package("defusedxml")
        from defusedxml.ElementTree import parse

        try:
            root = parse(cvat).getroot()
        except Exception as error:  # what is no XML, or more than XML should be
            raise DataError(f"cannot read {cvat}: {error}") from error
        if root.tag != "annotations" or root.find("track") is not None:
            raise DataError(f'{cvat} is no list of pictures: export as "CVAT for images 1.1"')
        self.name = cvat.stem
        self._file, self._images = cvat, images
        self._pictures = [
            (dict(picture.attrib), [(shape.tag, dict(shape.attrib)) for shape in picture])
            for picture in root.iter("image")
        ]
        if not self._pictures:
            raise DataError(f"{cvat} lists no pictures")
        named = [str(each.text) for each in root.iterfind("meta//labels/label/name")]
        things = [shape for _, shapes in self._pictures for kind, shape in shapes if kind != "tag"]
        self.labels = list(dict.fromkeys([*named, *sorted(shape.get("label", "") for shape in things)]))

    def __len__(self) -> int:
        return len(self._pictures)

    def image_path(self, index: int) -> Path:
        return self._images / self._pictures[index][0].get("name", "")

    def files(self) -> Iterator[Path]:
        yield self._file
        yield from map(self.image_path, range(len(self)))

    def __getitem__(self, index: int) -> Marked:
        about, shapes = self._pictures[index]
        where = f"{self.name}, picture {about.get('name')!r}"
        try:
            shape = int(about["height"]), int(about["width"])
        except (KeyError, ValueError):
            raise DataError(f"{where}: needs `width` and `height`") from None
        things: defaultdict[tuple[str, Any], list[Shape]] = defaultdict(list)
        lost = []
        for number, (kind, entry) in enumerate(shapes):
            label = entry.get("label", "")
            if kind == "polygon" and entry.get("points", "").count(";") < 2:
                lost.append(("", "a polygon of less than 3 points"))
            elif kind in ("polygon", "mask"):
                group = entry.get("group_id", "0")
                things[label, number if group == "0" else ("group", group)].append((kind, entry))
            elif kind != "tag":
                lost.append((label, f"a {kind}"))
        return Marked(
            about.get("name", ""),
            tuple(Thing(label, partial(_pixels, of_thing, shape, where)) for (label, _), of_thing in things.items()),
            self.image_path(index),
            shape=shape,
            lost=tuple(lost),
        )


def open_set(cvat: Path, images: Path) -> Cvat:
    """See `Cvat`."""
    return Cvat(cvat, images)


def _pixels(shapes: Sequence[Shape], size: tuple[int, int], where: str) -> np.ndarray:
    """The union of shapes, bool[H, W].

    Raises:
        MaskError: When a shape cannot be read.
    """
    inside = np.zeros(size, bool)
    for kind, entry in shapes:
        try:
            if kind == "polygon":
                numbers = [float(number) for point in entry["points"].split(";") for number in point.split(",")]
                inside |= decode_segmentation([numbers], *size) == 1
            else:
                left, top, width, height = (int(float(entry[side])) for side in ("left", "top", "width", "height"))
                # How many pixels are outside, inside, outside, ... row by row.
                runs = [int(run) for run in entry["rle"].split(",")]
                mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
                inside[top : top + height, left : left + width] |= mask
        except (KeyError, ValueError) as error:
            raise MaskError(f"{where}: a {kind} of {entry.get('label')!r} cannot be read: {error}") from error
    return inside
