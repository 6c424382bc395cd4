"""Examples for training: example `i` is a new scene, and what is asked of it, as a function of (seed, i) alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from torch.utils.data import Dataset, get_worker_info

from self1e.conversation import Conversation, Example, Turn
from self1e.processing.prompts import EVAL_ANSWER
from self1e.toyland.example import DEFAULT_WEIGHTS, TRAINING_SEEDS
from self1e.toyland.generate import generate_scene
from self1e.toyland.language import SEGMENTING, TEXTUAL, conversation, queries, query_mask, sample_queries
from self1e.toyland.scene import Scene

if TYPE_CHECKING:
    from self1e.toyland.training import ToylandData

MOST_TURNS = 4
"""The longest conversation that others are put before."""

SCENE = "scene"
"""Among the extras of an example: the scene it was made of."""


class ToylandDataset(Dataset[Example]):
    """Args:
    settings: What to ask, and how it changes over the run.
    length: Number of examples; a run sees each of them once.
    training: Scenes for training, in words that vary; otherwise scenes that no training run sees, in the words of the
        evaluation protocol.
    """

    def __init__(self, settings: ToylandData, length: int, *, training: bool = True) -> None:
        self.settings = settings
        self.length = length
        self.training = training
        self.kept: dict[int, Scene] = {}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        if get_worker_info() is not None:
            _step_back()
        settings = self.settings
        first = TRAINING_SEEDS if self.training else 0
        seed = first + settings.seed * (1 << 24) + (index % settings.scenes if settings.scenes else index)
        scene = self._scene(seed)
        rng = np.random.default_rng([seed, 1, index])
        weights = self.weights(index)
        segmenting, worded = [], []
        for query in sample_queries(scene, rng, settings.segmenting, _only(weights, SEGMENTING)):
            if settings.capitals and rng.random() < settings.capitals:
                query = replace(query, text=_in_capitals(query.text, rng))
            if rng.random() < settings.terse:
                segmenting.append(
                    Conversation((Turn(query.text, EVAL_ANSWER),), (query_mask(query, scene),), query.kind)
                )
            else:
                segmenting.append(conversation(query, scene, rng, training=self.training))
        if rng.random() < settings.textual_share:
            for query in sample_queries(scene, rng, settings.textual, _only(weights, TEXTUAL)):
                worded.append(conversation(query, scene, rng, training=self.training))
            for query in sample_queries(scene, rng, settings.rehearsed, _only(weights, SEGMENTING)):
                worded.append(conversation(query, scene, rng, training=True))
        if settings.history:
            rng.shuffle(worded)
            segmenting, worded = (_chained(talks, settings.history, rng) for talks in (segmenting, worded))
        talks = segmenting + [talk for talk in worded if not talk.segmenting]
        rehearsed = tuple(talk for talk in worded if talk.segmenting)
        return Example(Image.fromarray(scene.picture), tuple(talks), f"toyland-{seed}", {SCENE: scene}, rehearsed)

    def _scene(self, seed: int) -> Scene:
        """Drawn, or kept from the last time it came round (1.4 MB at 448 pixels)."""
        if self.settings.scenes is None:
            return generate_scene(seed, self.settings.size)
        if seed not in self.kept:
            self.kept[seed] = generate_scene(seed, self.settings.size)
        return self.kept[seed]

    def weights(self, index: int) -> dict[str, float]:
        """Weights of the kinds of question at example `index`."""
        first = self.settings.first_weights or self.settings.last_weights or DEFAULT_WEIGHTS
        last = self.settings.last_weights or DEFAULT_WEIGHTS
        span = self.settings.curriculum * self.length
        progress = min(1.0, index / span) if span else 1.0
        kinds = dict.fromkeys([*first, *last])
        return {kind: (1 - progress) * first.get(kind, 0.0) + progress * last.get(kind, 0.0) for kind in kinds}


def _chained(talks: Sequence[Conversation], share: float, rng: np.random.Generator) -> list[Conversation]:
    """Lets some conversations go on from the one before: its turns and masks come first."""
    chained: list[Conversation] = []
    for talk in talks:
        if chained and len(chained[-1].turns) < MOST_TURNS and rng.random() < share:
            before = chained.pop()
            talk = Conversation((*before.turns, *talk.turns), (*before.masks, *talk.masks), talk.kind)
        chained.append(talk)
    return chained


def _in_capitals(text: str, rng: np.random.Generator) -> str:
    """As people type: mostly the first letter, sometimes that of each word, or all of them."""
    drawn = rng.random()
    return text[:1].upper() + text[1:] if drawn < 0.6 else text.title() if drawn < 0.8 else text.upper()


@cache
def _step_back() -> None:
    """Gives the other processes precedence, once in each worker.

    On a CPU the model computes with one thread a core, and all of them wait for the one whose core draws a scene: with
    equal priority a step takes twice as long. Workers then run while the model waits for data.
    """
    if hasattr(os, "nice"):
        os.nice(19)


def _only(weights: Mapping[str, float], kinds: tuple[str, ...]) -> dict[str, float]:
    return {kind: weight for kind, weight in weights.items() if kind in kinds and weight > 0}


def toyland_corpus(scenes: int = 400) -> Iterator[str]:
    """Questions and answers about the first training scenes, to learn a tokenizer from."""
    for index in range(scenes):
        seed = TRAINING_SEEDS + index
        scene = generate_scene(seed)
        rng = np.random.default_rng([seed, 2])
        for query in queries(scene, rng):
            for turn in conversation(query, scene, rng, training=True).turns:
                yield turn.question
                yield turn.answer
