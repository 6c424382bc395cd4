"""What 20, 100 and 800 pictures of new classes are worth to a model for photographs, in minutes.

    pip install scipy
    python examples/clothing_co_parsing.py CCP ccp
    python -m benchmarks.few_pictures ccp --start MODEL

MODEL has never seen garments: `configs/mini/unseen.yaml` trains one. For each number the model is trained as
`configs/clothing.yaml` says, on so many photographs, evenly spread over those for training, and asked for every garment
of the 200 test photographs, and for two that are not there; hair and skin are left out, see `benchmarks.clothing`. The
first row is MODEL as it is. Minutes are the processor's, of training steps. Finished training is kept. Writes
benchmarks/results/few-pictures.json and prints the table of docs/own-data.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clothing import FIGURES, figures_of, garments_of, measure, our_masks, train_ours, without_body
from benchmarks.machine import ROOT, machine_facts
from benchmarks.records import RESULTS
from self1e import Segmenter
from self1e.files import write_json

STEPS = {20: 100, 100: 200, 800: 300}
"""Photographs -> steps of 8."""


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


def measured(model: Path, data: Path) -> dict[str, Any]:
    """Figures of the garments of the test photographs."""
    segmenter = Segmenter.from_pretrained(model, device="cpu", dtype="float32")
    return figures_of(without_body(measure(garments_of(data / "test"), our_masks(segmenter))))


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
        model, facts = train_ours(some, steps, chosen.output / f"run-{count}", start=chosen.start, pairs=False)
        rows[str(count)] = facts | measured(model, chosen.data)
        print(table(rows), flush=True)
    results = {"machine": machine_facts(), "start": chosen.start.name, "rows": rows}
    write_json(RESULTS / "few-pictures.json", results, overwrite=True, indent=1)


if __name__ == "__main__":
    main()
