"""The training set, the validation set, records for evaluation, and sheets for the eye."""

from __future__ import annotations

import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from configs.mini import sheet as sheet_script
from self1e.data.records import DataError
from self1e.photos.dataset import PhotoData, PhotoDataset, companions
from self1e.photos.index import photographs
from self1e.photos.sheet import sheet
from self1e.photos.source import PhotoSource
from tests.photos.made_up import add_photo, held_out_words, write_folder

NOUNS = ("dog", "cat", "horse", "sheep", "person", "car")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 photographs of one or two things, a third of them for testing."""
    folder = tmp_path_factory.mktemp("photographs")
    write_folder(folder)
    rng = np.random.default_rng(0)
    for place in range(72):
        boxes = []
        for left in (5, 55)[: 1 + place % 2]:
            top = int(rng.integers(10, 40))
            noun = NOUNS[int(rng.integers(len(NOUNS)))] if place % 9 else "sheep"
            boxes.append((noun, (left, top, left + int(rng.integers(20, 40)), top + 40)))
        add_photo(
            folder,
            f"photo{place}",
            [("sky", (0, 0, 100, 9)), *boxes],
            split="train" if place % 3 else "test",
            annotated=(*NOUNS, "sky", "bird", "cow"),
            told_apart=NOUNS,
        )
    return folder


def settings(folder: Path, **changes: object) -> PhotoData:
    return PhotoData(folders=[str(folder)], size=64, **changes)  # type: ignore[arg-type]


def test_an_example_is_a_function_of_seed_and_index(folder: Path) -> None:
    first = PhotoDataset(settings(folder), 50)
    again = pickle.loads(pickle.dumps(PhotoDataset(settings(folder), 50)))  # workers get a copy
    other = PhotoDataset(settings(folder, seed=2), 50)
    differing = 0
    for index in (7, 3, 7, 21):
        one, two, three = first[index], again[index], other[index]
        assert one.id == two.id and one.conversations[0].turns == two.conversations[0].turns
        assert np.array_equal(one.image, two.image)
        for left, right in zip(one.conversations, two.conversations, strict=True):
            assert left.turns == right.turns
            assert all((a == b).all() for a, b in zip(left.masks, right.masks, strict=True))
        differing += not np.array_equal(one.image, three.image)
    assert differing == 4


def test_training_examples(folder: Path) -> None:
    dataset = PhotoDataset(settings(folder), 60)
    assert len(dataset) == 60
    test = {photo.id for photo in photographs(folder, ("test", "validation"))}
    held_out = re.compile(rf"\b({'|'.join(map(re.escape, held_out_words()))})\b")
    kinds = set()
    for index in range(60):
        example = dataset[index]
        assert example.id not in test and example.image.size == (64, 64) and example.conversations
        assert 1 <= sum(talk.segmenting for talk in example.conversations) <= 10
        for talk in (*example.conversations, *example.rehearsed):
            kinds.add(talk.kind)
            assert all(mask.shape == (64, 64) and mask.dtype == np.uint8 for mask in talk.masks)
            assert held_out.search(" ".join(f"{turn.question} {turn.answer}" for turn in talk.turns).lower()) is None
    assert {"noun", "ordinal", "absent", "use", "union", "vqa_yesno", "vqa_count"} <= kinds


def test_validation_examples_are_whole_and_unchanged(folder: Path) -> None:
    dataset = PhotoDataset(settings(folder), 40, training=False)
    expected = {photo.id for photo in photographs(folder, ("validation",))}
    assert {dataset[index].id for index in range(40)} == expected
    example = dataset[0]
    (photo,) = (each for each in dataset.photos if each.id == example.id)
    assert np.array_equal(example.image, dataset[len(expected)].image)  # each comes round again, as it was
    assert all(
        "Please output segmentation mask." in talk.turns[0].question or not talk.segmenting
        for talk in example.conversations
    )
    assert photo.split == "validation"


@pytest.mark.parametrize(
    ("changes", "asks"),
    [
        ({}, True),
        ({"segmenting": 0, "textual": 0}, False),
        ({"segmenting": 0, "textual_share": 1.0}, True),
        ({"segmenting": 0}, False),
        ({"weights": {"vqa_yesno": 1.0}}, False),
        ({"weights": {"vqa_yesno": 1.0}, "textual_share": 1.0}, True),
        ({"segmenting": 0, "textual": 0, "textual_share": 1.0}, True),
        ({"segmenting": 0, "textual": 0, "rehearsed": 0, "textual_share": 1.0}, False),
    ],
)
def test_settings_tell_whether_every_picture_is_asked_about(
    folder: Path, changes: dict[str, object], asks: bool
) -> None:
    data = settings(folder, **changes)
    assert data.always_asks == asks
    for training in (True, False):
        examples = data.examples(12, training=training)
        said = [bool(example.conversations or example.rehearsed) for example in map(examples.__getitem__, range(12))]
        assert all(said) or not asks


def test_a_photograph_without_a_question_gives_way_to_the_next(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for place in range(120):
        add_photo(tmp_path, f"photo{place}", [("dog", (20, 20, 70, 70))] if place % 2 else [], annotated=["dog"])
    data = settings(tmp_path, weights={"noun": 1.0})
    dataset = data.examples(20, training=False)
    silent = {photo.id for photo in dataset.photos if not photo.present}
    assert silent and len(silent) < len(dataset.photos)
    order = [dataset.photos[number].id for number in dataset.order]
    for index in range(len(order)):
        following = [name for name in order[index:] + order[:index] if name not in silent]
        assert dataset[index].id == following[0] and dataset[index].conversations
    with pytest.raises(DataError, match=r"voc/photo\d+.*: there is nothing to ask about"):
        settings(tmp_path, leave_out=["dog"], weights={"noun": 1.0}).examples(4, training=False)[0]


def test_a_run_goes_on_without_a_broken_photograph(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for place in range(30):
        add_photo(tmp_path, f"photo{place}", [("dog", (20, 20, 70, 70))])
    data = settings(tmp_path, composed=0.0)
    once, again = (data.tolerant(40, training=True) for _ in range(2))
    broken = data.examples(1, training=True).photos[3:9]
    for photo in broken:
        photo.picture.write_bytes(photo.picture.read_bytes()[:99])
    examples = [once[index] for index in range(40)]
    skipped = [entry for example in examples for entry in example.skipped]
    assert skipped and all(name.startswith("photos ") for name, _ in skipped)
    assert all(any(photo.id in reason for photo in broken) for _, reason in skipped)
    assert {photo.id for photo in broken}.isdisjoint(example.id for example in examples)
    assert [again[index].id for index in range(40)] == [example.id for example in examples]
    assert data.tolerated == 0.01


def test_weights_of_sets_and_kinds(folder: Path) -> None:
    only = PhotoDataset(settings(folder, weights={"noun": 1.0}, textual=0, rehearsed=0), 10)
    assert {talk.kind for index in range(10) for talk in only[index].conversations} == {"noun"}
    with pytest.raises(DataError, match="no photograph for training"):
        PhotoDataset(settings(folder, sets={"voc": 0.0}), 10)
    for wrong, message in (
        ({"sets": {"imaginary": 1.0}}, "no set imaginary"),
        ({"weights": {"riddle": 1.0}}, "riddle"),
        ({"leave_out": ["cows"]}, "no noun 'cows'"),
        ({"sets": {"voc": -1}}, "greater than or equal to 0"),
        ({"weights": {"noun": -1}}, "greater than or equal to 0"),
    ):
        with pytest.raises(ValidationError, match=message):
            settings(folder, **wrong)


def test_photographs_of_rare_nouns_come_more_often(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for place in range(41):
        noun = "sheep" if place == 7 else "dog"
        add_photo(tmp_path, f"photo{place}", [(noun, (20, 20, 70, 70)), ("cat", (72, 20, 98, 70))])
    dataset = PhotoDataset(settings(tmp_path), 10)
    chances = np.diff(dataset.draws.chances, prepend=0.0)
    rare = [photo.id == "voc/photo7" for photo in dataset.photos]
    assert any(rare) and chances[rare] > 2 * chances[[not each for each in rare]].max()


def test_companions_count_where_both_are_annotated(folder: Path) -> None:
    photos = photographs(folder, ("train",))
    shares = companions(photos)
    with_dog = [photo for photo in photos if "dog" in photo.present]
    assert shares["dog"]["sky"] == 1.0
    assert shares["dog"].get("cat", 0.0) == pytest.approx(
        sum("cat" in each.present for each in with_dog) / len(with_dog)
    )


def test_a_rare_noun_is_asked_for_where_it_is_not_as_often_as_where_it_is(tmp_path: Path) -> None:
    """A cat in five of 40 photographs, at the border, where most sections do not show it."""
    write_folder(tmp_path)
    for place in range(40):
        boxes = [("dog", (20, 20, 70, 70)), *[("cat", (40, 0, 60, 4))] * (place % 8 == 0)]
        add_photo(tmp_path, f"photo{place}", boxes, annotated=("dog", "cat"), told_apart=None)
    asks = PhotoDataset(settings(tmp_path, weights={"noun": 1.0, "absent": 1.0}, textual_share=0.0, composed=0.0), 1200)
    about = [
        talk.masks[0].any()
        for place in range(len(asks))
        for talk in asks[place].conversations
        if "cat" in talk.turns[0].question
    ]
    there = sum(map(bool, about))
    assert there > 40
    assert 0.6 * there < len(about) - there < 2.2 * there


def test_records_for_evaluation(folder: Path) -> None:
    source = PhotoSource(folder)
    assert len(source) == 24
    nouns = 0
    for index in range(len(source)):
        record = pickle.loads(pickle.dumps(source[index]))
        photo = source.photos[index]
        assert record.image == source.image_path(index) == photo.picture and photo.split == "test"
        for query in record.queries:
            mask = query.mask()
            assert mask.shape == (100, 100)
            assert bool((mask == 1).any()) != query.absent
            nouns += query.kind == "noun"
        asked = {query.text for query in record.queries if query.kind == "noun"}
        assert asked == {f"the {noun}" for noun in photo.present}
        for kind in ("absent", "absent_noun"):
            assert sum(query.kind == kind for query in record.queries) <= 3
        assert [query.text for query in record.queries] == [query.text for query in source[index].queries]
    assert nouns == sum(len(photo.present) for photo in source.photos)
    few = PhotoSource(folder, "test", kinds=["absent"])
    assert {query.kind for index in range(24) for query in few[index].queries} == {"absent"}
    with pytest.raises(ValueError, match="cannot measure riddle"):
        PhotoSource(folder, kinds=["riddle"])


def test_a_sheet_shows_questions(folder: Path) -> None:
    dataset = PhotoDataset(settings(folder), 30)
    some, all_kinds = sheet(dataset, 6, kinds=["absent"]), sheet(dataset, 12)
    assert some.size < all_kinds.size
    assert len(np.unique(np.asarray(some).reshape(-1, 3), axis=0)) > 500


def test_the_sheet_is_a_command_that_overwrites_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "questions.png"
    monkeypatch.setattr(sys, "argv", ["sheet.py", str(folder), "--out", str(out), "--count", "3", "--kinds", "noun"])
    sheet_script.main()
    before = out.read_bytes()
    with Image.open(out) as drawn:
        assert drawn.width > 264 and drawn.height > 198
    with pytest.raises(SystemExit):
        sheet_script.main()
    assert out.read_bytes() == before
