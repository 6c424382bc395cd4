"""Toyland queries as conversations: templates, explanations, masks."""

from __future__ import annotations

import numpy as np
from drawing import DOG, rng, street

from self1e.conversation import SEG
from self1e.processing.prompts import PHRASE_QUESTIONS, SEG_ANSWERS
from self1e.toyland import toyland_example
from self1e.toyland.language import SceneQuery, conversation
from self1e.toyland.language.absent import not_here


def test_evaluation_uses_the_fixed_templates() -> None:
    scene = street()
    phrase = SceneQuery("class", "phrase", "the dog", things=(DOG,))
    made = conversation(phrase, scene, rng(), training=False)
    assert made.turns[0].question == "What is the dog in this image? Please output segmentation mask."
    assert made.turns[0].answer == "[SEG]."
    assert made.kind == "class"
    assert made.masks[0].dtype == np.uint8 and np.array_equal(made.masks[0], scene.object_map == DOG)
    sentence = SceneQuery("reasoning", "sentence", "Which animal barks?", things=(DOG,), answer="The dog can bark.")
    question = conversation(sentence, scene, rng(), training=False).turns[0].question
    assert question == "Which animal barks? Please output segmentation mask."


def test_training_varies_the_templates() -> None:
    scene, query = street(), SceneQuery("class", "phrase", "the dog", things=(DOG,))
    turns = [conversation(query, scene, rng(seed), training=True).turns[0] for seed in range(300)]
    questions = {turn.question for turn in turns}
    expected = {template.format(phrase="dog") for template in PHRASE_QUESTIONS}
    expected |= {template.format(phrase="the dog") for template in PHRASE_QUESTIONS[2:]}
    assert expected <= questions
    assert questions - expected == {"Where is the dog?", "Show me the dog.", "Find the dog.", "Point at the dog."}
    assert {turn.answer for turn in turns} == set(SEG_ANSWERS)


def test_training_explains_reasoning() -> None:
    query = SceneQuery("reasoning", "sentence", "Which animal barks?", things=(DOG,), answer="The dog can bark.")
    made = [conversation(query, street(), rng(seed), training=True).turns[0] for seed in range(400)]
    explained = [turn for turn in made if "xplain" in turn.question]
    assert 0.4 < len(explained) / len(made) < 0.65
    assert {turn.answer for turn in explained} == {"It is [SEG]. The dog can bark."}
    assert all("The dog" not in turn.answer for turn in made if turn not in explained)
    assert {"Which animal barks?", "Which animal barks? Explain."} <= {turn.question for turn in made}


def test_absent_is_an_empty_mask_or_words() -> None:
    query = SceneQuery("absent", "phrase", "the red boat")
    made = [conversation(query, street(), rng(seed), training=True) for seed in range(200)]
    worded = [one for one in made if not one.segmenting]
    assert all(not mask.any() for one in made for mask in one.masks)
    assert {one.turns[0].answer for one in worded} == {
        "There is no red boat here.",
        "There is no red boat in this picture.",
    }
    assert all(SEG in one.turns[0].answer for one in made if one.turns[0].question.endswith("mask."))


def test_words_of_absence() -> None:
    assert not_here(rng(), "all the boats").startswith("There are no boats ")
    assert not_here(rng(), "the hills").startswith("There are no hills ")


def test_example_is_a_function_of_its_arguments() -> None:
    first, again = toyland_example(7, questions=5), toyland_example(7, questions=5)
    assert [c.turns for c in first.conversations] == [c.turns for c in again.conversations]
    assert first.image.size == (448, 448) and len(first.conversations) == 5
    assert all(mask.shape == (448, 448) for one in first.conversations for mask in one.masks)
