"""Which words follow a mirror, and which hold of a piece of a picture."""

from __future__ import annotations

import pytest

from self1e.conversation import SEG
from self1e.processing.prompts import PHRASE_QUESTIONS, SEG_ANSWERS, SHORT_ANSWER_PROMPT
from self1e.processing.sides import follows_a_mirror, holds_of_a_piece, mirrored


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("left guy", "right guy"),
        ("guy left", "guy right"),
        ("left", "right"),
        ("far left", "far right"),
        ("guy on left", "guy on right"),
        ("the one on the right", "the one on the left"),
        ("Left cup, right of the LEFT plate", "Right cup, left of the RIGHT plate"),
        ("man in blue, left", "man in blue, right"),
        ("man left, dog right", "man right, dog left"),
        ("second from left", "second from right"),
        ("second from the left", "second from the right"),
        ("2nd cow from left", "2nd cow from right"),
        ("the left-hand side, far r", "the right-hand side, far l"),
        ("rightmost person", "leftmost person"),
        ("right red car", "left red car"),
        ("bottom right pizza slice", "bottom left pizza slice"),
        ("right half of the picture", "left half of the picture"),
        ("the dog at its left edge", "the dog at its right edge"),
        ("the car to the left of the red bus", "the car to the right of the red bus"),
        ("giraffe on left facing right", "giraffe on right facing left"),
        ("right chair next to the lamp", "left chair next to the lamp"),
        ("Is it on the left or right?", "Is it on the right or left?"),
        ("the TV on the left", "the TV on the right"),
        ("the boy in the T-shirt", "the boy in the T-shirt"),
        ("leftover bread", "leftover bread"),
        ("a bright light on the shelf", "a bright light on the shelf"),
        ("man in red", "man in red"),
    ],
)
def test_sides_change_places(text: str, expected: str) -> None:
    assert mirrored(text) == expected and mirrored(expected) == text
    assert follows_a_mirror(text) and follows_a_mirror(expected)
    for question in PHRASE_QUESTIONS:
        assert follows_a_mirror(question.format(phrase=text))


@pytest.mark.parametrize(
    "text",
    [
        *("How many slices are left?", "the food that is left", "the cookies left in the jar", "food left over"),
        *("the person that just left", "the man who left the room", "the last slice left", "a child left behind"),
        *("the man who left shoes on the floor", "Left alone, the dog sleeps.", "one banana left", "is the cake left"),
        *("He left his shoe on the left", "What is left of the cake?", "nothing left of the pizza"),
        *("the left-over bread", "the left luggage"),
        *("the right tool to cut bread", "the right knife to cut bread", "What is the right way to hold it?"),
        *("the right answer", "the right time", "in the right place", "at right angles", "the right of way"),
        *("Which one is right?", "all right", "right side up", "right now", "person right behind the car"),
        *("the woman walking right behind the cart", "the dog running right beside the man", "man looking right in it"),
        *("the L-shaped sofa", "the s-shaped pipe", "toys r us", "guy l", "l guy"),
        *("the clock", "what time is it", "What does the sign say?", "STOP on it", 'the sign "exit"', "the letter B"),
        *("the 6", "number 7", "the player with 10 on the shirt", "right-handed batter", "the flag"),
        *("the port side of the boat", "the boat to starboard", "the south-west corner", "the northwestern field"),
        *("cup on the lhs", "the topleft cup", "the lefty", "the southpaw"),
        *("左边的狗", "left 的狗", "собака слева", "der linke Hund", "der Hund rechts", "le chien de gauche"),
        *("el perro de la izquierda", "il cane a destra", "o gato da esquerda", "höger katt"),
    ],
)
def test_what_a_mirror_may_make_false_does_not_follow(text: str) -> None:
    assert not follows_a_mirror(text)
    for question in PHRASE_QUESTIONS[:2]:
        assert not follows_a_mirror(question.format(phrase=text))


def test_the_request_for_a_short_answer_is_left_aside() -> None:
    assert follows_a_mirror(f"Is the mug to the left of a plate?\n{SHORT_ANSWER_PROMPT}")
    assert not follows_a_mirror(f"What does the mug say?\n{SHORT_ANSWER_PROMPT}")


def test_trained_answers_follow() -> None:
    assert all(map(follows_a_mirror, SEG_ANSWERS)) and follows_a_mirror(f"It is {SEG}. It stands on the left.")
    assert not follows_a_mirror(f"It is {SEG}. It is the right tool.")


def test_words_of_the_whole_picture() -> None:
    whole = ("the whole cake", "the man between them", "the chair at the end", "the border", "the pair of shoes")
    assert not any(map(holds_of_a_piece, (*whole, "left guy", "largest box", "all the cups", "two dogs", "top shelf")))
    assert all(map(holds_of_a_piece, ("red square", "a man with a hat", "Can you segment the friend in this image?")))
