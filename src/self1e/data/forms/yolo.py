"""YOLO segmentation, as ultralytics has it: `data.yaml`, and a text file a picture with a polygon a line.

    OUT/data.yaml           train, val, names
    OUT/images/NAME.jpg     links to the pictures, or copies where there can be no links
    OUT/labels/NAME.txt     CLASS X Y X Y ..., as shares of the picture's width and height

Readers look for labels beside the folder `images`, so that nothing has to be written beside the pictures themselves.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from self1e.data.forms import marked
from self1e.data.forms.marked import Marked
from self1e.files import write_atomically
from self1e.segment.contours import mask_to_polygons


class Writer(marked.Writer):
    """A line for each part of a thing, as no line can say that another one belongs to it."""

    def write(self, file: Path, marked: Marked) -> None:
        size = np.array(marked.height_and_width()[::-1])
        lines = []
        for thing in marked.present:
            for polygon in mask_to_polygons(thing.pixels(), self.tolerance, centres=True):
                # Rounded up, as some readers round the pixel down.
                shares = (np.reshape(polygon, (-1, 2)) / size).ravel() + 5e-8
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
