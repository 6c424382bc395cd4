"""The log of a training as one table, and its curves.

    python -m benchmarks.training_curves nano runs/nano/1-vision runs/nano/2-packed runs/nano/3-together
    python -m benchmarks.training_curves mini runs/mini/11-absent runs/mini/12-even

Reads the curves that `self1e train` left in these folders, stage after stage, writes `docs/MODEL-training.csv`, and
draws it into `docs/pictures/MODEL-training.svg`. Without folders it draws the table that is there. Needs matplotlib
(`pip install 'self1e[plot]'`).
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from benchmarks.plots import panels

ROOT = Path(__file__).parents[1]
#: Columns of the tables, and what curves call them.
COLUMNS = {
    "nano": {name: name for name in ("step", "loss", "ce", "bce", "dice")}
    | {
        "pointed": "toyland_pointed",
        "dense_kind": "toyland_kind",
        "accuracy_kind": "toyland_accuracy_kind",
        "accuracy_part": "toyland_accuracy_part",
    },
    "mini": {name: name for name in ("step", "seconds", "loss", "ce", "bce", "dice")}
    | {"noun": "photos_noun", "place": "photos_place", "accuracy_noun": "photos_accuracy_noun"},
}
#: Panels of the pictures: the title, and the columns it shows.
PANELS = {
    "nano": {
        "per-pixel labels of things, share right": ("accuracy_kind", "accuracy_part"),
        "mask losses": ("bce", "dice"),
        "words": ("ce",),
        "what [SEG] is about to point at": ("pointed",),
    },
    "mini": {
        "labels of pixels, share right": ("accuracy_noun",),
        "losses of labels": ("noun", "place"),
        "mask losses": ("bce", "dice"),
        "words": ("ce",),
    },
}
SMOOTHING = 0.9


def read_curve(run: Path, columns: dict[str, str]) -> list[dict[str, str]]:
    """The steps of a run, with the columns of the table that it has."""
    curve = run / "curve.csv"
    if not curve.is_file():
        raise SystemExit(f"{run} holds no curve.csv: give folders that `self1e train` made")
    with curve.open(newline="", encoding="utf-8") as file:
        return [
            {"stage": run.name} | {name: f"{float(line[key]):.5g}" for name, key in columns.items() if line.get(key)}
            for line in csv.DictReader(file)
            if line["loss"]
        ]


def smooth(values: list[float]) -> list[float]:
    """A running mean, without the bias to its start."""
    mean, weight, smoothed = 0.0, 0.0, []
    for value in values:
        mean = SMOOTHING * mean + (1 - SMOOTHING) * value
        weight = SMOOTHING * weight + 1 - SMOOTHING
        smoothed.append(mean / weight)
    return smoothed


def draw(rows: list[dict[str, str]], of_columns: dict[str, tuple[str, ...]], picture: Path) -> None:
    """One panel for each group of columns, over the steps of all stages."""
    with panels(picture, list(of_columns)) as plots:
        for title, axis in plots.items():
            columns = of_columns[title]
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
    parser.add_argument("model", choices=COLUMNS)
    parser.add_argument("runs", nargs="*", type=Path)
    chosen = parser.parse_args()
    table = ROOT / "docs" / f"{chosen.model}-training.csv"
    columns = COLUMNS[chosen.model]
    if chosen.runs:
        read = [row for run in chosen.runs for row in read_curve(run, columns)]
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["stage", *columns])
            writer.writeheader()
            writer.writerows(read)
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    draw(rows, PANELS[chosen.model], ROOT / "docs" / "pictures" / f"{chosen.model}-training.svg")


if __name__ == "__main__":
    main()
