"""What mini finds on photographs: by kind of question, by noun, by set.

    python configs/mini/evaluate.py mini data/photos --split test
    python configs/mini/evaluate.py runs/mini/4-fine/checkpoint-500/average data/photos --kinds noun absent --n 150

Answers are given ("[SEG]."); those in words are the model's, and compared word for word. Predictions of fewer than 50
pixels are empty (gRefCOCO's convention), but for IoU by noun and mIoU, which is over nouns that are in at least 10 of
the pictures asked about. Sets that a model labelled, wholly or in part, are asked apart: --sets cocoperson cocopeople.

What a finished model says of its nouns (`self1e info mini`) comes from test pictures:

    python configs/mini/evaluate.py src/self1e/assets/mini data/photos data/clothing data/coco --split test \\
        --kinds noun --note
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import fmean, harmonic_mean
from typing import Any

from self1e.checkpoints.hub import open_checkpoint
from self1e.evaluation.record_benchmarks import MaskBenchmark, WordBenchmark
from self1e.evaluation.samples import Sample
from self1e.files import write_json
from self1e.metrics import GREFCOCO_MIN_AREA
from self1e.photos.build import same_token
from self1e.photos.figures import ENOUGH, evenly, kind_figures, photo_figures
from self1e.photos.index import photo_sets
from self1e.photos.language import TEXTUAL
from self1e.photos.nouns import nouns
from self1e.photos.source import ABSENT_NOUN, MEASURED, UNSEEN, PhotoQuestions, PhotoSource
from self1e.processing.processor import SELF1EProcessor
from self1e.segment.nouns import TaughtNouns
from self1e.segment.segmenter import Segmenter

ENOUGH_TO_TELL = 3
"""Pictures with a noun that tell whether it is found at all."""

KINDS = {
    "noun": 'a noun that is there ("the dog")',
    UNSEEN: 'the same by a word that no training text held ("the hound")',
    ABSENT_NOUN: "a noun that is not there",
    "absent": "a noun, colour, place, number or use that is not there",
    "ordinal": '"the leftmost person", "the second horse from the right"',
    "size": '"the largest car"',
    "place": '"the dog on the left"',
    "relation": '"the person to the left of the horse"',
    "colour": '"the red car"',
    "part": '"the car\'s wheel"',
    "group": '"the animals"',
    "use": '"What could I ride?"',
    "union": '"the sky and the trees"',
    "vqa_yesno": '"Is there a cat?"',
    "vqa_count": '"How many dogs are there?"',
    "vqa_colour": '"What colour is the car?"',
    "vqa_where": '"On which side of the picture is the cat?"',
}
"""Of questions -> what they ask for."""

NEW, TAUGHT = "_new", "_taught"
SOME = {
    UNSEEN + NEW: "of these, by a word that is new to nano, too",
    ABSENT_NOUN + TAUGHT: "of these, one that it says it knows",
    "absent" + TAUGHT: "of these, with a noun that it says it knows",
}
"""Kind with an ending -> which questions of the kind these are. What the model says it hardly finds (`--note`) is not
among the nouns that it says it knows."""

COLUMNS = {"cIoU": "ciou", "gIoU": "giou", "N-acc": "n_acc", "T-acc": "t_acc", "right words": "accuracy"}


def main() -> None:
    parser = argparse.ArgumentParser(description="What mini finds on photographs.")
    parser.add_argument("model", help="model folder, or name")
    parser.add_argument("folders", type=Path, nargs="+", help="folders of photographs")
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), help="default: all")
    parser.add_argument(
        "--sets",
        nargs="+",
        choices=list(photo_sets()),
        metavar="SET",
        help="sets of photographs; default: all but those that a model labelled",
    )
    parser.add_argument("--n", type=int, help="only so many photographs of a folder, evenly spread; default: all")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument(
        "--left-out",
        nargs="+",
        choices=[noun.name for noun in nouns()],
        metavar="NOUN",
        help="that it was not taught: has figures apart",
    )
    parser.add_argument("--out", type=Path, help="file for the figures, JSON")
    parser.add_argument("--note", action="store_true", help="write the IoU of each noun into the model's nouns.json")
    options = parser.parse_args()
    if options.note and (options.split != "test" or options.n or options.sets or "noun" not in options.kinds):
        parser.error("--note is for all test photographs: give --split test, the kind noun, and neither --n nor --sets")
    taught = TaughtNouns.read(Path(options.model)) if options.note else None
    if options.note and taught is None:
        parser.error(f"{options.model} has no nouns.json to note figures in: finish.py writes it")
    if options.out and options.out.exists():
        parser.error(f"{options.out} exists: choose another file, or delete it first")
    segmenter = Segmenter.from_pretrained(options.model, device="cpu", dtype=options.dtype)
    started, samples = time.monotonic(), dict[str, list[Sample]]()
    for folder in options.folders:
        for name, of_set in ask(segmenter, folder, options.split, options.kinds, options.sets, options.n).items():
            samples.setdefault(name, []).extend(of_set)
    if not samples:
        folders = ", ".join(map(str, options.folders))
        parser.exit(1, f"{folders}: no photograph for {options.split} of the sets asked for\n")
    figures = figures_of(samples, segmenter.nouns)
    figures |= {"model": str(options.model), "split": options.split, "n": options.n}
    if options.left_out:
        figures["left_out"] = seen_and_unseen(figures["nouns"], options.left_out)
    figures["seconds"] = round(time.monotonic() - started, 1)
    if options.out:
        write_json(options.out, figures, indent=1)
    if taught is not None:
        replace(taught, iou=noted(figures["nouns"], taught)).write(Path(options.model))
    print(table_of_kinds(figures, options.kinds))
    show(figures)


def ask(
    segmenter: Segmenter,
    folder: Path,
    split: str,
    kinds: Sequence[str],
    sets: Sequence[str] | None = None,
    n: int | None = None,
) -> dict[str, list[Sample]]:
    """Asks about the photographs of a folder: samples of each of its sets. The arguments are those of the command."""
    masks, words = ([kind for kind in kinds if kind in of] for of in (MEASURED, TEXTUAL))
    source = PhotoSource(folder, split, masks, sets)
    asked = MaskBenchmark(folder.name, str(folder), source, min_area=GREFCOCO_MIN_AREA)
    asked_in_words = WordBenchmark(folder.name, str(folder), PhotoQuestions(folder, split, words, sets))
    samples: dict[str, list[Sample]] = {}
    for place in evenly(range(len(source)), n or len(source)):
        of_set = samples.setdefault(source.photos[place].set, [])
        of_set += asked.ask(segmenter, place) if masks else []
        of_set += asked_in_words.ask(segmenter, place) if words else []
    return samples


def figures_of(samples: Mapping[str, Sequence[Sample]], taught: TaughtNouns | None) -> dict[str, Any]:
    """All figures of samples by set, as shares from 0 to 1; see `photo_figures`.

    Args:
        samples: Of each set.
        taught: What the model says that it knows.
    """
    everything = [sample for of_set in samples.values() for sample in of_set]
    figures = photo_figures(everything)
    for name in SOME:
        if some := [sample for sample in everything if is_of(name, sample, taught)]:
            figures["kinds"][name] = kind_figures(some)
    figures["sets"] = {
        name: [kind_figures(asked).get("ciou", 0.0), len(asked)]
        for name, of_set in samples.items()
        if (asked := [sample for sample in of_set if sample.kind == "noun"])
    }
    return figures


def is_of(name: str, sample: Sample, taught: TaughtNouns | None) -> bool:
    """Whether a sample is of a row of `SOME`."""
    if sample.kind + NEW == name:
        return is_new_to_nano(sample.question)
    return sample.kind + TAUGHT == name and taught is not None and taught.doubt(sample.question) is None


def is_new_to_nano(phrase: str) -> bool:
    """Whether nano, whose layers mini begins with, had met no such word ("the kitten") in the texts of toyland.

    A word that these hold is a token of nano's, whose vector mini begins with as well.
    """
    return any(same_token(word, tokens_of_nano()) is None for word in phrase.split())


@cache
def tokens_of_nano() -> dict[str, int]:
    tokenizer = SELF1EProcessor.from_pretrained(open_checkpoint("nano").folder).tokenizer
    return dict(tokenizer.get_vocab())


def seen_and_unseen(found: Mapping[str, Sequence[float]], left_out: Sequence[str]) -> dict[str, float]:
    """mIoU of taught nouns and of others, of those asked for often enough, and the harmonic mean of both.

    Args:
        found: "nouns" of `photo_figures`.
        left_out: Names of nouns that were not taught.

    Returns:
        "seen" and "unseen", each left out where there is no such noun, and with both "harmonic".
    """
    unseen = {nouns()[name].phrase for name in left_out}
    often = {phrase: iou for phrase, (iou, count) in found.items() if count >= ENOUGH}
    parts = {"seen": often.keys() - unseen, "unseen": often.keys() & unseen}
    means = {name: fmean(often[phrase] for phrase in sorted(phrases)) for name, phrases in parts.items() if phrases}
    return means | ({"harmonic": harmonic_mean(list(means.values()))} if len(means) == len(parts) else {})


def noted(found: Mapping[str, Sequence[float]], taught: TaughtNouns) -> dict[str, float]:
    """IoU of those nouns that were taught and are in enough pictures to tell; `found` as for `seen_and_unseen`."""
    asked = {noun: found.get(f"the {noun}", (0, 0)) for noun in taught}
    return {noun: iou for noun, (iou, count) in asked.items() if count >= ENOUGH_TO_TELL}


def table_of_kinds(figures: Mapping[str, Any], kinds: Sequence[str]) -> str:
    """Markdown of all kinds of question that were asked for, with how many there were: of some there may be none."""
    lines = [f"| asked for | questions | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 2) + "|"]
    for kind in (kind for kind in KINDS if kind in kinds):
        lines.append(_row(KINDS[kind], kind, figures["kinds"]))
        lines += [_row(SOME[kind + end], kind + end, figures["kinds"]) for end in (NEW, TAUGHT) if kind + end in SOME]
    return "\n".join(lines)


def _row(asked_for: str, kind: str, kinds: Mapping[str, Mapping[str, float]]) -> str:
    found = kinds.get(kind, {"samples": 0})
    told = {"n_acc"} if kind.startswith("absent") else set(COLUMNS.values())
    cells = [f"{100 * found[name]:.1f}" if name in found and name in told else "" for name in COLUMNS.values()]
    return f"| {asked_for} | {found['samples']:,.0f} | {' | '.join(cells)} |"


def show(figures: dict[str, Any]) -> None:
    """What else there is, in lines."""
    print(f"{figures['seconds']} s")
    if "miou" in figures:
        print(f"mIoU {100 * figures['miou']:.1f} over {figures['classes']} nouns")
        ranked = sorted(figures["nouns"].items(), key=lambda pair: -pair[1][0])
        often = [(name.removeprefix("the "), iou, count) for name, (iou, count) in ranked if count >= ENOUGH]
        print(", ".join(f"{name} {100 * iou:.0f} ({count})" for name, iou, count in often))
    if "left_out" in figures:
        print("mIoU " + ", ".join(f"{name} {100 * iou:.1f}" for name, iou in figures["left_out"].items()))
    if figures["sets"]:
        print("sets, cIoU: " + ", ".join(f"{name} {100 * iou:.0f}" for name, (iou, _) in figures["sets"].items()))


if __name__ == "__main__":
    main()
