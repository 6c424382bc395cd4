"""The sources of a mixture one by one, and which records of each a run may draw: what `check` and `stats` read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from self1e.data.mixture import coco_id
from self1e.data.records import DataError, Source


@dataclass(frozen=True)
class Member:
    """A source as a mixture uses it.

    Attributes:
        part: Name of the part that it belongs to.
        label: What reports call it; no other member has it.
        share: How often examples are drawn from it: all shares of a mixture add up to 1.
        source: Its records.
        filtered: Whether a run leaves out its pictures that are held out.
        learnt: Whether a run learns from it; otherwise it is validated on it, and may use what is held out.
    """

    part: str
    label: str
    share: float
    source: Source
    filtered: bool
    learnt: bool = True


def members_of(parts: Mapping[str, tuple[float, Sequence[tuple[Source, bool]]]]) -> list[Member]:
    """The sources of all parts with a rate above 0.

    Args:
        parts: Name -> sampling rate, and sources, each with whether it is filtered (see `Member`).

    Raises:
        DataError: When there is nothing to draw from.
    """
    used = {name: (rate, sources) for name, (rate, sources) in parts.items() if rate > 0}
    if not used:
        raise DataError("no part of the mixture has a rate above 0")
    total = sum(rate for rate, _ in used.values())
    members: list[Member] = []
    labels: set[str] = set()
    for name, (rate, sources) in used.items():
        if not sources:
            raise DataError(f"the part {name!r} has a rate of {rate}, but no source")
        for source, filtered in sources:
            label, number = source.name, 1
            while label in labels:
                number += 1
                label = f"{source.name} ({number})"
            labels.add(label)
            members.append(Member(name, label, rate / total / len(sources), source, filtered))
    return members


@dataclass
class SourceReport:
    """What a check and statistics both say of a source.

    Attributes:
        part: See `Member`.
        name: See `Member.label`.
        share: See `Member`.
        records: How many a run may draw.
        broken: How many of those that were looked at are broken.
        queries: Of all records that are not broken.
        phrases: Text of queries that are phrases, such as class names -> queries, the most frequent first; as above.
        talks: Exchanges whose words are given, of all records that are not broken.
    """

    part: str
    name: str
    share: float
    records: int
    broken: int
    queries: int
    phrases: dict[str, int]
    talks: int


@dataclass(frozen=True)
class Listing:
    """Which records of a member a run may draw.

    Attributes:
        records: How many.
        left_out: How many more there are, whose pictures are held out.
        pictures: Of those that are to be read, in order: place -> path of the picture, or why the record does not say.
        leaked: Places of records with held-out pictures all the same, in order.
    """

    records: int
    left_out: int
    pictures: Mapping[int, str | DataError]
    leaked: Sequence[int]

    def some(self, count: int | None, seed: Sequence[int]) -> Listing:
        """At most `count` of the records to be read, at random, in order."""
        if count is None or count >= len(self.pictures):
            return self
        places = np.array(list(self.pictures))
        chosen = np.sort(np.random.default_rng(seed).permutation(places)[:count]).tolist()
        return replace(self, pictures={place: self.pictures[place] for place in chosen})


def list_records(member: Member, held_out: frozenset[int]) -> Listing:
    """Looks up the pictures of a member without opening any.

    Args:
        member: What to list.
        held_out: Ids of COCO pictures that are tested on.
    """
    pictures: dict[int, str | DataError] = {}
    shown: list[int] = []  # places of held-out pictures
    for place in range(len(member.source)):
        try:
            path = member.source.image_path(place)
        except Exception as error:  # what a loader did not foresee is broken, too
            pictures[place] = DataError(reason_of(error))
        else:
            pictures[place] = os.fspath(path)
            if member.learnt and held_out and coco_id(path) in held_out:
                shown.append(place)
    if not member.filtered:
        return Listing(len(pictures), 0, pictures, shown)
    for place in shown:
        del pictures[place]
    return Listing(len(pictures), len(shown), pictures, ())


def ranked(counts: Counter[str]) -> dict[str, int]:
    """The most frequent first; of equally frequent ones the first in the alphabet, whatever order they were read in."""
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def reason_of(error: Exception) -> str:
    """The error in a line, with its name if the message alone says little."""
    text = " ".join(str(error).split())
    return text if isinstance(error, OSError | ValueError) and text else f"{type(error).__name__}: {text}"
