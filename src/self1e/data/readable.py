"""Texts that are too long for a model: told by a check, passed over by a run, as they are refused when it is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from self1e.conversation import Example, Turn
from self1e.data.broken import Examples
from self1e.data.records import DataError, Query, evaluation_turn
from self1e.processing.processor import SELF1EProcessor
from self1e.processing.tiles import tile_grid
from self1e.processing.tokens import encode_continuation

FRAME = 64
"""More tokens than the layout of a conversation takes, at its beginning and for each turn."""


@dataclass(frozen=True)
class Reader:
    """What a model reads.

    Args:
        processor: Its.
        context: Most tokens of a conversation, its picture included.
    """

    processor: SELF1EProcessor
    context: int

    def fault(self, turns: Sequence[Turn], size: tuple[int, int]) -> str:
        """Why turns cannot be read about a picture of (width, height); "" if they can."""
        grid = tile_grid(*size, self.processor.max_tiles, self.processor.image_size)
        room = self.context - grid[0] * grid[1] * self.processor.tokens_per_tile
        letters = sum(len(turn.question) + len(turn.answer) for turn in turns)
        if 4 * letters + FRAME * (len(turns) + 1) <= room:  # a token is a byte or more
            return ""
        picture = len(self.processor.prefix(grid))
        words = len(encode_continuation(self.processor.tokenizer, turns))
        if picture + words <= self.context:
            return ""
        return (
            f"the text takes {words} tokens and the picture {picture}, but the model reads no more than {self.context} "
            "in all: shorten the text"
        )


def asked(query: Query) -> tuple[Turn]:
    """A query as a user would put it, with all that a run would have said of it."""
    turn = evaluation_turn(query.text, query.form)
    return (Turn(turn.question, f"{turn.answer} {query.answer}"),)


class Readable:
    """Examples, of which those are broken that a model cannot read.

    Args:
        examples: Any.
        reader: The model.
    """

    def __init__(self, examples: Examples, reader: Reader) -> None:
        self.examples = examples
        self.reader = reader

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        """Example `index`.

        Raises:
            DataError: When one of its conversations is too long, or as the examples.
        """
        example = self.examples[index]
        for talk in (*example.conversations, *example.rehearsed):
            if fault := self.reader.fault(talk.turns, example.image.size):
                raise DataError(f"{example.id}, {talk.turns[0].question[:40]!r}: {fault}")
        return example
