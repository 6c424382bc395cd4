"""A conversation about one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from self1e.conversation import Turn
from self1e.segment.results import Segmentation
from self1e.segment.runner import EncodedPicture

if TYPE_CHECKING:
    from self1e.segment.segmenter import Segmenter

History = Sequence[Turn | tuple[str, str]]


class Chat:
    """A conversation about one picture.

        chat = segmenter.start_chat("kitchen.png")
        chat.ask("What is on the table?").text                  -> "A bowl and a bread knife."
        chat.ask("Show me what could cut bread.").masks         -> bool[1, H, W]

    Attributes:
        turns: What was said so far.
    """

    def __init__(self, segmenter: Segmenter, picture: EncodedPicture, history: History = ()) -> None:
        self.segmenter = segmenter
        self.picture = picture
        self.turns = turns_of(history)

    def ask(
        self, question: str, *, max_new_tokens: int = 128, temperature: float = 0.0, logits: bool = False
    ) -> Segmentation:
        """Asks the next question; see `Segmenter.chat`. After an error the conversation is as it was."""
        reply = self.segmenter.chat(
            self.picture,
            question,
            self.turns,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            logits=logits,
        )
        self.turns.append(Turn(reply.prompt, reply.text))
        return reply


def turns_of(history: History) -> list[Turn]:
    """The turns of a history.

    Raises:
        ValueError: If one is neither a `Turn` nor a pair of texts.
    """
    if isinstance(history, str):
        raise ValueError("history is a list of turns, not a text: [(question, answer), ...]")
    return [turn if isinstance(turn, Turn) else _turn(number, turn) for number, turn in enumerate(history)]


def _turn(number: int, turn: object) -> Turn:
    is_pair = isinstance(turn, list | tuple) and len(turn) == 2 and all(isinstance(each, str) for each in turn)
    if not is_pair:
        raise ValueError(f"turn {number} of the history is {turn!r}: give a Turn or a (question, answer) pair of texts")
    return Turn(*turn)  # type: ignore[misc]  # two texts, as was just seen
