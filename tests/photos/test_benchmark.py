"""Photographs as a benchmark, by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from self1e.data.records import DataError
from self1e.evaluation.benchmarks import open_benchmark
from self1e.evaluation.samples import RecordDone
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


def test_answers_in_words_are_compared_with_what_is_known(tmp_path: Path, tiny_model_folder: Path) -> None:
    write_folder(tmp_path)
    add_photo(tmp_path, "a", [("dog", (0, 0, 30, 50)), ("dog", (60, 0, 100, 50))], split="test")
    benchmark = open_benchmark("photos|test|words", tmp_path)
    samples = benchmark.ask(Segmenter.from_pretrained(tiny_model_folder, device="cpu"), 0)
    given = {(sample.kind, sample.given) for sample in samples}
    assert given == {("vqa_count", "Two."), ("vqa_yesno", "Yes."), ("vqa_yesno", "No.")}
    assert benchmark.figures([RecordDone(0, tuple(samples))])["accuracy"] == pytest.approx(
        sum(sample.answer.lower() == sample.given.lower() for sample in samples) / len(samples)
    )


@pytest.mark.parametrize("name", ["photos", "photos|train", "photos|test|nonsense", "photos|test|noun|more"])
def test_wrong_names_are_explained(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path)
    with pytest.raises(DataError, match=r"photos takes a split \(validation or test\)"):
        open_benchmark(name, tmp_path)
