"""What mini reaches on photographs for testing, beside what it was meant to reach, and by kind of question.

    python configs/mini/aims.py mini data --out aims.json
    python configs/mini/aims.py runs/mini/4-fine/model data --split validation --n 100

DATA has the folders that `self1e.photos.prepare` makes: photos, clothing and coco. How it is asked and measured:
`evaluate.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluate import KINDS, TAUGHT, ask, figures_of, table_of_kinds

from self1e.evaluation.samples import Sample
from self1e.files import write_json
from self1e.photos.figures import ENOUGH
from self1e.photos.language import TEXTUAL
from self1e.segment.segmenter import Segmenter

Figures = dict[str, Any]


@dataclass(frozen=True)
class Aim:
    """A figure that is to be reached, or is told beside those that are.

    Attributes:
        name: For the table.
        folder: Of photographs.
        least: The figure, from 0 to 1; 0 where nothing was aimed at.
        reached: That figure among those of the folder.
    """

    name: str
    folder: str
    least: float
    reached: Callable[[Figures], float]


def of_kind(kind: str, name: str) -> Callable[[Figures], float]:
    """A figure of one kind of question."""
    return lambda figures: float(figures["kinds"][kind][name])


def of_noun(noun: str) -> Callable[[Figures], float]:
    """The IoU of a noun that is in enough photographs to tell."""

    def reached(figures: Figures) -> float:
        iou, count = figures["nouns"][f"the {noun}"]
        if count < ENOUGH:
            raise KeyError(noun)
        return float(iou)

    return reached


def of_garments(samples: Sequence[Sample]) -> list[Sample]:
    """Those that are not about `NO_GARMENTS`."""
    return [sample for sample in samples if sample.question not in NO_GARMENTS]


def in_words(figures: Figures) -> float:
    """The share of all answers in words that are right."""
    kinds = [figures["kinds"][kind] for kind in TEXTUAL if kind in figures["kinds"]]
    return sum(kind["accuracy"] * kind["samples"] for kind in kinds) / sum(kind["samples"] for kind in kinds)


AIMS = (
    Aim("nouns that are there, cIoU", "photos", 0.80, of_kind("noun", "ciou")),
    Aim("the same, gIoU", "photos", 0.68, of_kind("noun", "giou")),
    Aim("the same, mIoU over nouns", "photos", 0.62, lambda figures: float(figures["miou"])),
    Aim("the same, T-acc", "photos", 0.95, of_kind("noun", "t_acc")),
    Aim("what is not there, N-acc", "photos", 0.85, of_kind("absent", "n_acc")),
    Aim("the same, of what it says it knows", "photos", 0, of_kind("absent" + TAUGHT, "n_acc")),
    *(Aim(noun, "photos", 0.80, of_noun(noun)) for noun in ("person", "car", "sky", "road", "building", "tree")),
    *(Aim(noun, "photos", 0.85, of_noun(noun)) for noun in ("cat", "dog", "horse", "cow", "sheep")),
    Aim('"the leftmost person", "the second horse from the right", gIoU', "photos", 0.55, of_kind("ordinal", "giou")),
    Aim("answers in words", "photos", 0.80, in_words),
    Aim("garments by name (Clothing Co-Parsing), cIoU", "clothing", 0.65, of_kind("noun", "ciou")),
    Aim("garments that are not there, N-acc", "clothing", 0.80, of_kind("absent", "n_acc")),
    Aim("the same, of what it says it knows", "clothing", 0, of_kind("absent" + TAUGHT, "n_acc")),
    Aim("COCO with panoptic labels, cIoU", "coco", 0.60, of_kind("noun", "ciou")),
    Aim("what is not there in these, N-acc", "coco", 0, of_kind("absent", "n_acc")),
    Aim("the same, of what it says it knows", "coco", 0, of_kind("absent" + TAUGHT, "n_acc")),
)
ASKED: dict[str, tuple[list[str], list[str] | None]] = {
    "photos": (list(KINDS), None),
    "clothing": (["noun", "absent"], None),
    "coco": (["noun", "absent"], ["coco"]),  # of the folder's two sets that with panoptic labels
}
"""Folder -> kinds of question, and sets."""
NO_GARMENTS = ("the hair", "the skin")
"""What Clothing Co-Parsing marks beside garments."""


def main() -> None:
    parser = argparse.ArgumentParser(description="What mini reaches, beside what it was meant to reach.")
    parser.add_argument("model", help="model folder, or name")
    parser.add_argument("data", type=Path, help="folder of the folders of photographs")
    parser.add_argument("--split", choices=["validation", "test"], default="test")
    parser.add_argument("--n", type=int, help="only so many photographs of a folder, evenly spread; default: all")
    parser.add_argument("--out", type=Path, help="file for all figures, JSON")
    options = parser.parse_args()
    if options.out and options.out.exists():
        parser.error(f"{options.out} exists: choose another file, or delete it first")
    segmenter = Segmenter.from_pretrained(options.model, device="cpu", dtype="float32")
    found = {}
    for folder, (kinds, sets) in ASKED.items():
        samples = ask(segmenter, options.data / folder, options.split, kinds, sets, options.n)
        if folder == "clothing":
            samples = {name: of_garments(of_set) for name, of_set in samples.items()}
        found[folder] = figures_of(samples, segmenter.nouns)
    if options.out:
        write_json(options.out, found, indent=1)
    print(table_of_aims(found), table_of_kinds(found["photos"], list(KINDS)), sep="\n\n")


def table_of_aims(found: Mapping[str, Figures]) -> str:
    """Markdown, from the figures of each folder; "-" where there were too few photographs for one."""
    lines = ["| asked for | aim | reached |", "|---|---|---|"]
    for aim in AIMS:
        try:
            reached = 100 * aim.reached(found[aim.folder])
        except (KeyError, ZeroDivisionError):
            shown = "-"
        else:
            shown = f"**{reached:.1f}**" if aim.least and reached >= 100 * aim.least else f"{reached:.1f}"
        lines.append(f"| {aim.name} | {f'{100 * aim.least:.0f}' if aim.least else ''} | {shown} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
