"""Rows of tokens, before they become a batch. Importing this needs no torch.

A row is one conversation, or several about one picture that share a prefix:

    tokens            prefix . . . . . . | first conversation | second conversation | padding
    conversation_ids  0 0 0 0 0 0 0 0 0 0  1 1 1 1 1 1 1 1 1 1  2 2 2 2 2 2 2 2 2 2   0 0 0
    position_ids      0 1 2 ...        p   p+1 p+2 ...          p+1 p+2 ...           0 0 0

With these positions, and an attention mask that lets a conversation see the prefix and itself, each continues the
prefix as if it stood there alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

Grid = tuple[int, int]  # (columns, rows) of tiles


@dataclass(frozen=True)
class Row:
    """One row before padding; the four lists have the same length.

    Attributes:
        input_ids: Tokens.
        labels: The token's own id where it is to be predicted, -100 elsewhere; not shifted.
        conversation_ids: 0 for what all conversations of the row share, 1, 2, ... for these; all 0 if there is one.
        position_ids: Of the rotary embedding.
        picture: Index of its picture in the batch, -1 for none.
        bidirectional: Whether its pathways are open, and masks are made of its `[SEG]`. None: if it holds a `[SEG]`.
    """

    input_ids: list[int]
    labels: list[int]
    conversation_ids: list[int]
    position_ids: list[int]
    picture: int = 0
    bidirectional: bool | None = None

    def after(self, tokens: int) -> Row:
        """The row without its first tokens; those that stay keep their positions."""
        return replace(
            self,
            input_ids=self.input_ids[tokens:],
            labels=self.labels[tokens:],
            conversation_ids=self.conversation_ids[tokens:],
            position_ids=self.position_ids[tokens:],
        )
