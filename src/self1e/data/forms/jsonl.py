"""Lines of JSON, as `self1e.data.own` reads them: one for each class, or prompt, of a picture."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from self1e.data.forms import marked
from self1e.data.forms.from_source import FromSource
from self1e.data.forms.labelme import beside
from self1e.data.forms.marked import Marked
from self1e.data.own import OwnSource
from self1e.files import write_atomically
from self1e.segment.results import Segmentation


class Writer(marked.Writer):
    """The masks of a line are those of all its things, which are meant together; none say that there is none."""

    names_pictures = True

    def kept(self, marked: Marked) -> Any:
        masks: dict[str, list[Any]] = {}
        for thing in marked.things:
            of_label = masks.setdefault(thing.label, [])
            if thing.there:
                of_label += Segmentation(thing.pixels()[None], [0]).to_coco_rle()  # type: ignore[arg-type]
        image = beside(self.picture_file(marked), self.folder)
        return [{"image": image, "prompt": label, "masks": of_label} for label, of_label in masks.items()]

    def finish(self, kept: Iterable[Any], info: dict[str, str]) -> None:
        with write_atomically(self.folder / self.form.whole[0], overwrite=True) as out:
            for lines in kept:
                out.writelines(json.dumps(line).encode() + b"\n" for line in lines)


class Reader(FromSource):
    """A file of lines; see `OwnSource`."""

    def __init__(self, jsonl: Path, stored: bool = False) -> None:
        super().__init__(OwnSource(jsonl, stored=stored), jsonl.parent)
