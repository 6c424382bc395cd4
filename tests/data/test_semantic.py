"""ADE20K and COCO-Stuff from files in their true formats."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from self1e.data.records import DataError, Record, to_example
from self1e.data.semantic import (
    COCO_STUFF_GENERAL,
    COCO_STUFF_NOT_ASKED,
    Ade20kSource,
    CocoStuffSource,
    coco_stuff_phrase,
    coco_stuff_phrases,
)
from self1e.processing.classes import class_names, names_of_lines

PUBLISHED = Path(__file__).parent / "published"
WIDTH, HEIGHT = 7, 5


def write_pair(picture: Path, index_map: Path, values: list[list[int]] | np.ndarray, mode: str = "RGB") -> None:
    """A JPEG of that mode, and an index PNG of the values."""
    pixels = np.array(values, np.uint8)
    for path in (picture, index_map):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, pixels.shape[::-1]).save(picture)
    Image.fromarray(pixels).save(index_map)


def rows(*bands: int) -> np.ndarray:
    """A map of 5 x 7 pixels whose rows hold these values."""
    return np.repeat(np.array(bands, np.uint8)[:, None], WIDTH, axis=1)


def masks_of(record: Record) -> dict[str, np.ndarray]:
    assert len({query.text for query in record.queries}) == len(record.queries)
    return {query.text: query.mask() for query in record.queries}


def ade(root: Path, stem: str, values: np.ndarray, split: str = "training", mode: str = "RGB") -> None:
    folder = root / "ade20k"
    write_pair(folder / f"images/{split}/{stem}.jpg", folder / f"annotations/{split}/{stem}.png", values, mode)


@pytest.fixture
def ade_root(tmp_path: Path) -> Path:
    ade(tmp_path, "ADE_train_00000003", rows(0, 0, 0, 0, 0), mode="L")
    ade(tmp_path, "ADE_train_00000002", rows(150, 0, 13, 13, 1), mode="CMYK")
    ade(tmp_path, "ADE_train_00000001", rows(3, 3, 3, 3, 3))
    return tmp_path


def test_ade20k(ade_root: Path) -> None:
    source = Ade20kSource(ade_root)
    assert source.name == "ade20k" and len(source) == 3
    assert [source[i].id for i in range(3)] == [f"ADE_train_0000000{i}.jpg" for i in (1, 2, 3)]
    record = source[1]
    assert record.image == source.image_path(1) == ade_root / "ade20k/images/training/ADE_train_00000002.jpg"
    assert [query.text for query in record.queries] == ["wall", "person", "flag"]
    assert {(query.form, query.kind, query.answer) for query in record.queries} == {("phrase", "semantic", "")}
    masks = masks_of(record)
    assert np.array_equal(masks["person"], rows(0, 255, 1, 1, 0))
    assert np.array_equal(masks["wall"], rows(0, 255, 0, 0, 1))
    assert np.array_equal(masks["flag"], rows(1, 255, 0, 0, 0))
    assert all(mask.dtype == np.uint8 for mask in masks.values())
    assert source[2].queries == ()  # nothing is labelled
    assert np.array_equal(masks_of(source[0])["sky"], np.ones((HEIGHT, WIDTH)))


def test_records_become_examples_in_other_processes(ade_root: Path) -> None:
    source = pickle.loads(pickle.dumps(Ade20kSource(ade_root)))
    record = pickle.loads(pickle.dumps(source[1]))
    example = to_example(record, np.random.default_rng(0))
    assert example.image.mode == "RGB" and example.image.size == (WIDTH, HEIGHT)
    assert sorted(int((talk.masks[0] == 1).sum()) for talk in example.conversations) == [WIDTH, WIDTH, 2 * WIDTH]


def test_validation_is_another_split(ade_root: Path) -> None:
    ade(ade_root, "ADE_val_00000001", rows(2, 2, 2, 2, 2), split="validation")
    source = Ade20kSource(ade_root, "validation")
    assert [source[i].queries[0].text for i in range(len(source))] == ["building"]


def test_what_systems_leave_in_folders_is_no_map(ade_root: Path) -> None:
    (ade_root / "ade20k/annotations/training/._ADE_train_00000002.png").write_bytes(b"\0\5\26\7")
    assert len(Ade20kSource(ade_root)) == 3


def test_missing_trees_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)no folder .*ade20k/images/training.*ROOT/ade20k/annotations.*http"):
        Ade20kSource(tmp_path)
    with pytest.raises(DataError, match=r"(?s)no folder .*coco/train2017.*ROOT/cocostuff.*https://github.com"):
        CocoStuffSource(tmp_path)
    for folder in ("images", "annotations"):
        (tmp_path / "ade20k" / folder / "training").mkdir(parents=True)
    with pytest.raises(DataError, match="no pictures"):
        Ade20kSource(tmp_path)
    Image.new("L", (3, 3)).save(tmp_path / "ade20k/annotations/training/ADE_train_00000001.png")
    with pytest.raises(DataError, match=r"images/training has none of the 1 files.*ADE_train_00000001\.jpg"):
        Ade20kSource(tmp_path)


def test_a_broken_map_spoils_its_record_only(ade_root: Path) -> None:
    folder = ade_root / "ade20k/annotations/training"
    ade(ade_root, "ADE_train_00000004", rows(1, 1, 1, 1, 151))
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "ADE_train_00000005.png")
    (folder / "ADE_train_00000006.png").write_bytes((folder / "ADE_train_00000001.png").read_bytes()[:50])
    (folder / "ADE_train_00000007.png").write_bytes(b"no picture")
    source = Ade20kSource(ade_root)
    assert len(source) == 7
    for index, what in ((3, "value 151.*up to 150"), (4, "mode L or P"), (5, ""), (6, "cannot identify")):
        with pytest.raises(DataError, match=rf"ADE_train_0000000{index + 1}\.jpg: .*{what}"):
            source[index]
    assert len(source[1].queries) == 3


def test_a_map_of_another_size_is_refused(ade_root: Path) -> None:
    Image.new("RGB", (WIDTH + 1, HEIGHT)).save(ade_root / "ade20k/images/training/ADE_train_00000001.jpg")
    with pytest.raises(DataError, match="mask is 7 x 5, the picture 8 x 5"):
        to_example(Ade20kSource(ade_root)[0], np.random.default_rng(0))


def stuff(root: Path, stem: str, values: np.ndarray) -> None:
    write_pair(root / f"coco/train2017/{stem}.jpg", root / f"cocostuff/train2017/{stem}.png", values)


def value_of(name: str) -> int:
    """COCO-Stuff's id minus 1."""
    return class_names("coco_stuff").index(name)


