"""The grammar of toyland: right answers on hand-made scenes, and brute-force checks on drawn ones."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from drawing import BIRD, BLUE_CAR, DOG, HOUSE, RED_CAR, Drawing, rng, street

from self1e.toyland import DEFAULT_WEIGHTS, generate_scene
from self1e.toyland.language import KINDS, TEXTUAL, SceneQuery, queries, query_mask, sample_queries
from self1e.toyland.language.asking import BUILDERS
from self1e.toyland.language.functions import FUNCTIONS
from self1e.toyland.language.view import SceneView
from self1e.toyland.language.words import GROUPS, NOUNS, NUMBERS, ORDINALS
from self1e.toyland.scene import COLOURS, Scene, Thing
from self1e.toyland.vocabulary import PARTS, STUFF, THINGS

KIND_OF = {word: kind for kind, pairs in NOUNS.items() for word in (pair[0] for pair in pairs)}
KIND_OF_PLURAL = {word: kind for kind, pairs in NOUNS.items() for word in (pair[1] for pair in pairs)}


def asked(scene: Scene, kind: str) -> dict[str, SceneQuery]:
    """Every wording of every query of a kind that turns up in some tries, by text."""
    random = rng()
    drafts = [draft for _ in range(8) for draft in BUILDERS[kind](SceneView(scene), random)]
    return {query.text: query for draft in drafts for query in (draft.query(random) for _ in range(30))}


def test_class_needs_a_single_one() -> None:
    found = asked(street(), "class")
    assert found["the dog"].things == (DOG,)
    assert found["the house"].things == (HOUSE,)
    assert "the car" not in found


def test_attribute() -> None:
    found = asked(street(), "attribute")
    assert found["the red car"].things == (RED_CAR,)
    assert found["the car that is blue"].things == (BLUE_CAR,)
    assert found["the running dog"].things == (DOG,)
    assert "the red house" not in found


def test_colour_of_a_large_part_makes_a_colour_doubtful() -> None:
    red_roofed = street()
    other = Drawing().add("house", 10, 100, 40, 40, colour="red", parts=(("wall", "red", 40),))
    other.add("house", 100, 100, 40, 40, colour="white", parts=(("roof", "red", 15), ("wall", "white", 25)))
    assert "the red house" not in asked(other.scene(), "attribute")
    assert "the white house" in asked(other.scene(), "attribute")
    assert "the red house" not in asked(red_roofed, "absent")


def test_hidden_things_still_make_a_phrase_ambiguous() -> None:
    drawing = Drawing().add("ball", 20, 100, colour="red").add("ball", 100, 100, 4, 4, colour="red", visibility=0.1)
    assert not asked(drawing.scene(), "class")
    assert "the red ball" not in asked(drawing.scene(), "attribute")
    found = [query for kind in ("ordinal", "size", "spatial") for query in asked(drawing.scene(), kind).values()]
    assert all(4 not in query.things for query in found)


def test_size() -> None:
    drawing = Drawing().add("tree", 20, 80, 20, 30, size="small").add("tree", 100, 80, 40, 60, size="large")
    found = asked(drawing.scene(), "size")
    for text in ("the large tree", "the biggest tree", "the tallest tree"):
        assert found[text].things == (4,)
    assert found["the little tree"].things == found["the smallest tree"].things == (3,)


def test_ordinal() -> None:
    drawing = Drawing()
    for x in (10, 60, 110, 160):
        drawing.add("tree", x, 100)
    found = asked(drawing.scene(), "ordinal")
    assert found["the second tree from the left"].things == (4,)
    assert found["the second tree from the right"].things == (5,)
    assert found["the leftmost tree"].things == (3,)
    assert found["the tree furthest to the right"].things == (6,)
    assert "the fifth tree from the left" not in found


def test_ordinal_needs_clear_steps() -> None:
    drawing = Drawing().add("ball", 20, 80, 20, 20).add("ball", 24, 120, 20, 20).add("ball", 100, 100)
    found = asked(drawing.scene(), "ordinal")
    assert not [text for text in found if "second" in text or "leftmost" in text]
    assert found["the rightmost ball"].things == (5,)


def test_spatial() -> None:
    found = asked(street(), "spatial")
    assert found["the car to the left of the house"].things == (RED_CAR,)
    assert found["the car right of the dog"].things == (BLUE_CAR,)
    assert found["the dog in front of the house"].things == (DOG,)
    assert found["the bird above the house"].things == (BIRD,)
    assert found["the car on the left side of the picture"].things == (RED_CAR,)
    assert not [text for text in found if re.match(r"the car (on the road|on the street)$", text)]


def test_part() -> None:
    found = asked(street(), "part")
    scene = street()
    roof = next(part for thing in scene.things for part in thing.parts if part.name == "roof")
    for text in ("the roof", "the roof of the house", "the house's roof"):
        assert found[text].parts == (roof.id,)
        assert np.array_equal(query_mask(found[text], scene), scene.part_map == roof.id)


def test_plural() -> None:
    found = asked(street(), "plural")
    for text in ("all the cars", "both cars", "the two automobiles"):
        assert found[text].things == (RED_CAR, BLUE_CAR)
    assert found["all the animals"].things == (DOG, BIRD)


def test_absent_phrases_fit_nothing() -> None:
    found = asked(street(), "absent")
    assert all(not query.things and not query.parts for query in found.values())
    for near_miss in ("the green car", "the chimney of the house", "the dog behind the house", "the water"):
        assert near_miss in found
    for there in ("the red car", "the dog", "the grass", "the sky", "the flying bird"):
        assert there not in found


def test_reasoning() -> None:
    found = asked(street(), "reasoning")
    assert found["Which animal barks?"].things == (DOG,)
    assert found["What could I drive on the road?"].things == (RED_CAR, BLUE_CAR)
    assert found["What could I use to drive a friend home if it must be blue?"].things == (BLUE_CAR,)
    assert found["Where does the family live?"].answer == "The house is where people live."
    assert found["What must stop at a red light?"].answer == "The cars have wheels and an engine."
    assert "Where do campers sleep?" not in found
    assert "Where do campers sleep?" in asked(street(), "absent")


def test_doubtful_things_forbid_a_reasoning_question() -> None:
    drawing = Drawing().add("apple", 20, 100, colour="red").add("mushroom", 100, 100, colour="red")
    found = asked(drawing.scene(), "reasoning")
    assert "What can I eat here?" not in found
    assert "What can be baked into a pie?" in found
    assert "What can I eat here?" not in asked(drawing.scene(), "absent")


def test_answers_in_words() -> None:
    scene = street()
    colours = asked(scene, "vqa_colour")
    assert colours["What colour is the dog?"].answer == "Brown."
    assert colours["What colour is the leftmost car?"].answer == "Red."
    assert not [text for text in colours if "red car" in text]
    counts = asked(scene, "vqa_count")
    assert counts["How many cars are there?"].answer == "Two."
    assert {query.answer for query in counts.values()} == {"Zero.", "One.", "Two."}
    where = asked(scene, "vqa_where")
    assert where["On which side of the picture is the red car?"].answer == "On the left."
    assert where["What is the dog on?"].answer == "The grass."
    answers = asked(scene, "vqa_yesno")
    assert answers["Is there a red car?"].answer == "Yes."
    assert answers["Is there a green car?"].answer == "No."
    assert answers["Is the red car to the left of the house?"].answer == "Yes."
    assert answers["Is the red car to the right of the house?"].answer == "No."
    assert answers["Are there more cars than dogs?"].answer == "Yes."
    caption = next(iter(asked(scene, "caption").values())).answer
    assert caption == "A white house, two cars and a brown dog by day."


# The tables


def test_tables_cover_the_vocabulary() -> None:
    assert set(NOUNS) == set(THINGS)
    assert {kind for kinds, doubtful, _ in GROUPS.values() for kind in (*kinds, *doubtful)} <= set(THINGS)
    assert set(DEFAULT_WEIGHTS) == set(BUILDERS) == set(KINDS)
    for function in FUNCTIONS:
        assert set(function.fits) <= set(STUFF if function.stuff else THINGS)
        if function.part:
            assert any(function.part in PARTS[kind] for kind in function.fits)


@pytest.mark.parametrize("kind", (*THINGS, *STUFF))
def test_every_kind_has_reasoning_sentences(kind: str) -> None:
    sentences = [text for f in FUNCTIONS if kind in f.fits and not f.part for text in f.sentences]
    assert len(sentences) >= (2 if kind in STUFF else 3)


def test_reasoning_never_names_its_target() -> None:
    for function in FUNCTIONS:
        nouns = {word for kind in function.fits for pair in NOUNS.get(kind, ((kind, kind),)) for word in pair}
        names = {function.part} if function.part else nouns
        for sentence in function.sentences:
            assert not names & set(re.findall(r"[a-z]+", sentence.lower())), sentence


# Drawn scenes


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [generate_scene(seed) for seed in range(25)]


@pytest.fixture(scope="module")
def corpus(scenes: list[Scene]) -> list[tuple[Scene, SceneQuery]]:
    return [(scene, query) for scene in scenes for seed in (0, 1) for query in queries(scene, rng(seed))]


def things_of(scene: Scene, kind: str) -> list[Thing]:
    return [thing for thing in scene.things if thing.kind == kind]


def test_targets_are_visible(corpus: list[tuple[Scene, SceneQuery]]) -> None:
    for scene, query in corpus:
        if query.kind in ("absent", *TEXTUAL):
            assert not query.things and not query.parts
            continue
        assert bool(query.things) != bool(query.parts)
        if query.parts:
            assert scene.part_mask(*query.parts).sum() >= 200, query
        elif query.kind not in ("stuff", "plural", "reasoning"):
            (target,) = (thing for thing in scene.things if thing.id in query.things)
            assert target.area >= 300 and target.visibility >= 0.45, query


def test_no_kind_and_target_twice(scenes: list[Scene]) -> None:
    for scene in scenes[:8]:
        found = queries(scene, rng(3))
        targets = [(query.kind, query.things, query.parts) for query in found if query.things or query.parts]
        assert len(targets) == len(set(targets))


def test_simple_phrases_fit_one_thing(corpus: list[tuple[Scene, SceneQuery]]) -> None:
    """Re-derives the target of "the boat", "the red car" and "the second tree from the left" from the words alone."""
    checked: Counter[str] = Counter()
    for scene, query in corpus:
        target = _target_of(scene, query.text)
        if target is not None and query.kind in ("class", "attribute", "ordinal"):
            assert query.things == (target.id,), (scene.seed, query)
            checked[query.kind] += 1
        if query.kind == "absent" and query.form == "phrase":
            assert target is None, (scene.seed, query)
    assert all(checked[kind] > 20 for kind in ("class", "attribute", "ordinal")), checked


def _target_of(scene: Scene, text: str) -> Thing | None:
    """What a phrase of one of three plain patterns means; None if it is another, or does not fit exactly one thing."""
    ordinal = re.fullmatch(r"the (\w+) (\w+) from the (left|right)", text)
    if ordinal and ordinal[1] in ORDINALS and ordinal[2] in KIND_OF:
        row = sorted(things_of(scene, KIND_OF[ordinal[2]]), key=lambda thing: thing.centre[0])
        place = ORDINALS.index(ordinal[1])
        if place >= len(row):
            return None
        assert all(b.centre[0] - a.centre[0] > 0.04 * scene.object_map.shape[1] for a, b in pairwise(row)), text
        return row[place] if ordinal[3] == "left" else row[-1 - place]
    plain = re.fullmatch(r"the (?:(\w+) )?(\w+)", text)
    if not plain or plain[2] not in KIND_OF:
        return None
    fitting = things_of(scene, KIND_OF[plain[2]])
    if plain[1] in COLOURS:
        fitting = [thing for thing in fitting if thing.colour == plain[1]]
    elif plain[1] is not None:
        fitting = [thing for thing in fitting if plain[1] in (thing.texture, thing.pose)]
    return fitting[0] if len(fitting) == 1 else None


def test_left_of_means_left_of(corpus: list[tuple[Scene, SceneQuery]]) -> None:
    checked = 0
    for scene, query in corpus:
        match = re.fullmatch(r"the (\w+) (?:to the |on the )?(left|right) of the (\w+)", query.text)
        if not match or query.kind not in ("spatial", "absent") or not {match[1], match[3]} <= set(KIND_OF):
            continue
        (anchor,) = things_of(scene, KIND_OF[match[3]])
        sign = -1 if match[2] == "left" else 1
        shift = {t.id: sign * (t.centre[0] - anchor.centre[0]) for t in things_of(scene, KIND_OF[match[1]])}
        margin = 0.08 * scene.object_map.shape[1]
        assert tuple(i for i, value in shift.items() if value > margin) == query.things, (scene.seed, query)
        checked += 1
    assert checked > 20


def test_superlatives_are_clear(corpus: list[tuple[Scene, SceneQuery]]) -> None:
    checked = 0
    for scene, query in corpus:
        match = re.fullmatch(r"the (largest|biggest|smallest) (\w+)", query.text)
        if match and match[2] in KIND_OF and query.kind == "size":
            areas = {thing.id: thing.area for thing in things_of(scene, KIND_OF[match[2]])}
            mine = areas.pop(query.things[0])
            assert all(1.4 * mine < a if match[1] == "smallest" else mine > 1.4 * a for a in areas.values()), query
            checked += 1
    assert checked > 10


def _true_answer(scene: Scene, text: str) -> tuple[str, str] | None:
    """(type, answer) of a question of one of three patterns, from the words alone."""
    match = re.fullmatch(r"(?:Count the|How many) (\w+)(?: are there\?| can you see\?|\.)", text)
    if match and match[1] in KIND_OF_PLURAL:
        return "count", f"{NUMBERS[len(things_of(scene, KIND_OF_PLURAL[match[1]]))].capitalize()}."
    match = re.fullmatch(r"(?:Is there|Can you see) an? (\w+) (\w+)\?", text)
    if match and match[1] in COLOURS and match[2] in KIND_OF:
        there = any(thing.colour == match[1] for thing in things_of(scene, KIND_OF[match[2]]))
        return "colour", "Yes." if there else "No."
    match = re.fullmatch(r"Are there more (\w+) than (\w+)\?", text)
    if match and set(match.groups()) <= set(KIND_OF_PLURAL):
        many, few = (len(things_of(scene, KIND_OF_PLURAL[word])) for word in match.groups())
        return "more", "Yes." if many > few else "No."
    return None


def test_counts_and_yes_or_no_are_true(corpus: list[tuple[Scene, SceneQuery]]) -> None:
    checked: Counter[str] = Counter()
    for scene, query in corpus:
        true = _true_answer(scene, query.text) if query.kind in ("vqa_count", "vqa_yesno") else None
        if true is not None:
            assert query.answer == true[1], (scene.seed, query)
            checked[true[0]] += 1
    assert all(checked[name] > 20 for name in ("count", "colour", "more")), checked


def test_yes_and_no_are_balanced_in_each_type(scenes: list[Scene]) -> None:
    for scene in scenes[:10]:
        tally: Counter[tuple[str, str]] = Counter()
        for draft in BUILDERS["vqa_yesno"](SceneView(scene), rng()):
            tally[draft.variety, draft.query(rng()).answer] += 1
        for variety in {variety for variety, _ in tally}:
            assert tally[variety, "Yes."] == tally[variety, "No."]


def test_half_of_what_is_absent_is_a_near_miss(scenes: list[Scene]) -> None:
    near = total = 0
    for scene in scenes:
        varieties = {draft.variety for draft in BUILDERS["absent"](SceneView(scene), rng())}
        near, total = near + sum(name.startswith("near") for name in varieties), total + len(varieties)
    assert near / total >= 0.5


def test_corpus_has_few_words(corpus: list[tuple[Scene, SceneQuery]]) -> None:
    words = {word for _, query in corpus for word in re.findall(r"[a-z]+", f"{query.text} {query.answer}".lower())}
    assert 300 < len(words) <= 700
    assert not [query.text for _, query in corpus if re.search(r"[{}\[\]]|  |the the|None", query.text + query.answer)]


def test_sample_is_deterministic_and_varied(scenes: list[Scene]) -> None:
    for scene in scenes[:8]:
        first = sample_queries(scene, rng(5), 12, DEFAULT_WEIGHTS)
        assert first == sample_queries(scene, rng(5), 12, DEFAULT_WEIGHTS)
        assert len(first) == 12
        assert first != sample_queries(scene, rng(6), 12, DEFAULT_WEIGHTS)


def test_sample_follows_the_weights(scenes: list[Scene]) -> None:
    found = sample_queries(scenes[0], rng(), 6, {"part": 1.0, "absent": 1.0, "class": 0.0})
    assert {query.kind for query in found} == {"part", "absent"}
    with pytest.raises(ValueError, match="unknown kinds"):
        sample_queries(scenes[0], rng(), 1, {"colour": 1.0})


def test_sample_ends_when_there_is_no_more() -> None:
    found = sample_queries(Drawing().scene(), rng(), 50, {"stuff": 1.0, "ordinal": 1.0})
    assert sorted(query.things for query in found) == [(1,), (2,)]
