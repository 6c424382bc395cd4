"""What can be said of a scene for certain: which nouns are there, which are not, and which things are told apart."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from self1e.photos.nouns import Kind, Noun, Word, groups, nouns
from self1e.photos.scene import PhotoScene

LEAST_AREA = 0.0015
"""Share of the picture that something has to fill to be asked for; what is smaller is neither asked for nor absent."""

LEAST_GUESSED = 0.01
"""The same of labels that come from a model."""

LEAST_THING = 0.004
"""A single thing that shows less of itself may be a scrap at the border, which people would not count."""


@dataclass(frozen=True)
class Thing:
    """A single thing as it is seen. Lengths are shares of the picture's sides, the area one of the picture.

    Attributes:
        number: In `PhotoScene.things`.
        noun: What it is.
        area: Of what is visible.
        x: Of the centre of its visible pixels, which need not be that of its box.
        y: Of the same.
        left: Of its box.
        top: Of its box.
        width: Of its box.
        height: Of its box.
    """

    number: int
    noun: str
    area: float
    x: float
    y: float
    left: float
    top: float
    width: float
    height: float

    @property
    def across(self) -> tuple[float, float]:
        """Left and right border of its box."""
        return self.left, self.left + self.width

    @property
    def down(self) -> tuple[float, float]:
        """Upper and lower border of its box."""
        return self.top, self.top + self.height


@dataclass(frozen=True)
class Head:
    """What things can be called by one word, all of which are known.

    Attributes:
        name: Of the noun or group.
        words: The plain word first.
        things: From left to right.
        kind: As of nouns.
        group: Whether the things are of several nouns.
    """

    name: str
    words: tuple[Word, ...]
    things: tuple[Thing, ...]
    kind: Kind = "thing"
    group: bool = False

    @property
    def alone(self) -> bool:
        """Whether it is the only thing of a noun, and no part."""
        return len(self.things) == 1 and not self.group and self.kind == "thing"


class View:
    """Args:
    scene: What to look at.
    leave_out: Nouns that nothing is said about.
    trusting: Whether more is known not to be there than what people marked it for: `absent` and `trusted` in
        sets.toml. Good enough to learn from, not to measure with.
    """

    def __init__(self, scene: PhotoScene, leave_out: Collection[str] = (), *, trusting: bool = False) -> None:
        self.scene = scene
        self.trusted = frozenset(scene.photo.rules.trusted if trusting else ())
        self.unmarked = frozenset(scene.photo.rules.absent if trusting else ())
        self.left_out = {*leave_out, *scene.photo.rules.leave_out}

    @cached_property
    def areas(self) -> dict[str, float]:
        """Noun -> share of the picture, of all nouns with a pixel, unions of others among them."""
        counts = np.bincount(self.scene.labels.ravel() + 1, minlength=len(nouns()) + 2)[1:]
        shares = counts / self.scene.labels.size
        found = {noun.name: float(shares[noun.number]) for noun in nouns() if counts[noun.number]}
        for whole in self.scene.photo.rules.wholes:
            area = float(sum(shares[number] for number in self.scene.members(whole)))
            if area:
                found[whole] = area
        return found

    @cached_property
    def present(self) -> list[Noun]:
        """Nouns that are plainly there, and may be asked for."""
        rules = self.scene.photo.rules
        found = []
        for name, area in self.areas.items():
            least = LEAST_GUESSED if name in rules.guessed else LEAST_AREA
            if area >= least and name not in self.left_out:
                found.append(nouns()[name])
        return found

    @cached_property
    def known(self) -> frozenset[str]:
        """Nouns of which it is known whether they are there."""
        photo = self.scene.photo
        alike = {group for name in self.areas for group in nouns()[name].groups}
        trusted = {name for name in self.trusted if name in self.areas or alike.isdisjoint(nouns()[name].groups)}
        marked = photo.annotated - set(photo.rules.guessed) | trusted
        return frozenset(marked | self.unmarked) - self.left_out

    @cached_property
    def absent(self) -> list[Noun]:
        """Nouns that are certainly not there, nor anything that could be taken for them."""
        photo = self.scene.photo
        return [
            noun
            for noun in nouns()
            if noun.name in self.known
            and noun.name not in self.areas
            and not any(near in self.areas for near in (*noun.near, *photo.rules.unsure.get(noun.name, ())))
            and not (photo.rules.no_stuff and noun.kind == "stuff")
        ]

    @cached_property
    def things(self) -> dict[str, list[Thing]]:
        """Noun -> its things from left to right, where each of them is known and none is a scrap."""
        numbers = self.scene.things
        # Wholes first, so that what is told apart by a noun of its own is not taken for a whole it belongs to.
        members = {noun: self.scene.members(noun) for noun in sorted(self.scene.photo.told_apart)}
        wholes_first = sorted(members, key=lambda noun: -len(members[noun]))
        nouns_of = {number: noun for noun in wholes_first for number in members[noun]}
        found: dict[str, list[Thing]] = {}
        doubtful: set[str] = set()
        for number in np.unique(numbers[numbers > 0]):
            inside = numbers == number
            marked = self.scene.labels[inside]
            marked = marked[marked > 0]
            noun = nouns_of.get(int(np.bincount(marked).argmax())) if len(marked) else None
            if noun is None:
                continue
            thing = thing_of(int(number), noun, inside)
            found.setdefault(noun, []).append(thing)
            if thing.area < LEAST_THING:
                doubtful.add(noun)
        unsure = doubtful | self.left_out
        return {noun: sorted(row, key=lambda thing: thing.x) for noun, row in found.items() if noun not in unsure}

    @cached_property
    def heads(self) -> list[Head]:
        """Words for things that are told apart: their nouns, and groups of several nouns."""
        found = [Head(name, nouns()[name].words, tuple(row), nouns()[name].kind) for name, row in self.things.items()]
        for group in groups().values():
            there = [name for name in self.areas if name in group.members]
            sure = set(group.core) <= self.known and not any(name in self.areas for name in group.beside)
            if sure and len(there) > 1 and all(name in self.things for name in there) and group.words[0].plural:
                row = sorted((thing for name in there for thing in self.things[name]), key=lambda thing: thing.x)
                found.append(Head(group.name, group.words, tuple(row), group=True))
        return found


def thing_of(number: int, noun: str, inside: np.ndarray) -> Thing:
    """What is seen of a thing, from bool[H, W]: where it is."""
    height, width = inside.shape
    across, down = inside.sum(0), inside.sum(1)
    columns, rows = np.flatnonzero(across), np.flatnonzero(down)
    area = int(across.sum())
    return Thing(
        number,
        noun,
        area / inside.size,
        float(across @ (np.arange(width) + 0.5)) / area / width,
        float(down @ (np.arange(height) + 0.5)) / area / height,
        float(columns[0]) / width,
        float(rows[0]) / height,
        float(columns[-1] - columns[0] + 1) / width,
        float(rows[-1] - rows[0] + 1) / height,
    )
