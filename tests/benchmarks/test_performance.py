"""The page is in step with the results, and rows of results outlive one another."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.performance import BLOCKS, PAGE, filled
from benchmarks.records import RESULTS, read, record

EMPTY = "# Speed\n" + "".join(f"<!-- {name} -->\n<!-- end of {name} -->\n" for name in BLOCKS) + "by hand\n"


def test_the_page_says_what_was_measured() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == filled(page, RESULTS), "run `python -m benchmarks.performance`"


def test_filling_again_changes_nothing(tmp_path: Path) -> None:
    page = filled(EMPTY, tmp_path)
    assert page.count("Not measured yet.") == len(BLOCKS)
    assert page.startswith("# Speed\n") and page.endswith("by hand\n")
    assert filled(page, tmp_path) == page


def test_a_page_without_a_place(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 places for 'training'"):
        filled(EMPTY.replace("<!-- end of training -->", ""), tmp_path)


def test_rows_are_added_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "results" / "some.json"
    one, other = {"size": "1B", "tiles": 1}, {"size": "1B", "tiles": 4}
    record(path, one, timing={"seconds": 1.0}, memory={"gib": 2.0})
    record(path, other, timing={"seconds": 3.0})
    record(path, one, timing={"seconds": 4.0})
    assert read(path) == [
        {"settings": one, "timing": {"seconds": 4.0}, "memory": {"gib": 2.0}},
        {"settings": other, "timing": {"seconds": 3.0}},
    ]
