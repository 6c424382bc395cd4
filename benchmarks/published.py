"""The published figures beside those that were measured here.

    python -m benchmarks.published [RESULTS]

Reads every `figures.json` that `self1e eval` left below RESULTS (default: results) and prints a table in Markdown: the
paper's figure, ours, or "not run". Figures of fewer pictures than a benchmark has (`--limit`) are left out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from self1e.evaluation.run import FIGURES

#: Columns: the benchmark's name, and which figure of it is published.
COLUMNS = (
    ("refcoco|unc|val", "ciou"),
    ("refcoco|unc|testA", "ciou"),
    ("refcoco|unc|testB", "ciou"),
    ("refcoco+|unc|val", "ciou"),
    ("refcoco+|unc|testA", "ciou"),
    ("refcoco+|unc|testB", "ciou"),
    ("refcocog|umd|val", "ciou"),
    ("refcocog|umd|test", "ciou"),
    ("reasonseg|val", "giou"),
    ("reasonseg|val", "ciou"),
    ("reasonseg|test", "giou"),
    ("reasonseg|test", "ciou"),
)
#: Method, section 8, in the order of the columns; None where nothing is published.
PAPER: dict[str, tuple[float | None, ...]] = {
    "SELF1E-2B": (80.2, 82.1, 77.6, 74.6, 79.1, 69.2, 77.0, 77.8, 59.4, 68.8, 57.3, 57.6),
    "SELF1E-SEG-2B": (84.3, 85.4, 82.3, 78.9, 83.5, 75.1, 80.4, 81.0, None, None, None, None),
    "SELF1E-8B": (82.5, 83.8, 80.1, 77.6, 81.6, 73.7, 79.1, 79.8, 65.9, 69.7, 65.7, 67.0),
    "SELF1E-SEG-8B": (84.7, 86.2, 83.4, 80.2, 84.2, 77.0, 82.1, 82.8, None, None, None, None),
}


def measured(folder: Path) -> dict[str, dict[tuple[str, str], float]]:
    """Model -> (benchmark, figure) -> share in percent, of everything below a folder."""
    found: dict[str, dict[tuple[str, str], float]] = {}
    for path in sorted(folder.rglob(FIGURES)):
        tree = json.loads(path.read_text("utf-8"))
        if tree["answer"] == "given" and not tree.get("limit"):
            row = found.setdefault(tree["model"], {})
            row |= {
                (tree["benchmark"], figure): 100 * tree[figure]
                for benchmark, figure in COLUMNS
                if benchmark == tree["benchmark"] and figure in tree
            }
    return found


def table(ours: dict[str, dict[tuple[str, str], float]]) -> str:
    """Markdown."""
    lines = [
        "| model | | " + " | ".join(f"{name.replace('|', ' ')} {figure}" for name, figure in COLUMNS) + " |",
        "|---|---|" + "---|" * len(COLUMNS),
    ]
    for model, figures in PAPER.items():
        cells = ["" if each is None else f"{each:.1f}" for each in figures]
        lines.append(f"| {model} | paper | " + " | ".join(cells) + " |")
        if model not in ours:
            lines.append(f"| {model} | ours | " + " | ".join("not run" for _ in COLUMNS) + " |")
    for model, row in ours.items():
        cells = [f"{row[column]:.1f}" if column in row else "not run" for column in COLUMNS]
        lines.append(f"| {model} | ours | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path, default=Path("results"))
    print(table(measured(parser.parse_args().results)))


if __name__ == "__main__":
    main()