def test_coco_stuff(tmp_path: Path) -> None:
    brick, plain, pizza, other = map(value_of, ("wall-brick", "wall-other", "pizza", "solid-other"))
    assert (brick, plain, pizza, other) == (170, 172, 58, 159)
    stuff(tmp_path, "000000000030", rows(brick, plain, 255, pizza, other))
    stuff(tmp_path, "000000000009", rows(255, 255, other, 255, 255))
    Image.new("RGB", (3, 3)).save(tmp_path / "coco/train2017/000000000001.jpg")  # a picture without a map
    source = CocoStuffSource(tmp_path)
    assert source.name == "cocostuff" and len(source) == 2
    assert source[0].id == "000000000009.jpg" and source[0].queries == ()
    masks = masks_of(source[1])
    assert set(masks) == {"brick wall", "wall", "pizza", "food"}
    assert np.array_equal(masks["brick wall"], rows(1, 0, 255, 0, 0))
    assert np.array_equal(masks["wall"], rows(1, 1, 255, 0, 0))
    assert np.array_equal(masks["pizza"], rows(0, 0, 255, 1, 0))
    assert np.array_equal(masks["food"], rows(0, 0, 255, 1, 0))


def test_a_value_beyond_coco_stuff_is_refused(tmp_path: Path) -> None:
    stuff(tmp_path, "000000000030", rows(0, 0, 0, 181, 182))
    with pytest.raises(DataError, match=r"30\.jpg: .*value 182"):
        CocoStuffSource(tmp_path)[0]


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("wall-brick", "brick wall"),
        ("wall-tile", "tiled wall"),
        ("floor-other", "floor"),
        ("floor-marble", "marble floor"),
        ("ceiling-tile", "tiled ceiling"),
        ("door-stuff", "door"),
        ("window-blind", "window blind"),
        ("tree-merged", "tree"),
        ("playingfield", "playing field"),
        ("potted plant", "potted plant"),
        ("tv", "tv"),
    ],
)
def test_how_coco_stuff_is_said(name: str, phrase: str) -> None:
    assert coco_stuff_phrase(name) == phrase


