"""A table for spreadsheets: a line for each thing, and for each prompt that found nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from self1e.data.forms import marked
from self1e.data.forms.marked import Marked
from self1e.files import write_atomically
from self1e.segment.results import Segmentation

COLUMNS = ("picture", "prompt", "found", "score", "area", "x", "y", "width", "height")


class Writer(marked.Writer):
    """`area` is in pixels, and `x` to `height` are the box, as in COCO."""

    def kept(self, marked: Marked) -> Any:
        rows = []
        for thing in marked.things:
            score = "" if thing.score is None else f"{thing.score:.4f}"
            figures: list[Any] = [""] * 5
            if thing.there:
                entry = Segmentation(thing.pixels()[None], np.zeros(1)).to_coco_annotation(0, 0, 0)
                figures = [entry["area"], *entry["bbox"]]
            rows.append([marked.name, thing.label, "yes" if thing.there else "no", score, *figures])
        return rows

    def finish(self, kept: Iterable[Any], info: dict[str, str]) -> None:
        write_table(self.folder / self.form.whole[0], COLUMNS, (row for rows in kept for row in rows))


def write_table(file: Any, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a CSV file in place of what is there. It begins with a mark by which Excel knows that it is UTF-8.

    Raises:
        OSError: When that cannot be done.
    """
    with write_atomically(file, overwrite=True) as out:
        text = io.TextIOWrapper(out, "utf-8-sig", "backslashreplace", newline="")
        csv.writer(text).writerows(chain([columns], rows))
        text.detach()  # which writes what is left, and leaves the file open
