"""What mini finds on photographs: by kind of question, by noun, by set.

    python configs/mini/evaluate.py runs/mini/4-fine/checkpoint-500/average data/photos --split validation --n 150

Answers are given ("[SEG]."); those in words (--kinds vqa_yesno ...) are the model's, and compared word for word.
Predictions of fewer than 50 pixels are empty (gRefCOCO's convention). mIoU is over nouns that are in at least 10 of the
pictures asked about. Sets that a model labelled are asked apart: --sets cocopeople.

What a finished model says of its nouns (`self1e info mini`) comes from test pictures, on which nothing is chosen:

    python configs/mini/evaluate.py src/self1e/assets/mini data/photos data/clothing data/coco --split test \\
        --kinds noun --note
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from self1e.evaluation.record_benchmarks import MaskBenchmark, WordBenchmark
from self1e.evaluation.samples import Sample, mask_figures, word_figures
from self1e.files import write_json
from self1e.metrics import GREFCOCO_MIN_AREA, mean_class_iou
from self1e.photos.language import TEXTUAL
from self1e.photos.source import MEASURED, PhotoQuestions, PhotoSource
from self1e.segment.nouns import TaughtNouns
from self1e.segment.segmenter import Segmenter

TEACHER_ALONE = "cocopeople"
ENOUGH = 10
"""Pictures with a noun that make its figure count."""
ENOUGH_TO_TELL = 3
"""Pictures with a noun that tell whether it is found at all."""


def main() -> None:
    parser = argparse.ArgumentParser(description="What mini finds on photographs.")
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("folders", type=Path, nargs="+", help="folders of photographs")
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--kinds", nargs="+", choices=[*MEASURED, *TEXTUAL], default=["noun", "absent"])
    parser.add_argument("--sets", nargs="+", help="sets of photographs; default: all but the one labelled by a model")
    parser.add_argument("--n", type=int, help="only so many photographs of a folder, evenly spread; default: all")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--left-out", nargs="+", metavar="NOUN", help="that it was not taught: has figures apart")
    parser.add_argument("--out", type=Path, help="file for the figures, JSON")
    parser.add_argument("--note", action="store_true", help="write the IoU of each noun into the model's nouns.json")
    options = parser.parse_args()
    taught = TaughtNouns.read(options.model) if options.note else None
    if options.note and taught is None:
        parser.error(f"{options.model} has no nouns.json to note figures in: finish.py writes it")
    if options.out and options.out.exists():
        parser.error(f"{options.out} exists: choose another file, or delete it first")
    segmenter = Segmenter.from_pretrained(options.model, device="cpu", dtype=options.dtype)
    started, samples = time.monotonic(), dict[str, list[Sample]]()
    for folder in options.folders:
        for name, of_set in ask(segmenter, folder, options.split, options.kinds, options.sets, options.n).items():
            samples.setdefault(name, []).extend(of_set)
    figures = figures_of(samples) | {"model": str(options.model), "split": options.split, "n": options.n}
    if options.left_out:
        figures["left_out"] = seen_and_unseen(figures["nouns"], options.left_out)
    figures["seconds"] = round(time.monotonic() - started, 1)
    if options.out:
        write_json(options.out, figures, indent=1)
    if taught is not None:
        replace(taught, iou=noted(figures["nouns"], taught)).write(options.model)
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
    asked = MaskBenchmark(folder.name, str(folder), source, min_area=GREFCOCO_MIN_AREA, classes=True)
    asked_in_words = WordBenchmark(folder.name, str(folder), PhotoQuestions(folder, split, words, sets))
    places = [place for place, photo in enumerate(source.photos) if sets or photo.set != TEACHER_ALONE]
    step = max(1.0, len(places) / (n or len(places)))
    samples: dict[str, list[Sample]] = {}
    for place in (places[int(number * step)] for number in range(int(len(places) / step))):
        of_set = samples.setdefault(source.photos[place].set, [])
        of_set += asked.ask(segmenter, place) if masks else []
        of_set += asked_in_words.ask(segmenter, place) if words else []
    return samples


def figures_of(samples: dict[str, list[Sample]]) -> dict[str, Any]:
    """All figures of samples by set, as shares from 0 to 1."""
    everything = [sample for of_set in samples.values() for sample in of_set]
    kinds = {
        kind: word_figures(asked) if kind in TEXTUAL else mask_figures(asked, classes=False, min_area=GREFCOCO_MIN_AREA)
        for kind in dict.fromkeys(sample.kind for sample in everything)
        if (asked := [sample for sample in everything if sample.kind == kind])
    }
    nouns = [sample for sample in everything if sample.kind == "noun"]
    by_noun: dict[str, list[Sample]] = {}
    for sample in nouns:
        by_noun.setdefault(sample.question, []).append(sample)
    often = [sample for asked in by_noun.values() if len(asked) >= ENOUGH for sample in asked]
    return {
        "kinds": kinds,
        "miou": mean_iou(often) if often else None,
        "miou_nouns": len({sample.question for sample in often}),
        "nouns": {name: [round(mean_iou(asked), 4), len(asked)] for name, asked in sorted(by_noun.items())},
        "sets": {
            name: [round(cumulative(asked), 4), len(asked)]
            for name, of_set in samples.items()
            if (asked := [sample for sample in of_set if sample.kind == "noun"])
        },
    }


def seen_and_unseen(nouns: dict[str, list[float]], left_out: Sequence[str]) -> dict[str, float]:
    """mIoU of taught nouns and of others, of those asked for often enough, and the harmonic mean of both."""
    unseen = {f"the {name}" for name in left_out}
    often = {name: iou for name, (iou, count) in nouns.items() if count >= ENOUGH}
    means = [fmean(iou for name, iou in often.items() if (name in unseen) == apart) for apart in (False, True)]
    return {"seen": means[0], "unseen": means[1], "harmonic": 2 * means[0] * means[1] / max(sum(means), 1e-9)}


def noted(nouns: dict[str, list[float]], taught: TaughtNouns) -> dict[str, float]:
    """IoU of those nouns that were taught and are in enough pictures to tell."""
    asked = {noun: nouns.get(f"the {noun}", (0, 0)) for noun in taught}
    return {noun: iou for noun, (iou, count) in asked.items() if count >= ENOUGH_TO_TELL}


def mean_iou(samples: Sequence[Sample]) -> float:
    """Mean over what was asked for of the sum of intersections over that of unions."""
    return mean_class_iou(
        [each.question for each in samples], [each.intersection for each in samples], [each.union for each in samples]
    )


def cumulative(samples: Sequence[Sample]) -> float:
    """cIoU."""
    return sum(each.intersection for each in samples) / max(1, sum(each.union for each in samples))


def show(figures: dict[str, Any]) -> None:
    for kind, found in figures["kinds"].items():
        names = ("ciou", "giou", "n_acc", "t_acc", "pr@0.5", "accuracy")
        print(f"{kind:10}{found['samples']:6}  " + "  ".join(f"{n} {100 * found[n]:.1f}" for n in names if n in found))
    print(f"{figures['seconds']} s")
    if figures["miou"] is not None:
        print(f"mIoU {100 * figures['miou']:.1f} over {figures['miou_nouns']} nouns")
    if "left_out" in figures:
        print("mIoU " + ", ".join(f"{name} {100 * iou:.1f}" for name, iou in figures["left_out"].items()))
    ranked = sorted(figures["nouns"].items(), key=lambda pair: -pair[1][0])
    print(", ".join(f"{name.removeprefix('the ')} {100 * iou:.0f} ({n})" for name, (iou, n) in ranked if n >= ENOUGH))
    print("sets, cIoU: " + ", ".join(f"{name} {100 * iou:.0f}" for name, (iou, _) in figures["sets"].items()))


if __name__ == "__main__":
    main()
