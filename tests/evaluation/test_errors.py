"""Kinds of mistakes, and groups of samples."""

from __future__ import annotations

from typing import Any

import pytest

from self1e.evaluation.errors import Group, by_phrase, by_size, error_of, histogram
from self1e.evaluation.page import best_samples, worst_samples
from self1e.evaluation.samples import Sample


def sample(question: str = "a cat", intersection: int = 0, predicted: int = 0, target: int = 0, **more: Any) -> Sample:
    union = predicted + target - intersection
    score = intersection / union if union else 1.0
    return Sample(0, 0, "a.png", question, "", "[SEG].", score, intersection, union, predicted, target, **more)


@pytest.mark.parametrize(
    ("intersection", "predicted", "target", "error"),
    [
        (0, 0, 0, None),
        (0, 49, 0, None),  # fewer than count
        (0, 50, 0, "invented"),
        (0, 0, 1000, "missed"),
        (40, 40, 1000, "missed"),
        (10, 900, 1000, "elsewhere"),
        (60, 60, 1000, "too little"),  # little as it is, it is the right thing
        (60, 5000, 60, "too much"),
        (500, 520, 1000, "too little"),
        (900, 2000, 1000, "too much"),
        (500, 1000, 1000, "mixed"),
        (850, 1000, 1000, "edge"),
        (950, 1000, 1000, None),
    ],
)
def test_kinds_of_mistakes(intersection: int, predicted: int, target: int, error: str | None) -> None:
    assert error_of(sample("x", intersection, predicted, target), min_area=50) == error


def test_mistakes_in_words() -> None:
    said = Sample(0, 0, "a.png", "How many?", "", "two", 0.0, given="three")
    assert error_of(said) == "words"
    assert error_of(Sample(0, 0, "a.png", "How many?", "", "three", 1.0, given="three")) is None


def test_groups_are_of_what_is_there() -> None:
    samples = [
        sample("a cat", 100, 100, 100),
        sample("A cat", 0, 100, 100),
        sample("a dog", 1000, 2000, 2000),
        sample("the dog", 9000, 9000, 18000),
        sample("a cow", 0, 500, 0),
    ]
    assert by_phrase(samples) == [Group("a cat", 2, 0.5, 100 / 300)]  # "a dog" and "the dog" came once
    assert by_size(samples) == [
        Group("small", 2, 0.5, 100 / 300),
        Group("medium", 1, 1000 / 3000, 1000 / 3000),
        Group("large", 1, 0.5, 0.5),
    ]
    counts = histogram(samples, bins=4)
    assert counts == [1, 1, 1, 1] and sum(counts) == 4


def test_kinds_and_phrases_take_turns() -> None:
    missed = [sample("a cat", 0, 0, 900), sample("a cat", 0, 0, 800), sample("a dog", 0, 0, 700)]
    invented, rough = sample("a cow", 0, 500, 0), sample("a cow", 850, 1000, 1000)
    right = [sample("a cat", 99, 100, 100), sample("a cat", 98, 100, 100), sample("a dog", 95, 100, 100)]
    samples = [*missed, invented, rough, *right]
    assert worst_samples(samples, 4) == {"missed": [missed[0], missed[2]], "invented": [invented], "edge": [rough]}
    assert worst_samples(samples, 1) == {"missed": [missed[0]], "invented": [], "edge": []}
    assert worst_samples(samples, 9)["missed"] == [missed[0], missed[2], missed[1]]
    assert best_samples(samples, 2) == [right[0], right[2]]
