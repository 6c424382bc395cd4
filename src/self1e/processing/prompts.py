"""What is said to the model and what it is trained to answer: templates, and the layout of a conversation.

This file is about words only (no tokenizer, no tensors). A conversation about one picture reads

    <|im_start|>system\\nYou are an helpful assistant.<|im_end|>\\n
    <|im_start|>user\\n<img><IMG_CONTEXT>...<IMG_CONTEXT></img>\\n{question}<|im_end|>\\n
    <|im_start|>assistant\\n{answer}<|im_end|>\\n
    <|im_start|>user\\n{next question}<|im_end|>\\n ...

and is handed on as a list of `Piece`s that keep special tokens apart from plain text. What a user writes is always
plain text: a question that contains "[SEG]" or "<|im_end|>" talks about these characters and cannot act as the tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from self1e.conversation import IM_END, IM_START, IMG_CONTEXT, IMG_END, IMG_START, SEG, Turn

# The slip ("an helpful") is in the prompt that the official checkpoints were trained with.
SYSTEM_PROMPT = "You are an helpful assistant."

PHRASE_QUESTIONS = (
    "Can you segment the {phrase} in this image?",
    "Please segment the {phrase} in this image.",
    "What is {phrase} in this image? Please respond with segmentation mask.",
    "What is {phrase} in this image? Please output segmentation mask.",
)
SENTENCE_QUESTIONS = (
    "{sentence} Please respond with segmentation mask.",
    "{sentence} Please output segmentation mask.",
)
SEG_ANSWERS = (
    f"It is {SEG}.",
    f"Sure, {SEG}.",
    f"Sure, it is {SEG}.",
    f"Sure, the segmentation result is {SEG}.",
    f"{SEG}.",
)
EVAL_ANSWER = f"{SEG}."
"""The answer that evaluation gives to the model instead of generating one."""

SHORT_ANSWER_PROMPT = "Answer the question using a single word or phrase."
"""What InternVL adds to the questions of VQA sets, whose answers are a word or two."""

Template = Literal["auto", "phrase", "sentence", "none"]


class PromptError(ValueError):
    """A text that cannot be asked: it is empty, or longer than the model can read."""


# Openings of a question or an instruction that lacks its final mark. Words that also start noun phrases ("point guard",
# "can of beer", "segment of an orange") count only with a follower that makes them verbs.
_OPENS_SENTENCE = re.compile(
    r"(what|which|who|whom|whose|where|when|why|how|please)\b"
    r"|(is|are|was|were|do|does|did|can|could|will|would|should)\s+(i|you|we|they|he|she|it|there|this|that|the)\b"
    r"|(segment|find|locate|identify|detect|highlight|select|choose|outline|mark|point|pick|show|give|tell)"
    r"\s+(me|us|the|a|an|all|every|each|any|out|at|to)\b",
    re.IGNORECASE,
)
_DETERMINERS = {"a", "an", "all", "any", "both", "each", "every", "everyone", "everything", "some"}
_DETERMINERS |= {"that", "these", "this", "those"}
_SENTENCE_ENDS = (".", "?", "!", "。", "？", "！")


def phrase_question(phrase: str) -> str:
    """The evaluation question for a noun phrase ("left guy")."""
    return PHRASE_QUESTIONS[-1].format(phrase=_not_empty(phrase))


def sentence_question(sentence: str) -> str:
    """The evaluation question for a whole sentence ("What could be used to cut bread?")."""
    return SENTENCE_QUESTIONS[-1].format(sentence=_not_empty(sentence))


def reads_as_sentence(prompt: str) -> bool:
    """Whether a prompt is a sentence rather than a noun phrase.

    It is when it ends in a full stop, question or exclamation mark (closing quotes and brackets aside), or opens like a
    question or an instruction ("which of them is ...", "find the ...").
    """
    text = prompt.strip()
    return text.rstrip("\"'”’)").endswith(_SENTENCE_ENDS) or _OPENS_SENTENCE.match(text) is not None


def question_for(prompt: str, template: Template = "auto") -> str:
    """The question to ask the model for a prompt as people type it.

    Args:
        prompt: a noun phrase or a sentence, in any language.
        template: "phrase" or "sentence" to force that template, "none" to ask the prompt as it stands, "auto" to take
            the sentence template when `reads_as_sentence(prompt)` and the phrase template otherwise.

    Raises:
        PromptError: if the prompt is empty.
        ValueError: if the template is unknown.
    """
    if template == "none":
        return _not_empty(prompt)
    if template == "phrase" or (template == "auto" and not reads_as_sentence(prompt)):
        return phrase_question(prompt)
    if template in ("sentence", "auto"):
        return sentence_question(prompt)
    raise ValueError(f"unknown prompt template {template!r}: use 'auto', 'phrase', 'sentence' or 'none'")


def fill_phrase(template: str, phrase: str) -> str:
    """Puts a noun phrase into a template; a determiner of its own takes the place of the template's "the".

    >>> [fill_phrase("Please segment the {phrase}.", phrase) for phrase in ("left guy", "the dog", "all boats")]
    ['Please segment the left guy.', 'Please segment the dog.', 'Please segment all boats.']
    """
    first, _, rest = phrase.partition(" ")
    if "the {phrase}" in template:
        if first.casefold() == "the" and rest:
            phrase = rest
        elif first.casefold() in _DETERMINERS:
            template = template.replace("the {phrase}", "{phrase}")
    return template.format(phrase=phrase)


def _not_empty(prompt: str) -> str:
    text = prompt.strip()
    if not text:
        raise PromptError("the prompt is empty: say what to segment, for example 'the dog on the left'")
    return text


@dataclass(frozen=True)
class Piece:
    """A stretch of a conversation: either one special token, or plain text that is tokenised as a whole.

    `supervised` marks what the model is trained to say.
    """

    text: str
    special: bool = False
    supervised: bool = False


_START, _END = Piece(IM_START, special=True), Piece(IM_END, special=True)


def prefix_pieces(image_tokens: int) -> list[Piece]:
    """What all conversations about one picture begin with: system prompt, "user\\n", and the picture.

    Args:
        image_tokens: number of `<IMG_CONTEXT>` tokens, tiles x tokens per tile.
    """
    return [
        *(_START, Piece(f"system\n{SYSTEM_PROMPT}"), _END, Piece("\n")),
        *(_START, Piece("user\n")),
        *(Piece(IMG_START, special=True), *[Piece(IMG_CONTEXT, special=True)] * image_tokens),
        Piece(IMG_END, special=True),
    ]


def continuation_pieces(turns: Sequence[Turn], question: str | None = None) -> list[Piece]:
    """What follows the picture: the finished turns, then (to generate an answer) an open question.

    Args:
        turns: questions with their answers.
        question: if given, asked last, and the layout ends where the model has to go on: `<|im_start|>assistant\\n`.

    Raises:
        ValueError: if there is nothing to say.
    """
    if not turns and question is None:
        raise ValueError("a conversation needs at least one turn or an open question")
    pieces: list[Piece] = []
    for turn in turns:
        pieces += _question_pieces(turn.question, first=not pieces)
        pieces += [*_answer_pieces(turn.answer), Piece(IM_END, special=True, supervised=True), Piece("\n")]
    if question is not None:
        pieces += _question_pieces(question, first=not pieces)
    return pieces


def _question_pieces(question: str, *, first: bool) -> list[Piece]:
    # The first question stands on the line after the picture, whose "user\n" is in the prefix.
    asked = [Piece(f"\n{question}")] if first else [_START, Piece(f"user\n{question}")]
    return [*asked, _END, Piece("\n"), _START, Piece("assistant\n")]


def _answer_pieces(answer: str) -> list[Piece]:
    """An answer, in which `[SEG]` (and nothing else) is a special token."""
    pieces = [Piece(text, text == SEG, supervised=True) for text in re.split(f"({re.escape(SEG)})", answer)]
    return [piece for piece in pieces if piece.text]
