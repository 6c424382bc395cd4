"""Voting: a picture is looked at several times, mirrored and moved, and the mean of the mask logits counts.

A map of few cells falls on a picture in one way of many. Moved by half a cell it falls on it in another, and a model
that was taught on both sides of the mirror errs on each in its own way. Words about sides are mirrored with the
picture; where that is in doubt ("the right tool", what a sign says), the mirrored views have no vote.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from PIL import Image, ImageOps

from self1e.processing.prompts import Template, question_for
from self1e.processing.sides import follows_a_mirror, mirrored
from self1e.segment.runner import EncodedPicture


@dataclass(frozen=True)
class View:
    """A way to look at a picture.

    Attributes:
        mirrored: Left for right.
        moved: By half a cell of the map, to the right and down. The rim is drawn out to fill the gap, what leaves the
            picture is not seen, and gets the logits beside it.
    """

    mirrored: bool = False
    moved: bool = False

    def of(self, picture: EncodedPicture) -> Image.Image | EncodedPicture:
        """The picture as it is seen."""
        if self == View():
            return picture  # which is encoded already
        image = ImageOps.mirror(picture.image) if self.mirrored else picture.image
        if not self.moved:
            return image
        right, down = shift(picture)
        # cut to its size: else it would be shrunk to the same tiles, and hardly moved at the far ends
        drawn_out = np.pad(np.asarray(image), ((down, 0), (right, 0), (0, 0)), mode="edge")
        return Image.fromarray(drawn_out[: image.height, : image.width])

    def back(self, logits: np.ndarray, picture: EncodedPicture) -> np.ndarray:
        """Logits float[K, H, W] of what is seen -> those of the picture, of the same shape."""
        if self.moved:
            right, down = shift(picture)
            logits = np.pad(logits[:, down:, right:], ((0, 0), (0, down), (0, right)), mode="edge")
        return logits[:, :, ::-1] if self.mirrored else logits


VIEWS = (View(), View(mirrored=True), View(moved=True), View(mirrored=True, moved=True))
"""In the order in which they are taken."""


def shift(picture: EncodedPicture) -> tuple[int, int]:
    """Half a cell of the map in pixels of the picture, to the right and down; at least 1, but not the whole picture."""
    halves = 2 * picture.runner.map_side
    right, down = (
        min(max(1, round(side / (halves * tiles))), side - 1)
        for side, tiles in zip(picture.image.size, picture.grid, strict=True)
    )
    return right, down


@dataclass(frozen=True)
class Vote:
    """A question about a view of a picture.

    Attributes:
        view: Which.
        place: Of its prompt among those about the picture.
        prompt: As it was given.
        question: What the model is asked.
    """

    view: View
    place: int
    prompt: str
    question: str


def votes_about(prompts: Sequence[tuple[str, str]], template: Template, count: int, block: int) -> Iterator[list[Vote]]:
    """What to ask about the first `count` of `VIEWS`, for some prompts and then for others.

    Of these votes, those of the picture as it is come first, one for each prompt.

    Args:
        prompts: See `Request`.
        template: How prompts are asked.
        count: 1 to 4.
        block: Most prompts that are asked together, 1 or more.
    """
    for first in range(0, len(prompts), block):
        together = [(first + place, *asked) for place, asked in enumerate(prompts[first : first + block])]
        yield [
            Vote(view, place, prompt, question_for(mirrored(prompt), template) if view.mirrored else question)
            for view in VIEWS[:count]
            for place, prompt, question in together
            if not view.mirrored or follows_a_mirror(prompt)
        ]


def check_votes(count: int) -> None:
    """Raises ValueError unless there are so many views."""
    if not isinstance(count, Integral) or not 1 <= count <= len(VIEWS):
        raise ValueError(f"votes is 1 to {len(VIEWS)}, not {count!r}")
