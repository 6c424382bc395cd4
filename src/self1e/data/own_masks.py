"""Data of one's own with masks by class: a COCO instances JSON, or a folder of index maps."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from self1e.data.coco import CategoryMasks
from self1e.data.masks import IGNORE, IGNORE_16
from self1e.data.records import DataError
from self1e.data.semantic import IndexMaps, phrases_of_values, require
from self1e.files import files_of_user, pictures_among, text_of
from self1e.processing.classes import names_of_lines, same_class

#: Names of pixels that no one asks for, and of those that moreover count neither way.
NOT_ASKED = frozenset(("", "background"))
IGNORED = frozenset(("ignore", "ignored", "unlabeled", "unlabelled", "void"))


class CocoInstancesSource(CategoryMasks):
    """A COCO instances JSON: each category in a picture is asked for by its name, and means all its instances."""

    def __init__(
        self,
        annotations: Path,
        images: Path,
        *,
        absent_classes: int = 0,
        min_score: float = 0.0,
        stored: bool = False,
        name: str = "coco-instances",
    ) -> None:
        """Reads the file; further on how in `CategoryMasks`.

        Args:
            annotations: The JSON. Underscores in names of categories become spaces.
            images: The folder to which the pictures' `file_name` is relative.
            absent_classes: How many categories that are not in a picture are asked for, too, with an empty mask: this
                teaches a model to say no. Always the same ones of a picture.
            min_score: See `CategoryMasks`.
            stored: See `CategoryMasks`.
            name: What settings and reports call the source.

        Raises:
            DataError: When a path is missing, the file is no such JSON or has no outlines, or no picture of it exists.
        """
        expected = f"    {annotations}    (images, annotations, categories)\n    {images}/FILE_NAME"
        super().__init__(
            name,
            require(annotations, expected, folder=False),
            require(images, expected),
            lambda name: (spoken_name(name), "semantic"),
            absent_classes=absent_classes,
            min_score=min_score,
            stored=stored,
        )
        self.stored = stored


class IndexMapSource(IndexMaps):
    """A folder of pictures, and one of PNGs of the same stems whose pixels are class numbers; 255 is ignored.

    Both may have folders in them, the same ones. Maps of 16 bits are read, too: with more than 255 classes, 65535 is
    ignored in place of 255.

    Masks of one class alone are such maps too, as long as they are drawn with 1: drawn with 255 they are refused.

    Attributes:
        classes: Names by pixel value.
    """

    def __init__(
        self,
        images: Path,
        masks: Path,
        classes: Path | str | Sequence[str],
        *,
        absent_classes: int = 0,
        stored: bool = False,
        name: str = "index-maps",
    ) -> None:
        """Lists the pictures.

        Args:
            images: Folder of pictures.
            masks: Folder of PNGs of mode L, P or I;16: that of `a.jpg` is `a.png`. May be the same folder. Of a
                palette, the numbers count and not the colours.
            classes: The names of values 0, 1, ..., or a text file with one a line. A value whose name is empty or
                "background" is not asked for; one named "ignore", "void" or "unlabelled" is ignored like 255. Values
                of the same name are one class.
            absent_classes: How many classes that are not in a picture are asked for, too, with an empty mask: this
                teaches a model to say no. Always the same ones of a picture.
            stored: See `IndexMaps`.
            name: What settings and reports call the source.

        Raises:
            DataError: When a folder is missing or has none of the files, the class names cannot be used, or the first
                maps hold nothing but 0 and 255.
        """
        expected = f"    {images}/NAME.jpg    (or .png, ...)\n    {masks}/NAME.png    (class numbers)"
        require(images, expected)
        require(masks, expected)
        self.classes = _names(classes)
        lower = {value: same_class(each) for value, each in enumerate(self.classes)}
        asked = {v: spoken_name(self.classes[v]) for v, each in lower.items() if each not in NOT_ASKED | IGNORED}
        if not asked:
            raise DataError(f"there is nothing to ask for among the classes {list(self.classes)}")
        super().__init__(
            name,
            images,
            masks,
            _pictures(images, masks),
            phrases_of_values(asked),
            values=range(len(self.classes)),
            ignored=(
                *(value for value, each in lower.items() if each in IGNORED),
                IGNORE if len(self.classes) <= IGNORE else IGNORE_16,
            ),
            absent_classes=absent_classes,
            stored=stored,
        )
        self.stored = stored
        self._refuse_black_and_white()

    def _refuse_black_and_white(self) -> None:
        """Raises DataError if the first maps look like masks that are drawn with 255: all would silently be ignored."""
        values: set[int] = set()
        for file in self._files[:8]:
            with suppress(DataError):  # which is told when that record is read
                values |= self._present(file)
        if values in ({IGNORE}, {0, IGNORE}):
            raise DataError(
                f"{self.name}: the maps in {self._masks} hold only 0 and {IGNORE}, and {IGNORE} is ignored. "
                "Draw what is meant with the number of its class: 1, if the classes are 'background' and a name"
            )


def spoken_name(name: str) -> str:
    """The name of a class as a phrase.

    >>> spoken_name("traffic_light")
    'traffic light'
    """
    return " ".join(name.replace("_", " ").split())


def _names(classes: Path | str | Sequence[str]) -> tuple[str, ...]:
    if isinstance(classes, Path | str):
        try:
            names = names_of_lines(text_of(Path(classes).read_bytes()))
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read the class names, one a line, from {classes}: {error}") from error
    else:
        names = tuple(classes)
    if len(names) > IGNORE_16:
        raise DataError(f"{len(names)} classes are more than pixel values can number: 0 to 65534, 65535 is ignored")
    return names


def _pictures(images: Path, masks: Path) -> list[str]:
    """Paths of the pictures in a folder and those in it that the maps have, too, sorted. Maps are no pictures."""
    shared = images.resolve() == masks.resolve()
    below = images.resolve() in masks.resolve().parents

    @cache
    def has_maps(folder: Path) -> bool:
        if below and folder.resolve().is_relative_to(masks.resolve()):
            return False
        return (masks / folder.relative_to(images)).is_dir()

    found = [path for path in files_of_user(images, "**/*") if has_maps(path.parent)]
    pictures = pictures_among(path for path in found if not (shared and path.suffix.lower() == ".png"))
    return [path.relative_to(images).as_posix() for path in pictures]
