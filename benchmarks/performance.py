"""Writes what the benchmarks measured into `docs/performance.md`.

    python -m benchmarks.performance

A block of the page stands between `<!-- NAME -->` and `<!-- end of NAME -->`; the rest of it is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.records import RESULTS, read, settings_of
from benchmarks.scaling import picture_name
from self1e.segment.load import BUNDLED

PAGE = ROOT / "docs" / "performance.md"
NOTHING = "Not measured yet."

Row = dict[str, Any]

MODEL = ("device", "size", "dtype", "compile")
"""The settings that all rows but those of the cold start have: what ran, and where."""


def inference_table(results: Path) -> str:
    """Ratios, agreement and share of the products, for each device, size, type, tiles and expressions."""
    rows = _with("timing", read(results / "inference.json"), (*MODEL, "tiles", "expressions"))
    head = (
        "device", "size, type", "tiles", "expressions", "reference / exact", "reference / shared", "exact / products",
        "share of products", "exact / all products", "tokens: reference, exact, shared",
        "TFLOP: reference, exact, shared", "masks of exact", "of shared",
    )  # fmt: skip
    return _table(
        head,
        (
            [
                settings["device"],
                _kind(settings),
                settings["tiles"],
                settings["expressions"],
                *(_times(found["ratios"][name]) for name in ("reference / exact", "reference / shared")),
                _times(found["ratios"]["exact / products"]),
                f"{found['ratios']['products / exact']:.0%}",
                _times(found["ratios"]["exact / all products"]),
                _each(found["tokens"][way] for way in ("reference", "exact", "shared")),
                _each(found["tflop"][way] for way in ("reference", "exact", "shared")),
                *(_masks(found["agreement"][way], settings) for way in ("exact", "shared")),
            ]
            for settings, found in rows
        ),
        _machines(rows),
    )


def memory_table(results: Path) -> str:
    """Peak memory of each way in a process of its own."""
    rows = _with("memory", read(results / "inference.json"), (*MODEL, "tiles", "expressions"))
    head = (
        "device", "size, type", "tiles", "expressions", "reference, GiB", "exact, GiB", "shared, GiB",
        "exact / reference",
    )  # fmt: skip
    return _table(
        head,
        (
            [
                settings["device"],
                _kind(settings),
                settings["tiles"],
                settings["expressions"],
                *(f"{found['gib'][way]:.2f}" for way in ("reference", "exact", "shared")),
                f"{found['gib']['exact'] / found['gib']['reference']:.2f}",
            ]
            for settings, found in rows
        ),
        _machines(rows),
    )


def cold_start_table(results: Path) -> str:
    """Whole processes."""
    rows = _with("cold_start", read(results / "inference.json"), ("device", "command"))
    return _table(
        ("device", "command", "seconds", "seconds of `import torch, transformers`", "ratio"),
        (
            [
                settings["device"],
                f"`{settings['command']}`",
                *(f"{found['seconds'][name]:.2f}" for name in ("first mask", "imports")),
                f"{found['ratios']['first mask / imports']:.2f}",
            ]
            for settings, found in rows
        ),
        _machines(rows),
    )


def training_table(results: Path) -> str:
    """Steps: ratios, agreement, and memory where it was measured."""
    names = (*MODEL, "expressions", "optimiser")
    every = read(results / "training.json")
    rows = _with("timing", every, names)
    memory = {_values(settings, names): found["gib"] for settings, found in _with("memory", every, names)}
    head = (
        "device", "size, type", "expressions", "step", "reference / exact", "reference / packed", "exact / products",
        "exact / all products", "gradients of exact", "of packed", "GiB: reference, exact, packed",
    )  # fmt: skip
    return _table(
        head,
        (
            [
                settings["device"],
                _kind(settings),
                settings["expressions"],
                "forward, backward, AdamW" if settings["optimiser"] else "forward, backward",
                *(_times(found["ratios"][name]) for name in ("reference / exact", "reference / packed")),
                *(_times(found["ratios"][name]) for name in ("exact / products", "exact / all products")),
                *(f"{found['agreement'][way]['gradient_norms']:.0e}" for way in ("exact", "packed")),
                _each(f"{gib:.2f}" for gib in memory.get(_values(settings, names), {}).values()) or "not run",
            ]
            for settings, found in rows
        ),
        _machines(rows),
    )


def savings_table(results: Path) -> str:
    """How many times as long it takes, and as many operations, without each saving; a row for each."""
    rows = _with("timing", read(results / "savings.json"), (*MODEL, "expressions"))
    lines = [
        [
            settings["device"],
            _kind(settings),
            settings["expressions"],
            name,
            _times(times),
            _times(found["products"][name]),
        ]
        for settings, found in rows
        for name, times in found["ratios"].items()
    ]
    head = ("device", "size, type", "expressions", "without", "time", "operations of products")
    return _table(head, lines, _machines(rows))


def scaling_pictures(results: Path) -> str:
    """The pictures that `benchmarks.scaling` draws."""
    rows = read(results / "scaling.json")
    kinds = {picture_name(settings): settings for settings in map(settings_of, rows)}
    lines = [
        f"![Cost of masks, {settings['device']}, {_kind(settings)}](pictures/{name})"
        for name, settings in sorted(kinds.items(), key=lambda kind: _values(kind[1], MODEL))
    ]
    machines = _machines([(row["settings"], row) for row in rows])
    return "\n\n".join([*lines, machines]) if lines else NOTHING


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


def _table(head: Sequence[str], lines: Iterable[Sequence[Any]], machines: str) -> str:
    written = [f"| {' | '.join(map(str, line))} |" for line in lines]
    if not written:
        return NOTHING
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *written, "", machines])


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
