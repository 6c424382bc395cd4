"""Scores of answers in words, against the definition taken literally, and what counts as the same answer."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from self1e.evaluation.vqa import normalised, vqa_score

WORDS = st.sampled_from(["2", "two", "3", "a dog", "The dog.", "cat"])


@settings(deadline=None)  # a busy machine is slow at times
@given(WORDS, st.lists(WORDS, min_size=10, max_size=10))
def test_soft_score_is_the_mean_over_nine_of_ten_people(answer: str, people: list[str]) -> None:
    def same(one: str, other: str) -> bool:
        return one == other if len(set(people)) == 1 else normalised(one) == normalised(other)

    scores = [min(1.0, sum(same(each, answer) for each in nine) / 3) for nine in combinations(people, 9)]
    assert vqa_score(answer, people) == pytest.approx(sum(scores) / 10)


@pytest.mark.parametrize(
    ("answer", "people", "expected"),
    [
        ("Stop!", ["stop"] * 10, 0.0),
        ("Stop!", ["Stop!"] * 10, 1.0),
        (" Stop!\n", ["Stop!\t"] * 10, 1.0),
        ("Stop!", ["stop"] * 9 + ["a sign"], 1.0),
        ("stop", ["Stop"] * 5 + ["STOP"] * 5, 1.0),
    ],
)
def test_answers_are_normalised_where_people_disagree(answer: str, people: list[str], expected: float) -> None:
    assert vqa_score(answer, people) == expected


def test_without_answers_there_is_no_score() -> None:
    with pytest.raises(ValueError, match="there are none"):
        vqa_score("yes", [])


#: What the official evaluation makes of answers.
OFFICIAL = {
    "": "",
    "a": "",
    "none": "0",
    "Ten": "10",
    "one, two": "1 2",
    "the a an cat": "cat",
    "black and\nwhite": "black and white",
    # A period stays before a digit.
    ".5": ".5",
    "no.1": "no.1",
    "3.5.": "3.5",
    "e.g.": "eg",
    "It is 10.5, at most!": "it is 10.5 at most",
    # Other marks part words, unless they stand beside a space somewhere.
    "-5-10": "5 10",
    "-cat-dog-": "cat dog",
    " -cat": "cat",
    '"coca"cola"': "coca cola",
    "a-/b-c d": "b c d",
    "T-shirt": "t shirt",
    "T-shirt - blue": "tshirt blue",
    "a/c , b": "c b",
    "An apple; a pear": "apple pear",
    "what?!": "what",
    # One comma between digits, and no mark parts anything.
    "1,000": "1000",
    "1,000-2,000": "10002000",
    # These are no punctuation.
    "10:30": "10:30",
    "$5.00": "$5.00",
    "50%": "50%",
    "dog's": "dog's",
    # Contractions get their apostrophe, but some are not on the list, and one loses it.
    "wont": "won't",
    "won't": "won't",
    "hes": "he's",
    "shes": "shes",
    "wed": "wed",
    "shed": "shed",
    "Im": "im",
    "lets": "lets",
    "couldnt've": "couldn't've",
    "couldn'tve": "couldn't've",
    "couldntve": "couldntve",
    "yall'd've": "y'all'd've",
    "'ows'at": "'ow's'at",
    "twas": "'twas",
    "somebody'd": "somebodyd",
}


@pytest.mark.parametrize(("text", "expected"), OFFICIAL.items())
def test_normalised(text: str, expected: str) -> None:
    assert normalised(text) == expected
