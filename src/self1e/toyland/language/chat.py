"""Dresses a query in a conversation: question and answer templates, explanations, and the masks."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from self1e.conversation import SEG, Conversation, Turn
from self1e.processing.prompts import (
    EVAL_ANSWER,
    PHRASE_QUESTIONS,
    SEG_ANSWERS,
    SENTENCE_QUESTIONS,
    fill_phrase,
    phrase_question,
    sentence_question,
)
from self1e.toyland.language.absent import not_here
from self1e.toyland.language.query import SceneQuery, chance, pick
from self1e.toyland.scene import Scene

CHAT_QUESTIONS = ("Where {is} {phrase}?", "Show me {phrase}.", "Find {phrase}.", "Point at {phrase}.")
EXPLAIN_QUESTION = "{sentence} Please output segmentation mask and explain why."
EXPLAIN_SUFFIX = " Explain."
EXPLAINED_ANSWER = f"It is {SEG}. {{because}}"
NOTHING_ANSWERS = ("There is nothing like that here.", "Nothing in this picture fits.")

P_CHAT = 0.1
P_DROP_ARTICLE = 0.3
P_EXPLAIN = 0.35
P_ALONE = 0.35
P_ALONE_EXPLAIN = 0.5


def conversation(query: SceneQuery, scene: Scene, rng: Generator, *, training: bool) -> Conversation:
    """The conversation that asks a query.

    Args:
        query: what to ask.
        scene: the scene it is about, for the mask.
        rng: chooses templates; unused unless training.
        training: whether to vary question and answer. Otherwise both are the fixed ones of the evaluation protocol.
    """
    if query.form == "question":
        return Conversation((Turn(query.text, query.answer),), kind=query.kind)
    if not training:
        wrap = phrase_question if query.form == "phrase" else sentence_question
        turn = Turn(wrap(query.text), EVAL_ANSWER)
    elif query.form == "phrase":
        turn = _phrase_turn(query, rng)
    else:
        turn = _sentence_turn(query, rng)
    masks = (query_mask(query, scene),) * turn.answer.count(SEG)
    return Conversation((turn,), masks, query.kind)


def query_mask(query: SceneQuery, scene: Scene) -> np.ndarray:
    """uint8[H, W]: 1 on what a query asks for; all zero if that is not there."""
    mask = scene.part_mask(*query.parts) if query.parts else scene.object_mask(*query.things)
    return mask.astype(np.uint8)


def _phrase_turn(query: SceneQuery, rng: Generator) -> Turn:
    if chance(rng, P_CHAT):
        question = pick(rng, CHAT_QUESTIONS).format(phrase=query.text, **{"is": "are" if _is_plural(query) else "is"})
        return Turn(question, not_here(rng, query.text) if query.kind == "absent" else pick(rng, SEG_ANSWERS))
    phrase = query.text.removeprefix("the ") if chance(rng, P_DROP_ARTICLE) else query.text
    return Turn(fill_phrase(pick(rng, PHRASE_QUESTIONS), phrase), pick(rng, SEG_ANSWERS))


def _is_plural(query: SceneQuery) -> bool:
    return query.kind == "plural" or query.text.split()[0] in ("all", "both")


def _sentence_turn(query: SceneQuery, rng: Generator) -> Turn:
    style = rng.random()
    explained = EXPLAINED_ANSWER.format(because=query.answer) if query.answer else ""
    if style < P_EXPLAIN and explained:
        return Turn(EXPLAIN_QUESTION.format(sentence=query.text), explained)
    if style > 1 - P_ALONE:
        explain = chance(rng, P_ALONE_EXPLAIN)
        question = query.text + EXPLAIN_SUFFIX if explain else query.text
        if query.kind == "absent":
            return Turn(question, pick(rng, NOTHING_ANSWERS))
        return Turn(question, explained if explain and explained else pick(rng, SEG_ANSWERS))
    return Turn(pick(rng, SENTENCE_QUESTIONS).format(sentence=query.text), pick(rng, SEG_ANSWERS))
