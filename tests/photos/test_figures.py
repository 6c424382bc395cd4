"""Figures on photographs are the same by whichever way they are asked for."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from configs.mini import evaluate
from configs.mini.evaluate import is_new_to_nano, table_of_kinds
from self1e.evaluation.benchmarks import open_benchmark
from self1e.evaluation.samples import RecordDone, Sample
from self1e.photos.figures import ENOUGH, evenly, photo_figures
from self1e.photos.source import ABSENT_NOUN, PhotoSource
from self1e.segment.nouns import TaughtNouns
from self1e.segment.segmenter import Segmenter
from tests.photos.made_up import Box, add_photo, write_folder

SCRIPTS = Path(evaluate.__file__).parent
DOG: Box = (10, 10, 60, 60)
FOUND = Sample(0, 0, "a", "the dog", "noun", "", 1.0, intersection=90, union=100, predicted=90, target=100)


def a_folder(folder: Path, count: int, set_name: str = "voc", start: int = 0) -> Path:
    """Of test photographs with a dog each, and a cat in the first."""
    if not folder.exists():
        write_folder(folder)
    for place in range(start, start + count):
        cat = [("cat", (70, 70, 95, 95))] if place == start else []
        add_photo(folder, f"photo{place}", [("dog", DOG), *cat], set_name=set_name, split="test")  # type: ignore[list-item]
    return folder


def test_a_mean_over_nouns_is_of_those_in_enough_photographs() -> None:
    dogs = [FOUND] * ENOUGH
    cats = [replace(FOUND, question="the cat", intersection=0)] * (ENOUGH - 1)
    figures = photo_figures([*dogs, *cats])
    assert figures["miou"] == 0.9 and figures["classes"] == 1
    assert figures["nouns"] == {"the cat": [0.0, ENOUGH - 1], "the dog": [0.9, ENOUGH]}
    assert "miou" not in photo_figures(cats)
    assert photo_figures([*dogs, *cats, cats[0]])["miou"] == 0.45


def test_the_command_and_the_benchmark_agree(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = a_folder(tmp_path / "photos", ENOUGH), tmp_path / "figures.json"
    a_folder(folder, 1, "cocopeople", ENOUGH)  # which a model has labelled
    a_folder(folder, 1, "cocoperson", ENOUGH + 1)  # and this in part
    kinds = ["noun", "absent", ABSENT_NOUN, "size", "unseen"]
    arguments = [str(tiny_model_folder), str(folder), "--split", "test", "--out", str(out), "--kinds", *kinds]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
    evaluate.main()
    ours, shown = json.loads(out.read_text()), capsys.readouterr().out
    benchmark = open_benchmark(f"photos|test|{','.join(kinds)}", folder)
    segmenter = Segmenter.from_pretrained(tiny_model_folder, device="cpu", dtype="float32")
    done = [RecordDone(place, tuple(benchmark.ask(segmenter, place))) for place in range(len(benchmark))]
    theirs = benchmark.figures(done)
    assert len(done) == ENOUGH and {name: len(words) for name, words in ours["sets"].items()} == {"voc": 2}
    for name in ("miou", "classes", "nouns"):
        assert ours[name] == theirs[name]
    assert all(ours["kinds"][kind] == pytest.approx(figures) for kind, figures in theirs["kinds"].items())
    assert ours["nouns"]["the dog"][1] == ENOUGH and ours["classes"] == 1
    assert '| "the largest car" | 0 |' in shown and '| a noun that is there ("the dog") | 11 |' in shown


def test_some_photographs_are_evenly_spread() -> None:
    assert evenly(range(10, 20), 3) == [10, 13, 16]
    assert evenly(range(2), 5) == [0, 1]


def test_all_aims_are_told(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a_folder(tmp_path / "photos", 1)
    a_folder(tmp_path / "clothing", 1, "clothing")
    a_folder(tmp_path / "coco", 2, "coco")
    a_folder(tmp_path / "coco", 3, "cocothings", 2)
    monkeypatch.syspath_prepend(SCRIPTS)
    aims = import_module("aims")
    out = tmp_path / "aims.json"
    monkeypatch.setattr(sys, "argv", ["aims.py", str(tiny_model_folder), str(tmp_path), "--out", str(out)])
    aims.main()
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(aims.AIMS) + 2 + len(evaluate.KINDS) + len(evaluate.SOME)
    figures = json.loads(out.read_text())
    assert figures["coco"]["nouns"]["the dog"][1] == 2  # those with panoptic labels alone
    assert "| sky | 80 | - |" in rows  # there is none
    for iou, count, shown in ((0.849, ENOUGH, "84.9"), (0.85, ENOUGH, "**85.0**"), (0.85, ENOUGH - 1, "-")):
        figures["photos"]["nouns"]["the dog"] = iou, count
        assert f"| dog | 85 | {shown} |" in aims.table_of_aims(figures).splitlines()
    worn = [replace(FOUND, question=phrase) for phrase in ("the hair", "the hat", "the skin", "the dress")]
    assert [sample.question for sample in aims.of_garments(worn)] == ["the hat", "the dress"]


def test_words_that_nano_knew_are_told_from_new_ones() -> None:
    assert [
        word for word in ("kitten", "kitty", "puppy", "hound", "lorry", "sea") if is_new_to_nano(f"the {word}")
    ] == [
        "kitten",
        "hound",
    ]
    samples = [replace(FOUND, kind="unseen", question=f"the {word}") for word in ("puppy", "hound", "hound")]
    samples += [
        replace(FOUND, kind="absent", question=f"the {word}", absent=True) for word in ("dog", "second dog", "fox")
    ]
    figures = evaluate.figures_of({"voc": samples}, TaughtNouns({"dog": []}))
    counts = {kind: found["samples"] for kind, found in figures["kinds"].items()}
    assert counts == {"unseen": 3, "unseen_new": 2, "absent": 3, "absent_taught": 2}
    rows = table_of_kinds(figures, ["unseen", "absent"]).splitlines()[2:]
    assert [row.split("|")[2].strip() for row in rows] == ["3", "2", "3", "2"]


def test_so_many_photographs_are_asked_about_evenly_spread(tmp_path: Path, tiny_model_folder: Path) -> None:
    folder = a_folder(tmp_path / "photos", 9)
    segmenter = Segmenter.from_pretrained(tiny_model_folder, device="cpu", dtype="float32")
    for n, places in ((7, [0, 1, 2, 3, 5, 6, 7]), (2, [0, 4]), (20, list(range(9)))):
        samples = evaluate.ask(segmenter, folder, "test", ["noun"], n=n)["voc"]
        assert [sample.record for sample in samples if sample.question == "the dog"] == places


def test_nouns_that_were_not_taught_have_figures_of_their_own() -> None:
    found = {"the dog": [0.5, 10], "the table": [0.25, 10], "the cow": [0.75, 10], "the bird": [0.1, 9]}
    figures = evaluate.seen_and_unseen(found, ["dining table", "bird"])  # whose plain word is "table"
    assert figures == {"seen": 0.625, "unseen": 0.25, "harmonic": pytest.approx(2 * 0.625 * 0.25 / 0.875)}
    assert evaluate.seen_and_unseen(found, ["bird"]) == {"seen": 0.5}
    assert evaluate.seen_and_unseen({"the dog": [0.0, 10], "the cow": [0.5, 10]}, ["dog"])["harmonic"] == 0


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--left-out", "cows"], "invalid choice: 'cows'"),
        (["--sets", "cocopeple"], "invalid choice: 'cocopeple'"),
        (["--sets", "coco"], "no photograph for test of the sets asked for"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    tmp_path: Path,
    tiny_model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    why: str,
) -> None:
    folder, out = a_folder(tmp_path / "photos", 1), tmp_path / "figures.json"
    arguments = [str(tiny_model_folder), str(folder), "--split", "test", "--out", str(out), *options]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
    with pytest.raises(SystemExit):
        evaluate.main()
    assert why in capsys.readouterr().err and not out.exists()


def test_what_is_asked_for_as_not_there(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "photos", 2)
    record = PhotoSource(folder, "test", (ABSENT_NOUN,), absent=9)[1]
    assert {query.text for query in record.queries} == {"the cat", "the horse", "the sheep", "the person", "the car"}
    assert all(query.absent and not query.mask().any() for query in record.queries)
