"""The table of nouns: no word means two things, and words for tests are in nothing that training may say."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from self1e.photos.index import corrections, photo_sets
from self1e.photos.nouns import NounError, Nouns, groups, nouns, uses
from tests.photos.made_up import held_out_words


def forms() -> dict[str, str]:
    """Every word of every noun in both numbers -> the noun."""
    found: dict[str, str] = {}
    for noun in nouns():
        for form in {form for word in noun.words for form in word if form}:
            assert form not in found, f"{form!r} means {found[form]} and {noun.name}"
            found[form] = noun.name
    return found


def test_each_word_means_one_noun() -> None:
    assert len(forms()) > 300
    assert forms()["dogs"] == "dog" and "puppy" not in forms()


def test_sixty_words_are_held_out_of_everything_that_is_said() -> None:
    held_out = held_out_words()
    assert sum(len(noun.held_out) for noun in nouns()) == 60
    assert {"kitten", "couch", "automobile", "puppy", "lorry", "lorries"} <= set(held_out)
    said = [*forms(), *(word.singular for group in groups().values() for word in group.words)]
    said += [text for use in uses() for text in (*use.sentences, use.because)]
    held = re.compile(rf"\b({'|'.join(map(re.escape, held_out))})\b")
    assert [text for text in said if held.search(text.lower())] == []


def test_numbers_start_at_one_and_find_their_noun() -> None:
    assert [noun.number for noun in nouns()] == list(range(1, len(nouns()) + 1))
    assert all(nouns().of(noun.number) is noun for noun in nouns())
    assert max(noun.number for noun in nouns()) < 255  # they have to fit into index maps


def test_nearness_goes_both_ways() -> None:
    table = Nouns({"chair": {"words": ["chair/chairs"], "near": ["sofa"]}, "sofa": {"words": ["sofa/sofas"]}})
    assert table["chair"].near == ("sofa",) and table["sofa"].near == ("chair",)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"words": []}, "has no words"),
        ({"words": ["dog"], "colour": "red"}, "unknown keys: colour"),
        ({"words": ["dog"], "kind": "beast"}, "is of kind 'beast'"),
        ({"words": "dog"}, "words has to be a list of words, not 'dog'"),
    ],
)
def test_entries_that_make_no_sense(entry: dict[str, object], message: str) -> None:
    with pytest.raises(NounError, match=message):
        Nouns({"dog": entry})


def test_unknown_noun_is_named() -> None:
    with pytest.raises(NounError, match="no noun 'unicorn'"):
        nouns()["unicorn"]


def test_groups_uses_sets_and_corrections_speak_of_known_nouns() -> None:
    assert "animal" in groups() and all(set(use.fits).isdisjoint(use.doubtful) for use in uses())
    sizes = Counter(group for noun in nouns() for group in noun.groups)
    assert all(group in groups() or size > 1 for group, size in sizes.items())
    assert all(rules.weight >= 0 for rules in photo_sets().values())
    assert all(name in nouns() for names in corrections().values() for name in names.values() if name)


def test_what_may_be_in_a_room_or_on_a_plate_is_in_no_set_said_to_be_absent() -> None:
    assert {"elephant", "gorilla"} <= set(photo_sets()["voc"].absent)  # "@striking"
    rooms = {
        "furniture",
        "seat",
        "kitchen",
        "bathroom",
        "household",
        "tableware",
        "food",
        "fruit",
        "screen",
        "electronics",
    }
    for rules in photo_sets().values():
        assert [name for name in rules.absent if rooms & set(nouns()[name].groups)] == []
        assert {"teddy bear", "rabbit", "fish", "bed"}.isdisjoint(rules.absent)
