"""Dresses a query in a conversation: question, answer, and the masks."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from self1e.conversation import SEG, Conversation
from self1e.data.masks import IGNORE
from self1e.data.wording import Manner, worded
from self1e.photos.language.query import PhotoQuery
from self1e.photos.nouns import UNKNOWN
from self1e.photos.scene import PhotoScene

MANNER = Manner(terse=0.15, evaluation=0.35)


def conversation(query: PhotoQuery, scene: PhotoScene, rng: Generator, *, training: bool) -> Conversation:
    """The conversation that asks a query.

    Args:
        query: What to ask.
        scene: What it is about, for the mask.
        rng: Chooses templates; unused unless training.
        training: Whether to vary question and answer. Otherwise both are the fixed ones of the evaluation protocol.
    """
    turn = worded(query, MANNER, rng, training=training)
    return Conversation((turn,), (query_mask(query, scene),) * turn.answer.count(SEG), query.kind)


def query_mask(query: PhotoQuery, scene: PhotoScene) -> np.ndarray:
    """uint8[H, W]: 1 on what a query asks for, 255 where it is not known; no 1 if that is not there."""
    if query.target.things:
        mask = scene.thing_mask(*query.target.things)
        mask[(mask == 0) & (scene.labels == UNKNOWN)] = IGNORE
    else:
        mask = scene.mask(*query.target.nouns)
        mask[(mask == 0) & (scene.mask(*query.target.unsure) == 1)] = IGNORE
    return mask
