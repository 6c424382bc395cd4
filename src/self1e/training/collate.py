"""From examples to training batches: which conversations share a row, and under which pathways a row is read.

For every picture the conversations that point at something come first, in one row each, or packed into one row behind
the picture they share. Conversations in words only, and rehearsals (segmenting answers that are learnt as text), follow
in one packed row that is read causally, as generation will read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from self1e.data.example import Conversation, Example
from self1e.processing.batch import Row, collate, pack, single
from self1e.processing.processor import SELF1EProcessor
from self1e.processing.tokens import EncodedConversation, encode_continuation


class Collator:
    """Makes the keyword arguments of `SELF1EForSegmentation.forward` from examples.

    Args:
        processor: Of the model.
        packed: Segmenting conversations of a picture share a row.
    """

    def __init__(self, processor: SELF1EProcessor, packed: bool) -> None:
        self.processor = processor
        self.packed = packed

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """See the class; `masks` and `perceiving` are added, "skipped" (broken records: id and reason), and, where the
        examples have them, "dense" labels."""
        tiles, grids, rows, masks, perceiving = [], [], [], [], []
        for index, example in enumerate(examples):
            picture, grid = self.processor.tiles(example.image)
            tiles.append(picture)
            grids.append(grid)
            prefix = self.processor.prefix(grid)
            pointing = [talk for talk in example.conversations if talk.segmenting]
            for group in [pointing] if self.packed and pointing else [[talk] for talk in pointing]:
                rows.append(_row(prefix, self._encode(group), index))
                masks.append(_stack([mask for talk in group for mask in talk.masks]))
                perceiving.append(True)
            worded = [talk for talk in example.conversations if not talk.segmenting]
            worded += list(example.extras.get("rehearsed", ()))  # type: ignore[call-overload]
            if worded:
                rows.append(_row(prefix, self._encode(worded), index))
                masks.append(torch.zeros(0, example.image.height, example.image.width, dtype=torch.uint8))
                perceiving.append(False)
        if rows:
            inputs = collate(tiles, grids, rows, pad_id=self.processor.pad_id).as_kwargs()
            inputs |= {"masks": masks, "perceiving": torch.tensor(perceiving)}
        else:
            inputs = {"pixel_values": torch.cat(tiles)}
        dense = [example.extras["dense"] for example in examples if "dense" in example.extras]
        if dense:
            inputs["dense"] = torch.utils.data.default_collate(dense)
        skipped = [example.extras["skipped"] for example in examples if "skipped" in example.extras]
        if skipped:
            inputs["skipped"] = [entry for entries in skipped for entry in entries]  # type: ignore[attr-defined]
        return inputs

    def _encode(self, conversations: Sequence[Conversation]) -> list[EncodedConversation]:
        return [encode_continuation(self.processor.tokenizer, talk.turns) for talk in conversations]


def _row(prefix: EncodedConversation, continuations: list[EncodedConversation], picture: int) -> Row:
    """One conversation keeps id 0, which leaves image-to-segmentation open to it."""
    if len(continuations) == 1:
        return single(prefix + continuations[0], picture)
    return pack(prefix, continuations, picture)


def _stack(masks: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(masks))
