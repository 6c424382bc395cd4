"""Lists of photographs: what is annotated, what a value of a mask means, and which side of a split a picture is on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from self1e.data.records import DataError
from self1e.photos.index import photo_sets, photographs, split_of
from self1e.photos.nouns import UNKNOWN
from self1e.photos.scene import read_scene
from tests.photos.made_up import add_photo, number, photo_of, scene_of, write_folder


def test_a_photograph_and_its_maps(tmp_path: Path) -> None:
    scene = scene_of(tmp_path, [("sky", (0, 0, 100, 40)), ("dog", (10, 50, 40, 90))], unknown=(80, 80, 100, 100))
    photo = scene.photo
    assert photo.id == "voc/one" and photo.present == {"sky", "dog"} and "cat" in photo.annotated
    assert scene.labels[20, 20] == number("sky") and scene.labels[60, 20] == number("dog")
    assert scene.labels[90, 90] == UNKNOWN and scene.things[60, 20] == 2
    mask = scene.mask("dog")
    assert (mask[60, 20], mask[20, 20], mask[90, 90]) == (1, 0, 255)
    assert scene.mask("sky", "dog").sum() == 40 * 100 + 30 * 40 + 255 * 400


def test_wholes_are_the_union_of_their_parts(tmp_path: Path) -> None:
    boxes = [("body", (20, 30, 60, 90)), ("face", (30, 10, 50, 30))]
    scene = scene_of(tmp_path, boxes, set_name="msrc", annotated=("body", "face", "dog"), told_apart=None)
    assert scene.photo.present == {"person", "face"}  # a body without a head is not asked for
    assert (scene.mask("person") == 1).sum() == 40 * 60 + 20 * 20 == (scene.mask("face", "body") == 1).sum()


def test_pixels_that_count_neither_way(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "classes.txt").write_text("none\nperson\ncyclist\n")
    add_photo(tmp_path, "a", [("dog", (0, 0, 50, 50)), ("cat", (50, 0, 100, 50))], set_name="camvid", told_apart=None)
    scene = read_scene(photo_of(tmp_path))  # values 1 and 2 are now person and cyclist
    assert set(np.unique(scene.mask("person"))) == {0, 1, 255} and scene.mask("person")[10, 60] == 255


def test_what_a_model_marked_is_guessed(tmp_path: Path) -> None:
    write_folder(tmp_path)
    add_photo(tmp_path, "000000000139", [("dog", (0, 0, 50, 50))], set_name="cocopeople", annotated=["teacher"])
    photo = photo_of(tmp_path)
    assert photo.annotated >= {"dog", "train"} and photo.annotated == set(photo.rules.guessed)


def test_names_are_corrected_and_pictures_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path)
    add_photo(tmp_path, "0214", [("cat", (0, 0, 50, 50))], set_name="ecssd", annotated=["cat"], told_apart=None)
    add_photo(tmp_path, "0027", [("cat", (0, 0, 50, 50))], set_name="ecssd", annotated=["cat"], told_apart=None)
    photo = photo_of(tmp_path)
    assert photo.id == "ecssd/0214" and photo.present == photo.annotated == {"squirrel"}
    assert (read_scene(photo).mask("squirrel") == 1).sum() == 2500


def test_test_pictures_stay_test_pictures(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for place in range(60):
        split = "test" if place < 10 else "train"
        add_photo(tmp_path, f"picture{place}", [("dog", (0, 0, 50, 50))], split=split)
    parts = {
        split: {photo.id for photo in photographs(tmp_path, (split,))} for split in ("train", "validation", "test")
    }
    assert sum(map(len, parts.values())) == 60 and len(parts["test"]) == 10
    assert all(int(name.removeprefix("voc/picture")) < 10 for name in parts["test"])
    assert 1 <= len(parts["validation"]) <= 8


def test_pictures_that_look_alike_are_on_one_side() -> None:
    facade, camvid = photo_sets()["facade"], photo_sets()["camvid"]
    for place in range(40):
        sides = {split_of(f"IMG_{place}_scaled_{half}_png_rf_{half}af", "facade", facade) for half in range(2)}
        assert len(sides) == 1
    assert split_of("val_0016E5_08003", "camvid", camvid) == "validation"
    assert split_of("train_0001TP_006900", "camvid", camvid) == "train"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"voc"', '"imaginary"'), "no set 'imaginary' in sets.toml"),
        (('"annotated"', '"marked"'), "no 'annotated'"),
        (('["dog"]', '"dog"'), "a list of nouns is needed, not 'dog'"),
        (('"cat"', '"aeroplane"'), "'aeroplane'"),
        (('"train"', '"val"'), "split is 'val'"),
        (("{", "["), "line 1"),
    ],
)
def test_broken_lines_are_told(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    write_folder(tmp_path)
    add_photo(tmp_path, "a", [("dog", (0, 0, 50, 50))], annotated=["dog", "cat"])
    file = tmp_path / "pictures.jsonl"
    file.write_text(file.read_text().replace(*change))
    with pytest.raises(DataError, match=message):
        photographs(tmp_path, ("train",))


def test_missing_and_unfitting_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"classes.txt: No such file.*A folder of photographs needs it"):
        photographs(tmp_path, ("train",))
    write_folder(tmp_path)
    add_photo(tmp_path, "a", [("dog", (0, 0, 50, 50))])
    (tmp_path / "photos" / "a.png").write_bytes((tmp_path / "masks" / "a.png").read_bytes()[:50])
    with pytest.raises(DataError, match="voc/a"):
        read_scene(photo_of(tmp_path))
