"""YOLO segmentation, as ultralytics has it: `data.yaml`, and a text file a picture with a polygon a line.

    OUT/data.yaml           train, val, names
    OUT/images/NAME.jpg     links to the pictures, or copies where there can be no links
    OUT/labels/NAME.txt     CLASS X Y X Y ..., as shares of the picture's width and height

Readers look for labels beside the folder `images`, so that nothing has to be written beside the pictures themselves.
"""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from self1e.data.forms import marked
from self1e.data.forms.marked import Lost, Marked, MarkedSet, Thing
from self1e.data.forms.needs import package
from self1e.data.masks import MaskError
from self1e.data.records import Canvas, DataError
from self1e.files import as_listed, expand_name, files_of_user, pictures_among, text_of, write_atomically
from self1e.segment.contours import mask_to_polygons


class Writer(marked.Writer):
    """A line for each part of a thing, as no line can say that another one belongs to it."""

    names_pictures = True

    def write(self, file: Path, marked: Marked) -> None:
        size = np.array(marked.height_and_width()[::-1])
        lines = []
        for thing in marked.present:
            for polygon in mask_to_polygons(thing.pixels(), self.tolerance, centres=True):
                # Rounded up, as some readers round the pixel down.
                shares = (np.reshape(polygon, (-1, 2)) / size).ravel() + 1e-7
                lines.append(" ".join([str(self.numbers[thing.label]), *(f"{share:.7f}" for share in shares)]))
        with write_atomically(file, overwrite=True) as out:
            out.write("".join(f"{line}\n" for line in lines).encode())
        image = self.picture_file(marked)
        if marked.image is not None:
            self._place_picture(marked.stem, image)

    def files(self, stem: str, image: Path | None) -> list[Path]:
        """See `marked.Writer`: the labels, and a link to the picture.

        Raises:
            FileExistsError: When another picture is in its place.
        """
        if image is None:
            return super().files(stem, image)
        place = self.folder / "images" / f"{stem}{image.suffix}"
        if place.exists() and not place.is_symlink() and not self.is_there(place, image):
            raise FileExistsError(f"{place} is there already, and is another picture than {image}: write elsewhere")
        return [*super().files(stem, image), place]

    def is_there(self, file: Path, image: Path | None) -> bool:
        """See `marked.Writer`: the picture itself, or a copy."""
        if image is None or file.is_symlink() or not file.exists() or not image.exists():
            return False
        return file.samefile(image) or filecmp.cmp(file, image, shallow=False)

    def finish(self, kept: Iterable[Any], info: dict[str, str]) -> None:
        tree = {
            "train": "images",
            "val": "images",  # ultralytics wants one; split them before you believe its figures
            "names": dict(enumerate(self.labels)),
        }
        with write_atomically(self.folder / self.form.whole[0], overwrite=True) as out:
            out.write(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode())

    def _place_picture(self, stem: str, image: Path) -> None:
        """Puts the picture where readers look for it; see `files`."""
        _, place = self.files(stem, image)
        if self.is_there(place, image):
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)  # a link of an earlier run
        try:
            place.symlink_to(image.absolute())
        except OSError:  # no links on this file system, or for this user
            with write_atomically(place) as out, image.open("rb") as file:
                shutil.copyfileobj(file, out)


