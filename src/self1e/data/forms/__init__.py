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
    from collections.abc import Iterable, Mapping, Sequence

    from self1e.data.forms.marked import MarkedSet, Writer

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
        entry: The paths in an entry of `own` from which it is read, its own key first; those with "?" may be left out.
            It is not read if there are none.
        options: What else may stand in such an entry.
        cannot_hold: Some of `LOSSES`.
    """

    name: str
    file: str = ""
    whole: tuple[str, ...] = ()
    module: str = ""
    entry: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    cannot_hold: tuple[str, ...] = ()

    @property
    def written(self) -> bool:
        """Whether it can be written."""
        return bool(self.file or self.whole)

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

    def open(self, paths: Mapping[str, Path | str], stored: bool = False) -> MarkedSet:
        """Reads a data set; see `self1e.data.forms.marked.MarkedSet`.

        Args:
            paths: Of an entry, see `entry`, and a `split`.
            stored: Whether masks are of pictures as they are stored, see `self1e.data.own_entries`.

        Raises:
            DataError: When something is missing or unreadable.
            ImportError: When another package is needed; the message names it.
        """
        return import_module(f"{__name__}.{self.module}").open_set(**paths, **({"stored": True} if stored else {}))


_CLASSES = ("absent_classes",)

FORMS = {
    form.name: form
    for form in (
        Form("overlay", "NAME.PROMPT.overlay.png", cannot_hold=("scores", "overlaps")),
        Form("mask", "NAME.PROMPT.mask.png", cannot_hold=("scores", "instances")),
        Form("cutout", "NAME.PROMPT.cutout.png", cannot_hold=("scores", "instances")),
        Form("json", "NAME.PROMPT.json", (), "results", ("results", "images?"), ("min_score",)),
        Form("labelme", "labelme/NAME.json", (), "labelme", ("labelme", "images?"), _CLASSES, ("absent",)),
        Form(
            "yolo",
            "labels/NAME.txt",
            ("data.yaml",),
            "yolo",
            ("yolo",),
            (*_CLASSES, "split"),
            ("scores", "absent", "parts"),
        ),
        Form(
            "index",
            "masks/NAME.png",
            ("classes.txt",),
            "index",
            ("masks", "images", "classes"),
            (*_CLASSES, "exif"),
            ("scores", "absent", "instances", "overlaps"),
        ),
        Form("coco", "", ("coco.json",), "coco", ("coco", "images"), (*_CLASSES, "exif"), ("absent",)),
        Form("coco-polygons", "", ("coco-polygons.json",), "coco", cannot_hold=("absent",)),
        Form("jsonl", "", ("data.jsonl",), "jsonl", ("jsonl",), ("exif",), ("scores", "instances")),
        Form("csv", "", ("results.csv",), "table", cannot_hold=("pixels",)),
        Form("cvat", module="cvat", entry=("cvat", "images"), options=_CLASSES),
    )
}
"""All forms, by name."""

WRITTEN = [name for name, form in FORMS.items() if form.written]


def form_of(entry: Mapping[str, object]) -> Form:
    """The form of an entry of `own`, once it is sure that this has all that is needed and nothing else.

    Raises:
        ValueError: When it is of no form.
    """
    for form in FORMS.values():
        if form.entry and form.entry[0] in entry:
            needed = {key for key in form.entry if not key.endswith("?")}
            allowed = {key.rstrip("?") for key in form.entry} | {*form.options}
            if needed <= entry.keys() <= allowed:
                return form
            if needed <= entry.keys():
                strange = _and(f"`{key}`" for key in entry if key not in allowed)
                raise ValueError(
                    f"{strange} cannot stand beside `{form.entry[0]}`: keys there are {_and(sorted(allowed))}"
                )
    read = [form for form in FORMS.values() if form.entry]
    ways = ", or ".join(_and(f"`{key}`" for key in form.entry if not key.endswith("?")) for form in read)
    raise ValueError(f"give the paths {ways}; docs/forms.md says what else may stand there")


def _and(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
