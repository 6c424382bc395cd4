"""Sections, light, and things pasted in: picture and labels change together."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from self1e.photos.augment import cropped, relit, resized
from self1e.photos.compose import Pool, composed, pasteable
from self1e.photos.index import photographs
from self1e.photos.language.view import View
from self1e.photos.scene import PhotoScene, read_scene
from tests.photos.made_up import COLOURS, add_photo, number, scene_of, write_folder


def shows_its_labels(scene: PhotoScene, noun: str, tolerance: int = 40) -> bool:
    """Whether the pixels of a noun have its colour, and others have not."""
    near = np.abs(scene.picture.astype(int) - COLOURS[noun]).max(axis=2) < tolerance
    labelled = scene.labels == number(noun)
    return bool((near == labelled).mean() > 0.97 and labelled.any())


def test_resized_maps_follow_the_picture(tmp_path: Path) -> None:
    scene = scene_of(tmp_path, [("car", (10, 50, 40, 90))])
    for flip in (False, True):
        small = resized(scene, 64, (5, 20, 95, 100), flip=flip)
        assert small.picture.shape == (64, 64, 3) and small.labels.shape == small.things.shape == (64, 64)
        assert shows_its_labels(small, "car")
        columns = np.flatnonzero((small.labels == number("car")).any(0))
        assert (columns.mean() > 32) == flip  # what was left is right


def test_sections_are_of_the_scene_and_differ(tmp_path: Path) -> None:
    scene = scene_of(tmp_path, [("car", (30, 30, 70, 70)), ("cat", (70, 70, 95, 95))])
    cuts = [cropped(scene, 64, np.random.default_rng(seed)) for seed in range(20)]
    assert all(shows_its_labels(cut, "car") for cut in cuts)
    assert len({(cut.labels == number("car")).sum() for cut in cuts}) > 10
    same = cropped(scene, 64, np.random.default_rng(3))
    assert (same.picture == cuts[3].picture).all() and (same.labels == cuts[3].labels).all()


def test_light_changes_pictures_only(tmp_path: Path) -> None:
    scene = scene_of(tmp_path, [("car", (30, 30, 70, 70))])
    lit = [relit(scene, np.random.default_rng(seed)) for seed in range(60)]
    assert all(each.labels is scene.labels and each.picture.shape == scene.picture.shape for each in lit)
    assert len({each.picture.tobytes() for each in lit}) == 60
    for each in lit:
        colourless = bool(np.ptp(each.picture.astype(int), axis=2).max() <= 1)
        assert each.grey == colourless
    assert any(each.grey for each in lit)


def pool_of(folder: Path) -> Pool:
    write_folder(folder)
    add_photo(folder, "car", [("car", (30, 30, 70, 60))])
    add_photo(folder, "dogs", [("dog", (10, 50, 40, 90)), ("dog", (60, 55, 90, 95))])
    add_photo(folder, "cut off", [("cat", (0, 50, 40, 90))])
    return Pool(photographs(folder, ("train", "validation")))


def test_pasted_things_are_where_the_labels_say(tmp_path: Path) -> None:
    pool = pool_of(tmp_path / "pool")
    scene = resized(scene_of(tmp_path / "one", [("sheep", (5, 5, 25, 25))]), 128)
    made = [composed(scene, pool, np.random.default_rng(seed)) for seed in range(30)]
    pasted = [each for each in made if each is not scene]
    assert len(pasted) > 15
    for each in pasted:
        new = set(np.unique(each.things)) - {0, 1}
        assert new and all((each.labels[each.things == thing] > 0).all() for thing in new)
        changed = (each.picture != scene.picture).any(axis=2)
        assert changed[np.isin(each.things, list(new))].mean() > 0.9
        assert (each.labels == number("sheep")).sum() > 0.3 * (scene.labels == number("sheep")).sum()
        kinds = {noun for noun in ("car", "dog", "cat") if (each.labels == number(noun)).any()}
        assert kinds and kinds <= each.photo.told_apart & each.photo.present & each.photo.annotated
        assert "cat" not in kinds  # it was cut off by the border of its photograph
    assert (scene.labels == number("sheep")).sum() == (resized(read_scene(scene.photo), 128).labels > 0).sum()


def test_more_of_what_is_there_is_counted_only_if_all_were_known(tmp_path: Path) -> None:
    pool = pool_of(tmp_path / "pool")
    boxes = [("dog", (5, 5, 25, 30)), ("car", (60, 5, 80, 30))]
    scene = resized(scene_of(tmp_path / "one", boxes, told_apart=["dog"]), 128)
    for seed in range(40):
        made = composed(scene, pool, np.random.default_rng(seed))
        things = View(made).things
        new = len(set(np.unique(made.things)) - {0, 1, 2})
        assert "car" not in things and len(things.get("dog", ())) <= 1 + new
        if (made.labels == number("dog")).sum() > 1.5 * (scene.labels == number("dog")).sum():
            assert "dog" in made.photo.told_apart


def test_what_may_be_pasted(tmp_path: Path) -> None:
    known = scene_of(tmp_path / "a", [("dog", (5, 5, 25, 30))], annotated=["dog", "cat"]).photo
    assert {"dog", "cat", "elephant"} <= set(pasteable(known)) and "bottle" not in pasteable(known)
    street = scene_of(tmp_path / "b", [("car", (5, 5, 25, 30))], set_name="carparts", annotated=["wheel"]).photo
    assert "cow" in pasteable(street) and "bus" not in pasteable(street)
    guessed = scene_of(tmp_path / "c", [("dog", (5, 5, 25, 30))], set_name="cocopeople", annotated=["teacher"]).photo
    assert pasteable(guessed) == []
