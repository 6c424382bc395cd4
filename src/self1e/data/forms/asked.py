"""A set of marked pictures as a source to train and measure on: each label in a picture is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from self1e.data.forms.marked import MarkedSet, Thing
from self1e.data.masks import MaskError, union
from self1e.data.own_masks import spoken_name
from self1e.data.records import UNSURE, Canvas, Query, Record, misfit
from self1e.data.semantic import some_of
from self1e.processing.classes import same_class
from self1e.processing.prompts import reads_as_sentence


class AskedThings:
    """Each label in a picture is a query for all of its things together; labels that `same_class` says are one are one.

    A label of which something has no mask, or a thing is not sure enough, is not asked for in that picture: its mask
    would not be complete. What is there in any way is not asked for as absent.
    """

    def __init__(self, things: MarkedSet, *, absent_classes: int = 0, min_score: float = 0.0) -> None:
        """Takes the set as it is.

        Args:
            things: What is marked.
            absent_classes: How many labels that are not in a picture are asked for, too, with an empty mask. Always the
                same ones of a picture.
            min_score: Things that have a score, and one below this, are left out.
        """
        self.name = things.name
        self._things = things
        self._absent_classes = absent_classes
        self._min_score = min_score
        self._spoken: dict[str, str] = {}
        for label in things.labels:
            self._spoken.setdefault(same_class(label), spoken_name(label))

    def __len__(self) -> int:
        return len(self._things)

    def image_path(self, index: int) -> Path:
        """The picture of a record."""
        return self._things.image_path(index)

    def files(self) -> Iterator[Path]:
        """What its records are read from."""
        yield from self._things.files()

    def __getitem__(self, index: int) -> Record:
        """Sorts the things of a picture by label.

        Raises:
            DataError: When what is marked there cannot be read.
        """
        marked = self._things[index]
        image = self.image_path(index)
        canvas = marked.canvas or Canvas(image)
        unclear = {same_class(each.label) for each in marked.lost if each.gap}
        dropped = [
            f"{each.label!r}{' is not asked for' if each.gap else ''}: {each.what} is no mask" for each in marked.lost
        ]
        things: dict[str, list[Thing]] = {}
        for thing in marked.things:
            label = same_class(thing.label)
            if thing.score is not None and thing.score < self._min_score:
                unclear.add(label)
                dropped.append(UNSURE.format(thing.label))
            things.setdefault(label, []).append(thing)
        queries = []
        for label, those in things.items():
            there = [thing for thing in those if thing.there]
            if label not in unclear:
                phrase = self._spoken.get(label, spoken_name(those[0].label))
                form: Literal["phrase", "sentence"] = "sentence" if reads_as_sentence(phrase) else "phrase"
                kind = "semantic" if there else "absent"
                queries.append(Query(phrase, form, partial(_union, there, canvas), kind=kind, absent=not there))
        known = things.keys() | {same_class(each.label) for each in marked.lost}
        others = [phrase for label, phrase in self._spoken.items() if label not in known]
        for phrase in some_of(others, self._absent_classes, marked.name):
            queries.append(Query(phrase, "phrase", partial(_union, (), canvas), kind="absent", absent=True))
        return Record(marked.name, image, tuple(queries), dropped=tuple(dropped))


def _union(things: Sequence[Thing], canvas: Canvas) -> np.ndarray:
    shape, masks = canvas.head.upright, [thing.pixels().astype(np.uint8) for thing in things]
    for mask in masks:
        if wrong := misfit(mask, shape):
            raise MaskError(wrong)
    return union(masks, *shape)
