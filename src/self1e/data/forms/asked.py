"""A set of marked pictures as a source to train and measure on: each label in a picture is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from self1e.data.classes import same_class
from self1e.data.forms.marked import MarkedSet, Thing
from self1e.data.masks import union
from self1e.data.own_masks import spoken_name
from self1e.data.records import Query, Record
from self1e.data.semantic import not_negative, some_of
from self1e.processing.images import read_head
from self1e.processing.prompts import reads_as_sentence


class AskedThings:
    """Each label in a picture is a query for all of its things together; labels that `same_class` says are one are one.

    A label of which a part could not be read, or of which a thing is not sure enough, is not asked for in that picture:
    its mask would not be complete.
    """

    def __init__(self, things: MarkedSet, *, absent_classes: int = 0, min_score: float = 0.0) -> None:
        """Takes the set as it is.

        Args:
            things: What is marked.
            absent_classes: How many labels that are not in a picture are asked for, too, with an empty mask. Always the
                same ones of a picture.
            min_score: Things that have a score, and one below this, are left out.

        Raises:
            ValueError: When a number is out of its range.
        """
        if not 0 <= min_score <= 1:
            raise ValueError(f"min_score must be in [0, 1], got {min_score}")
        self.name = things.name
        self._things = things
        self._absent_classes = not_negative(absent_classes, "absent_classes")
        self._min_score = min_score
        self._spoken: dict[str, str] = {}
        for label in things.labels:
            self._spoken.setdefault(same_class(label), spoken_name(label)[0])

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
        marked, image = self._things[index], self.image_path(index)
        unclear = {same_class(label) for label, _ in marked.lost if label}
        things: dict[str, list[Thing]] = {}
        for thing in marked.things:
            label = same_class(thing.label)
            if thing.score is not None and thing.score < self._min_score:
                unclear.add(label)
            things.setdefault(label, []).append(thing)
        queries = []
        for label, those in things.items():
            there = [thing for thing in those if thing.there]
            if label not in unclear:
                phrase = self._spoken.get(label, spoken_name(those[0].label)[0])
                form: Literal["phrase", "sentence"] = "sentence" if reads_as_sentence(phrase) else "phrase"
                kind = "semantic" if there else "absent"
                queries.append(Query(phrase, form, partial(_union, there, image), kind=kind, absent=not there))
        others = [phrase for label, phrase in self._spoken.items() if label not in things and label not in unclear]
        for phrase in some_of(others, self._absent_classes, marked.name):
            queries.append(Query(phrase, "phrase", partial(_union, (), image), kind="absent", absent=True))
        dropped = (
            f"{what} is no mask" + (f": {label!r} is not asked for" if label else "") for label, what in marked.lost
        )
        return Record(marked.name, image, tuple(queries), dropped=tuple(dropped))


def _union(things: Sequence[Thing], image: Path) -> np.ndarray:
    return union((thing.pixels().astype(np.uint8) for thing in things), *read_head(image).upright)
