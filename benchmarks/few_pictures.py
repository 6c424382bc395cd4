"""What 20, 100 and 800 pictures of new classes are worth to a model for photographs, in minutes.

    pip install scipy
    python examples/clothing_co_parsing.py CCP ccp
    python -m benchmarks.few_pictures ccp --start MODEL

MODEL has never seen garments: `configs/mini/unseen.yaml` trains one. For each number the model is trained as
`configs/clothing.yaml` says, on so many photographs, evenly spread over those for training, and asked for every garment
of the 200 test photographs, and for two that are not there. Hair and skin, which are marked like garments in nearly
every photograph, are left out. The first row is MODEL as it is. Minutes are the processor's, of training steps: reading
and putting together data and checkpoints are left out. Finished training is kept. Writes
benchmarks/results/few-pictures.json and prints the table of docs/own-data.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import ROOT, machine_facts
from benchmarks.records import RESULTS
from benchmarks.stopwatch import Stopwatch
from self1e import Segmenter
from self1e.data.own_masks import IndexMapSource
from self1e.data.records import Record, Source
from self1e.evaluation.record_benchmarks import predicted_masks
from self1e.files import write_json
from self1e.metrics import GREFCOCO_MIN_AREA, MaskScores
from self1e.training.config import load_config
from self1e.training.run import train

CONFIG = ROOT / "configs" / "clothing.yaml"

STEPS = {20: 100, 100: 200, 800: 300}
"""Photographs -> steps of 8."""

ABSENT = 2
"""Garments a photograph that are asked for and are not there."""

BODY = ("the hair", "the skin")
"""What is marked but not worn."""

FIGURES = {"ciou": "cIoU", "giou": "gIoU", "miou": "mIoU", "pr@0.5": "Pr@0.5", "n_acc": "N-acc"}

Masks = Callable[[Record], list[np.ndarray]]
Asked = dict[tuple[str, bool], MaskScores]
"""Samples by what was asked for, and whether it was there."""


def some_of(data: Path, count: int, out: Path) -> Path:
    """A folder like `data` with `count` of its photographs for training, evenly spread, as links."""
    if not out.is_dir():
        masks = sorted((data / "train" / "masks").glob("*.png"))
        for name in ("images", "masks"):
            (out / "train" / name).mkdir(parents=True)
        for place in np.linspace(0, len(masks) - 1, min(count, len(masks))).astype(int):
            name = masks[place].stem
            for part, file in (("images", f"{name}.jpg"), ("masks", f"{name}.png")):
                (out / "train" / part / file).symlink_to((data / "train" / part / file).resolve())
        (out / "train" / "classes.txt").write_bytes((data / "train" / "classes.txt").read_bytes())
    return out


def garments_of(folder: Path) -> IndexMapSource:
    """A split, with garments that are not there."""
    return IndexMapSource(folder / "images", folder / "masks", folder / "classes.txt", absent_classes=ABSENT)


def trained(start: Path, data: Path, steps: int, output: Path, config: Path = CONFIG) -> tuple[Path, dict[str, Any]]:
    """The model's folder, and what its training took. Goes on with an earlier run; one that is finished is kept.

    Args:
        start: Folder of the model to start from.
        data: What examples/clothing_co_parsing.py made.
        steps: Instead of what the settings say.
        output: Of the run.
        config: The settings.
    """
    folder = data / "train"
    maps = {name: str(folder / name) for name in ("images", "masks")} | {"classes": str(folder / "classes.txt")}
    changes: dict[str, Any] = {
        "init": str(start),
        "output": str(output),
        "data.parts.clothing.own": [maps | {"absent_classes": ABSENT}],
        "optimisation.steps": steps,
    }
    settings, stopwatch = load_config(config, changes), Stopwatch()
    model = train(settings, device="cpu", callbacks=[stopwatch])
    return model, {"minutes": stopwatch.seconds / 60, "steps": steps}


def measured(model: Path, data: Path) -> dict[str, Any]:
    """Figures of the garments of the test photographs."""
    segmenter = Segmenter.from_pretrained(model, device="cpu", dtype="float32")
    asked = asked_of(garments_of(data / "test"), lambda record: masks_of(segmenter, record))
    return figures_of(without_body(asked))


def masks_of(segmenter: Segmenter, record: Record) -> list[np.ndarray]:
    """Of each garment that is asked for, what its name gives, in the words of the evaluation protocol."""
    return [found.mask for found in predicted_masks(segmenter, record, "given")]


def asked_of(source: Source, masks: Masks) -> Asked:
    """Asks all there is to ask about all photographs."""
    asked: Asked = {}
    for record in (source[index] for index in range(len(source))):
        for query, mask in zip(record.queries, masks(record), strict=True):
            truth = query.mask()
            asked.setdefault((query.text, bool((truth == 1).any())), MaskScores()).update(mask, truth)
    return asked


def without_body(asked: Asked) -> Asked:
    """What is worn: all but hair and skin."""
    return {(text, there): scores for (text, there), scores in asked.items() if text not in BODY}


def figures_of(asked: Asked) -> dict[str, Any]:
    """Figures of samples, of which some are of something that is there, and some are not.

    cIoU, gIoU and Pr@0.5 are of what is there, N-acc of what is not (fewer than 50 pixels are none). mIoU is the mean
    over prompts of cIoU, in which pixels that are found where nothing is count, too.
    """
    named = _together(scores for (_, there), scores in asked.items() if there)
    absent = _together(scores for (_, there), scores in asked.items() if not there)
    by_prompt = {
        text: {
            "n": len(scores),
            "ciou": _together([scores, asked.get((text, False), MaskScores())]).compute()["ciou"],
        }
        for (text, there), scores in sorted(asked.items(), key=lambda item: item[0])
        if there
    }
    return {
        "named": len(named),
        "absent": len(absent),
        **{name: named.compute()[name] for name in ("ciou", "giou", "pr@0.5")},
        "miou": float(np.mean([each["ciou"] for each in by_prompt.values()])),
        "n_acc": float(np.mean(np.array(absent.predicted) < GREFCOCO_MIN_AREA)),
        "by_prompt": by_prompt,
    }


def _together(parts: Iterable[MaskScores]) -> MaskScores:
    return reduce(MaskScores.merge, parts, MaskScores())


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown."""
    lines = [f"| photographs | minutes | steps | {' | '.join(FIGURES.values())} |", "|---" * (len(FIGURES) + 3) + "|"]
    for count, row in sorted(rows.items(), key=lambda each: int(each[0])):
        cells = [f"{row['minutes']:.1f}", str(row["steps"]), *(f"{100 * row[name]:.1f}" for name in FIGURES)]
        lines.append(f"| {count} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="what examples/clothing_co_parsing.py made")
    parser.add_argument("--start", type=Path, required=True, help="folder of a model that has seen no garments")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "few-pictures")
    chosen = parser.parse_args()
    rows: dict[str, Any] = {"0": {"minutes": 0.0, "steps": 0} | measured(chosen.start, chosen.data)}
    for count, steps in STEPS.items():
        some = some_of(chosen.data, count, chosen.output / f"{count}-photographs")
        model, facts = trained(chosen.start, some, steps, chosen.output / f"run-{count}")
        rows[str(count)] = facts | measured(model, chosen.data)
        print(table(rows), flush=True)
    results = {"machine": machine_facts(), "start": chosen.start.name, "rows": rows}
    write_json(RESULTS / "few-pictures.json", results, overwrite=True, indent=1)


if __name__ == "__main__":
    main()
