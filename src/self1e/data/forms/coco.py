"""COCO instances: one JSON file for all pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from self1e.data.forms import marked
from self1e.data.forms.marked import Marked, Thing
from self1e.data.json_records import read_json
from self1e.data.masks import decode_segmentation, without_stubs
from self1e.data.records import DataError
from self1e.files import as_listed, write_json
from self1e.processing.images import read_head, turned_upright
from self1e.segment.results import Segmentation


class Writer(marked.Writer):
    """Run lengths, exactly; or polygons along pixel edges, which pycocotools gives back exactly, too."""

    def kept(self, marked: Marked) -> Any:
        height, width = marked.height_and_width()
        annotations = []
        for thing in marked.present:
            result = Segmentation(thing.pixels()[None], np.zeros(1))
            masks: Literal["rle", "polygons"] = "polygons" if self.form.name == "coco-polygons" else "rle"
            entry = result.to_coco_annotation(0, self.numbers[thing.label] + 1, 0, masks, self.tolerance)
            del entry["score"]
            annotations.append(entry if thing.score is None else entry | {"score": thing.score})
        picture = {"file_name": marked.name, "width": width, "height": height}
        return {
            "picture": picture | ({"coco_url": marked.address} if marked.address else {}),
            "annotations": annotations,
        }

    def finish(self, kept: Sequence[Any], info: dict[str, str]) -> None:
        annotations: list[dict[str, Any]] = []
        for image_id, picture in enumerate(kept, start=1):
            for each in picture["annotations"]:
                annotations.append(each | {"id": len(annotations) + 1, "image_id": image_id})
        tree = {
            "info": {"description": "segmented by self1e", **info},
            "images": [{"id": image_id, **each["picture"]} for image_id, each in enumerate(kept, start=1)],
            "annotations": annotations,
            "categories": [{"id": number, "name": label} for number, label in enumerate(self.labels, start=1)],
        }
        write_json(self.folder / self.form.whole[0], tree, overwrite=True)


class Coco:
    """The pictures of a COCO instances file, an annotation a thing; `CocoInstancesSource` asks for classes instead."""

    def __init__(self, coco: Path, images: Path, stored: bool = False) -> None:
        """Reads the file.

        Args:
            coco: The JSON file.
            images: The folder to which `file_name` is relative.
            stored: See `CategoryMasks`.

        Raises:
            DataError: When it cannot be read or is no such file.
        """
        tree = read_json(coco, "cannot read {path}: {error}")
        try:
            self._pictures: list[Mapping[str, Any]] = sorted(tree["images"], key=lambda picture: picture["file_name"])
            names = {category["id"]: str(category["name"]) for category in tree["categories"]}
            self._of_picture: defaultdict[Any, list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
            for annotation in tree["annotations"]:
                self._of_picture[annotation["image_id"]].append((names[annotation["category_id"]], annotation))
        except (KeyError, TypeError) as error:
            raise DataError(f"{coco} is no COCO instances JSON: {error!r}") from error
        self._stored = stored
        self.name, self._file, self._images = coco.stem, coco, images
        self.labels = list(dict.fromkeys(names.values()))

    def __len__(self) -> int:
        return len(self._pictures)

    def image_path(self, index: int) -> Path:
        return self._images / as_listed(str(self._pictures[index]["file_name"]), self._images)

    def files(self) -> Iterator[Path]:
        yield self._file
        yield from map(self.image_path, range(len(self)))

    def __getitem__(self, index: int) -> Marked:
        picture, image = self._pictures[index], self.image_path(index)
        shape = picture.get("height"), picture.get("width")
        things, lost = [], []
        for label, annotation in self._of_picture.get(picture.get("id"), ()):
            if not annotation.get("segmentation"):
                lost.append((label, "a box"))
                continue
            if annotation.get("iscrowd"):
                lost.append(("", "the mark of a crowd"))
            segmentation, stubs = without_stubs(annotation["segmentation"])
            lost += [("", stub) for stub in stubs]
            if segmentation:
                pixels = partial(_pixels, segmentation, shape, image, self._stored)
                things.append(Thing(label, pixels, annotation.get("score")))
        return Marked(str(picture["file_name"]), tuple(things), image, lost=tuple(lost))


def open_set(coco: Path, images: Path, stored: bool = False) -> Coco:
    """See `Coco`."""
    return Coco(coco, images, stored)


def _pixels(segmentation: Any, shape: tuple[Any, Any], image: Path, stored: bool) -> np.ndarray:
    """uint8[H, W]; the picture's own size where the file states none. Raises MaskError when it is no mask."""
    head = read_head(image)
    if all(isinstance(side, int | float) for side in shape):
        height, width = int(shape[0]), int(shape[1])
    else:
        height, width = head.stored if stored else head.upright
    mask = decode_segmentation(segmentation, height, width)
    return turned_upright(mask, head.orientation) if stored else mask
