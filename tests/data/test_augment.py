"""Pictures that change, with their masks and words; on pictures that are drawn here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from self1e.conversation import Conversation, Example, Turn
from self1e.data.augment import (
    LEAST_LEFT,
    Section,
    augmented,
    can_be_cut,
    can_be_mirrored,
    draw_box,
    recoloured,
)

RED, BLUE = (200, 30, 30), (30, 30, 200)


def drawn(*questions: str) -> Example:
    """A red square on the left and a blue one on the right of 80 x 60 pixels; the red one is asked for."""
    pixels = np.full((60, 80, 3), 128, np.uint8)
    pixels[10:30, 5:25], pixels[20:50, 50:75] = RED, BLUE
    red = (pixels == RED).all(axis=2).astype(np.uint8)
    red[:5] = 255  # not known
    talks = tuple(Conversation((Turn(question, "It is [SEG]."),), (red,)) for question in questions)
    return Example(Image.fromarray(pixels), talks, "drawn", {"kept": "as it is"})


def shows_red(example: Example, talk: Conversation) -> bool:
    """Whether the mask is on the red square, and nowhere else."""
    red = (np.asarray(example.image) == RED).all(axis=2)
    mask = np.asarray(talk.masks[0])
    return bool(red.any()) and np.array_equal(red, mask == 1)


def unchanged(one: Example, other: Example) -> bool:
    """Whether two examples show and say the same."""
    talks = list(zip(one.conversations, other.conversations, strict=True))
    masks = [pair for ours, theirs in talks for pair in zip(ours.masks, theirs.masks, strict=True)]
    return (
        one.image.tobytes() == other.image.tobytes()
        and all(ours.turns == theirs.turns for ours, theirs in talks)
        and all(np.array_equal(*pair) for pair in masks)
    )


def test_flip_takes_mask_and_words_along() -> None:
    example = drawn("What is the left square in this image?")
    example = replace(example, rehearsed=example.conversations)
    flipped = augmented(example, np.random.default_rng(0), flip=1.0)
    assert flipped.rehearsed[0].turns == flipped.conversations[0].turns
    assert np.array_equal(np.asarray(flipped.image), np.asarray(example.image)[:, ::-1])
    (talk,) = flipped.conversations
    assert talk.turns == (Turn("What is the right square in this image?", "It is [SEG]."),)
    assert shows_red(flipped, talk)
    assert (flipped.id, flipped.extras) == (example.id, example.extras)
    assert np.array_equal(talk.masks[0] == 255, (example.conversations[0].masks[0] == 255)[:, ::-1])


@pytest.mark.parametrize(
    "question",
    ["What does the sign say?", "person right behind the car", "food left over", "what time is it", "number 7"],
)
def test_what_a_mirror_makes_false_is_not_mirrored(question: str) -> None:
    example = drawn("the square", question)
    assert not can_be_mirrored(example.conversations[1])
    assert unchanged(augmented(example, np.random.default_rng(0), flip=1.0), example)


def test_what_is_rehearsed_decides_too() -> None:
    example = drawn("the square")
    example = replace(example, rehearsed=drawn("the second square that is left").conversations)
    assert unchanged(augmented(example, np.random.default_rng(0), flip=1.0, crop=1.0), example)


def test_cuts_take_the_mask_along_and_drop_what_is_gone() -> None:
    example, left, gone = drawn("red square"), 0, 0
    absent = Conversation((Turn("the unicorn", "It is [SEG]."),), (np.zeros((60, 80), np.uint8),))
    example = Example(example.image, (*example.conversations, absent), "drawn")
    for seed in range(60):
        cut = augmented(example, np.random.default_rng(seed), crop=1.0, smallest=0.3)
        assert cut.conversations[-1].masks[0].shape == (cut.image.height, cut.image.width)
        assert not cut.conversations[-1].masks[0].any()  # what was not there is not there
        assert min(cut.image.width / 80, cut.image.height / 60) >= 0.29
        if len(cut.conversations) == 2:
            left += 1
            assert shows_red(cut, cut.conversations[0])
            assert (cut.conversations[0].masks[0] == 1).sum() >= LEAST_LEFT * 400
        else:
            gone += 1
            red = (np.asarray(cut.image) == RED).all(axis=2).sum()
            assert red < LEAST_LEFT * 400
    assert left > 10 and gone > 10


def test_a_cut_that_leaves_nothing_to_ask_for_is_not_made() -> None:
    example = drawn("red square")
    for seed in range(40):
        cut = augmented(example, np.random.default_rng(seed), crop=1.0, smallest=0.2)
        assert len(cut.conversations) == 1 and shows_red(cut, cut.conversations[0])


@pytest.mark.parametrize(
    "question", ["left guy", "the second car", "largest box", "all the cups", "three dogs", "the whole cake"]
)
def test_no_cut_where_words_are_of_the_whole_picture(question: str) -> None:
    example = drawn("red square", question)
    assert not can_be_cut(example.conversations[1])
    for seed in range(10):
        assert unchanged(augmented(example, np.random.default_rng(seed), crop=1.0), example)


def test_no_cut_where_something_is_answered_in_words() -> None:
    words = Conversation((Turn("How many are there?", "2"),))
    example = drawn("red square")
    example = Example(example.image, (*example.conversations, words), "drawn")
    assert unchanged(augmented(example, np.random.default_rng(0), crop=1.0), example)


def test_colours_change_and_keep_their_names() -> None:
    image, changed = drawn("red square").image, set()
    for seed in range(20):
        pixels = np.asarray(recoloured(image, 1.0, np.random.default_rng(seed))).astype(int)
        red, blue, grey = pixels[15, 10], pixels[30, 60], pixels[0, 0]
        assert red.argmax() == 0 and blue.argmax() == 2 and np.ptp(grey) <= 2
        changed.add(tuple(red))
    assert len(changed) > 15
    assert recoloured(image, 0.0, np.random.default_rng(0)).tobytes() == image.tobytes()


def test_sections_are_of_pictures_and_of_maps_alike() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for seed in range(10):
        section = Section(draw_box(50, 40, 0.4, np.random.default_rng(seed)), flip=seed % 2 == 0)
        assert np.array_equal(np.asarray(section.picture(Image.fromarray(pixels))), section.pixels(pixels))


def test_the_same_random_numbers_give_the_same() -> None:
    every = {"flip": 0.5, "crop": 0.5, "colour": 0.5}
    first, again, other = (augmented(drawn("red square"), np.random.default_rng(seed), **every) for seed in (1, 1, 2))
    assert unchanged(first, again) and not unchanged(first, other)
    assert unchanged(augmented(drawn("red square"), np.random.default_rng(1)), drawn("red square"))
