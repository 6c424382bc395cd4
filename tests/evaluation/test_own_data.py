"""Data of one's own as benchmarks: every form that training reads, and what cannot be scored is told."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from self1e import Segmenter
from self1e.data.records import DataError
from self1e.evaluation.benchmarks import open_benchmark
from self1e.evaluation.page import write_page
from self1e.evaluation.record_benchmarks import MaskBenchmark, question_of
from self1e.evaluation.run import evaluate, records_done, summarise

PROMPT = {"image": "images/a.png", "prompt": "the bag", "masks": [[0, 0, 9, 0, 9, 9, 0, 9]], "kind": "words"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pictures with index maps of a cat and a dog, and a sentence about one of them."""
    for name in ("images", "maps"):
        (tmp_path / name).mkdir()
    for name, value in (("a", 1), ("b", 2)):
        Image.effect_noise((30, 20), 60).convert("RGB").save(tmp_path / "images" / f"{name}.png")
        index_map = np.zeros((20, 30), np.uint8)
        index_map[4:12, 5:20] = value
        Image.fromarray(index_map).save(tmp_path / "maps" / f"{name}.png")
    (tmp_path / "classes.txt").write_text("background\nthe cat\nthe dog\n")
    (tmp_path / "mine.jsonl").write_text(json.dumps(PROMPT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(folder: Path, *entries: str) -> MaskBenchmark:
    """A YAML file with these entries."""
    (folder / "test.yaml").write_text("".join(["own:\n", *(f"  - {entry}\n" for entry in entries)]))
    return open_benchmark(str(folder / "test.yaml"), folder)


MAPS = "{masks: maps, images: images, classes: classes.txt, absent_classes: 1}"


def test_all_that_training_reads_is_measured(folder: Path, tiny_model_folder: Path) -> None:
    segmenter = Segmenter.from_pretrained(tiny_model_folder, device="cpu")
    benchmark = opened(folder, MAPS, "{jsonl: mine.jsonl}")
    evaluate(segmenter, benchmark, folder / "results")
    figures = summarise(benchmark, folder / "results")
    assert (
        figures["samples"] == 5 and not figures["broken"] and set(figures["kinds"]) == {"semantic", "absent", "words"}
    )
    assert "miou" not in figures  # of sentences there are no classes
    samples = [sample for each in records_done(folder / "results") for sample in each.samples]
    told = [(sample.picture, sample.question, sample.target) for sample in samples]
    assert told[::2] == [("a.png", "the cat", 120), ("b.png", "the dog", 120), ("a.png", "the bag", 81)]
    assert told[1::2] == [("a.png", "the dog", 0), ("b.png", "the cat", 0)]
    query = benchmark.source[1].queries[0]
    result = segmenter.segment(folder / "images" / "b.png", question_of(query), template="none")
    assert samples[2].intersection == (result.mask & (query.mask() == 1)).sum()


def test_classes_have_a_miou(folder: Path) -> None:
    assert opened(folder, MAPS).classes and not opened(folder, "{jsonl: mine.jsonl}").classes


def test_a_folder_of_results_for_each_file_and_what_it_names(folder: Path) -> None:
    first, words = opened(folder, MAPS), open_benchmark("mine.jsonl", folder)
    assert first.folder.startswith("test-") and words.folder.startswith("mine-")
    (folder / "classes.txt").write_text("background\nthe cat\nthe hound\n")
    second = opened(folder, MAPS)
    assert second.folder.startswith("test-") and first.folder != second.folder  # other data are measured anew
    (folder / "with space").mkdir()
    paths = [folder / "with space" / name for name in ("x/mine.jsonl", "y/mine.jsonl")]
    for path in paths:
        path.parent.mkdir()
        path.write_text(json.dumps(PROMPT))
    assert len({open_benchmark(str(path), folder).folder for path in paths}) == 2


@pytest.mark.parametrize("repaired", ["maps/a.png", "images/b.png", "masks/a.png"])
def test_repaired_masks_and_pictures_are_measured_anew(folder: Path, repaired: str) -> None:
    (folder / "masks").mkdir()
    shutil.copy(folder / "maps/a.png", folder / "masks/a.png")
    (folder / "mine.jsonl").write_text(json.dumps(PROMPT | {"masks": ["masks/a.png", "masks/lost.png"]}))
    before, again = (opened(folder, MAPS, "{jsonl: mine.jsonl}").folder for _ in range(2))
    state = (folder / repaired).stat()
    os.utime(folder / repaired, ns=(state.st_atime_ns, state.st_mtime_ns + 1000))
    after = opened(folder, MAPS, "{jsonl: mine.jsonl}").folder
    assert before == again != after
    shutil.copy(folder / "maps/b.png", folder / "masks/lost.png")
    assert opened(folder, MAPS, "{jsonl: mine.jsonl}").folder not in (before, after)


def test_a_picture_without_objects_is_not_broken(folder: Path, tiny_model_folder: Path) -> None:
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(folder / "maps" / "a.png")
    segmenter = Segmenter.from_pretrained(tiny_model_folder, device="cpu")
    benchmark = opened(folder, MAPS.replace("absent_classes: 1", "absent_classes: 0"))
    evaluate(segmenter, benchmark, folder / "results")
    figures = summarise(benchmark, folder / "results")
    assert (figures["samples"], figures["nothing_asked"], figures["broken"]) == (1, 1, [])


def test_names_that_are_no_utf8(folder: Path, tiny_model_folder: Path) -> None:
    name = os.fsdecode(b"\xffa.png")
    (folder / "images/a.png").rename(folder / "images" / name)
    line = PROMPT | {"image": f"images/{name}"}
    (folder / os.fsdecode(b"\xff.jsonl")).write_text(json.dumps(line))
    segmenter = Segmenter.from_pretrained(tiny_model_folder, device="cpu")
    benchmark = open_benchmark(os.fsdecode(b"\xff.jsonl"), folder)
    evaluate(segmenter, benchmark, folder / "results" / benchmark.folder)
    results = folder / "results" / benchmark.folder
    assert summarise(benchmark, results)["samples"] == 1
    samples = [sample for each in records_done(results) for sample in each.samples]
    assert samples[0].picture == name and write_page(segmenter, benchmark, results, samples, 1).exists()


def test_what_cannot_be_scored_is_told(folder: Path) -> None:
    lines = [
        PROMPT,
        {"image": "images/a.png", "prompt": "Is it late?", "answer": "Yes."},
        {"image": "images/b.png", "conversations": [{"question": "Who is here?", "answer": "A dog."}]},
        {"prompt": "of no picture", "masks": []},
    ]
    (folder / "mine.jsonl").write_text("\n".join(map(json.dumps, lines)))
    told = r"mine.jsonl: 2 conversations and answers in words are left out.*; 1 prompts with `masks` can"
    with pytest.warns(UserWarning, match=told):
        open_benchmark("mine.jsonl", folder)
    with pytest.warns(UserWarning, match=told):
        opened(folder, MAPS, "{jsonl: mine.jsonl}")
    (folder / "mine.jsonl").write_text(json.dumps(PROMPT))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened(folder, MAPS, "{jsonl: mine.jsonl}")


def test_missing_data_of_an_entry(folder: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        opened(folder, "{masks: nowhere, images: images, classes: classes.txt}")
