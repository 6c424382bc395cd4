"""Index maps: a PNG a picture whose pixels are numbers of classes, and `classes.txt` with a name a line."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from self1e.data.forms import Form, marked
from self1e.data.forms.from_source import FromSource
from self1e.data.forms.marked import Marked
from self1e.data.masks import IGNORE
from self1e.data.own_masks import IGNORED, NOT_ASKED, IndexMapSource
from self1e.files import write_atomically
from self1e.processing.classes import same_class


class Writer(marked.Writer):
    """Value 0 is the background, the first class is 1. Maps have 8 bits for up to 254 classes, and 16 for more.

    Where things overlap, the smallest one has the pixel, as a small thing is most often a part of the larger one, or in
    front of it: below, little or nothing of it would be left, and the larger one loses little. Of two of one size it is
    the one that was marked first. A warning counts pixels that other classes lose.
    """

    def __init__(self, form: Form, folder: Path, labels: Sequence[str], tolerance: float = 0.0) -> None:
        """See `marked.Writer`.

        Raises:
            ValueError: When a label is a word that means no class in a list of classes.
        """
        super().__init__(form, folder, labels, tolerance)
        if taken := [label for label in labels if same_class(label) in NOT_ASKED | IGNORED]:
            raise ValueError(
                f"in an index map {taken[0]!r} is no class, but where none is: choose another form or name"
            )

    def write(self, file: Path, marked: Marked) -> None:
        pixels = np.zeros(marked.height_and_width(), np.uint8 if len(self.labels) < IGNORE else np.uint16)
        masks = [(thing.pixels(), self.numbers[thing.label] + 1) for thing in marked.present]
        for mask, number in sorted(masks, key=lambda each: each[0].sum()):
            pixels[mask & (pixels == 0)] = number
        with write_atomically(file, overwrite=True) as out:
            Image.fromarray(pixels).save(out, "PNG")

    def kept(self, marked: Marked) -> Any:
        """How many pixels several classes share."""
        classes: dict[str, np.ndarray] = {}
        for thing in marked.present:
            classes[thing.label] = classes.get(thing.label, False) | thing.pixels()
        return int((np.sum([*classes.values()], axis=0) > 1).sum())

    def finish(self, kept: Iterable[Any], info: dict[str, str]) -> None:
        names = ["background", *(" ".join(label.split()) for label in self.labels)]
        with write_atomically(self.folder / self.form.whole[0], overwrite=True) as out:
            out.write("".join(f"{name}\n" for name in names).encode("utf-8", "backslashreplace"))
        if shared := sum(pixels or 0 for pixels in kept):  # None by earlier versions
            warnings.warn(
                f"{self.folder / 'masks'}: several classes share {shared:,} pixels, of which a map holds one class: "
                "that of the smallest thing there",
                stacklevel=2,
            )


class Reader(FromSource):
    """A folder of maps; see `IndexMapSource`."""

    def __init__(self, masks: Path, images: Path, classes: Path, stored: bool = False) -> None:
        source = IndexMapSource(images, masks, classes, stored=stored)
        super().__init__(source, images, source.phrases)
