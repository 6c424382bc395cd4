"""What a person types for several prompts."""

import pytest

from self1e.serve.typed import prompts_of


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ("cat", ["cat"]),
        ("  the cat .", ["the cat"]),
        ("cat,dog , bird", ["cat", "dog", "bird"]),
        ("person.car. bus.", ["person", "car", "bus"]),
        ("猫，狗、鸟", ["猫", "狗", "鸟"]),
        ("cat, dog, and the bird", ["cat", "dog", "the bird"]),
        ("cat, cat, dog", ["cat", "dog"]),
        ("cat; the man on the left, a tall one;", ["cat", "the man on the left, a tall one"]),
        ("one\ntwo\n\n", ["one", "two"]),
        ("the man on the left, in red", ["the man on the left, in red"]),
        ("the man, wearing a hat, the dog", ["the man, wearing a hat", "the dog"]),
        ("the sign with 1,000 on it, 2.5 m long", ["the sign with 1,000 on it", "2.5 m long"]),
        ("Which of them, if any, could I ride?", ["Which of them, if any, could I ride?"]),
        ("Find the dog, the one on the left.", ["Find the dog, the one on the left."]),
        ("What could I eat? ; the cup", ["What could I eat?", "the cup"]),
        ("sand and sea", ["sand and sea"]),
        (" ,. ;", []),
        ("", []),
    ],
)
def test_a_text_is_as_many_prompts_as_are_meant(text: str, prompts: list[str]) -> None:
    assert prompts_of(text) == prompts