def test_what_coco_stuff_asks_for() -> None:
    classes = class_names("coco_stuff")
    phrases = coco_stuff_phrases(classes)
    assert not any("-" in phrase or "other" in phrase for phrase in phrases)
    asked = {value for values in phrases.values() for value in values}
    assert {classes[value] for value in set(range(182)) - asked} == COCO_STUFF_NOT_ASKED
    assert set(classes) >= COCO_STUFF_NOT_ASKED
    for phrase, members in COCO_STUFF_GENERAL.items():
        assert {classes[value] for value in phrases[phrase]} == set(members)
        # A general word includes the class of its own name, and every special kind of that thing.
        kinds = {name for name in classes if name.partition("-")[0] == phrase} - {"window-blind"}
        assert kinds <= set(members)
    assert phrases["sky"] == (105, 156) and phrases["clouds"] == (105,) and phrases["wall"] == tuple(range(170, 177))
    single = [phrase for phrase in phrases if phrase not in COCO_STUFF_GENERAL]
    assert all(len(phrases[phrase]) == 1 for phrase in single)


def test_class_lists() -> None:
    ade20k, coco_stuff = class_names("ade20k"), class_names("coco_stuff")
    assert len(ade20k) == len(set(ade20k)) == 150
    assert (ade20k[0], ade20k[12], ade20k[149]) == ("wall", "person", "flag")
    assert len(coco_stuff) == len(set(coco_stuff)) == 182
    assert (coco_stuff[0], coco_stuff[89], coco_stuff[91], coco_stuff[181]) == (
        "person",
        "toothbrush",
        "banner",
        "wood",
    )
    assert names_of_lines("\n a \n\nb\n\n") == ("", "a", "", "b")


def test_class_lists_are_the_published_ones() -> None:
    assert class_names("ade20k") == tuple((PUBLISHED / "ade20k.txt").read_text().splitlines())
    lines = (PUBLISHED / "coco_stuff.txt").read_text().split("\n")
    ids = dict(line.strip().split(": ") for line in lines if line.strip())
    assert ids.pop("0") == "unlabeled"
    assert {str(i): name for i, name in enumerate(class_names("coco_stuff"), 1)} == ids


@pytest.mark.parametrize("split", ["training", "validation"])
def test_real_ade20k(real_data: Path, split: str) -> None:
    source = Ade20kSource(real_data / "dataset", split)  # type: ignore[arg-type]
    assert len(source) == 3
    for index in range(len(source)):
        pixels = np.array(Image.open(str(source.image_path(index)).replace("images", "annotations")[:-3] + "png"))
        masks = masks_of(source[index])
        assert set(masks) == {source.classes[value - 1] for value in np.unique(pixels) if value}
        for phrase, mask in masks.items():
            value = 1 + source.classes.index(phrase)
            assert np.array_equal(mask, np.where(pixels == 0, 255, np.where(pixels == value, 1, 0)))
        assert len(to_example(source[index], np.random.default_rng(0)).conversations) == 3


def test_real_coco_stuff(real_data: Path) -> None:
    source = CocoStuffSource(real_data / "dataset")
    assert len(source) == 100
    asked: set[str] = set()
    for index in range(0, 100, 7):
        record = source[index]
        pixels = np.array(Image.open(real_data / "dataset/cocostuff/train2017" / f"{record.id[:-4]}.png"))
        masks = masks_of(record)
        asked |= set(masks)
        covered = np.zeros(pixels.shape, bool)
        for mask in masks.values():
            assert mask.shape == pixels.shape and (mask == 1).any()
            assert np.array_equal(mask == 255, pixels == 255)
            covered |= mask == 1
        others = [value for value, name in enumerate(source.classes) if name in COCO_STUFF_NOT_ASKED]
        assert np.array_equal(covered, (pixels != 255) & ~np.isin(pixels, others))
        to_example(record, np.random.default_rng(index))
    assert "person" in asked
