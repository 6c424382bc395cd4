"""Questions about made-up photographs: each is true of the picture, and says what anybody would say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from self1e.conversation import SEG
from self1e.photos.index import photo_sets
from self1e.photos.language import (
    KINDS,
    SEGMENTING,
    PhotoQuery,
    View,
    conversation,
    queries,
    query_mask,
    sample_queries,
)
from self1e.photos.language.absent import P_NOWHERE, expected
from self1e.photos.language.colours import COLOURS, NEAR, plain_colour
from self1e.photos.language.places import INSIDE, beside, sides_of
from self1e.photos.language.view import thing_of
from self1e.photos.nouns import uses
from self1e.photos.scene import PhotoScene
from self1e.processing.prompts import EVAL_ANSWER
from tests.photos.made_up import Box, box_mask, scene_of

DOGS: tuple[Box, ...] = ((5, 40, 20, 60), (35, 30, 65, 75), (75, 45, 92, 67))


def asked(scene: PhotoScene, seeds: int = 30, kind: str = "", *, trusting: bool = False) -> list[PhotoQuery]:
    """What many draws ask about a scene, each question once."""
    found = {}
    for seed in range(seeds):
        for query in queries(View(scene, trusting=trusting), np.random.default_rng(seed), {}):
            if not kind or query.kind == kind:
                found.setdefault(query.text, query)
    return list(found.values())


def pointing_at(scene: PhotoScene, text: str, seeds: int = 30) -> np.ndarray | None:
    """The mask of a question; None if it is not asked."""
    found = [query for query in asked(scene, seeds) if query.text == text]
    assert len(found) <= 1
    return query_mask(found[0], scene) == 1 if found else None


@pytest.fixture
def dogs(tmp_path: Path) -> PhotoScene:
    return scene_of(tmp_path, [("dog", box) for box in DOGS])


def same(mask: np.ndarray | None, *boxes: Box) -> bool:
    return mask is not None and bool((mask == np.logical_or.reduce([box_mask(box) for box in boxes])).all())


def test_rows(dogs: PhotoScene) -> None:
    left, middle, right = DOGS
    for text, box in {
        "the leftmost dog": left,
        "the dog on the far right": right,
        "the first dog from the right": right,
        "the second dog from the left": middle,
        "the third dog from the right": left,
        "the dog in the middle": middle,
        "the middle dog of the three": middle,
        "the largest dog": middle,
    }.items():
        assert same(pointing_at(dogs, text), box), text
    assert same(pointing_at(dogs, "all dogs"), *DOGS) and same(pointing_at(dogs, "the dog"), *DOGS)
    assert pointing_at(dogs, "the dog on the left") is None  # of three, one would ask which
    assert not pointing_at(dogs, "the fourth dog from the left").any()  # type: ignore[union-attr]
    assert pointing_at(dogs, "the smallest dog") is None  # two are about as small


def test_of_two(tmp_path: Path) -> None:
    scene = scene_of(tmp_path, [("dog", DOGS[0]), ("dog", DOGS[2])])
    assert same(pointing_at(scene, "the left dog"), DOGS[0]) and same(pointing_at(scene, "both dogs"), DOGS[0], DOGS[2])


def test_a_part_is_not_called_left_for_where_it_is_seen(tmp_path: Path) -> None:
    left, right = (5, 40, 25, 60), (75, 40, 95, 60)
    faces = {"annotated": ["face"], "told_apart": ["face"]}  # a car has a right wheel that may be seen on the left
    scene = scene_of(tmp_path, [("face", left), ("face", right)], **faces)
    assert same(pointing_at(scene, "the leftmost face"), left)
    assert same(pointing_at(scene, "the face on the far right"), right)
    said = {query.text for query in asked(scene, 60, "ordinal")}
    assert said.isdisjoint({"the left face", "the right face", "the face on the left", "the face on the right side"})


def test_scraps_and_things_that_are_not_told_apart_are_not_counted(tmp_path: Path) -> None:
    scrap = scene_of(tmp_path / "a", [("dog", DOGS[0]), ("dog", (97, 40, 100, 50))])
    unknown = scene_of(tmp_path / "b", [("dog", DOGS[0]), ("dog", DOGS[2])], told_apart=None)
    for scene in (scrap, unknown):
        kinds = {query.kind for query in asked(scene)}
        assert kinds & {"ordinal", "size", "vqa_count", "place"} == set()
        assert same(
            pointing_at(scene, "the dog"),
            *(DOGS[:1] if scene is scrap else ()),
            *([(97, 40, 100, 50)] if scene is scrap else [DOGS[0], DOGS[2]]),
        )


def test_sides_and_neighbours(tmp_path: Path) -> None:
    dog, cat, other = (5, 40, 25, 60), (40, 42, 60, 62), (75, 40, 95, 60)
    scene = scene_of(tmp_path, [("dog", dog), ("cat", cat), ("dog", other)])
    assert same(pointing_at(scene, "the dog to the left of the cat"), dog)
    assert same(pointing_at(scene, "the dog right of the cat"), other)
    one = scene_of(tmp_path / "one", [("dog", dog), ("cat", cat)])
    assert same(pointing_at(one, "the dog on the left side of the picture"), dog)
    for text in ("the dog on the right side of the picture", "the dog to the right of the cat"):
        assert not pointing_at(one, text).any()  # type: ignore[union-attr]


def test_nouns_groups_and_unions(tmp_path: Path) -> None:
    dog, cat, sky = (5, 50, 35, 80), (60, 50, 90, 80), (0, 0, 100, 30)
    scene = scene_of(
        tmp_path,
        [("sky", sky), ("dog", dog), ("cat", cat)],
        annotated=("sky", "bird", "cat", "cow", "dog", "horse", "sheep", "rabbit", "fish"),
    )
    assert same(pointing_at(scene, "the sky"), sky) and same(pointing_at(scene, "the animals"), dog, cat)
    assert same(pointing_at(scene, "the cat and the dog"), dog, cat)
    partly = scene_of(tmp_path / "partly", [("dog", dog), ("cat", cat)], annotated=["dog", "cat"])
    assert pointing_at(partly, "the animals") is None  # a cow might be there, and not be marked


def test_what_is_neither_in_a_group_nor_out_of_it_counts_neither_way(tmp_path: Path) -> None:
    sheep, horse = (5, 40, 35, 80), (60, 40, 90, 80)
    scene = scene_of(tmp_path, [("sheep", sheep), ("horse", horse)], annotated=("cow", "horse", "sheep"))
    (query,) = (query for query in asked(scene) if query.text == "the farm animal")  # the horse may be a jockey's
    mask = query_mask(query, scene)
    assert ((mask == 1) == box_mask(sheep)).all() and ((mask == 255) == box_mask(horse)).all()


def test_measuring_calls_absent_only_what_is_annotated(tmp_path: Path) -> None:
    for name in photo_sets():
        scene = scene_of(tmp_path / name, [("dog", DOGS[0])], set_name=name, annotated=["dog", "cat", "cow"])
        absent = {noun.name for noun in View(scene).absent}
        assert absent == {"cat", "cow"} - set(photo_sets()[name].guessed), name
    trusting = {noun.name for noun in View(scene_of(tmp_path, [("dog", DOGS[0])]), trusting=True).absent}
    assert {"elephant", "gorilla"} <= trusting


def test_absent_nouns_are_surely_absent(tmp_path: Path) -> None:
    scene = scene_of(tmp_path, [("dog", DOGS[0])], annotated=["dog", "cat", "sofa", "chair"])
    absent = {query.text for query in asked(scene, 900, "absent")}
    assert {"the cat", "the chair"} <= absent and "the elephant" not in absent
    assert "the elephant" in {query.text for query in asked(scene, 900, "absent", trusting=True)}
    assert absent.isdisjoint({"the dog", "the person", "the bottle"})
    for query in asked(scene, 20, "absent"):
        assert not query_mask(query, scene).any()
    statue = scene_of(tmp_path / "statue", [("dog", DOGS[0])], annotated=["dog", "cat", "sofa", "statue"])
    assert "statue" in {noun.name for noun in View(statue).absent}
    person = scene_of(tmp_path / "person", [("person", DOGS[0])], annotated=["person", "statue"])
    assert "statue" not in {noun.name for noun in View(person).absent}  # could be taken for one


def test_what_a_model_did_not_see_is_absent_in_training_alone(tmp_path: Path) -> None:
    scene = scene_of(tmp_path, [("car", (10, 10, 60, 60))], set_name="cocopeople", annotated=["teacher"])
    absent = {noun.name for noun in View(scene, trusting=True).absent}
    assert {"cat", "dog", "cow"} <= absent
    assert absent.isdisjoint({"person", "chair"})  # which it overlooks
    assert absent.isdisjoint({"bus", "train"})  # of which it may have made a car
    assert not {noun.name for noun in View(scene).absent} & {"cat", "dog", "cow"}


def test_unknown_pixels_count_neither_way(tmp_path: Path) -> None:
    scene = scene_of(tmp_path, [("dog", DOGS[0]), ("dog", DOGS[2])], unknown=(0, 80, 100, 100))
    for query in asked(scene, 5):
        if query.form != "question":
            assert (query_mask(query, scene)[80:] == 255).all()


def test_uses(tmp_path: Path) -> None:
    all_marked = ("horse", "bicycle", "motorcycle", "cow", "car", "elephant", "bus", "train", "boat", "airplane")
    all_marked += ("skateboard", "surfboard")
    horse, car = (10, 40, 50, 80), (60, 40, 95, 80)
    alone = scene_of(tmp_path / "alone", [("horse", horse)], annotated=all_marked)
    assert same(pointing_at(alone, "What could I ride?"), horse)
    because = {query.answer for query in asked(alone, 30, "use")}
    assert "The horse can carry a rider." in because
    doubtful = scene_of(tmp_path / "doubtful", [("horse", horse), ("car", car)], annotated=all_marked)
    assert pointing_at(doubtful, "What could I ride?") is None
    nothing = scene_of(tmp_path / "nothing", [("dog", horse)], annotated=(*all_marked, "dog"))
    assert not pointing_at(nothing, "What could I ride?", 300).any()  # type: ignore[union-attr]
    for name, asks in (("msrc", False), ("voc", True)):  # a sky of msrc may have no label
        skyless = scene_of(tmp_path / name, [("dog", horse)], set_name=name, annotated=("dog", "sky"))
        assert ("Where do clouds drift?" in {query.text for query in asked(skyless, 60, "absent")}) == asks
    unknown = scene_of(tmp_path / "unknown", [("horse", horse)], annotated=["horse"])
    assert pointing_at(unknown, "What could I ride?") is None


def test_a_use_names_the_whole_in_place_of_its_parts(tmp_path: Path) -> None:
    marked = {*(name for use in uses() if "food" in use.fits for name in (*use.fits, *use.doubtful))}
    apple, rest = (10, 40, 50, 80), (60, 40, 95, 80)
    scene = scene_of(tmp_path, [("apple", apple), ("food", rest)], set_name="coco", annotated=sorted(marked))
    (query,) = (query for query in asked(scene) if query.text == "What could I eat?")
    assert query.answer == "The food can be eaten." and same(query_mask(query, scene) == 1, apple, rest)
    assert same(pointing_at(scene, "the food"), apple, rest) and same(pointing_at(scene, "the apple"), apple)


def test_answers_in_words(tmp_path: Path) -> None:
    scene = scene_of(tmp_path, [("car", (5, 40, 40, 70)), ("sheep", (55, 10, 70, 30)), ("sheep", (75, 60, 95, 85))])
    answers = {query.text: query.answer for query in asked(scene, 80) if query.form == "question"}
    for question, answer in {
        "Is there a car?": "Yes.",
        "Is there a cat?": "No.",
        "How many sheep are there?": "Two.",
        "What colour is the car?": "Red.",
        "Is the car red?": "Yes.",
        "On which side of the picture is the car?": "On the left.",
        "Is the car on the right?": "No.",
    }.items():
        assert answers.get(question) == answer, question
    drawn = [queries(View(scene), np.random.default_rng(seed), {}) for seed in range(10)]
    yes_no = [query.answer for found in drawn for query in found if query.kind == "vqa_yesno"]
    assert yes_no.count("Yes.") == yes_no.count("No.") > 0  # neither is the better guess
    assert set(answers.values()) <= {"Yes.", "No.", "One.", "Two.", "Red.", "On the left.", "On the right."}


def test_what_is_there_and_what_is_nearly_there_are_asked_for_in_the_same_words(tmp_path: Path) -> None:
    boxes = [("car", (5, 40, 40, 70)), ("person", (60, 30, 80, 70)), ("horse", (45, 75, 65, 95))]
    of_kinds = [
        query for query in asked(scene_of(tmp_path, boxes), 200) if query.kind in ("absent", "colour", "relation")
    ]
    there = {query.text for query in of_kinds if query.kind != "absent"}
    nearly = {query.text for query in of_kinds if query.kind == "absent"}
    for form in ("of the human$", "that is", "human (below|above)"):
        assert all(any(re.search(form, text) for text in texts) for texts in (there, nearly)), form


def test_words_that_are_plural_have_a_plural_verb(tmp_path: Path) -> None:
    known = ("skis", "person")
    scene = scene_of(
        tmp_path, [("skis", (5, 70, 40, 75)), ("person", (60, 30, 80, 74))], annotated=known, told_apart=known
    )
    found = [query for query in asked(scene, 100) if re.match("(the|both|all) skis", query.text)]
    assert {query.kind for query in found} >= {"place", "relation", "absent"} and all(query.plural for query in found)
    sides = {
        query.text for query in asked(scene, 100) if query.kind in ("vqa_where", "vqa_yesno") and "skis" in query.text
    }
    assert {"Are the skis on the left?", "On which side of the picture are the skis?"} <= sides
    assert not any(re.search(r"\b[Ii]s the skis", text) for text in sides)


def test_a_thing_is_called_by_its_own_noun_and_not_by_the_whole_it_belongs_to(tmp_path: Path) -> None:
    boxes = [("body", (20, 30, 60, 90)), ("face", (30, 10, 50, 30))]
    scene = scene_of(
        tmp_path, boxes, set_name="msrc", annotated=("body", "face"), told_apart=("face", "body", "person")
    )
    assert {noun: len(row) for noun, row in View(scene).things.items()} == {"face": 1}  # bodies are left out


def test_colours_are_named_only_where_nobody_would_doubt_them(tmp_path: Path) -> None:
    plain = {"red": (200, 25, 30), "green": (50, 150, 50), "blue": (40, 60, 190), "yellow": (230, 210, 40)}
    plain |= {"white": (240, 240, 240), "black": (20, 20, 20), "grey": (120, 120, 120), "brown": (110, 70, 35)}
    plain |= {"orange": (235, 130, 20), "pink": (240, 130, 180), "purple": (130, 60, 170)}
    assert set(plain) == set(COLOURS)
    for name, colour in plain.items():
        assert plain_colour(np.tile(np.array(colour, np.uint8), (50, 1))) == name
    for mixed in ([(200, 25, 30), (50, 150, 50)], [(240, 240, 240), (20, 20, 20)], [(110, 140, 140)]):
        assert plain_colour(np.tile(np.array(mixed, np.uint8), (50, 1))) is None
    assert all(colour in NEAR[other] for colour in COLOURS for other in NEAR[colour])
    assert NEAR["orange"] >= {"pink", "red"} and all(colour not in NEAR[colour] for colour in COLOURS)
    scene = scene_of(tmp_path, [("car", (5, 40, 40, 70)), ("sheep", (55, 10, 70, 30))])
    assert same(pointing_at(scene, "the red car"), (5, 40, 40, 70))
    greens = [query for query in asked(scene, 60, "absent") if query.text == "the green car"]
    assert greens and not query_mask(greens[0], scene).any()


def test_parts_have_their_owner(tmp_path: Path) -> None:
    boxes = [("body", (20, 30, 60, 90)), ("face", (30, 10, 50, 30))]
    scene = scene_of(tmp_path, boxes, set_name="msrc", annotated=("body", "face"), told_apart=None)
    assert same(pointing_at(scene, "the person's face"), boxes[1][1])
    assert same(pointing_at(scene, "the face of the person"), boxes[1][1])


def test_nouns_left_out_are_in_no_word(tmp_path: Path) -> None:
    scene = scene_of(tmp_path, [("dog", DOGS[0]), ("sheep", DOGS[1]), ("sheep", DOGS[2])])
    for seed in range(30):
        for query in queries(View(scene, ["sheep", "elephant"]), np.random.default_rng(seed), {}):
            assert re.search(r"sheep|elephant|wool|animals", query.text + query.answer) is None
    boxes = [("body", (20, 30, 60, 90)), ("face", (30, 10, 50, 30))]
    scene = scene_of(tmp_path / "owner", boxes, set_name="msrc", annotated=("body", "face"), told_apart=None)
    for seed in range(30):
        assert not any(
            "person" in query.text for query in queries(View(scene, ["person"]), np.random.default_rng(seed), {})
        )


def test_samples_follow_their_weights(dogs: PhotoScene) -> None:
    weights = {"ordinal": 3.0, "absent": 1.0, "vqa_count": 0.0}
    found = [
        query for seed in range(40) for query in sample_queries(View(dogs), np.random.default_rng(seed), 4, weights, {})
    ]
    counts = {kind: sum(query.kind == kind for query in found) for kind in KINDS}
    assert counts["ordinal"] > 1.5 * counts["absent"] > 0 and sum(counts.values()) == len(found) == 160
    assert {kind for kind, count in counts.items() if count} == {"ordinal", "absent"}
    with pytest.raises(ValueError, match="unknown kinds of question: riddle"):
        sample_queries(View(dogs), np.random.default_rng(0), 4, {"riddle": 1.0}, {})


@pytest.mark.parametrize(("share", "most"), [(0.0, 0), (0.2, 2), (0.5, 5), (1.0, 10)])
def test_what_is_not_there_has_its_share_of_what_is_wanted(tmp_path: Path, share: float, most: int) -> None:
    things = [("dog", DOGS[0]), ("cat", DOGS[1])]
    annotated = ("dog", "cat", "cow", "horse", "sheep", "car", "bus", "boat")
    scene = scene_of(tmp_path, things, annotated=annotated)
    found = sample_queries(View(scene), np.random.default_rng(0), 10, {"noun": 0.01, "absent": 1.0}, {}, share)
    absent = [query for query in found if query.kind == "absent"]
    assert len(absent) <= most and (share == 1 or len(absent) == most)
    plain = {query.text for query in absent} & {f"the {name}" for name in annotated}
    assert len(plain) <= 3, "at most one noun more than there are"


def test_what_is_not_there_is_what_other_photographs_have(tmp_path: Path) -> None:
    scene = scene_of(tmp_path, [("person", DOGS[0])], annotated=("person", "hat", "dress", "skirt"))
    draws = [expected(View(scene), np.random.default_rng(seed), {}, 1, {"hat": 1, "dress": 3}) for seed in range(400)]
    counts = Counter(name for names in draws for name in names)
    assert set(counts) == {"hat", "dress"} and 2.4 < counts["dress"] / counts["hat"] < 3.8
    both = [expected(View(scene), np.random.default_rng(seed), {}, 5, {"hat": 1, "dog": 1}) for seed in range(20)]
    assert set(map(tuple, both)) == {("hat",)}, "each once, and only where it is known not to be there"
    assert expected(View(scene), np.random.default_rng(0), {}, 5, {}) == []
    alike = Counter(name for seed in range(400) for name in expected(View(scene), np.random.default_rng(seed), {}, 1))
    assert min(alike.values()) > 0.6 * max(alike.values())


def test_what_no_photograph_of_a_set_has_is_asked_for_seldom(tmp_path: Path) -> None:
    view = View(scene_of(tmp_path, [("dog", DOGS[0])]), trusting=True)
    names = [name for seed in range(400) for name in expected(view, np.random.default_rng(seed), {}, 5, {})]
    assert set(names) <= view.unmarked
    assert len(names) / 400 == pytest.approx(P_NOWHERE * len(view.unmarked), rel=0.3)


def test_conversations_hold_what_they_ask(dogs: PhotoScene) -> None:
    for query in asked(dogs, 5):
        fixed = conversation(query, dogs, np.random.default_rng(0), training=False)
        (turn,) = fixed.turns
        if query.kind in SEGMENTING:
            assert turn.answer == EVAL_ANSWER and (fixed.masks[0] == query_mask(query, dogs)).all()
            assert query.text.removeprefix("the ").rstrip("?.") in turn.question
        else:
            assert turn.question == query.text and not fixed.segmenting
        for seed in range(5):
            varied = conversation(query, dogs, np.random.default_rng(seed), training=True)
            assert len(varied.masks) == varied.turns[0].answer.count(SEG) == (query.kind in SEGMENTING)


def texts(items: Sequence[PhotoQuery]) -> list[str]:
    return [query.text for query in items]


def test_questions_are_a_function_of_the_seed(dogs: PhotoScene) -> None:
    first, again, other = (texts(queries(View(dogs), np.random.default_rng(seed), {})) for seed in (1, 1, 2))
    assert first == again != other


def test_a_thing_ends_where_its_box_does_not_as_far_from_its_centre_as_the_box_is_wide() -> None:
    """A body with a thin tail has its centre far from the middle of its box."""
    body, tail, other = (box_mask(box) for box in ((0, 40, 15, 80), (0, 60, 55, 62), (60, 40, 90, 80)))
    dog, horse = thing_of(1, "dog", body | tail), thing_of(2, "horse", other)
    assert dog.x + dog.width / 2 < INSIDE < dog.across[1]
    assert sides_of(dog) == [] and sides_of(thing_of(1, "dog", body)) == ["left"]
    assert dog.across == (0, 0.55) and dog.down == (0.4, 0.8)
    over_it = thing_of(3, "cat", box_mask((40, 40, 60, 80)))  # beside the body, above the tail's end
    assert beside(dog, horse, "left") is True and beside(dog, over_it, "left") is None
