"""The one form in which every data source hands over its content: a picture and the conversations about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from self1e.processing.prompts import SEG


@dataclass(frozen=True)
class Turn:
    """One exchange. `question` is the user's text without the picture marker; `answer` may hold `[SEG]` marks."""

    question: str
    answer: str


@dataclass(frozen=True)
class Conversation:
    """Some turns about one picture, and one mask for each `[SEG]` in its answers, in the order of the text.

    `masks` are uint8[H, W] at the picture's own size: 1 inside, 0 outside, 255 ignored. An all-zero mask says that
    what was asked for is not there. `kind` names the kind of question, for tables ("ordinal", "vqa_colour", ...).
    """

    turns: tuple[Turn, ...]
    masks: Sequence[np.ndarray] = ()
    kind: str = ""

    def __post_init__(self) -> None:
        marks = sum(turn.answer.count(SEG) for turn in self.turns)
        if marks != len(self.masks):
            raise ValueError(f"conversation has {marks} {SEG} in its answers but {len(self.masks)} masks: {self.turns}")

    @property
    def segmenting(self) -> bool:
        """Whether any answer points at something."""
        return len(self.masks) > 0


@dataclass(frozen=True)
class Example:
    """A picture with everything asked about it. `id` names it in reports."""

    image: Image.Image
    conversations: tuple[Conversation, ...]
    id: str
    extras: dict[str, object] = field(default_factory=dict)
