"""A picture with what is marked in it, in no form yet: what every form is written from and read into."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from self1e.data.forms import Form
from self1e.data.records import DRAW_OUTLINES, Canvas, DataError
from self1e.files import write_atomically


@dataclass(frozen=True)
class Thing:
    """Something in a picture, or something that is said not to be there.

    Attributes:
        label: The name of its class, or the prompt that it was found by.
        mask: bool or uint8[H, W] of the picture's size, inside where it is 1; or what makes that.
        score: How sure it is, in [0, 1]; None if nobody says.
        there: False says that there is none in the picture.
        crowd: Whether it is marked as several that are not told apart.
    """

    label: str
    mask: np.ndarray | Callable[[], np.ndarray]
    score: float | None = None
    there: bool = True
    crowd: bool = False

    def pixels(self) -> np.ndarray:
        """bool[H, W].

        Raises:
            ValueError: When the mask cannot be made.
            OSError: When its file cannot be read.
        """
        return (self.mask() if callable(self.mask) else self.mask) == 1


class Lost(NamedTuple):
    """What a file says about a picture that cannot be told here.

    Attributes:
        label: The class that it shows to be there; "" if it is of none.
        what: In a few words.
        gap: Whether the mask of that class is not complete without it.
    """

    label: str
    what: str
    gap: bool = False


@dataclass(frozen=True)
class Marked:
    """A picture, and what is marked in it.

    Attributes:
        name: Path of the picture below the folder of all, with "/" between the parts.
        things: What is in it, or is said not to be.
        image: Its file; None if it has none (it came from an address, say).
        stem: What its own files are called, without suffixes; two pictures never share it.
        shape: Height and width, pixels. None: those of `image`.
        picture: The picture itself, where there is no file.
        address: Where it was fetched from.
        lost: What its file says about it beside.
        canvas: Of `image`, where it is read already.
    """

    name: str
    things: tuple[Thing, ...]
    image: Path | None = None
    stem: str = ""
    shape: tuple[int, int] | None = None
    picture: Image.Image | None = None
    address: str = ""
    lost: tuple[Lost, ...] = ()
    canvas: Canvas | None = None

    @property
    def present(self) -> list[Thing]:
        """The things that are there."""
        return [thing for thing in self.things if thing.there]

    def height_and_width(self) -> tuple[int, int]:
        """Of the picture, pixels.

        Raises:
            OSError: When its file cannot be read.
        """
        if self.shape is not None:
            return self.shape
        assert self.image is not None  # or its shape is given
        return (self.canvas or Canvas(self.image)).head.upright


class MarkedSet(ABC):
    """A data set of one form, as it is read. Goes to other processes by pickle.

    Attributes:
        name: What reports call it.
        labels: All that things may be called, in the order of their numbers if they have some.
        names: Of each picture the path below the folder of all, with "/" between the parts: no two are equal, and none
            leads out of that folder.
    """

    def __init__(
        self, name: str, labels: Iterable[str], pictures: Sequence[Path | DataError], folder: Path | None = None
    ) -> None:
        """Takes the pictures as they are listed.

        Args:
            name: See above.
            labels: See above.
            pictures: Each, or what is wrong with it.
            folder: Below which they are named, if they all lie there; otherwise below the innermost one of all.

        Raises:
            DataError: When a picture is listed twice.
        """
        self.name, self.labels = name, list(dict.fromkeys(labels))
        self._pictures = list(pictures)
        self.names = self._named(folder)

    def _named(self, folder: Path | None) -> list[str]:
        places = {
            index: Path(os.path.normpath(path.absolute()))
            for index, path in enumerate(self._pictures)
            if isinstance(path, Path)
        }
        root = None if folder is None else Path(os.path.normpath(folder.absolute()))
        if root is None or not all(place.is_relative_to(root) for place in places.values()):
            try:
                root = Path(os.path.commonpath([place.parent for place in places.values()] or [Path()]))
            except ValueError as error:  # several drives
                raise DataError(f"{self.name}: its pictures have no folder in common: {error}") from error
        names = [f"picture {index}" for index in range(len(self))]
        for index, place in places.items():
            names[index] = place.relative_to(root).as_posix()
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise DataError(f"{self.name}: {twice[0]} is listed several times: make one entry of them")
        return names

    def refuse_boxes(self) -> None:
        """Raises DataError when things are marked, but nothing has an outline."""
        marks: list[Lost] = []
        for index in range(len(self)):
            with suppress(DataError):  # which is told when that picture is read
                marked = self[index]
                if marked.things:
                    return
                marks += [each for each in marked.lost if each.label]
        if marks:
            what = f"none of its {len(marks):,} annotations has an outline: the first is {marks[0].what.rstrip(',')}"
            raise DataError(f"{self.name}: {what}. {DRAW_OUTLINES}")

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self._pictures)

    def image_path(self, index: int) -> Path:
        """The picture, without reading anything else.

        Raises:
            DataError: When it is not known.
        """
        picture = self._pictures[index]
        if isinstance(picture, DataError):
            raise picture
        return picture

    def files(self) -> Iterator[Path]:
        """What it is read from, always in the same order: pictures, and the files in which they are marked."""
        yield from (picture for picture in self._pictures if isinstance(picture, Path))

    def __getitem__(self, index: int) -> Marked:
        """Reads what is marked in a picture, but not the picture.

        Raises:
            DataError: When that is broken.
        """
        image = self.image_path(index)
        canvas = Canvas(image)
        things, lost = self._read(index, canvas)
        return Marked(self.names[index], tuple(things), image, lost=tuple(lost), canvas=canvas)

    @abstractmethod
    def _read(self, index: int, canvas: Canvas) -> tuple[list[Thing], list[Lost]]:
        """What is marked on a picture, and what is not told of it. Raises DataError when that is broken."""


def in_words(kind: str) -> str:
    """A kind of shape, of which there is one.

    >>> [in_words(kind) for kind in ("circle", "ellipse", "oriented_rectangle", "points")]
    ['a circle', 'an ellipse', 'an oriented rectangle', 'points']
    """
    article = "" if kind == "points" else "an " if kind.startswith(tuple("aeiou")) else "a "
    return article + kind.replace("_", " ")


def listed(image_path: Callable[[int], Path], count: int) -> list[Path | DataError]:
    """The pictures of a source: for each number below `count` where it is, or why that is not known."""
    found: list[Path | DataError] = []
    for index in range(count):
        try:
            found.append(image_path(index))
        except DataError as error:
            found.append(error)
    return found


class Writer:
    """Writes one form. A row of `FORMS` says which files that are; this is what all of them share.

    Pictures may be written in any order, in threads and in other processes, to which it goes by pickle: it changes
    nothing of itself. What a file of the whole set needs of a picture is what `kept` returns, ready for JSON.

    Attributes:
        names_pictures: Whether readers find pictures through it, so that one without a file gets one: `picture_file`.
    """

    names_pictures = False

    def __init__(self, form: Form, folder: Path, labels: Sequence[str], tolerance: float = 0.0) -> None:
        """Writes nothing yet.

        Args:
            form: Its row.
            folder: Where to.
            labels: All that things may be called, in the order of their numbers.
            tolerance: How far outlines may be moved, see `mask_to_polygons`.
        """
        self.form = form
        self.folder = folder
        self.labels = list(labels)
        self.tolerance = tolerance
        self.numbers = {label: number for number, label in enumerate(self.labels)}

    def files(self, stem: str, image: Path | None) -> list[Path]:
        """What `write` makes of a picture, in place of what is there.

        Args:
            stem: What its files are called.
            image: Its own file, if it has one.

        Raises:
            OSError: When something is there that it does not replace.
        """
        pictures = [self._place(stem)] if image is None and self.names_pictures else []
        return [*([self.form.path(self.folder, stem)] if self.form.file else []), *pictures]

    def picture_file(self, marked: Marked) -> Path:
        """The file of a picture. One that has none (it came from an address, say) is written into the folder `images`.

        Raises:
            OSError: When that cannot be done.
        """
        if marked.image is not None:
            return marked.image
        place = self._place(marked.stem)
        place.parent.mkdir(parents=True, exist_ok=True)
        assert marked.picture is not None  # or it has a file
        with write_atomically(place, overwrite=True) as out:
            marked.picture.save(out, "PNG")
        return place

    def _place(self, stem: str) -> Path:
        return self.folder / "images" / f"{stem}.png"

    def is_there(self, file: Path, image: Path | None) -> bool:
        """Whether one of these files is as it is to be, and stays."""
        return False

    def write(self, file: Path, marked: Marked) -> None:
        """Writes the file of a picture, if it has one of its own, in place of what is there. Its folder must exist.

        Raises:
            OSError: When that cannot be done.
        """

    def kept(self, marked: Marked) -> Any:
        """What `finish` needs of a picture."""
        return None

    def finish(self, kept: Iterable[Any], info: dict[str, str]) -> None:
        """Writes the files of the whole set in place of what is there.

        Args:
            kept: Of each picture; can be gone through more than once. There may be more of it than the memory holds.
            info: What to say about the set, where the form can: the "model", the folder of "images".

        Raises:
            OSError: When that cannot be done.
        """
