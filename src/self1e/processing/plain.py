"""What of a processor needs neither torch nor transformers: tiles as arrays, words as tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from self1e.model.rows import Grid
from self1e.processing.refinement import Refinement, check_refinement
from self1e.processing.tiles import check_max_tiles, to_tiles
from self1e.processing.tokens import EncodedConversation, encode_prefix, special_ids

if TYPE_CHECKING:
    from self1e.processing.tokens import AnyTokenizer


class PlainProcessor:
    """Makes tiles of pictures, and tokens of what stands before the words about them.

    Args:
        tokenizer: With InternVL's special tokens and `[SEG]`.
        image_size: Side of a tile in pixels.
        tokens_per_tile: Image tokens that the language model reads for a tile.
        max_tiles: Most tiles to cut a picture into. The published results are with one.
        refine: How masks get to the picture's size where nothing else is asked for; see `self1e.processing.refine`.

    Raises:
        ValueError: If the tokenizer lacks a special token, a number is out of range, or `refine` is not known.
    """

    def __init__(
        self,
        tokenizer: AnyTokenizer,
        image_size: int,
        tokens_per_tile: int,
        max_tiles: int = 1,
        refine: Refinement = "none",
    ) -> None:
        if min(image_size, tokens_per_tile) < 1:
            raise ValueError(f"must be at least 1: {image_size=}, {tokens_per_tile=}")
        check_max_tiles(max_tiles)
        check_refinement(refine)
        self._special = special_ids(tokenizer)
        self.tokenizer = tokenizer
        self.image_size = image_size
        self.tokens_per_tile = tokens_per_tile
        self.max_tiles = max_tiles
        self.refine: Refinement = refine

    def pixels(self, picture: Image.Image) -> tuple[np.ndarray, Grid]:
        """float32[T, 3, S, S] of one RGB picture, and its (columns, rows)."""
        return to_tiles(picture, self.max_tiles, self.image_size)

    def prefix(self, grid: Grid) -> EncodedConversation:
        """The tokens that conversations about a picture of columns x rows tiles begin with."""
        columns, rows = grid
        return encode_prefix(self.tokenizer, columns * rows * self.tokens_per_tile)

    def before_picture(self) -> list[int]:
        """Ids of the tokens that stand before any picture."""
        return encode_prefix(self.tokenizer, 0).input_ids[:-1]  # without that which ends the picture
