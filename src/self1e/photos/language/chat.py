"""Dresses a query in a conversation: question and answer templates, explanations, and the masks."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from self1e.conversation import SEG, Conversation, Turn
from self1e.photos.index import IGNORED_VALUE
from self1e.photos.language.query import PhotoQuery, chance, pick
from self1e.photos.nouns import UNKNOWN
from self1e.photos.scene import PhotoScene
from self1e.processing.prompts import (
    EVAL_ANSWER,
    PHRASE_QUESTIONS,
    SEG_ANSWERS,
    SENTENCE_QUESTIONS,
    fill_phrase,
    phrase_question,
    sentence_question,
)

CHAT_QUESTIONS = ("Where {is} {phrase}?", "Show me {phrase}.", "Find {phrase}.", "Point at {phrase}.")
EXPLAIN_QUESTION = "{sentence} Please output segmentation mask and explain why."
EXPLAINED_ANSWER = f"It is {SEG}. {{because}}"

P_TERSE = 0.15
P_CHAT = 0.1
P_DROP_ARTICLE = 0.3
P_EVALUATION = 0.35
P_EXPLAIN = 0.35
P_ALONE = 0.35


def conversation(query: PhotoQuery, scene: PhotoScene, rng: Generator, *, training: bool) -> Conversation:
    """The conversation that asks a query.

    Args:
        query: What to ask.
        scene: What it is about, for the mask.
        rng: Chooses templates; unused unless training.
        training: Whether to vary question and answer. Otherwise both are the fixed ones of the evaluation protocol.
    """
    if query.form == "question":
        return Conversation((Turn(query.text, query.answer),), kind=query.kind)
    if not training:
        ask = phrase_question if query.form == "phrase" else sentence_question
        turn = Turn(ask(query.text), EVAL_ANSWER)
    elif query.form == "phrase":
        turn = _phrase_turn(query, rng)
    else:
        turn = _sentence_turn(query, rng)
    return Conversation((turn,), (query_mask(query, scene),) * turn.answer.count(SEG), query.kind)


def query_mask(query: PhotoQuery, scene: PhotoScene) -> np.ndarray:
    """uint8[H, W]: 1 on what a query asks for, 255 where it is not known; no 1 if that is not there."""
    if not query.target.things:
        return scene.mask(*query.target.nouns)
    mask = scene.thing_mask(*query.target.things)
    mask[(mask == 0) & (scene.labels == UNKNOWN)] = IGNORED_VALUE
    return mask


def _phrase_turn(query: PhotoQuery, rng: Generator) -> Turn:
    phrase = query.text
    if chance(rng, P_CHAT):
        question = pick(rng, CHAT_QUESTIONS).format(phrase=phrase, **{"is": "are" if query.plural else "is"})
        return Turn(question, pick(rng, SEG_ANSWERS))
    if chance(rng, P_DROP_ARTICLE):
        phrase = phrase.removeprefix("the ")
    if chance(rng, P_TERSE):
        return Turn(phrase, EVAL_ANSWER)
    if chance(rng, P_EVALUATION):
        return Turn(fill_phrase(PHRASE_QUESTIONS[-1], phrase), EVAL_ANSWER)
    return Turn(fill_phrase(pick(rng, PHRASE_QUESTIONS), phrase), pick(rng, SEG_ANSWERS))


def _sentence_turn(query: PhotoQuery, rng: Generator) -> Turn:
    style = rng.random()
    if style < P_EXPLAIN and query.answer:
        return Turn(EXPLAIN_QUESTION.format(sentence=query.text), EXPLAINED_ANSWER.format(because=query.answer))
    if style > 1 - P_ALONE:
        return Turn(query.text, pick(rng, SEG_ANSWERS))
    return Turn(pick(rng, SENTENCE_QUESTIONS).format(sentence=query.text), pick(rng, SEG_ANSWERS))
