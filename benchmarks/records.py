"""Results as JSON: a list of rows, each known by its settings, so that a long table can be filled run by run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from self1e.files import locked, write_json

RESULTS = Path(__file__).parent / "results"
DEFAULTS: dict[str, Any] = {"device": "cpu", "compile": False}
"""Settings of rows that do not have them: they are from before there was a choice."""


def read(path: Path) -> list[dict[str, Any]]:
    """All rows; none where nothing was measured yet."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def settings_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What names a row, `DEFAULTS` filled in."""
    return DEFAULTS | row["settings"]


@contextmanager
def rows_of(path: Path) -> Iterator[list[dict[str, Any]]]:
    """All rows, to be changed in place: they are written when the block ends well, and other processes wait until then.

    Args:
        path: Is made where it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the file itself: writing replaces it, and who waited for the old one would hold what nobody else asks for.
    with path.with_name(f".{path.name}.lock").open("wb") as lock, locked(lock):
        rows = read(path)
        yield rows
        write_json(path, rows, overwrite=True, indent=1)


def record(path: Path, settings: Mapping[str, Any], **measured: Any) -> None:
    """Sets what was measured with these settings. Anything else in the file stays.

    Args:
        path: Is made where it is missing.
        settings: Names the row; those in `DEFAULTS` may be left out.
        measured: Parts of the row; parts that it has beside these are kept.
    """
    with rows_of(path) as rows:
        row = next((row for row in rows if settings_of(row) == {**DEFAULTS, **settings}), None)
        if row is None:
            row = {}
            rows.append(row)
        row |= {"settings": dict(settings), **measured}
