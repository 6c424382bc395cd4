"""Forms that pictures with what is marked in them are kept in: one row of `FORMS` each, and one module here.

A module has a `Reader`, a `MarkedSet`, if its form is read, and a `Writer`, if it is written: by `self1e segment
--format NAME`, and by `self1e data convert ... NAME=FOLDER`. docs/forms.md has the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from self1e.files import expand_user

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
    "crowds": "that something is a crowd",
    "overlaps": "pixels that two classes share",
    "empty": "pictures of which nothing is said",
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
        by_name: Whether readers find the file of a picture by its name, which two pictures must not share then.
        needs: A package without which it cannot be written; the extra of ours that brings it is called as the form.
    """

    name: str
    file: str = ""
    whole: tuple[str, ...] = ()
    module: str = ""
    entry: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    cannot_hold: tuple[str, ...] = ()
    by_name: bool = False
    needs: str = ""

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

    def check(self) -> None:
        """Makes sure that it can be written here.

        Raises:
            MissingPackage: When it `needs` something that is not installed.
        """
        if self.needs:
            from self1e.data.forms.needs import package  # with numpy, which the command line does not wait for

            package(self.needs, extra=self.name)

    def writer(self, folder: Path, labels: Sequence[str], tolerance: float = 0.0) -> Writer:
        """What writes it into a folder; see `self1e.data.forms.marked.Writer`.

        Raises:
            MissingPackage: As `check`.
        """
        self.check()
        return import_module(f"{__name__}.{self.module}").Writer(self, folder, labels, tolerance)

    @property
    def needed(self) -> list[str]:
        """The paths of an entry that may not be left out."""
        return [key for key in self.entry if not key.endswith("?")]

    @property
    def allowed(self) -> list[str]:
        """All keys of an entry."""
        return [*(key.rstrip("?") for key in self.entry), *self.options]


@dataclass(frozen=True)
class Entry:
    """An entry of `own`, once it is sure that it is one.

    Attributes:
        form: Which form it is of.
        paths: By key, and a `split`.
        absent_classes: How many names that are not in a picture are asked for.
        min_score: Least score of things that have one.
        stored: Whether masks are of pictures as they are stored, see `self1e.data.own_entries`.
    """

    form: Form
    paths: dict[str, Any]
    absent_classes: int = 0
    min_score: float = 0.0
    stored: bool = False

    def open(self) -> MarkedSet:
        """Reads its data set.

        Raises:
            DataError: When something is missing or unreadable, or another package is needed.
        """
        stored = {"stored": True} if self.stored else {}
        return import_module(f"{__name__}.{self.form.module}").Reader(**self.paths, **stored)


FORMS = {
    form.name: form
    for form in (
        Form("overlay", file="NAME.PROMPT.overlay.png", cannot_hold=("scores", "overlaps")),
        Form("mask", file="NAME.PROMPT.mask.png", cannot_hold=("scores", "instances")),
        Form("cutout", file="NAME.PROMPT.cutout.png", cannot_hold=("scores", "instances")),
        Form("json", file="NAME.PROMPT.json", module="results", entry=("results", "images?"), options=("min_score",)),
        Form(
            "labelme",
            file="labelme/NAME.json",
            module="labelme",
            entry=("labelme", "images?"),
            options=("absent_classes", "min_score"),
            cannot_hold=("absent", "crowds"),
        ),
        Form(
            "yolo",
            file="labels/NAME.txt",
            whole=("data.yaml",),
            module="yolo",
            entry=("yolo",),
            options=("absent_classes", "split"),
            cannot_hold=("scores", "absent", "parts", "crowds"),
        ),
        Form(
            "index",
            file="masks/NAME.png",
            whole=("classes.txt",),
            module="index",
            entry=("masks", "images", "classes"),
            options=("absent_classes", "exif"),
            cannot_hold=("scores", "absent", "instances", "crowds", "overlaps"),
            by_name=True,
        ),
        Form(
            "coco",
            whole=("coco.json",),
            module="coco",
            entry=("coco", "images"),
            options=("absent_classes", "exif", "min_score"),
            cannot_hold=("absent",),
        ),
        Form("coco-polygons", whole=("coco-polygons.json",), module="coco", cannot_hold=("absent",)),
        Form(
            "jsonl",
            whole=("data.jsonl",),
            module="jsonl",
            entry=("jsonl",),
            options=("exif",),
            cannot_hold=("scores", "instances", "crowds", "empty"),
        ),
        Form("csv", whole=("results.csv",), module="table", cannot_hold=("pixels", "crowds", "empty")),
        Form("parquet", whole=("results.parquet",), module="parquet", cannot_hold=("crowds",), needs="pyarrow"),
        Form("cvat", module="cvat", entry=("cvat", "images"), options=("absent_classes",)),
    )
}
"""All forms, by name."""

WRITTEN = [name for name, form in FORMS.items() if form.written]


EXIF = ("displayed", "stored")
"""Of which pictures masks are: with their EXIF orientation applied, or without."""


def read_entry(given: Mapping[str, object]) -> Entry:
    """An entry of `own`.

    Raises:
        ValueError: When it is of no form, or says something that cannot be.
    """
    meant = [form for form in FORMS.values() if form.entry and form.entry[0] in given]
    if not meant:
        ways = ", or ".join(_and(form.needed) for form in FORMS.values() if form.entry)
        raise ValueError(f"give the paths {ways}; docs/forms.md says what else may stand there")
    form = next((form for form in meant if given.keys() >= {*form.needed}), meant[0])
    if missing := [key for key in form.needed if key not in given]:
        raise ValueError(f"`{form.entry[0]}` needs {_and(missing)} beside it")
    if strange := [key for key in given if key not in form.allowed]:
        keys = _and(sorted(form.allowed))
        raise ValueError(f"{_and(strange)} cannot stand beside `{form.entry[0]}`: keys there are {keys}")
    paths = dict(given)
    absent, score, exif = (paths.pop(*each) for each in (("absent_classes", 0), ("min_score", 0.0), ("exif", EXIF[0])))
    if not all(isinstance(path, str) for path in paths.values()):
        raise ValueError("paths are text")
    if type(absent) is not int or absent < 0:
        raise ValueError(f"`absent_classes` is a whole number, not {absent!r}")
    if not isinstance(score, int | float) or not 0 <= score <= 1:
        raise ValueError(f"`min_score` is a number from 0 to 1, not {score!r}")
    if exif not in EXIF:
        raise ValueError(f"`exif` is {' or '.join(EXIF)}, not {exif!r}")
    opened = {key: path if key == "split" else expand_user(str(path)) for key, path in paths.items()}
    return Entry(form, opened, absent, float(score), exif == "stored")


def _and(keys: Iterable[str]) -> str:
    *first, last = (f"`{key}`" for key in keys)
    return f"{', '.join(first)} and {last}" if first else last
