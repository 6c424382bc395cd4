"""CVAT's XML ("CVAT for images 1.1"): polygons and masks of pictures, by class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from self1e.data.forms.marked import Lost, MarkedSet, Thing, in_words
from self1e.data.forms.needs import package
from self1e.data.masks import MaskError, decode_segmentation
from self1e.data.records import Canvas, DataError
from self1e.files import as_listed

#: An outline or mask as it stands in the file: its kind, and its attributes.
Shape = tuple[str, Mapping[str, str]]


class Reader(MarkedSet):
    """The pictures of an XML file. Shapes of one label and `group_id` are one thing.

    Polygons are filled by pycocotools, as in CVAT's own export to COCO.
    """

    def __init__(self, cvat: Path, images: Path) -> None:
        """Reads the file.

        Args:
            cvat: The XML file.
            images: The folder to which names of pictures are relative.

        Raises:
            DataError: When it cannot be read, is about a video, or has no pictures or no outlines; without defusedxml.
        """
        package("defusedxml")
        from defusedxml.ElementTree import parse

        try:
            root = parse(cvat).getroot()
        except Exception as error:  # what is no XML, or more than XML should be
            raise DataError(f"cannot read {cvat}: {error}") from error
        if root.tag != "annotations" or root.find("track") is not None:
            raise DataError(f'{cvat} is no list of pictures: export as "CVAT for images 1.1"')
        self._file = cvat
        self._entries = [
            (dict(picture.attrib), [(shape.tag, dict(shape.attrib)) for shape in picture])
            for picture in root.iter("image")
        ]
        if not self._entries:
            raise DataError(f"{cvat} lists no pictures")
        labels = [str(each.text) for each in root.iterfind("meta//labels/label/name")]
        things = [shape for _, shapes in self._entries for kind, shape in shapes if kind != "tag"]
        labels += sorted(shape.get("label", "") for shape in things)
        names = [about.get("name", "") for about, _ in self._entries]
        pictures = [
            images / as_listed(name, images) if name else DataError(f"{cvat}: a picture has no name") for name in names
        ]
        super().__init__(cvat.stem, labels, pictures, images)
        self.refuse_boxes()

    def files(self) -> Iterator[Path]:
        yield self._file
        yield from super().files()

    def _read(self, index: int, canvas: Canvas) -> tuple[list[Thing], list[Lost]]:
        about, shapes = self._entries[index]
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
                lost.append(Lost(label, "a polygon of less than 3 points"))
            elif kind in ("polygon", "mask"):
                group = entry.get("group_id", "0")
                things[label, number if group == "0" else ("group", group)].append((kind, entry))
            else:
                lost.append(Lost(label, in_words(kind), gap=kind != "tag"))
        return [Thing(label, partial(_pixels, each, shape, where)) for (label, _), each in things.items()], lost


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
                if sum(runs) != width * height:
                    raise ValueError(f"its runs are {sum(runs):,} pixels, and its box is {width} x {height}")
                mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
                inside[top : top + height, left : left + width] |= mask
        except (KeyError, ValueError) as error:
            raise MaskError(f"{where}: a {kind} of {entry.get('label')!r} cannot be read: {error}") from error
    return inside
