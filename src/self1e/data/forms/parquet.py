"""A Parquet table, for data sets too large for one JSON file: a row a result, with its mask as run lengths.

import pandas, pycocotools.mask
row = pandas.read_parquet("results.parquet").iloc[0]
mask = pycocotools.mask.decode({"size": [row.height, row.width], "counts": row.rle})  # uint8[H, W]
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np

from self1e.data.forms import marked
from self1e.data.forms.marked import Marked
from self1e.files import write_atomically
from self1e.segment.results import Segmentation

ROWS = 10_000
"""In a row group, which a reader has in memory at once: with masks of photographs some MB."""


class Writer(marked.Writer):
    """A row for each thing, and for each that is not there; `box` is (x0, y0, x1, y1), x1 and y1 exclusive."""

    def kept(self, marked: Marked) -> Any:
        height, width = marked.height_and_width()
        rows = []
        for thing in marked.things:
            result = Segmentation(thing.pixels()[None], np.zeros(1))
            row = {"image": marked.name, "prompt": thing.label, "found": thing.there, "score": thing.score}
            row |= {"area": result.area, "box": result.box, "rle": result.to_coco_rle()[0]["counts"]}
            rows.append(row | {"height": height, "width": width})
        return rows

    def finish(self, kept: Iterable[Any], info: dict[str, str]) -> None:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter

        kinds = {"image": pa.string(), "prompt": pa.string(), "model": pa.string(), "found": pa.bool_()}
        kinds |= {"score": pa.float64(), "area": pa.int64(), "box": pa.list_(pa.int32()), "rle": pa.string()}
        schema = pa.schema({**kinds, "height": pa.int32(), "width": pa.int32()})
        rows = (self._row(row, info.get("model")) for of_picture in kept for row in of_picture)
        file = self.folder / self.form.whole[0]
        with write_atomically(file, overwrite=True) as out, ParquetWriter(out, schema) as writer:
            while group := list(islice(rows, ROWS)):
                writer.write_batch(pa.RecordBatch.from_pylist(group, schema))

    def _row(self, row: dict[str, Any], model: str | None) -> dict[str, Any]:
        """With text that UTF-8 can hold, see `write_json`."""
        text = {key: row[key].encode("utf-8", "backslashreplace").decode() for key in ("image", "prompt")}
        return row | text | {"model": model}
