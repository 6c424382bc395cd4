"""What everything stands on: a picture with the conversations about it, and the special tokens of their text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from tokenizers import AddedToken

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SEG = "[SEG]"
IMG_START = "<img>"
IMG_END = "</img>"
IMG_CONTEXT = "<IMG_CONTEXT>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
END_OF_TEXT = "<|endoftext|>"

SPECIAL_TOKENS = (IM_START, IM_END, IMG_START, IMG_END, IMG_CONTEXT, SEG)
"""Those that the layout of a conversation needs."""

IGNORED_LABEL = -100
"""The label of a token that the model is not trained to predict."""


def add_seg_token(tokenizer: PreTrainedTokenizerFast) -> int:
    """Give the tokenizer a `[SEG]` token unless it has one, and return its id (151674 for InternVL3)."""
    tokenizer.add_tokens(AddedToken(SEG, normalized=False))
    return tokenizer.convert_tokens_to_ids(SEG)


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
    """A picture with everything asked about it.

    Attributes:
        image: The picture.
        conversations: What is asked, and answered.
        id: Names it in reports.
        extras: What losses and reports of a plugin need to know beside; nobody else looks at it.
        rehearsed: Segmenting conversations whose answers are learnt as text alone, read causally as in generation;
            their masks are not looked at.
        skipped: Broken examples whose place it took: name and reason of each.
    """

    image: Image.Image
    conversations: tuple[Conversation, ...]
    id: str
    extras: dict[str, object] = field(default_factory=dict)
    rehearsed: tuple[Conversation, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
