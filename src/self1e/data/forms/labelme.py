"""LabelMe: a JSON file a picture, with polygons through the pixels of the rim, as labelme and supervision fill them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from self1e.data.forms import marked
from self1e.data.forms.marked import Marked
from self1e.files import write_json
from self1e.segment.contours import mask_to_polygons

VERSION = "6.3.1"
"""Of the program whose files these are."""


class Writer(marked.Writer):
    """A shape for each part of a thing; parts of one thing share a `group_id`. A score is a key of its own."""

    def write(self, file: Path, marked: Marked) -> None:
        height, width = marked.height_and_width()
        shapes: list[dict[str, Any]] = []
        for number, thing in enumerate(marked.present):
            polygons = mask_to_polygons(thing.pixels(), self.tolerance, centres=True)
            for polygon in polygons:
                shape: dict[str, Any] = {
                    "label": thing.label,
                    "points": np.reshape(polygon, (-1, 2)).tolist(),
                    "group_id": number if len(polygons) > 1 else None,
                    "shape_type": "polygon",
                    "flags": {},
                    "description": "",
                }
                shapes.append(shape if thing.score is None else shape | {"score": thing.score})
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
