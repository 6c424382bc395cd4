"""Forms that pictures with what is marked in them are kept in: one row of `FORMS` each, and one module here.

A module has `open(...)`, which makes a `MarkedSet` of an entry of `own`, if its form is read, and a `Writer`, if it is
written: by `self1e segment --format NAME`, and by `self1e data convert ... NAME=FOLDER`. docs/forms.md has the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from self1e.data.forms.marked import Writer

#: What a form may be unable to hold -> what that is, for reports and tables.
LOSSES = {
    "pixels": "masks",
    "scores": "scores",
    "absent": "what is said not to be there",
    "parts": "that several parts are one thing",
    "instances": "which of several things of a class a pixel belongs to",
    "overlaps": "pixels that two classes share",
}


@dataclass(frozen=True)
class Form:
    """One way of keeping pictures with what is marked in them.

    Attributes:
        name: What `--format` and `self1e data convert` call it.
        file: What is written for each picture, or for each result (a picture and a prompt), below the folder of
            results: NAME is the path of the picture there without its suffix, PROMPT what was asked for.
        whole: Files of the whole data set, below that folder.
        module: Reads and writes it. "": it is drawn by `Segmentation` itself.
        entry: Its key in an entry of `own`, from which it is read. "": it is not.
        cannot_hold: Some of `LOSSES`.
    """

    name: str
    file: str = ""
    whole: tuple[str, ...] = ()
    module: str = ""
    entry: str = ""
    cannot_hold: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        """How the name of a file ends that each result has; "" where results have none of their own."""
        return self.file.partition("PROMPT")[2]

    def path(self, folder: Path, stem: str, prompt: str = "") -> Path:
        """The file of a picture or result; see `file`."""
        return folder / self.file.replace("PROMPT", prompt).replace("NAME", stem)

    def writer(self, folder: Path, labels: Sequence[str], tolerance: float = 0.0) -> Writer:
        """What writes it into a folder; see `self1e.data.forms.marked.Writer`."""
        return import_module(f"{__name__}.{self.module}").Writer(self, folder, labels, tolerance)


FORMS = {
    form.name: form
    for form in (
        Form("overlay", "NAME.PROMPT.overlay.png", cannot_hold=("scores", "overlaps")),
        Form("mask", "NAME.PROMPT.mask.png", cannot_hold=("scores", "instances")),
        Form("cutout", "NAME.PROMPT.cutout.png", cannot_hold=("scores", "instances")),
        Form("json", "NAME.PROMPT.json"),
        Form("labelme", "labelme/NAME.json", module="labelme", cannot_hold=("absent",)),
        Form("yolo", "labels/NAME.txt", ("data.yaml",), "yolo", cannot_hold=("scores", "absent", "parts")),
        Form(
            "index", "masks/NAME.png", ("classes.txt",), "index", "masks", ("scores", "absent", "instances", "overlaps")
        ),
        Form("coco", "", ("coco.json",), "coco", "coco", ("absent",)),
        Form("coco-polygons", "", ("coco-polygons.json",), "coco", "coco", ("absent",)),
        Form("jsonl", "", ("data.jsonl",), "jsonl", "jsonl", ("scores", "instances")),
        Form("csv", "", ("results.csv",), "table", "", ("pixels",)),
    )
}
"""All forms that are written, by name."""
