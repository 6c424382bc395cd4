"""Dresses a query in a conversation: question, answer, and the masks."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from self1e.conversation import SEG, Conversation
from self1e.data.wording import Asked, Manner, pick, worded
from self1e.toyland.language.absent import not_here
from self1e.toyland.language.query import SceneQuery
from self1e.toyland.scene import Scene

NOTHING_ANSWERS = ("There is nothing like that here.", "Nothing in this picture fits.")


def conversation(query: SceneQuery, scene: Scene, rng: Generator, *, training: bool) -> Conversation:
    """The conversation that asks a query.

    Args:
        query: what to ask.
        scene: the scene it is about, for the mask.
        rng: chooses templates; unused unless training.
        training: whether to vary question and answer. Otherwise both are the fixed ones of the evaluation protocol.
    """
    turn = worded(query, MANNER, rng, training=training)
    return Conversation((turn,), (query_mask(query, scene),) * turn.answer.count(SEG), query.kind)


def query_mask(query: SceneQuery, scene: Scene) -> np.ndarray:
    """uint8[H, W]: 1 on what a query asks for; all zero if that is not there."""
    mask = scene.part_mask(*query.parts) if query.parts else scene.object_mask(*query.things)
    return mask.astype(np.uint8)


def _refusal(rng: Generator, query: Asked) -> str | None:
    """What to say to talk about something that is not there."""
    if query.kind != "absent":
        return None
    return not_here(rng, query.text) if query.form == "phrase" else pick(rng, NOTHING_ANSWERS)


MANNER = Manner(explain_alone=0.5, refuse=_refusal)
