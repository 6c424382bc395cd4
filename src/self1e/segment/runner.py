"""The seam between what a `Segmenter` does and what computes: torch (`on_torch`), or an exported model (`on_engine`).

A segmenter makes prompts, rows, masks of the picture's size and scores of them; a `Runner` turns a picture into
features and rows into maps of logits. Importing this needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image

from self1e.conversation import Turn
from self1e.model.rows import Grid, Row
from self1e.processing.plain import PlainProcessor

OnText = Callable[[str], object]


class NumbersError(ValueError):
    """Numbers overflowed on the way to a result. The message says what to do."""


@dataclass(frozen=True, eq=False, repr=False)
class TiledPicture:
    """A picture that is ready for the model; `Segmenter.read` makes it.

    Attributes:
        image: RGB, at its own size.
        tiles: float32[columns * rows, 3, S, S], as the runner takes it.
        grid: (columns, rows) of its tiles.
    """

    image: Image.Image
    tiles: Any
    grid: Grid


@dataclass(frozen=True, eq=False, repr=False)
class EncodedPicture:
    """A picture with everything that depends on it alone; `Segmenter.encode` makes it.

    Attributes:
        image: RGB, at its own size.
        grid: (columns, rows) of its tiles.
        features: What the runner made of its tiles.
        runner: That which did. None of another model can use it.
        version: Of its weights when it did.
        feature_bytes: That the features take.
    """

    image: Image.Image
    grid: Grid
    features: Any
    runner: Runner
    version: int
    feature_bytes: int

    @property
    def nbytes(self) -> int:
        """Of its pixels and features."""
        width, height = self.image.size
        return 3 * width * height + self.feature_bytes

    def __repr__(self) -> str:
        return "EncodedPicture({}x{} pixels, {}x{} tiles)".format(*self.image.size, *self.grid)


class Runner(Protocol):
    """What computes, with a model."""

    @property
    def processor(self) -> PlainProcessor:
        """The model's."""
        ...

    @property
    def context(self) -> int:
        """Most tokens of a conversation, the picture's among them."""
        ...

    @property
    def seg_token_id(self) -> int:
        """Of `[SEG]`."""
        ...

    @property
    def map_side(self) -> int:
        """Cells of the map of logits along a side of a tile."""
        ...

    @property
    def packed(self) -> bool:
        """Whether prompts about one picture can share a row: no picture looks at the `[SEG]` behind it."""
        ...

    @property
    def writes_answers(self) -> bool:
        """Whether it has `answer`: an exported model gives masks alone."""
        ...

    @property
    def device(self) -> str:
        """Where it runs, as people name it."""
        ...

    @property
    def dtype(self) -> str:
        """Type of weights and activations, without "torch."."""
        ...

    def facts(self) -> dict[str, Any]:
        """What else can be said of the model, ready for JSON."""
        ...

    def check_process(self) -> None:
        """Raises RuntimeError in a forked process, in which threads that are gone would be waited for."""
        ...

    def tiled(self, picture: Image.Image) -> TiledPicture:
        """Cuts a picture into tiles. Safe in any thread."""
        ...

    def encode(self, picture: TiledPicture) -> EncodedPicture:
        """Runs the vision side over the tiles of a picture."""
        ...

    def check_encoded(self, picture: EncodedPicture) -> None:
        """Raises ValueError for a picture that another model encoded, or this one before its weights changed."""
        ...

    def mask_logits(self, pictures: Sequence[EncodedPicture], rows: Sequence[Row]) -> list[np.ndarray]:
        """The mask pass over finished conversations.

        Args:
            pictures: What the rows are about.
            rows: Each names its picture by its place in `pictures`.

        Returns:
            For each row float32[K, h, w], the map of each `[SEG]` in it.

        Raises:
            ModelError: If the weights are not finite.
            NumbersError: If numbers overflowed on the way.
        """
        ...

    def answer(
        self,
        picture: EncodedPicture,
        turns: Sequence[Turn],
        question: str,
        *,
        max_new_tokens: int,
        temperature: float,
        on_text: OnText | None,
    ) -> tuple[str, np.ndarray]:
        """Writes an answer: its text, and the maps of the `[SEG]` in it, float32[K, h, w].

        Raises:
            PromptError: If the conversation is longer than the model can read, or this runner writes no answers, as of
                an exported model.
        """
        ...
