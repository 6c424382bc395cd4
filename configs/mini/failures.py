"""Draws what mini finds on COCO's photographs for testing, beside what people marked there, to look at its failures.

    python configs/mini/failures.py mini data/coco IMAGE_LICENSES.tsv --out forty.png
    python configs/mini/failures.py mini data/coco IMAGE_LICENSES.tsv --worst 10 --out docs/pictures/mini-failures.webp

IMAGE_LICENSES.tsv has the columns image_id, license and flickr_url, as COCO's annotations have them. Only photographs
are drawn whose licence lets everybody pass them on when their source is named; the sources are printed as a list in
Markdown. All nouns that are there are asked for, and one is kept, in turn the first, second, ... of its photograph.
The worst have the lowest IoU, and of equal ones the largest thing.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from self1e.data.contact_sheet import COLOURS, THUMB, Cell, laid_out
from self1e.evaluation.record_benchmarks import MaskBenchmark
from self1e.evaluation.samples import Sample
from self1e.metrics import GREFCOCO_MIN_AREA
from self1e.photos.figures import evenly
from self1e.photos.source import PhotoSource
from self1e.segment.overlay import draw_masks
from self1e.segment.segmenter import Segmenter

FREE = {"Attribution License", "No known copyright restrictions"}
WHITE = (255, 255, 255)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws what mini finds on photographs for testing.")
    parser.add_argument("model", help="model folder, or name")
    parser.add_argument("folder", type=Path, help="of COCO's photographs, as prepare.py makes it")
    parser.add_argument("licences", type=Path, help="table of the photographs' licences")
    parser.add_argument("--count", type=int, default=40, help="photographs to ask about")
    parser.add_argument("--worst", type=int, help="only so many of them; default: all")
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"{options.out} exists: choose another file, or delete it first")
    sources = sources_of(options.licences)
    photographs = PhotoSource(options.folder, "test", ["noun"])
    usable = [
        place for place, photo in enumerate(photographs.photos) if photo.present and number_of(photo.picture) in sources
    ]
    if not usable:
        parser.error(f"none of the {len(photographs)} photographs in {options.folder} may be passed on")
    segmenter = Segmenter.from_pretrained(options.model, device="cpu", dtype="float32")
    benchmark = MaskBenchmark("photographs", str(options.folder), photographs, min_area=GREFCOCO_MIN_AREA)
    worst = sorted(ask(segmenter, benchmark, evenly(usable, options.count)), key=badness)[: options.worst]
    cells = [cell_of(segmenter, benchmark, sample, number) for number, sample in enumerate(worst, 1)]
    laid_out(cells, "Colour: what was found. White line: what people marked").save(options.out, quality=80)
    for number, sample in enumerate(worst, 1):
        print(f"{number}. {sample.question}, [photograph]({sources[number_of(Path(sample.picture))]})")


def sources_of(table: Path) -> dict[int, str]:
    """COCO's number of a photograph that may be passed on -> its page at Flickr."""
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["license"] in FREE]
    return {int(row["image_id"]): page_of(row["flickr_url"]) for row in rows}


def page_of(url: str) -> str:
    """The page, with its author, of a file at Flickr.

    >>> page_of("http://farm9.staticflickr.com/8077/8352611405_b9f717ba48_z.jpg")
    'https://www.flickr.com/photo.gne?id=8352611405'
    """
    return f"https://www.flickr.com/photo.gne?id={url.rsplit('/', 1)[-1].partition('_')[0]}"


def number_of(picture: Path) -> int:
    """COCO's number of a photograph, which is the name of its file; -1 of another's."""
    return int(picture.stem) if picture.stem.isdigit() else -1


def ask(segmenter: Segmenter, benchmark: MaskBenchmark, places: Sequence[int]) -> Iterator[Sample]:
    """Of each photograph, what came of one of its nouns."""
    for turn, place in enumerate(places):
        samples = benchmark.ask(segmenter, place)
        yield samples[turn % len(samples)]


def badness(sample: Sample) -> tuple[float, int]:
    """Sorts the worst to the front."""
    return sample.score, -sample.target


def cell_of(segmenter: Segmenter, benchmark: MaskBenchmark, sample: Sample, number: int) -> Cell:
    """The photograph with what was found in a colour, and a white line around what people marked."""
    shown = benchmark.shown(segmenter, sample.record, [sample.number])
    found, marked = (shown.masks[sample.number][name] == 1 for name in ("predicted", "marked"))
    drawn = draw_masks(shown.picture, found[None], [COLOURS[0]], alpha=0.5, outline=False, dim=0)
    drawn = draw_masks(drawn, marked[None], [WHITE], alpha=0, dim=0)
    drawn.thumbnail(THUMB, Image.Resampling.LANCZOS)
    return Cell(f"{number}", drawn, sample.question, f"IoU {sample.score:.2f}" if sample.predicted else "nothing found")


if __name__ == "__main__":
    main()
