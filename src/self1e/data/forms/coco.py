"""COCO instances: one JSON file for all pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from self1e.data.forms import marked
from self1e.data.forms.marked import Marked
from self1e.files import write_json
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
        return {"file_name": marked.name, "width": width, "height": height, "annotations": annotations}

    def finish(self, kept: Sequence[Any], info: dict[str, str]) -> None:
        annotations: list[dict[str, Any]] = []
        for image_id, picture in enumerate(kept, start=1):
            for each in picture["annotations"]:
                annotations.append(each | {"id": len(annotations) + 1, "image_id": image_id})
        tree = {
            "info": {"description": "segmented by self1e", **info},
            "images": [
                {"id": image_id, **{key: picture[key] for key in ("file_name", "width", "height")}}
                for image_id, picture in enumerate(kept, start=1)
            ],
            "annotations": annotations,
            "categories": [{"id": number, "name": label} for number, label in enumerate(self.labels, start=1)],
        }
        write_json(self.folder / self.form.whole[0], tree, overwrite=True)