class Reader(MarkedSet):
    """The pictures of a split, with the polygons of their labels; a picture without labels has nothing in it.

    Lines are read and filled by supervision. A box is no mask: its class is not asked for in that picture.
    """

    def __init__(self, yolo: Path, split: str = "train") -> None:
        """Lists the pictures.

        Args:
            yolo: The file `data.yaml`.
            split: Which of its keys to read: "train", "val" or "test".

        Raises:
            DataError: When it cannot be read, has no such split, or that has no pictures or no outlines; without
                supervision.
        """
        package("supervision")
        try:
            tree = yaml.safe_load(yolo.read_bytes())
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise DataError(f"cannot read {yolo}: {error}") from error
        names = tree.get("names") if isinstance(tree, dict) else None
        if isinstance(names, list):
            names = dict(enumerate(names))
        if not isinstance(names, dict) or not names or not all(isinstance(number, int) for number in names):
            raise DataError(f"{yolo} needs the `names` of classes, a list or `0: dog` and so on, not {names!r}")
        if "kpt_shape" in tree:
            raise DataError(f"{yolo} is about keypoints (`kpt_shape`), which are no masks")
        places = tree.get(split)
        if not places:
            there = ", ".join(each for each in ("train", "val", "test") if tree.get(each)) or "none"
            raise DataError(f"{yolo} has no split {split!r}: it has {there}")
        self._names, self._file = {number: str(name) for number, name in sorted(names.items())}, yolo
        base = yolo.parent / expand_name(str(tree.get("path") or ""))
        several = places if isinstance(places, list) else [places]
        pictures = list(dict.fromkeys(each for place in several for each in _listed(base, str(place))))
        if not pictures:
            raise DataError(f"{yolo}: there are no pictures in {places} below {base}")
        super().__init__(yolo.resolve().parent.name, self._names.values(), pictures)
        self.refuse_boxes()

    def files(self) -> Iterator[Path]:
        yield self._file
        for image in super().files():
            yield from (image, labels_of(image))

    def _read(self, index: int, canvas: Canvas) -> tuple[list[Thing], list[Lost]]:
        file = labels_of(canvas.image)
        try:
            lines = text_of(file.read_bytes()).splitlines() if file.exists() else []
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read {file}: {error}") from error
        things, lost = [], []
        for number, line in enumerate(lines, start=1):
            if not (values := line.split()):
                continue
            try:
                label = self._names[int(float(values[0]))]
            except (ValueError, OverflowError, KeyError):
                raise DataError(f"{file}, line {number}: there is no class {values[0]}") from None
            if strange := [value for value in values[1:] if not _is_share(value)]:
                lost.append(Lost(label, f"line {number}, where {strange[0]} is no share of a side,", gap=True))
            elif len(values) in (5, 6):
                lost.append(Lost(label, "a box", gap=True))
            elif len(values) < 7 or len(values) % 2 == 0:
                lost.append(Lost(label, f"line {number}, a polygon of {len(values) - 1} numbers,"))
            else:
                things.append(Thing(label, partial(_pixels, line, canvas, f"{file}, line {number}")))
        return things, lost


def labels_of(image: Path) -> Path:
    """The labels of a picture: in the folder `labels` beside the last folder `images` of its path, or beside itself.

    >>> labels_of(Path("a/images/train/1.jpg")).as_posix(), labels_of(Path("a/1.jpg")).as_posix()
    ('a/labels/train/1.txt', 'a/1.txt')
    """
    parts = list(image.with_suffix(".txt").parts)
    for place in reversed(range(len(parts) - 1)):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts)


def _listed(base: Path, place: str) -> Iterator[Path]:
    """The pictures of a folder and the folders in it, or of a list of paths, one a line."""
    path = base / as_listed(place, base)
    if place.startswith("../") and not path.exists():  # as Roboflow writes it, and ultralytics reads it
        path = base / place.removeprefix("../")
    if path.suffix == ".txt":
        try:
            lines = text_of(path.read_bytes()).splitlines()
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read the list of pictures {path}: {error}") from error
        yield from (path.parent / as_listed(line.strip(), path.parent) for line in lines if line.strip())
    else:
        yield from pictures_among(files_of_user(path, "**/*"))


def _is_share(value: str) -> bool:
    """Whether it may be one, of an outline that leaves the picture, too. Others are pixels, most likely."""
    try:
        return -1 <= float(value) <= 2
    except ValueError:
        return False


def _pixels(line: str, canvas: Canvas, where: str) -> np.ndarray:
    """The inside of a polygon, bool[H, W]. Raises MaskError when it is none."""
    from supervision.dataset.formats.yolo import yolo_annotations_to_detections

    try:
        return yolo_annotations_to_detections([line], canvas.head.upright[::-1], with_masks=True).mask[0]
    except (ValueError, OverflowError) as error:
        raise MaskError(f"{where}: {error}") from error
