"""Mixtures: order, rates, sharing among processes, and broken records."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from self1e.conversation import Example, Turn
from self1e.data.broken import AllBrokenError
from self1e.data.mixture import Mixture, MixturePart, Subset, coco_id, without_pictures
from self1e.data.records import DataError, Query, Record, Talk


def box(size: int, edge: int) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    mask[:edge, :edge] = 1
    return mask


class Pictures:
    """`count` records about one small picture; those in `broken` cannot be read."""

    def __init__(self, folder: Path, name: str, count: int, broken: tuple[int, ...] = (), queries: int = 5) -> None:
        self.name, self.count, self.broken, self.queries = name, count, broken, queries
        self.path = folder / f"{name}.png"
        Image.new("RGB", (8, 8)).save(self.path)

    def __len__(self) -> int:
        return self.count

    def image_path(self, index: int) -> Path:
        return self.path.with_name(f"{index:012d}.jpg")

    def __getitem__(self, index: int) -> Record:
        if index in self.broken:
            raise DataError(f"{index} is torn")
        queries = tuple(Query(f"thing {i}", "phrase", partial(box, 8, i + 1)) for i in range(self.queries))
        return Record(str(index), self.path, queries, (Talk((Turn("What is it?", "A square."),)),))


def untold(index: int) -> Path:
    raise DataError(f"{index} has no picture")


@pytest.fixture
def mixture(tmp_path: Path) -> Mixture:
    parts = {
        "a": MixturePart(3.0, (Pictures(tmp_path, "a", 10), Pictures(tmp_path, "b", 25))),
        "c": MixturePart(1.0, (Pictures(tmp_path, "c", 7),)),
        "unused": MixturePart(0.0, ()),
    }
    return Mixture(parts, 800, seed=5)


def said(example: Example) -> tuple[str, list[str]]:
    return example.id, [f"{turn.question} {turn.answer}" for talk in example.conversations for turn in talk.turns]


def test_rates_are_kept(mixture: Mixture) -> None:
    counts = Counter(mixture.place(index)[0] for index in range(len(mixture)))
    assert sorted(counts) == [0, 1, 2]
    for number, share in enumerate((0.375, 0.375, 0.25)):
        assert counts[number] / 800 == pytest.approx(share, abs=0.05)


def test_each_record_is_seen_once_before_any_is_seen_twice(mixture: Mixture) -> None:
    for number, source in enumerate(mixture.sources):
        places = [place for which, place in map(mixture.place, range(len(mixture))) if which == number]
        turns = [places[start : start + len(source)] for start in range(0, len(places), len(source))]
        assert all(sorted(turn) == list(range(len(source))) for turn in turns[:-1])
        assert turns[0] != turns[1]


def test_examples_depend_on_seed_and_index_alone(mixture: Mixture, tmp_path: Path) -> None:
    elsewhere = pickle.loads(pickle.dumps(mixture))  # a worker's copy, which is asked in another order
    backwards = {index: said(elsewhere[index]) for index in reversed(range(60))}
    assert [backwards[index] for index in range(60)] == [said(mixture[index]) for index in range(60)]
    other = Mixture({"a": MixturePart(1.0, (Pictures(tmp_path, "a", 10),))}, 20, seed=6)
    same = Mixture({"a": MixturePart(1.0, (Pictures(tmp_path, "a", 10),))}, 20, seed=5)
    assert [said(other[i]) for i in range(20)] != [said(same[i]) for i in range(20)]


def test_at_most_three_queries_are_taken(mixture: Mixture) -> None:
    example = mixture[0]
    assert len([talk for talk in example.conversations if talk.segmenting]) == 3
    assert len([talk for talk in example.conversations if not talk.segmenting]) == 1


def test_broken_records_are_replaced_and_named(tmp_path: Path) -> None:
    source = Pictures(tmp_path, "a", 10, broken=(3, 4))
    mixture = Mixture({"a": MixturePart(1.0, (source,))}, 10, seed=1)
    examples = [mixture[index] for index in range(10)]
    skipped = [entry for example in examples for entry in example.skipped]
    assert {name for name, _ in skipped} == {"a 3", "a 4"}
    assert all("is torn" in reason for _, reason in skipped)
    assert not any(example.id in ("a/3", "a/4") for example in examples)


def test_a_run_of_broken_records_is_an_error(tmp_path: Path) -> None:
    mixture = Mixture({"a": MixturePart(1.0, (Pictures(tmp_path, "a", 3, broken=(0, 1, 2)),))}, 5, seed=1)
    with pytest.raises(DataError, match=r"(?s)25 records of a in a row are broken.*is torn"):
        mixture[0]


def test_nothing_to_choose_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no part of the mixture"):
        Mixture({"a": MixturePart(0.0, (Pictures(tmp_path, "a", 3),))}, 5, seed=1)
    with pytest.raises(DataError, match="'a' has a rate of"):
        Mixture({"a": MixturePart(1.0, (Pictures(tmp_path, "a", 0),))}, 5, seed=1)


def test_pictures_can_be_held_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = without_pictures(Pictures(tmp_path, "a", 6), frozenset({1, 4, 99}))
    assert isinstance(kept, Subset) and kept.left_out == 2 and len(kept) == 4 and kept.name == "a"
    assert [kept[index].id for index in range(4)] == ["0", "2", "3", "5"]
    nameless = Pictures(tmp_path, "b", 3)
    monkeypatch.setattr(nameless, "image_path", untold)
    assert len(without_pictures(nameless, frozenset({1}))) == 3
    assert [coco_id(kept.image_path(index)) for index in range(4)] == [0, 2, 3, 5]


def test_pictures_of_gqa_are_held_out_by_visual_genomes_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def source(folder: Path) -> Pictures:
        pictures = Pictures(tmp_path, "gqa", 4)
        monkeypatch.setattr(pictures, "image_path", lambda index: folder / "gqa" / "images" / f"{2000 + index}.jpg")
        return pictures

    known, unknown, torn = (tmp_path / name for name in ("known", "unknown", "torn"))
    for folder in (known, unknown, torn):
        (folder / "gqa").mkdir(parents=True)
    ids = [{"image_id": 2000, "coco_id": None}, {"image_id": 2001, "coco_id": 7}, {"image_id": 2002, "coco_id": 8}]
    (known / "gqa" / "image_data.json").write_text(json.dumps(ids))
    kept = without_pictures(source(known), frozenset({7, 2002}))
    assert (kept.left_out, kept.image_path(1).stem) == (1, "2002") and not caplog.records
    assert without_pictures(source(unknown), frozenset()).left_out == 0 and not caplog.records
    assert without_pictures(source(unknown), frozenset({7})).left_out == 0
    (message,) = caplog.messages
    assert "cannot be checked" in message and str(unknown / "gqa") in message
    (torn / "gqa" / "image_data.json").write_text("[{}]")
    with pytest.raises(DataError, match="no list of pictures with `image_id`"):
        without_pictures(source(torn), frozenset({7}))


class Few(Pictures):
    """Records of which only those in `spoken` say something."""

    spoken: tuple[int, ...] = ()

    def __getitem__(self, index: int) -> Record:
        record = super().__getitem__(index)
        return record if index in self.spoken else replace(record, queries=(), talks=())


def test_pictures_without_objects_are_passed_over_and_are_not_broken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    source = Few(tmp_path, "few", 200, broken=(7,))
    source.spoken = (150,)  # far more than TRIES are passed over
    mixture = Mixture({"a": MixturePart(1.0, (source,))}, 40, seed=1)
    examples = [mixture[index] for index in range(40)]
    assert {example.id for example in examples} == {"few/150"}
    assert {name for example in examples for name, _ in example.skipped} == {"few 7"}
    assert [record.message for record in caplog.records] == [
        "records of few that say nothing about their pictures are passed over; `self1e data check` counts them"
    ]
    source.spoken, source.broken = (), ()
    with pytest.raises(AllBrokenError, match=r"10,000 records of few in a row say nothing .*`absent_classes`"):
        mixture[0]
