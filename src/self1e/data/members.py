"""The sources of a mixture one by one, and which records of each a run may draw: what `check` and `stats` read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
    """

    part: str
    label: str
    share: float
    source: Source
    filtered: bool


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
    for name, (rate, sources) in used.items():
        if not sources:
            raise DataError(f"the part {name!r} has a rate of {rate}, but no source")
    total = sum(rate for rate, _ in used.values())
    members: list[Member] = []
    labels: set[str] = set()
    for name, (rate, sources) in used.items():
        for source, filtered in sources:
            label, number = source.name, 1
            while label in labels:
                number += 1
                label = f"{source.name} ({number})"
            labels.add(label)
            members.append(Member(name, label, rate / total / len(sources), source, filtered))
    return members


@dataclass
class Listing:
    """Which records of a member a run may draw.

    Attributes:
        places: Their indices, in order.
        pictures: The path of each one's picture; an error where the record does not say it.
        left_out: How many more there are, whose pictures are held out.
        leaked: Which of `places` have held-out pictures all the same.
    """

    places: list[int] = field(default_factory=list)
    pictures: list[str | DataError] = field(default_factory=list)
    left_out: int = 0
    leaked: list[int] = field(default_factory=list)

    def some(self, count: int | None, seed: Sequence[int]) -> Listing:
        """At most `count` of the records, at random, in order; `left_out` stays as it is."""
        if count is None or count >= len(self.places):
            return self
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self.places))[:count])
        places = [self.places[i] for i in chosen]
        leaked = set(self.leaked) & set(places)
        return Listing(places, [self.pictures[i] for i in chosen], self.left_out, sorted(leaked))


def list_records(member: Member, held_out: frozenset[int]) -> Listing:
    """Looks up the pictures of a member without opening any.

    Args:
        member: What to list.
        held_out: Ids of COCO pictures that are tested on.
    """
    listing = Listing()
    for place in range(len(member.source)):
        picture: str | DataError
        try:
            path = member.source.image_path(place)
        except Exception as error:  # what a loader did not foresee is broken, too
            picture, leaks = DataError(reason_of(error)), False
        else:
            picture, leaks = os.fspath(path), coco_id(path) in held_out
        if leaks and member.filtered:
            listing.left_out += 1
            continue
        if leaks:
            listing.leaked.append(place)
        listing.places.append(place)
        listing.pictures.append(picture)
    return listing


def reason_of(error: Exception) -> str:
    """The error in a line, with its name if the message alone says little."""
    text = " ".join(str(error).split())
    return text if isinstance(error, OSError | ValueError) and text else f"{type(error).__name__}: {text}"
