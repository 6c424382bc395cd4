"""The page is in step with the results, and rows of results outlive one another."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.performance import BLOCKS, PAGE, filled, memory_table
from benchmarks.records import RESULTS, read, record
from benchmarks.scaling import picture_name

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


def test_rows_from_before_there_was_a_choice_of_device(tmp_path: Path) -> None:
    path = tmp_path / "inference.json"
    old = {"size": "1B", "dtype": "float32", "tiles": 1, "expressions": 1}
    machine = {"cpu": "some CPU", "instructions": ["avx2"], "threads": 2, "load": 0.0, "date": "today"}
    machine |= dict.fromkeys(("torch", "transformers", "self1e"), "1")
    gib = dict.fromkeys(("reference", "exact", "shared"), 4.0)
    record(path, old, memory={"gib": gib, "machine": machine})
    gpu = {"gpu": "Some GPU", "gpu_gib": 24.0, "gpu_runtime": "CUDA 13.0"}
    on_gpu = old | {"device": "Some GPU", "compile": True}
    record(path, on_gpu, memory={"gib": gib, "machine": gpu | machine})
    table = memory_table(tmp_path)
    assert "| Some GPU | 1B, float32, compiled | 1 | 1 | 4.00 | 4.00 | 4.00 | 1.00 |" in table
    assert "| cpu | 1B, float32 | 1 | 1 | 4.00 |" in table
    assert "\nSome GPU (24.0 GiB, CUDA 13.0); some CPU (avx2), 2 threads" in table
    record(path, old | {"device": "cpu", "compile": False}, memory={"gib": gib | {"exact": 3.0}, "machine": machine})
    assert [row["memory"]["gib"]["exact"] for row in read(path)] == [3.0, 4.0]


def test_each_device_has_its_picture() -> None:
    settings = {"size": "2B", "dtype": "bfloat16", "device": "cpu", "compile": False}
    assert picture_name(settings) == "scaling-2B-bfloat16.svg"
    on_gpu = settings | {"device": "NVIDIA A100-SXM4-80GB", "compile": True}
    assert picture_name(on_gpu) == "scaling-2B-bfloat16-nvidia-a100-sxm4-80gb-compiled.svg"
