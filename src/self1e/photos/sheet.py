"""Examples of a photograph set for the eye: one question a cell, with its mask or its answer in words."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from PIL import Image

from self1e.data.contact_sheet import Cell, laid_out, with_masks
from self1e.photos.dataset import PhotoDataset

MOST_EXAMPLES = 5000
"""Looked through for questions of the kinds that are wanted."""

OF_EACH = 2
"""Questions of one example, at most."""


def sheet(dataset: PhotoDataset, count: int, first: int = 0, kinds: Collection[str] = ()) -> Image.Image:
    """Questions of consecutive examples.

    Args:
        dataset: Where they come from.
        count: Cells on the sheet.
        first: Index of the first example.
        kinds: Kinds to show; all if empty.
    """
    cells: list[Cell] = []
    for cell in _cells(dataset, first, frozenset(kinds)):
        cells.append(cell)
        if len(cells) == count:
            break
    return laid_out(cells, f"questions from example {first} on. Grey: counts neither way")


def _cells(dataset: PhotoDataset, first: int, kinds: frozenset[str]) -> Iterator[Cell]:
    for index in range(first, min(first + MOST_EXAMPLES, len(dataset))):
        example = dataset[index]
        wanted = [talk for talk in example.conversations if not kinds or talk.kind in kinds]
        for talk in wanted[:OF_EACH]:
            words = "  ".join(f"{turn.question} > {turn.answer}" for turn in talk.turns)
            nowhere = talk.segmenting and not any((mask == 1).any() for mask in talk.masks)
            picture = with_masks(example.image, talk.masks)
            yield Cell(f"{index} {talk.kind} {example.id}", picture, words, "nowhere" if nowhere else "")
