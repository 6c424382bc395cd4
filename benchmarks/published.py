"""The published figures beside those that were measured here.

    python -m benchmarks.published [RESULTS] [--model NAME=SELF1E-2B ...]

Reads every `figures.json` that `self1e eval` left below RESULTS (default: results) and prints a table in Markdown: the
paper's figure, ours, or "not run". What was not measured by the published protocol (`PROTOCOL`) is left out, and told.
`--model` says which of the paper's models one is: NAME is the "model" of its `figures.json`. Others get a row of their
own.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from self1e.evaluation.run import FIGURES

#: What a `figures.json` of the published protocol holds: all pictures, none cut up or broken, the model as it is.
PROTOCOL: dict[str, Any] = {"answer": "given", "limit": None, "max_tiles": 1, "quantization": None, "broken": []}

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


class ResultsError(ValueError):
    """Results that make no one table."""


def measured(
    folder: Path, rows: Mapping[str, str] | None = None
) -> tuple[dict[str, dict[tuple[str, str], float]], list[str]]:
    """The figures below a folder.

    Args:
        folder: Of results.
        rows: Model -> which of the paper's it is.

    Returns:
        Model, by the paper's name where `rows` has it -> (benchmark, figure) -> share in percent; and what was left out
        because it departs from `PROTOCOL`, a sentence each.

    Raises:
        ResultsError: When two results are of one cell, or of one row with different weights; or when `rows` names a
            model that there is no result of, or that the paper does not have.
    """
    rows = rows or {}
    if unknown := [row for row in rows.values() if row not in PAPER]:
        raise ResultsError(f"the paper has no model {unknown[0]!r}: it has {', '.join(PAPER)}")
    found: dict[str, dict[tuple[str, str], float]] = {}
    files: dict[tuple[str, str], Path] = {}
    weights: dict[str, tuple[str, Path]] = {}
    models, left_out = set(), []
    for path in sorted(folder.rglob(FIGURES)):
        tree = json.loads(path.read_text("utf-8"))
        models.add(tree["model"])
        columns = [column for column in COLUMNS if column[0] == tree["benchmark"]]
        if not columns:
            continue
        if departs := [
            f"{key} is {str(tree.get(key))[:60]}" for key, each in PROTOCOL.items() if tree.get(key) != each
        ]:
            left_out.append(f"{path}: {', '.join(departs)}")
            continue
        row = rows.get(tree["model"], tree["model"])
        if (other := files.setdefault((row, tree["benchmark"]), path)) != path:
            raise ResultsError(f"{other} and {path} are both of {row} on {tree['benchmark']}: move one elsewhere")
        sha256, first = weights.setdefault(row, (tree["weights_sha256"], path))
        if sha256 != tree["weights_sha256"]:
            raise ResultsError(f"{first} and {path} are both of {row}, but of different weights: move one elsewhere")
        found.setdefault(row, {}).update({column: 100 * tree[column[1]] for column in columns if column[1] in tree})
    if missing := sorted(rows.keys() - models):
        raise ResultsError(f"there is no result of {missing[0]!r} below {folder}, only of {sorted(models)}")
    return found, left_out


def table(ours: Mapping[str, Mapping[tuple[str, str], float]]) -> str:
    """Markdown: the paper's models, what was measured of each below it, then the others."""
    lines = [
        "| model | | " + " | ".join(f"{name.replace('|', ' ')} {figure}" for name, figure in COLUMNS) + " |",
        "|---|---|" + "---|" * len(COLUMNS),
    ]
    for model in dict.fromkeys([*PAPER, *ours]):
        if model in PAPER:
            cells = ["" if each is None else f"{each:.1f}" for each in PAPER[model]]
            lines.append(f"| {model} | paper | " + " | ".join(cells) + " |")
        row = ours.get(model, {})
        cells = [f"{row[column]:.1f}" if column in row else "not run" for column in COLUMNS]
        lines.append(f"| {model} | ours | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path, default=Path("results"))
    parser.add_argument("--model", action="append", default=[], metavar="NAME=ROW", help=f"ROW: {', '.join(PAPER)}")
    given = parser.parse_args(arguments)
    pairs = [each.rpartition("=") for each in given.model]
    if wrong := [row for name, _, row in pairs if not name]:
        parser.error(f"--model {wrong[0]}: write NAME=ROW, as in models/self1e-2b=SELF1E-2B")
    try:
        found, left_out = measured(given.results, {name: row for name, _, row in pairs})
    except ResultsError as error:
        parser.error(str(error))
    for each in left_out:
        print(f"left out: {each}", file=sys.stderr)
    print(table(found))


if __name__ == "__main__":
    main()
