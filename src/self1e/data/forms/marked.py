"""A picture with what is marked in it, in no form yet: what every form is written from and read into."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from self1e.data.forms import Form
from self1e.processing.images import read_head


@dataclass(frozen=True)
class Thing:
    """Something in a picture, or something that is said not to be there.

    Attributes:
        label: The name of its class, or the prompt that it was found by.
        mask: bool or uint8[H, W] of the picture's size, inside where it is 1; or what makes that.
        score: How sure it is, in [0, 1]; None if nobody says.
        there: False says that there is none in the picture.
    """

    label: str
    mask: np.ndarray | Callable[[], np.ndarray]
    score: float | None = None
    there: bool = True

    def pixels(self) -> np.ndarray:
        """bool[H, W].

        Raises:
            ValueError: When the mask cannot be made.
            OSError: When its file cannot be read.
        """
        return (self.mask() if callable(self.mask) else self.mask) == 1


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
        lost: What its file says about it that cannot be told here: the label, if the mask of that is not complete
            without it, else ""; and what it is, in a few words.
    """

    name: str
    things: tuple[Thing, ...]
    image: Path | None = None
    stem: str = ""
    shape: tuple[int, int] | None = None
    picture: Image.Image | None = None
    address: str = ""
    lost: tuple[tuple[str, str], ...] = ()

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
        return read_head(self.image).upright


class MarkedSet(Protocol):
    """A data set of one form, as it is read. Goes to other processes by pickle.

    Attributes:
        name: What reports call it.
        labels: All that things may be called, in the order of their numbers if they have some.
    """

    name: str
    labels: Sequence[str]

    def __len__(self) -> int:
        """How many pictures there are."""

    def __getitem__(self, index: int) -> Marked:
        """Reads what is marked in a picture, but not the picture.

        Raises:
            DataError: When that is broken.
        """

    def image_path(self, index: int) -> Path:
        """The picture, without reading anything else."""

    def files(self) -> Iterator[Path]:
        """What it is read from, always in the same order: pictures, and the files in which they are marked."""


class Writer:
    """Writes one form. A row of `FORMS` says which files that are; this is what all of them share.

    Pictures may be written in any order, in threads and in other processes, to which it goes by pickle: it changes
    nothing of itself. What a file of the whole set needs of a picture is what `kept` returns, ready for JSON.
    """

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

    def write(self, file: Path, marked: Marked) -> None:
        """Writes the file of a picture, if it has one of its own, in place of what is there. Its folder must exist.

        Raises:
            OSError: When that cannot be done.
        """

    def kept(self, marked: Marked) -> Any:
        """What `finish` needs of a picture."""
        return None

    def finish(self, kept: Sequence[Any], info: dict[str, str]) -> None:
        """Writes the files of the whole set in place of what is there.

        Args:
            kept: Of each picture.
            info: What to say about the set, where the form can: the "model", the folder of "images".

        Raises:
            OSError: When that cannot be done.
        """
