"""Writes what the benchmarks measured into `docs/performance.md`.

    python -m benchmarks.performance

A block of the page stands between `<!-- NAME -->` and `<!-- end of NAME -->`; the rest of it is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.records import RESULTS, read, settings_of
from benchmarks.scaling import picture_name
from self1e.checkpoints.hub import BUNDLED

PAGE = ROOT / "docs" / "performance.md"
NOTHING = "Not measured yet."

Row = dict[str, Any]
Column = Callable[[Row, Row], Any]
"""What stands in a column, of the settings of a row and of what was measured."""

MODEL = ("device", "size", "dtype", "compile")
"""The settings that all rows but those of the cold start have: what ran, and where."""


def inference_table(results: Path) -> str:
    """Ratios, agreement and share of the products, for each device, size, type, tiles and expressions."""
    ways = ("reference", "exact", "shared")
    return _table_of(
        _with("timing", read(results / "inference.json"), (*MODEL, "tiles", "expressions")),
        {
            **_ratios("reference / exact", "reference / shared", "exact / products"),
            "share of products": lambda _, found: f"{1 / found['ratios']['exact / products']:.0%}",
            **_ratios("exact / all products"),
            "tokens: reference, exact, shared": lambda _, found: _each(found["tokens"][way] for way in ways),
            "TFLOP: reference, exact, shared": lambda _, found: _each(found["tflop"][way] for way in ways),
            "masks of exact": lambda settings, found: _masks(found["agreement"]["exact"], settings),
            "of shared": lambda settings, found: _masks(found["agreement"]["shared"], settings),
        },
        ("tiles", "expressions"),
    )


def memory_table(results: Path) -> str:
    """Peak memory of each way in a process of its own."""
    return _table_of(
        _with("memory", read(results / "inference.json"), (*MODEL, "tiles", "expressions")),
        {
            "reference, GiB": lambda _, found: f"{found['gib']['reference']:.2f}",
            "exact, GiB": lambda _, found: f"{found['gib']['exact']:.2f}",
            "shared, GiB": lambda _, found: f"{found['gib']['shared']:.2f}",
            "exact / reference": lambda _, found: f"{found['gib']['exact'] / found['gib']['reference']:.2f}",
        },
        ("tiles", "expressions"),
    )


def cold_start_table(results: Path) -> str:
    """Whole processes."""
    rows = _with("cold_start", read(results / "inference.json"), ("device", "command"))
    head = ("device", "command", "seconds", "seconds of `import torch, transformers`", "ratio")
    return _table(
        head,
        (
            [
                settings["device"],
                f"`{settings['command']}`",
                *(f"{found['seconds'][name]:.2f}" for name in ("first mask", "imports")),
                f"{found['ratios']['first mask / imports']:.2f}",
            ]
            for settings, found in rows
        ),
        rows,
    )


def training_table(results: Path) -> str:
    """Steps: ratios, agreement, and memory where it was measured."""
    names = (*MODEL, "expressions", "optimiser")
    every = read(results / "training.json")
    memory = {_values(settings, names): found["gib"] for settings, found in _with("memory", every, names)}

    def gibs(settings: Row, _: Row) -> str:
        return _each(f"{gib:.2f}" for gib in memory.get(_values(settings, names), {}).values()) or "not run"

    def step(settings: Row, _: Row) -> str:
        return "forward, backward, AdamW" if settings["optimiser"] else "forward, backward"

    return _table_of(
        _with("timing", every, names),
        {
            "step": step,
            **_ratios("reference / exact", "reference / packed", "exact / products", "exact / all products"),
            "gradients of exact": lambda _, found: f"{found['agreement']['exact']['gradient_norms']:.0e}",
            "of packed": lambda _, found: f"{found['agreement']['packed']['gradient_norms']:.0e}",
            "GiB: reference, exact, packed": gibs,
        },
        ("expressions",),
    )


def savings_table(results: Path) -> str:
    """How many times as long it takes, and as many operations, without each saving; a row for each."""
    rows = _with("timing", read(results / "savings.json"), (*MODEL, "expressions"))
    lines = [
        [settings["device"], _kind(settings), settings["expressions"], name, _times(times), _times(operations)]
        for settings, found in rows
        for name, times in found["ratios"].items()
        for operations in [found["products"][name]]
    ]
    return _table(("device", "size, type", "expressions", "without", "time", "operations of products"), lines, rows)


def scaling_pictures(results: Path) -> str:
    """The pictures that `benchmarks.scaling` draws."""
    rows = read(results / "scaling.json")
    kinds = {picture_name(settings): settings for settings in map(settings_of, rows)}
    lines = [
        f"![Cost of masks, {settings['device']}, {_kind(settings)}](pictures/{name})"
        for name, settings in sorted(kinds.items(), key=lambda kind: _values(kind[1], MODEL))
    ]
    return "\n\n".join([*lines, _machines([(row["settings"], row) for row in rows])]) if lines else NOTHING


BLOCKS: dict[str, Callable[[Path], str]] = {
    "inference": inference_table,
    "memory": memory_table,
    "cold start": cold_start_table,
    "training": training_table,
    "scaling": scaling_pictures,
    "savings": savings_table,
}


def filled(page: str, results: Path) -> str:
    """The page with every block as the results say.

    Raises:
        ValueError: If the page lacks the place of a block.
    """
    for name, write in BLOCKS.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        text = write(results)
        page, found = place.subn(lambda marks, text=text: f"{marks[1]}\n{text}\n\n{marks[2]}", page)  # type: ignore[misc]
        if found != 1:
            raise ValueError(
                f"the page has {found} places for {name!r}: put <!-- {name} --> and <!-- end of {name} --> on it once"
            )
    return page


def _with(part: str, rows: Sequence[Row], order: Sequence[str]) -> list[tuple[Row, Row]]:
    """Settings and that part of the rows that have it, sorted by settings."""
    chosen = [(settings_of(row), row[part]) for row in rows if part in row]
    return sorted(chosen, key=lambda pair: _values(pair[0], order))


def _values(settings: Row, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(settings[name] for name in names)


def _ratios(*names: str) -> dict[str, Column]:
    """Columns of these ratios of times."""
    return {name: lambda _, found, name=name: _times(found["ratios"][name]) for name in names}  # type: ignore[misc]


def _table_of(rows: Sequence[tuple[Row, Row]], columns: Mapping[str, Column], names: Sequence[str]) -> str:
    """Rows about a model: what ran, these settings, and the columns."""
    head = ("device", "size, type", *names, *columns)
    lines = (
        [settings["device"], _kind(settings), *_values(settings, names)]
        + [column(settings, found) for column in columns.values()]
        for settings, found in rows
    )
    return _table(head, lines, rows)


def _table(head: Sequence[str], lines: Iterable[Sequence[Any]], rows: Sequence[tuple[Row, Row]]) -> str:
    """Markdown, and below it where `rows` were measured."""
    written = [f"| {' | '.join(map(str, line))} |" for line in lines]
    if not written:
        return NOTHING
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *written, "", _machines(rows)])


def _machines(rows: Sequence[tuple[Row, Row]]) -> str:
    """Where it was measured, each machine once."""
    seen: dict[str, list[float]] = {}
    for _, found in rows:
        facts = found["machine"]
        instructions = ", ".join(facts["instructions"]) or "none of AVX2, AVX-512 and AMX"
        gpu = f"{facts['gpu']} ({facts['gpu_gib']} GiB, {facts['gpu_runtime']}); " if "gpu" in facts else ""
        where = (
            f"{gpu}{facts['cpu']} ({instructions}), {facts['threads']} threads, torch {facts['torch']}, transformers "
            f"{facts['transformers']}, self1e {facts['self1e']}, {facts['date']}"
        )
        seen.setdefault(where, []).append(facts["load"])
    return "\n".join(f"{where}; load {_span(loads)}." for where, loads in seen.items())


def _span(values: Sequence[float]) -> str:
    return f"{min(values)}" if min(values) == max(values) else f"{min(values)} to {max(values)}"


def _kind(settings: Row) -> str:
    return f"{settings['size']}, {settings['dtype']}{', compiled' if settings['compile'] else ''}"


def _times(ratio: float) -> str:
    return f"{ratio:.2f}"


def _each(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))


def _masks(found: Row, settings: Row) -> str:
    """By what `benchmarks.inference` judges them."""
    if settings["dtype"] == "float32":
        return f"to {max(found['max_difference'], found['relative_difference']):.0e}"
    return f"IoU {found['iou' if settings['size'] in BUNDLED else 'iou_decided']:.4f}"


def main() -> None:
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), RESULTS), encoding="utf-8")


if __name__ == "__main__":
    main()
