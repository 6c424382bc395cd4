"""The log of a training as one table, and its curves.

    python -m benchmarks.training_curves runs/nano/1-vision runs/nano/2-packed runs/nano/3-together

Reads the logs that `self1e train` left in these folders, stage after stage, writes `docs/nano-training.csv`, and draws
it into `docs/pictures/nano-training.svg`. Without folders it draws the table that is there. Needs matplotlib
(`pip install 'self1e[plot]'`).
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from benchmarks.plots import panels

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "nano-training.csv"
PICTURE = ROOT / "docs" / "pictures" / "nano-training.svg"
COLUMNS = ("stage", "step", "loss", "ce", "bce", "dice", "pointed", "dense_kind", "accuracy_kind", "accuracy_part")
#: What logs call a column, where it is another name.
LOGGED = {
    "pointed": "toyland_pointed",
    "dense_kind": "toyland_kind",
    "accuracy_kind": "toyland_accuracy_kind",
    "accuracy_part": "toyland_accuracy_part",
}
#: Panels of the picture: the title, and the columns it shows.
PANELS = {
    "per-pixel labels of things, share right": ("accuracy_kind", "accuracy_part"),
    "mask losses": ("bce", "dice"),
    "words": ("ce",),
    "what [SEG] is about to point at": ("pointed",),
}
SMOOTHING = 0.9


def read_log(run: Path) -> list[dict[str, str]]:
    """The lines that the newest checkpoint of a run remembers."""
    states = sorted(run.glob("checkpoint-*/trainer_state.json"), key=lambda path: int(path.parent.name.split("-")[1]))
    if not states:
        raise SystemExit(f"{run} holds no checkpoint with a log")
    lines = json.loads(states[-1].read_text())["log_history"]
    logged = {name: LOGGED.get(name, name) for name in COLUMNS[1:]}
    return [
        {"stage": run.name} | {name: f"{line[key]:.5g}" for name, key in logged.items() if key in line}
        for line in lines
        if "loss" in line
    ]


def smooth(values: list[float]) -> list[float]:
    """A running mean, without the bias to its start."""
    mean, weight, smoothed = 0.0, 0.0, []
    for value in values:
        mean = SMOOTHING * mean + (1 - SMOOTHING) * value
        weight = SMOOTHING * weight + 1 - SMOOTHING
        smoothed.append(mean / weight)
    return smoothed


def draw(rows: list[dict[str, str]]) -> None:
    """One panel for each group of columns, over the steps of all stages."""
    with panels(PICTURE, list(PANELS)) as plots:
        for title, axis in plots.items():
            columns = PANELS[title]
            for column in columns:
                start = 0
                for number, stage in enumerate(dict.fromkeys(row["stage"] for row in rows)):
                    lines = [row for row in rows if row["stage"] == stage]
                    shown = [row for row in lines if row.get(column)]
                    steps = [start + int(row["step"]) for row in shown]
                    colour = f"C{columns.index(column)}"
                    values = smooth([float(row[column]) for row in shown])
                    axis.plot(steps, values, color=colour, label=None if number else column)
                    start += int(lines[-1]["step"])
                    axis.axvline(start, color="0.85", zorder=0)
            axis.set_xlabel("steps of all stages", fontsize=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path)
    runs = parser.parse_args().runs
    if runs:
        with TABLE.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(row for run in runs for row in read_log(run))
    with TABLE.open(newline="", encoding="utf-8") as file:
        draw(list(csv.DictReader(file)))


if __name__ == "__main__":
    main()
