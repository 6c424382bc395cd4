"""The scene generator: repeatable, exact, and true to its own words."""

from __future__ import annotations

import numpy as np
import pytest

from self1e.toyland.colours import RGB_OF
from self1e.toyland.dense_labels import KIND_NAMES, PART_LABELS, POSES, UNLABELLED, dense_labels
from self1e.toyland.generate import MIN_AREA, MIN_SIZE, MIN_VISIBILITY, generate_scene
from self1e.toyland.kinds import KINDS
from self1e.toyland.scene import COLOURS, SIZES, TEXTURES, Scene
from self1e.toyland.vocabulary import PARTS, STUFF, THINGS

SEEDS = range(24)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [generate_scene(seed) for seed in SEEDS]


def test_same_seed_gives_same_scene(scenes: list[Scene]) -> None:
    for scene in scenes[:4]:
        again = generate_scene(scene.seed)
        assert again.things == scene.things
        for name in ("picture", "object_map", "part_map"):
            np.testing.assert_array_equal(getattr(again, name), getattr(scene, name))


def test_different_seeds_give_different_pictures(scenes: list[Scene]) -> None:
    assert len({scene.picture.tobytes() for scene in scenes}) == len(scenes)


def test_arrays_have_the_promised_types(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.picture.shape == (448, 448, 3)
        assert scene.picture.dtype == np.uint8
        assert scene.object_map.shape == scene.part_map.shape == (448, 448)
        assert scene.object_map.dtype == scene.part_map.dtype == np.int16


def test_every_pixel_has_one_owner_with_its_true_measures(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert [t.id for t in scene.things] == np.unique(scene.object_map).tolist()
        for thing in scene.things:
            mask = scene.object_mask(thing.id)
            ys, xs = np.nonzero(mask)
            assert thing.area == mask.sum()
            assert thing.box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            assert thing.centre == pytest.approx((xs.mean() + 0.5, ys.mean() + 0.5))


def test_part_pixels_lie_in_their_thing(scenes: list[Scene]) -> None:
    for scene in scenes:
        ids = [part.id for thing in scene.things for part in thing.parts]
        assert len(ids) == len(set(ids))
        assert set(np.unique(scene.part_map).tolist()) <= {0, *ids}
        for thing in scene.things:
            for part in thing.parts:
                mask = scene.part_mask(part.id)
                assert part.area == mask.sum()
                assert (scene.object_map[mask] == thing.id).all()


def test_words_come_from_the_vocabulary(scenes: list[Scene]) -> None:
    assert set(KINDS) == set(THINGS) == set(PARTS)
    for scene in scenes:
        for thing in scene.things:
            assert thing.kind in (STUFF if thing.is_stuff else THINGS)
            assert thing.texture in TEXTURES
            if not thing.is_stuff:
                assert thing.colour in COLOURS
                assert thing.size in SIZES
                assert thing.on in STUFF
                assert {part.name for part in thing.parts} <= set(PARTS[thing.kind])
                assert {part.colour for part in thing.parts} <= {None, *COLOURS}


def test_things_are_large_and_visible_enough(scenes: list[Scene]) -> None:
    for scene in scenes:
        for thing in (t for t in scene.things if not t.is_stuff):
            assert thing.area >= MIN_AREA
            assert MIN_VISIBILITY <= thing.visibility <= 1


def test_things_stand_where_they_belong(scenes: list[Scene]) -> None:
    for scene in scenes:
        for thing in (t for t in scene.things if not t.is_stuff):
            assert thing.on in KINDS[thing.kind].places
            assert (thing.foot is None) == (thing.on == "sky")


def test_nearer_things_hide_farther_ones(scenes: list[Scene]) -> None:
    for scene in scenes:
        feet = [t.foot[1] for t in scene.things if t.foot]
        assert feet == sorted(feet)


def test_colours_match_their_names_by_day(scenes: list[Scene]) -> None:
    names, table = list(RGB_OF), np.array(list(RGB_OF.values()), float)
    right = total = 0
    for scene in (s for s in scenes if s.time == "day"):
        for thing in scene.things:
            named = [(part.colour, scene.part_mask(part.id)) for part in thing.parts]
            named = named or [(thing.colour, scene.object_mask(thing.id))]
            for colour, mask in named:
                if colour and mask.sum() >= 80:
                    nearest = ((scene.picture[mask][:, None] - table) ** 2).sum(2).argmin(1)
                    right += names[np.bincount(nearest).argmax()] == colour
                    total += 1
    assert total > 100
    assert right / total > 0.95


@pytest.mark.parametrize("seed", [1, 5])
def test_larger_picture_shows_the_same_scene(seed: int) -> None:
    small, large = generate_scene(seed, 448), generate_scene(seed, 896)
    assert [(t.id, t.kind, t.colour) for t in small.things] == [(t.id, t.kind, t.colour) for t in large.things]
    assert (large.object_map[1::2, 1::2] == small.object_map).mean() > 0.985
    for a, b in zip(small.things, large.things, strict=True):
        assert np.array(b.box) == pytest.approx(2 * np.array(a.box), abs=6)
    halved = large.picture.reshape(448, 2, 448, 2, 3).mean((1, 3))
    assert np.abs(halved - small.picture).mean() < 8


def test_dense_labels_describe_every_pixel(scenes: list[Scene]) -> None:
    scene = scenes[3]
    labels = dense_labels(scene)
    ys, xs = np.mgrid[:448, :448]
    for thing in scene.things:
        mask = scene.object_mask(thing.id)
        assert (labels["kind"][mask] == KIND_NAMES.index(thing.kind)).all()
        if thing.is_stuff:
            assert not labels["offset"][:, mask].any()
            assert not labels["extent"][:, mask].any()
            for name in ("colour", "thing_colour", "texture", "pose", "size"):
                assert (labels[name][mask] == UNLABELLED).all()
            continue
        looks = {"thing_colour": (thing.colour, COLOURS), "texture": (thing.texture, TEXTURES)}
        looks |= {"pose": (thing.pose, POSES), "size": (thing.size, SIZES)}
        for name, (value, names) in looks.items():
            assert (labels[name][mask] == names.index(value)).all(), name
        reached = labels["offset"][:, mask] * 448 + np.stack([xs[mask], ys[mask]]) + 0.5
        np.testing.assert_allclose(reached.T, np.broadcast_to(thing.centre, reached.T.shape), atol=1e-3)
        size = (thing.box[2] - thing.box[0], thing.box[3] - thing.box[1])
        np.testing.assert_allclose(labels["extent"][:, mask].T * 448, np.broadcast_to(size, reached.T.shape), atol=1e-3)
        for part in thing.parts:
            inside = scene.part_mask(part.id)
            assert (labels["part"][inside] == PART_LABELS.index(part.name)).all()
            expected = COLOURS.index(part.colour) if part.colour else UNLABELLED
            assert (labels["colour"][inside] == expected).all()


@pytest.mark.parametrize(("seed", "size"), [(-1, 448), (1, 0), (1, MIN_SIZE - 1)])
def test_scenes_that_cannot_be(seed: int, size: int) -> None:
    with pytest.raises(ValueError, match=f"seed from 0 and a size from {MIN_SIZE}"):
        generate_scene(seed, size)
