"""COCO instances: one JSON file for all pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from self1e.data.coco import CocoFile, outlined_mask
from self1e.data.forms import marked
from self1e.data.forms.marked import Lost, Marked, MarkedSet, Thing, listed
from self1e.data.records import Canvas
from self1e.files import write_json_as_it_comes
from self1e.segment.results import Segmentation


class Writer(marked.Writer):
    """Run lengths, exactly; or polygons along pixel edges, which pycocotools gives back exactly, too."""

    def kept(self, marked: Marked) -> Any:
        height, width = marked.height_and_width()
        annotations = []
        for thing in marked.present:
            result = Segmentation(thing.pixels()[None], np.zeros(1))
            outlines = self.form.name == "coco-polygons" and not thing.crowd  # which COCO wants as run lengths
            masks: Literal["rle", "polygons"] = "polygons" if outlines else "rle"
            entry = result.to_coco_annotation(0, self.numbers[thing.label] + 1, 0, masks, self.tolerance)
            del entry["score"]
            entry["iscrowd"] = int(thing.crowd)
            annotations.append(entry if thing.score is None else entry | {"score": thing.score})
        picture = {"file_name": marked.name, "width": width, "height": height}
        return {
            "picture": picture | ({"coco_url": marked.address} if marked.address else {}),
            "annotations": annotations,
        }

    def finish(self, kept: Iterable[Any], info: dict[str, str]) -> None:
        pairs = ((image_id, each) for image_id, picture in enumerate(kept, start=1) for each in picture["annotations"])
        tree = {
            "info": {"description": "segmented by self1e", **info},
            "images": ({"id": image_id, **each["picture"]} for image_id, each in enumerate(kept, start=1)),
            "annotations": (
                each | {"id": number, "image_id": image_id} for number, (image_id, each) in enumerate(pairs, start=1)
            ),
            "categories": [{"id": number, "name": label} for number, label in enumerate(self.labels, start=1)],
        }
        write_json_as_it_comes(self.folder / self.form.whole[0], tree)


class Reader(MarkedSet):
    """The pictures of a COCO instances file, an annotation a thing; `CocoInstancesSource` asks for classes instead."""

    def __init__(self, coco: Path, images: Path, stored: bool = False) -> None:
        """Reads the file.

        Args:
            coco: The JSON file.
            images: The folder to which `file_name` is relative.
            stored: See `CategoryMasks`.

        Raises:
            DataError: When it cannot be read, is no such file or has no outlines.
        """
        self._coco, self._file, self._stored = CocoFile(coco.stem, coco, images), coco, stored
        count = len(self._coco.ids)
        super().__init__(coco.stem, self._coco.names.values(), listed(self._coco.image_path, count), images)

    def files(self) -> Iterator[Path]:
        yield self._file
        yield from super().files()

    def _read(self, index: int, canvas: Canvas) -> tuple[list[Thing], list[Lost]]:
        _, size, annotations = self._coco.picture(index)
        things, lost = [], []
        for each in annotations:
            lost += [Lost(each.name, stub) for stub in each.stubs]
            if each.outline:
                pixels = partial(outlined_mask, [each.outline], size, canvas, self._stored)
                things.append(Thing(each.name, pixels, each.score, crowd=each.crowd))
            elif not each.stubs:
                lost.append(Lost(each.name, "a box", gap=True))
        return things, lost
