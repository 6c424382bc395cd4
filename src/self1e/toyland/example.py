"""One example of toyland: a number in, a picture with conversations out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from self1e.conversation import Example
from self1e.toyland.generate import generate_scene
from self1e.toyland.language import conversation, sample_queries

#: How often each kind of question is asked, relative to the others.
DEFAULT_WEIGHTS: dict[str, float] = {
    "stuff": 1.0,
    "class": 2.0,
    "attribute": 2.0,
    "size": 0.8,
    "ordinal": 1.0,
    "spatial": 2.0,
    "part": 1.2,
    "plural": 1.2,
    "absent": 1.2,
    "reasoning": 2.4,
    "vqa_colour": 0.5,
    "vqa_count": 0.4,
    "vqa_where": 0.4,
    "vqa_yesno": 0.5,
    "caption": 0.2,
}

#: Scenes with seeds from here on are for training; those below it are for evaluation and tests.
TRAINING_SEEDS = 1 << 40

#: Keeps the words apart from the random numbers that drew the scene.
_LANGUAGE = 0x5E1F1E


def toyland_example(
    seed: int,
    *,
    questions: int = 12,
    weights: Mapping[str, float] | None = None,
    training: bool = True,
    size: int = 448,
) -> Example:
    """The scene of a seed and conversations about it; a pure function of its arguments.

    Args:
        seed: any non-negative number.
        questions: how many conversations.
        weights: share of each kind of question (default: `DEFAULT_WEIGHTS`).
        training: whether question and answer templates vary; otherwise they are those of the evaluation protocol.
        size: side of the picture in pixels.
    """
    scene = generate_scene(seed, size)
    rng = np.random.default_rng([_LANGUAGE, seed])
    chosen = sample_queries(scene, rng, questions, DEFAULT_WEIGHTS if weights is None else weights)
    conversations = tuple(conversation(query, scene, rng, training=training) for query in chosen)
    return Example(Image.fromarray(scene.picture), conversations, f"toyland-{seed}", {"time": scene.time})
