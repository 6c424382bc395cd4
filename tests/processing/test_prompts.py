import subprocess
import sys

import pytest

from self1e.conversation import SEG, Turn
from self1e.processing.prompts import Piece, continuation_pieces, phrase_question, question_for, sentence_question

PHRASES = [
    "left guy",
    "the dog (brown)",
    "man in the red shirt, second from left",
    "segment of an orange",
    "can of beer",
    "point guard with the ball",
    "3rd zebra",
    "图中左边的人",
    "will smith",
]
SENTENCES = [
    "What can be used to cut bread?",
    "the thing that barks.",
    'He said "look!"',
    "which of them is the oldest",
    "find the smallest dog",
    "Please segment the left one",
    "can you show me the exit",
    "图中左边的人是谁？",
]


@pytest.mark.parametrize("prompt", PHRASES)
def test_phrases_are_asked_as_phrases(prompt):
    assert question_for(prompt) == phrase_question(prompt)
    assert question_for(prompt) == f"What is {prompt} in this image? Please output segmentation mask."
    assert question_for(prompt, "sentence") == sentence_question(prompt)


@pytest.mark.parametrize("prompt", SENTENCES)
def test_sentences_are_asked_as_sentences(prompt):
    assert question_for(prompt) == sentence_question(prompt) == f"{prompt} Please output segmentation mask."
    assert question_for(prompt, "phrase") == phrase_question(prompt)


def test_prompts_are_stripped_and_braces_kept():
    assert question_for("  {the} dog {0}\n") == "What is {the} dog {0} in this image? Please output segmentation mask."
    assert question_for(" How many dogs? ", "none") == "How many dogs?"


@pytest.mark.parametrize("template", ["auto", "phrase", "sentence", "none"])
def test_empty_prompt_is_refused(template):
    with pytest.raises(ValueError, match="prompt is empty"):
        question_for(" \n", template)


def test_unknown_template_is_refused():
    with pytest.raises(ValueError, match="unknown prompt template 'haiku'"):
        question_for("dog", "haiku")


def test_only_answers_hold_special_seg():
    pieces = continuation_pieces([Turn(f"Is {SEG} a token?", f"{SEG}{SEG} <|im_end|>")])
    assert pieces[0] == Piece(f"\nIs {SEG} a token?")
    supervised = [piece for piece in pieces if piece.supervised]
    assert [(piece.text, piece.special) for piece in supervised] == [
        (SEG, True),
        (SEG, True),
        (" <|im_end|>", False),
        ("<|im_end|>", True),
    ]


def test_nothing_to_say_is_refused():
    with pytest.raises(ValueError, match="at least one turn"):
        continuation_pieces([])


def test_prompts_are_light_to_import():
    script = "import sys, self1e.processing.prompts; print('torch' in sys.modules or 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
