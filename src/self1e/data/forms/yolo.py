"""YOLO segmentation, as ultralytics has it: `data.yaml`, and a text file a picture with a polygon a line.

    OUT/data.yaml           train, val, names
    OUT/images/NAME.jpg     links to the pictures, or copies where there can be no links
    OUT/labels/NAME.txt     CLASS X Y X Y ..., as shares of the picture's width and height

Readers look for labels beside the folder `images`, so that nothing has to be written beside the pictures themselves.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from self1e.data.forms import marked
from self1e.data.forms.marked import Marked, Thing
from self1e.data.forms.needs import package
from self1e.data.masks import MaskError
from self1e.data.records import DataError
from self1e.files import files_of_user, pictures_among, text_of, write_atomically
from self1e.processing.images import read_head
from self1e.segment.contours import mask_to_polygons


class Writer(marked.Writer):
    """A line for each part of a thing, as no line can say that another one belongs to it."""

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
        self._place_picture(marked)

    def finish(self, kept: Sequence[Any], info: dict[str, str]) -> None:
        tree = {
            "train": "images",
            "val": "images",  # ultralytics wants one; split them before you believe its figures
            "names": dict(enumerate(self.labels)),
        }
        with write_atomically(self.folder / self.form.whole[0], overwrite=True) as out:
            out.write(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode())

    def _place_picture(self, marked: Marked) -> None:
        """Puts the picture where readers look for it.

        Raises:
            FileExistsError: When another one is there.
        """
        suffix = Path(marked.name).suffix if marked.image is not None else ".png"
        place = self.folder / "images" / f"{marked.stem}{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        if marked.image is None:
            assert marked.picture is not None
            with write_atomically(place, overwrite=True) as out:
                marked.picture.save(out, "PNG")
            return
        target = marked.image.absolute()
        try:
            place.symlink_to(target)
        except FileExistsError:
            if not place.samefile(target) and place.read_bytes() != target.read_bytes():
                raise FileExistsError(
                    f"{place} is there already, and is another picture than {target}: write elsewhere"
                ) from None
        except OSError:  # no links on this file system, or for this user
            shutil.copyfile(target, place)


class Yolo:
    """The pictures of a split, with the polygons of their labels; a picture without labels has nothing in it.

    Lines are read and filled by supervision. A box is no mask: its class is not asked for in that picture.
    """

    def __init__(self, yolo: Path, split: str = "train") -> None:
        """Lists the pictures.

        Args:
            yolo: The file `data.yaml`.
            split: Which of its keys to read: "train", "val" or "test".

        Raises:
            DataError: When it cannot be read, has no such split, or that has no pictures.
            ImportError: Without supervision.
        """
        package("supervision")
        try:
            tree = yaml.safe_load(yolo.read_bytes())
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise DataError(f"cannot read {yolo}: {error}") from error
        names = tree.get("names") if isinstance(tree, dict) else None
        if isinstance(names, list):
            names = dict(enumerate(names))
        if not isinstance(names, dict) or not names:
            raise DataError(f"{yolo} needs the `names` of classes")
        if "kpt_shape" in tree:
            raise DataError(f"{yolo} is about keypoints (`kpt_shape`), which are no masks")
        places = tree.get(split)
        if not places:
            raise DataError(f"{yolo} has no split {split!r}: it has {', '.join(map(str, tree))}")
        self._names = {int(number): str(name) for number, name in names.items()}
        self.labels = [self._names[number] for number in sorted(self._names)]
        self.name, self._file = yolo.parent.name, yolo
        base = yolo.parent / (tree.get("path") or "")
        pictures = [
            each for place in (places if isinstance(places, list) else [places]) for each in _listed(base, place)
        ]
        if not pictures:
            raise DataError(f"{yolo}: there are no pictures in {places} below {base}")
        common = Path(os.path.commonpath([picture.parent for picture in pictures]))
        self._pictures = [(picture, picture.relative_to(common).as_posix()) for picture in pictures]

    def __len__(self) -> int:
        return len(self._pictures)

    def image_path(self, index: int) -> Path:
        return self._pictures[index][0]

    def files(self) -> Iterator[Path]:
        yield self._file
        for image, _ in self._pictures:
            yield from (image, labels_of(image))

    def __getitem__(self, index: int) -> Marked:
        image, name = self._pictures[index]
        file = labels_of(image)
        try:
            lines = [line for line in file.read_text("utf-8").splitlines() if line.strip()] if file.exists() else []
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read {file}: {error}") from error
        things, lost = [], []
        for number, line in enumerate(lines, start=1):
            values = line.split()
            try:
                label = self._names[int(float(values[0]))]
            except (ValueError, KeyError):
                raise DataError(f"{file}, line {number}: there is no class {values[0]}") from None
            if len(values) in (5, 6):
                lost.append((label, "a box"))
            elif len(values) < 7:
                lost.append(("", "a polygon of less than 3 points"))
            else:
                things.append(Thing(label, partial(_pixels, line, image, f"{file}, line {number}")))
        return Marked(name, tuple(things), image, lost=tuple(lost))


def open_set(yolo: Path, split: str = "train") -> Yolo:
    """See `Yolo`."""
    return Yolo(yolo, split)


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


def _listed(base: Path, place: Any) -> Iterator[Path]:
    """The pictures of a folder and the folders in it, or of a list of paths, one a line."""
    path = base / str(place)
    if path.suffix == ".txt":
        try:
            lines = text_of(path.read_bytes()).splitlines()
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read the list of pictures {path}: {error}") from error
        yield from (path.parent / line.strip() for line in lines if line.strip())
    else:
        yield from pictures_among(files_of_user(path, "**/*"))


def _pixels(line: str, image: Path, where: str) -> np.ndarray:
    """The inside of a polygon, bool[H, W]. Raises MaskError when it is none."""
    from supervision.dataset.formats.yolo import yolo_annotations_to_detections

    try:
        return yolo_annotations_to_detections([line], read_head(image).upright[::-1], with_masks=True).mask[0]
    except (ValueError, OverflowError) as error:
        raise MaskError(f"{where}: {error}") from error
