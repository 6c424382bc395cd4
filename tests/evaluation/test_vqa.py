"""Scores of answers in words, against the definition taken literally."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from self1e.evaluation.vqa import normalised, vqa_score

WORDS = st.sampled_from(["2", "two", "3", "a dog", "The dog.", "cat"])


@given(WORDS, st.lists(WORDS, min_size=10, max_size=10))
def test_soft_score_is_the_mean_over_nine_of_ten_people(answer: str, people: list[str]) -> None:
    scores = [
        min(1.0, sum(normalised(each) == normalised(answer) for each in nine) / 3) for nine in combinations(people, 9)
    ]
    assert vqa_score(answer, people) == pytest.approx(sum(scores) / 10)


def test_without_answers_there_is_no_score() -> None:
    with pytest.raises(ValueError, match="there are none"):
        vqa_score("yes", [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("It is 10.5, at most!", "it is 10.5 at most"),
        ("none", "0"),
        ("wont", "won't"),
        ("won't", "won't"),
        ("An apple; a pear", "apple pear"),
        ("10:30", "10:30"),
        ("black and\nwhite", "black and white"),
    ],
)
def test_normalised(text: str, expected: str) -> None:
    assert normalised(text) == expected
