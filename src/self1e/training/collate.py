"""From examples to training batches: which conversations share a row, and which pictures share a batch.

For every picture the conversations that point at something come first, in one row each, or packed into one row behind
the picture they share. Conversations in words only, and rehearsals (segmenting answers that are learnt as text), follow
in one packed row that is read causally, as generation will read it.

Rows of a batch are padded to the longest. The pictures of a step are therefore sorted by length before they are dealt
out to the batches whose gradients make the step: what the step learns stays the same, and little of it is padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from self1e.conversation import Conversation, Example
from self1e.model.batch import Batch
from self1e.model.rows import Grid, Row
from self1e.processing.processor import SELF1EProcessor
from self1e.processing.tokens import EncodedConversation, encode_continuation, pack, single
from self1e.training.losses import MakeTargets

Counts = dict[str, int]
"""What a batch holds: "tokens" that are learnt, "conversations", "read" tokens of all rows, "padded": the same with
padding, and "pictures"."""

MEAN_OVER = {"ce": "tokens", "bce": "conversations", "dice": "conversations"}
"""Parts of the method's loss -> what of `Counts` each is a mean over."""


@dataclass(frozen=True)
class Encoded:
    """An example as the model will see it.

    Attributes:
        tiles: float[T, 3, S, S].
        grid: (columns, rows) of the tiles.
        image_tokens: That the language model reads of them; says what the vision tower has to do as well.
        rows: Rows of tokens.
        masks: uint8[K, H, W] of each row.
        targets: Of losses beside the method's own, by their names; see `self1e.training.losses`.
        skipped: Broken records whose place the example took: id and reason.
        id: Of the example.
    """

    tiles: Tensor
    grid: Grid
    image_tokens: int
    rows: tuple[Row, ...]
    masks: tuple[Tensor, ...]
    targets: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    skipped: tuple[tuple[str, str], ...] = ()
    id: str = ""

    @property
    def longest(self) -> int:
        """Tokens of its longest row."""
        return max((len(row.input_ids) for row in self.rows), default=0)


class Collator:
    """Makes batches from examples.

    Args:
        processor: Of the model.
        packed: Segmenting conversations of a picture share a row.
        targets: What makes the targets of losses beside the method's own, by their names.
    """

    def __init__(
        self, processor: SELF1EProcessor, packed: bool, targets: Mapping[str, MakeTargets] | None = None
    ) -> None:
        self.processor = processor
        self.packed = packed
        self.targets = dict(targets or {})

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """One batch of all these examples, see `batch`."""
        return self.batch(self.encode_all(examples))

    def encode_all(self, examples: Sequence[Example]) -> list[Encoded]:
        """What workers do, see `encode`."""
        return [self.encode(example) for example in examples]

    def encode(self, example: Example) -> Encoded:
        """Cuts the picture into tiles and the words into tokens."""
        tiles, grid = self.processor.tiles(example.image)
        prefix = self.processor.prefix(grid)
        rows, masks = [], []
        pointing = [talk for talk in example.conversations if talk.segmenting]
        for group in [pointing] if self.packed and pointing else [[talk] for talk in pointing]:
            rows.append(_row(prefix, self._continuations(group), bidirectional=True))
            masks.append(torch.from_numpy(np.stack([mask for talk in group for mask in talk.masks])))
        worded = [talk for talk in example.conversations if not talk.segmenting]
        worded += example.rehearsed
        if worded:
            rows.append(_row(prefix, self._continuations(worded), bidirectional=False))
            masks.append(torch.zeros(0, example.image.height, example.image.width, dtype=torch.uint8))
        return Encoded(
            tiles,
            grid,
            len(tiles) * self.processor.tokens_per_tile,
            tuple(rows),
            tuple(masks),
            targets={name: make(example) for name, make in self.targets.items()},
            skipped=example.skipped,
            id=example.id,
        )

    def batch(self, examples: Sequence[Encoded]) -> dict[str, Any]:
        """Puts examples together.

        Returns:
            "batch", a `Batch` with `masks` and labels; "counts"; "ids" of the examples; "targets" of losses, stacked;
            "skipped" where examples took the place of broken ones.
        """
        rows = [replace(row, picture=place) for place, example in enumerate(examples) for row in example.rows]
        batch = self.processor.batch(
            rows,
            [example.grid for example in examples],
            pixel_values=torch.cat([example.tiles for example in examples]),
            masks=[mask for example in examples for mask in example.masks],
            labels=True,
        )
        inputs: dict[str, Any] = {"batch": batch, "counts": counts_of(batch)}
        inputs["ids"] = [example.id for example in examples]
        inputs["targets"] = {
            name: default_collate([example.targets[name] for example in examples]) for name in self.targets
        }
        skipped = [entry for example in examples for entry in example.skipped]
        if skipped:
            inputs["skipped"] = skipped
        return inputs

    def _continuations(self, conversations: Sequence[Conversation]) -> list[EncodedConversation]:
        return [encode_continuation(self.processor.tokenizer, talk.turns) for talk in conversations]


def _row(prefix: EncodedConversation, continuations: list[EncodedConversation], *, bidirectional: bool) -> Row:
    """One conversation keeps id 0, which leaves image-to-segmentation open to it."""
    if len(continuations) == 1:
        return single(prefix + continuations[0], bidirectional=bidirectional)
    return pack(prefix, continuations, bidirectional=bidirectional)


def counts_of(batch: Batch) -> Counts:
    """What a batch with labels holds, on the CPU; see `Counts`."""
    assert batch.targets is not None
    return {
        "tokens": len(batch.targets),
        "conversations": batch.conversations,
        "read": int(batch.attention_mask.sum()),
        "padded": batch.attention_mask.numel(),
        "pictures": len(batch.pictures),
    }


def dealt(examples: Sequence[Encoded], batches: int) -> list[list[Encoded]]:
    """The examples in `batches` groups that need little padding and cost about the same.

    Sorted by length and cut so that the sum of the squares of the groups' costs is the least there is, which keeps the
    largest, the one that memory has to hold, small as well. The cost is tokens: those of all rows with their padding,
    and once more those of each picture, for the vision tower. Groups are not empty; there are fewer of them when there
    are fewer examples.
    """
    order = sorted(range(len(examples)), key=lambda place: examples[place].longest)
    longest = [examples[place].longest for place in order]
    rows = np.cumsum([0, *(len(examples[place].rows) for place in order)])
    pictures = np.cumsum([0, *(examples[place].image_tokens for place in order)])
    batches = min(batches, len(order))
    # best[k][j]: least cost of the first j examples in k groups; cut[k][j]: where the last of these groups starts.
    best = np.full((batches + 1, len(order) + 1), np.inf)
    cut = np.zeros((batches + 1, len(order) + 1), int)
    best[0, 0] = 0
    for group in range(1, batches + 1):
        for end in range(group, len(order) + 1):
            starts = slice(group - 1, end)
            sizes = (rows[end] - rows[starts]) * float(longest[end - 1]) + pictures[end] - pictures[starts]
            costs = best[group - 1, starts] + sizes**2
            start = int(costs.argmin())
            best[group, end], cut[group, end] = costs[start], group - 1 + start
    ends = [len(order)]
    for group in range(batches, 0, -1):
        ends.append(int(cut[group, ends[-1]]))
    return [[examples[place] for place in order[start:end]] for start, end in pairwise(reversed(ends))]
