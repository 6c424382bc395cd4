"""What refining and voting are worth: masks of one model, made in several ways, beside what they cost.

    python -m benchmarks.edges mini photographs --data data/photos --pictures 200
    python -m benchmarks.edges mini clothing --data ccp/test --pictures 100
    python -m benchmarks.edges nano toyland --pictures 100
    python -m benchmarks.edges mini picture        # a head in each way: docs/pictures/edges.webp

Photographs are those for testing, each asked for every noun that is there; Clothing Co-Parsing is what
examples/clothing_co_parsing.py made. Of toyland all kinds of question are asked. Pictures are evenly spread. Times are
of whole calls, the picture's encoding included, one way after the other on each picture. Writes
benchmarks/results/edges.json, in which other rows stay, and prints the table of docs/edges.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.machine import ROOT, machine_facts
from benchmarks.records import RESULTS, read, record
from self1e import Segmenter
from self1e.data.own_masks import IndexMapSource
from self1e.data.records import Query, Source
from self1e.metrics import MaskScores, boundary_f
from self1e.photos.source import PhotoSource
from self1e.processing.images import load_image
from self1e.toyland.benchmark import QUESTIONS_PER_SCENE, SEGMENTING, WEIGHTS, scene_questions, scene_seeds
from self1e.toyland.generate import generate_scene

WAYS: dict[str, dict[str, Any]] = {
    "resized": {"refine": "none"},
    "guided": {"refine": "guided"},
    "resized, 2 votes": {"refine": "none", "votes": 2},
    "resized, 4 votes": {"refine": "none", "votes": 4},
    "guided, 2 votes": {"refine": "guided", "votes": 2},
}
TOYLAND_SEED = 11
ASTRONAUT, PICTURE = ROOT / "examples" / "pictures" / "astronaut.jpg", ROOT / "docs" / "pictures" / "edges.webp"
PIECE, GAP = (140, 0, 320, 210), 8
"""Of it: her head, (left, upper, right, lower); and pixels between pieces."""

Asked = tuple[Image.Image, list[str], list[np.ndarray]]
"""A picture, prompts, and the masks that they should give, uint8[H, W] as `Query.mask`."""


def spread(count: int, whole: int) -> list[int]:
    """`count` places, evenly spread."""
    return np.linspace(0, whole - 1, min(count, whole)).astype(int).tolist()


def of_records(source: Source, count: int) -> Iterator[Asked]:
    """Things that are there, of records that are evenly spread."""
    for place in spread(count, len(source)):
        record = source[place]
        there = [(query, mask) for query in record.queries if _is_there(query, mask := query.mask())]
        if there:
            yield load_image(record.image), [query.text for query, _ in there], [mask for _, mask in there]


def _is_there(query: Query, mask: np.ndarray) -> bool:
    return not query.absent and bool((mask == 1).any())


def of_toyland(count: int) -> Iterator[Asked]:
    """Scenes that no training has seen, and what is asked about them for a mask that is not empty."""
    for seed in scene_seeds(TOYLAND_SEED, count):
        scene = generate_scene(seed)
        asked = [
            (question.text, question.target.astype(np.uint8))
            for question in scene_questions(scene, QUESTIONS_PER_SCENE, WEIGHTS)
            if question.kind in SEGMENTING and question.target is not None and question.target.any()
        ]
        if asked:
            yield Image.fromarray(scene.picture), [text for text, _ in asked], [mask for _, mask in asked]


def measure(segmenter: Segmenter, pictures: Iterator[Asked]) -> dict[str, dict[str, Any]]:
    """Way -> figures: shares, and seconds a picture."""
    scores = {way: MaskScores() for way in WAYS}
    edges: dict[str, list[float]] = {way: [] for way in WAYS}
    seconds = dict.fromkeys(WAYS, 0.0)
    count = 0
    for picture, prompts, truths in pictures:
        count += 1
        for way, options in WAYS.items():
            started = time.perf_counter()
            results = segmenter.segment(picture, prompts, **options)
            seconds[way] += time.perf_counter() - started
            for result, truth in zip(results, truths, strict=True):
                scores[way].update(result.mask, truth)
                if (edge := boundary_f(result.mask, truth)) is not None:
                    edges[way].append(edge)
    return {
        way: {
            "pictures": count,
            "masks": len(scores[way]),
            **{name: scores[way].compute()[name] for name in ("ciou", "giou")},
            "boundary": float(np.mean(edges[way])),
            "seconds": seconds[way] / count,
        }
        for way in WAYS
    }


def side_by_side(segmenter: Segmenter) -> Image.Image:
    """A piece of a picture with its mask, in each way but the last, captions below."""
    font = ImageFont.load_default(16)
    pieces = []
    for way, options in list(WAYS.items())[:-1]:
        drawn = segmenter.segment(ASTRONAUT, "the person", **options).overlay().crop(PIECE)
        piece = Image.new("RGB", (2 * drawn.width, 2 * drawn.height + 28), "white")
        piece.paste(drawn.resize((2 * drawn.width, 2 * drawn.height), Image.Resampling.NEAREST))
        ImageDraw.Draw(piece).text((4, piece.height - 24), way, fill="black", font=font)
        pieces.append(piece)
    width = sum(piece.width + GAP for piece in pieces) - GAP
    sheet = Image.new("RGB", (width, pieces[0].height), "white")
    for place, piece in enumerate(pieces):
        sheet.paste(piece, (place * (piece.width + GAP), 0))
    return sheet


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| model | on | way | masks | cIoU | gIoU | edges (F) | time |", "|---" * 8 + "|"]
    for row in rows:
        plain = row["ways"]["resized"]["seconds"]
        settings = row["settings"]
        for way, found in row["ways"].items():
            figures = " | ".join(f"{100 * found[name]:.1f}" for name in ("ciou", "giou", "boundary"))
            where = f"{settings['model']} | {settings['on']} | {way} | {found['masks']:,}"
            lines.append(f"| {where} | {figures} | {found['seconds'] / plain:.1f} x |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("on", choices=["photographs", "clothing", "toyland", "picture"])
    parser.add_argument("--data", type=Path, help="folder of the pictures, but for toyland")
    parser.add_argument("--pictures", type=int, default=200)
    chosen = parser.parse_args()
    if chosen.on in ("photographs", "clothing") and chosen.data is None:
        parser.error(f"{chosen.on} needs --data, the folder of the pictures")
    segmenter = Segmenter.from_pretrained(chosen.model, device="cpu", dtype="float32")
    if chosen.on == "picture":
        side_by_side(segmenter).save(PICTURE, quality=90)
        return
    if chosen.on == "photographs":
        pictures = of_records(PhotoSource(chosen.data, "test", ["noun"]), chosen.pictures)
    elif chosen.on == "clothing":
        folder = chosen.data
        source = IndexMapSource(folder / "images", folder / "masks", folder / "classes.txt", absent_classes=0)
        pictures = of_records(source, chosen.pictures)
    else:
        pictures = of_toyland(chosen.pictures)
    settings = {"model": segmenter.model_name, "on": chosen.on}
    path = RESULTS / "edges.json"
    record(path, settings, machine=machine_facts(), ways=measure(segmenter, pictures))
    print(table(read(path)))


if __name__ == "__main__":
    main()
