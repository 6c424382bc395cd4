"""A photograph with the noun, and where it is known the thing, of every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from self1e.data.masks import IGNORE
from self1e.data.records import DataError
from self1e.photos.index import Photo
from self1e.photos.nouns import UNKNOWN, nouns
from self1e.processing.images import load_image

GREY = 4.0
"""Standard deviation of the colour differences of a picture without colours, of 255 at most."""


@dataclass(frozen=True)
class PhotoScene:
    """What questions are made from. Arrays have the picture's size.

    Attributes:
        photo: Where it comes from, and what is known of it.
        picture: uint8[H, W, 3].
        labels: int16[H, W]: number of a noun, `NOTHING` or `UNKNOWN`.
        things: uint8[H, W]: number of a single thing; 0 where none is told apart.
        grey: Whether its colours are gone, so that none can be asked for.
    """

    photo: Photo
    picture: np.ndarray
    labels: np.ndarray
    things: np.ndarray
    grey: bool = False

    @classmethod
    def of_labels(cls, photo: Photo, labels: np.ndarray) -> PhotoScene:
        """A scene of which only the labels are known: its picture is black, and no things are told apart."""
        nothing = np.zeros(labels.shape, np.uint8)
        return cls(photo, np.dstack([nothing] * 3), labels, nothing)

    def members(self, noun: str) -> list[int]:
        """The numbers that a noun has in `labels`: more than one where it is a union of others."""
        return [nouns()[name].number for name in dict.fromkeys((noun, *self.photo.rules.wholes.get(noun, ())))]

    def mask(self, *names: str) -> np.ndarray:
        """uint8[H, W]: 1 on these nouns, 255 where it is not known, 0 elsewhere."""
        wanted = [number for name in names for number in self.members(name)]
        unsure = [nouns()[other].number for name in names for other in self.photo.rules.unsure.get(name, ())]
        table = np.zeros(len(nouns()) + 2, np.uint8)  # the last place is that of UNKNOWN, which is -1
        table[unsure] = IGNORE
        table[wanted] = 1
        table[UNKNOWN] = IGNORE
        return table.take(self.labels)  # a negative number counts from the end

    def thing_mask(self, *numbers: int) -> np.ndarray:
        """uint8[H, W]: 1 on these things, 0 elsewhere."""
        return np.isin(self.things, numbers).astype(np.uint8)


def under_cells(start: float, stop: float, count: int) -> np.ndarray:
    """int[count]: of cells that lie evenly between two borders in pixels, the pixels under their centres."""
    return (start + (np.arange(count) + 0.5) * (stop - start) / count).astype(int)


def read_scene(photo: Photo) -> PhotoScene:
    """Reads picture and maps.

    Raises:
        DataError: When a file is missing or broken, or sizes differ.
    """
    try:
        picture = np.asarray(load_image(photo.picture))
        labels = _labels(photo)
        things = _index_map(photo.instances) if photo.instances else np.zeros(labels.shape, np.uint8)
    except (OSError, ValueError) as error:
        raise DataError(f"{photo.id}: {error}") from error
    for name, array in (("mask", labels), ("map of instances", things)):
        if array.shape != picture.shape[:2]:
            raise DataError(f"{photo.id}: the {name} is {array.shape}, the picture {picture.shape[:2]} pixels")
    return PhotoScene(photo, picture, labels, things, is_grey(picture))


def read_labels(photo: Photo) -> np.ndarray:
    """int16[H, W]: its labels alone, which takes a fraction of the time.

    Raises:
        DataError: When the file is missing or broken.
    """
    try:
        return _labels(photo)
    except (OSError, ValueError) as error:
        raise DataError(f"{photo.id}: {error}") from error


def is_grey(picture: np.ndarray) -> bool:
    """Whether a picture, uint8[H, W, 3], is black and white, or of one tint."""
    seen = picture[::4, ::4].astype(np.float32)
    return bool((seen - seen.mean(axis=2, keepdims=True)).std(axis=(0, 1)).max() < GREY)


def _labels(photo: Photo) -> np.ndarray:
    return photo.numbers[_index_map(photo.mask)]


def _index_map(path: object) -> np.ndarray:
    with Image.open(str(path)) as image:
        if image.mode not in ("L", "P"):
            raise ValueError(f"{path} is no index map: its mode is {image.mode}")
        return np.array(image)
