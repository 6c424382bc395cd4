"""Photographs as a benchmark, by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from self1e.data.records import DataError
from self1e.evaluation.benchmarks import open_benchmark
from self1e.segment.segmenter import Segmenter
from tests.photos.made_up import add_photo, write_folder


def test_photographs_are_a_benchmark(tmp_path: Path, tiny_model_folder: Path) -> None:
    write_folder(tmp_path)
    add_photo(tmp_path, "a", [("dog", (0, 0, 50, 50)), ("cat", (50, 0, 100, 50))], split="test")
    benchmark = open_benchmark("photos|test", tmp_path)
    segmenter = Segmenter.from_pretrained(tiny_model_folder, device="cpu")
    samples = benchmark.ask(segmenter, 0)
    assert {sample.question for sample in samples if sample.kind == "noun"} == {"the cat", "the dog"}
    assert {sample.kind for sample in samples} == {"noun", "absent"}
    assert {sample.kind for sample in open_benchmark("photos|test|noun", tmp_path).ask(segmenter, 0)} == {"noun"}


@pytest.mark.parametrize("name", ["photos", "photos|train", "photos|test|nonsense", "photos|test|noun|more"])
def test_wrong_names_are_explained(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path)
    with pytest.raises(DataError, match=r"photos takes a split \(validation or test\)"):
        open_benchmark(name, tmp_path)
