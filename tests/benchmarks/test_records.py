"""Files of results: what one process adds, no other loses."""

from __future__ import annotations

import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path

from benchmarks.records import read, rows_of


def add_rows(file: Path, first: int, together: Barrier) -> None:
    together.wait()
    for number in range(first, first + 25):
        with rows_of(file) as rows:
            rows.append({"number": number})


def test_processes_that_write_together_lose_no_row(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    together, file = context.Barrier(2, timeout=60), tmp_path / "results" / "rows.json"
    both = [context.Process(target=add_rows, args=(file, first, together)) for first in (0, 25)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert sorted(row["number"] for row in read(file)) == list(range(50))
