"""Photographs as a benchmark, by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from self1e.data.records import DataError
from self1e.evaluation.benchmarks import open_benchmark
from self1e.evaluation.samples import RecordDone, Sample
from self1e.evaluation.vqa import exact_score
from self1e.photos.figures import ENOUGH
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
    right = [replace(sample, score=exact_score(sample.given, sample.given)) for sample in samples[:-1]]
    figures = benchmark.figures([RecordDone(0, (*right, replace(samples[-1], score=exact_score("So.", "No."))))])
    assert figures["accuracy"] == pytest.approx(len(right) / len(samples))


def test_a_mean_over_nouns_is_not_of_what_is_absent(tmp_path: Path) -> None:
    write_folder(tmp_path)
    add_photo(tmp_path, "a", [("dog", (0, 0, 50, 50))], split="test")
    found = Sample(0, 0, "a", "the dog", "noun", "", 1.0, intersection=9, union=9, predicted=9, target=9)
    alarm = Sample(0, 1, "a", "the second dog", "absent", "", 0.0, union=90, predicted=90, absent=True)
    figures = open_benchmark("photos|test", tmp_path).figures([RecordDone(0, (*[found] * ENOUGH, alarm))])
    assert figures["miou"] == 1 and figures["n_acc"] == 0


@pytest.mark.parametrize("name", ["photos", "photos|train", "photos|test|nonsense", "photos|test|noun|more"])
def test_wrong_names_are_explained(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path)
    with pytest.raises(DataError, match=r"photos takes a split \(validation or test\)"):
        open_benchmark(name, tmp_path)
