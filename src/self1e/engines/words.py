"""What the second program of an exported model takes besides what the first one gave: words, as arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from self1e.model.rows import Row

PADDING = -1
"""Conversation id of places that only fill a row up."""


def words_of(rows: Sequence[Row], before: int, seg_token_id: int) -> dict[str, np.ndarray]:
    """The words of B rows about one picture, W in the longest of them.

    Args:
        rows: All begin with the same tokens, those of the picture the last among them.
        before: How many these are.
        seg_token_id: Of `[SEG]`.

    Returns:
        words: int32[B, W], token ids.
        positions: int32[B, W], of the rotary embedding.
        conversations: int32[B, W], 0 for what all conversations of a row share, 1, 2, ... for these; `PADDING`.
        marks: int32[K], places of the tokens before each `[SEG]`, counted through all rows: row * W + column.
    """
    parts = [row.after(before) for row in rows]
    shape = len(parts), max(len(part.input_ids) for part in parts)
    words, positions = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    conversations = np.full(shape, PADDING, np.int32)
    for number, part in enumerate(parts):
        filled = number, slice(len(part.input_ids))
        words[filled], positions[filled], conversations[filled] = (
            part.input_ids,
            part.position_ids,
            part.conversation_ids,
        )
    is_mark = (words == seg_token_id) & (conversations != PADDING)
    marks = np.flatnonzero(is_mark).astype(np.int32) - 1
    return {"words": words, "positions": positions, "conversations": conversations, "marks": marks}
