"""A scene as the grammar sees it: what may be asked for, what stands in the way, and how things lie to each other.

Every test answers in three values: yes, no, or "people would argue". A phrase is only used when it says yes to exactly
one thing and no to all others, whatever little of them is visible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from self1e.toyland.language.words import ALSO, COLOURLESS, GROUPS, NEAR_GROUND, NEAR_POSES, NOUNS
from self1e.toyland.scene import COLOURS, Part, Scene, Thing

if TYPE_CHECKING:
    from self1e.toyland.language.naming import Name

MIN_AREA = 600
MIN_VISIBILITY = 0.45
MIN_PART_AREA = 500
#: Less than this is a scrap that a viewer may or may not count.
SCRAP_AREA = 120
SCRAP_VISIBILITY = 0.25

YES, NO, UNSURE = 1, 0, -1

Test = Callable[[Thing], int]


@dataclass(frozen=True)
class Head:
    """What a noun can mean in a scene: its `members`, and the things of which it is `doubtful`."""

    noun: str
    members: tuple[Thing, ...]
    doubtful: tuple[Thing, ...] = ()

    def has(self, thing: Thing) -> bool:
        """Whether a thing is a member. (Things compare by all they hold, which is slow.)"""
        return any(member is thing for member in self.members)

    @property
    def is_group(self) -> bool:
        """Whether the noun covers several kinds ("animal")."""
        return self.noun in GROUPS

    def fitting(self, test: Test) -> tuple[Thing, ...] | None:
        """The members that the test fits; None if any answer is unsure."""
        answers = [test(thing) for thing in self.members]
        if UNSURE in answers or any(test(thing) != NO for thing in self.doubtful):
            return None
        return tuple(thing for thing, answer in zip(self.members, answers, strict=True) if answer == YES)

    def only(self, test: Test) -> Thing | None:
        """The one member that the test fits, if there is exactly one and no doubt about any other."""
        fitting = self.fitting(test)
        return fitting[0] if fitting is not None and len(fitting) == 1 else None


class SceneView:
    """What the grammar asks of a scene again and again, worked out once."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.height, self.width = scene.object_map.shape
        self.objects: tuple[Thing, ...] = tuple(thing for thing in scene.things if not thing.is_stuff)
        self.stuff: dict[str, tuple[Thing, ...]] = _by_kind(thing for thing in scene.things if thing.is_stuff)
        self.kinds: dict[str, tuple[Thing, ...]] = _by_kind(self.objects)
        self.targets = frozenset(thing.id for thing in self.objects if _is_target(thing))
        self.names: dict[int, list[Name]] = {}  # filled by `naming.names`
        self.row = {thing.id: row for row, thing in enumerate(self.objects)}

    def members(self, kinds: Iterable[str]) -> tuple[Thing, ...]:
        """All objects of these kinds."""
        return tuple(thing for kind in kinds for thing in self.kinds.get(kind, ()))

    def head(self, noun: str) -> Head:
        """What a kind ("bird") or a group ("animal") can mean here."""
        if noun in GROUPS:
            certain, arguable, _ = GROUPS[noun]
            return Head(noun, self.members(certain), self.members(arguable))
        return Head(noun, self.kinds.get(noun, ()), self.members(ALSO.get(noun, ())))

    @cached_property
    def heads(self) -> tuple[Head, ...]:
        """The nouns with members in this scene; a group only where it covers more than one kind."""
        kinds = [self.head(kind) for kind in self.kinds]
        groups = [self.head(group) for group in GROUPS]
        return (*kinds, *(head for head in groups if len({thing.kind for thing in head.members}) > 1))

    @cached_property
    def absent_kinds(self) -> tuple[str, ...]:
        """Kinds of which there is nothing at all, not even something that might pass for one."""
        heads = [self.head(kind) for kind in NOUNS if not (kind == "person" and self.has_driver)]
        return tuple(head.noun for head in heads if not head.members and not head.doubtful)

    @property
    def has_driver(self) -> bool:
        """Whether the head of a driver shows in a car: someone is there, but nobody to count or point at."""
        return any(thing.pose == "driving" for thing in self.kinds.get("car", ()))

    def is_target(self, thing: Thing) -> bool:
        """Whether enough of a thing is visible to ask for it."""
        return thing.id in self.targets

    # How things lie to each other. Row: the thing, column: the thing it is related to; values YES, NO or UNSURE.

    @cached_property
    def _boxes(self) -> np.ndarray:
        """float[4, N]: x0, y0, x1, y1 as fractions of the picture."""
        scale = np.array([self.width, self.height, self.width, self.height])
        return (np.array([thing.box for thing in self.objects], dtype=float).reshape(-1, 4) / scale).T

    @cached_property
    def _centres(self) -> np.ndarray:
        """float[2, N]: x, y as fractions of the picture."""
        scale = np.array([self.width, self.height])
        return (np.array([thing.centre for thing in self.objects], dtype=float).reshape(-1, 2) / scale).T

    @cached_property
    def _feet(self) -> np.ndarray:
        """float[N]: y of the foot as a fraction of the picture, NaN in the sky."""
        feet = [thing.foot[1] if thing.foot is not None else np.nan for thing in self.objects]
        return np.array(feet, dtype=float) / self.height

    @cached_property
    def gaps(self) -> tuple[np.ndarray, np.ndarray]:
        """float[N, N] twice: the horizontal and the vertical distance between boxes, 0 where they overlap."""
        x0, y0, x1, y1 = self._boxes
        across = np.maximum(_difference(x0, x1), -_difference(x1, x0))
        down = np.maximum(_difference(y0, y1), -_difference(y1, y0))
        return np.maximum(across, 0), np.maximum(down, 0)

    @cached_property
    def distances(self) -> np.ndarray:
        """float[N, N]: between centres, in widths of the picture."""
        x, y = self._centres
        return np.hypot(_difference(x, x), _difference(y, y) * self.height / self.width)

    @cached_property
    def relations(self) -> dict[str, list[list[int]]]:
        """For each relation, `relations[name][row of thing][row of anchor]`."""
        x, y = self._centres
        x0, y0, x1, y1 = self._boxes
        dx, dy = _difference(x, x), _difference(y, y)
        nearer = _difference(self._feet, self._feet)
        across, down = self.gaps
        meets = (across <= 0) & (down < 0.06)
        apart = (across > 0.12) | (down > 0.2)
        beside = (np.hypot(across, down) < 0.05) & (np.abs(nearer) < 0.05) & (across + 0.02 > 0) & (np.abs(dx) > 0.06)
        stacked, scattered = np.abs(dx) < 0.12, np.abs(dx) > 0.3
        with np.errstate(invalid="ignore"):
            tests = {
                "left": ((dx < -0.08) & (_difference(x, x0) < 0.02), dx > -0.02),
                "right": ((dx > 0.08) & (_difference(x, x1) > -0.02), dx < 0.02),
                "above": ((_difference(y1, y0) < 0.02) & stacked, (dy > -0.02) | scattered),
                "below": ((_difference(y0, y1) > -0.02) & stacked, (dy < 0.02) | scattered),
                "behind": ((nearer < -0.02) & meets, ~(nearer < -0.005) | apart),
                "front": ((nearer > 0.02) & meets, ~(nearer > 0.005) | apart),
                "beside": (beside, np.hypot(across, down) > 0.14),
            }
        return {name: _three_valued(yes, no).tolist() for name, (yes, no) in tests.items()}

    def relation(self, name: str, anchor: Thing) -> Test:
        """The test whether a thing stands in this relation to the anchor."""
        table, column = self.relations[name], self.row[anchor.id]
        return lambda thing: NO if thing.id == anchor.id else table[self.row[thing.id]][column]

    def part_centre(self, part: Part, owner: Thing) -> tuple[float, float]:
        """x, y of the visible pixels of a part, as fractions of the picture."""
        x0, y0, x1, y1 = owner.box
        rows, columns = np.nonzero(self.scene.part_map[y0:y1, x0:x1] == part.id)
        return (float(columns.mean()) + x0) / self.width, (float(rows.mean()) + y0) / self.height


def anything(_: Thing) -> int:
    """The test that fits all."""
    return YES


def has_colour(colour: str) -> Test:
    """Whether a thing is of this colour.

    Unsure if it has none of its own, if it is another but a good part of it is (a red roof), or if it is but more of it
    is another (a truck goes by its cab, which is small).
    """

    def test(thing: Thing) -> int:
        if thing.colour is None:
            return UNSURE
        areas = _colour_areas(thing)
        if thing.colour == colour:
            return YES if all(area <= 1.2 * areas.get(colour, thing.area) for area in areas.values()) else UNSURE
        return UNSURE if areas.get(colour, 0) > 0.12 * thing.area else NO

    return test


def plain_colour(thing: Thing) -> str | None:
    """The colour that everyone would give it, if there is one and it is worth a word."""
    if thing.colour is None or thing.kind in COLOURLESS or thing.colour not in COLOURS:
        return None
    return thing.colour if has_colour(thing.colour)(thing) == YES else None


def _colour_areas(thing: Thing) -> dict[str, int]:
    areas: dict[str, int] = {}
    for part in thing.parts:
        if part.colour is not None:
            areas[part.colour] = areas.get(part.colour, 0) + part.area
    return areas


def has_texture(texture: str) -> Test:
    """Whether a thing has this pattern."""
    return lambda thing: int(thing.texture == texture)


def has_pose(pose: str) -> Test:
    """Whether a thing is in this pose; unsure about poses that look like it."""
    near = NEAR_POSES.get(pose, ())
    return lambda thing: YES if thing.pose == pose else UNSURE if thing.pose in near else NO


def stands_on(stuff: str) -> Test:
    """Whether a thing is on this kind of stuff; unsure between a hill and the grass before it."""
    near = NEAR_GROUND.get(stuff, ())
    return lambda thing: YES if thing.on == stuff else UNSURE if thing.on is None or thing.on in near else NO


def has_part(name: str, colour: str | None = None) -> Test:
    """Whether a thing shows a part of this name (and colour); unsure if hardly anything of the part is visible."""

    def test(thing: Thing) -> int:
        parts = [part for part in thing.parts if part.name == name]
        if not parts:
            return NO
        if any(part.area < 60 for part in parts):
            return UNSURE
        return int(colour is None or all(part.colour == colour for part in parts))

    return test


def both(first: Test, second: Test) -> Test:
    """Whether two tests fit."""

    def test(thing: Thing) -> int:
        answers = first(thing), second(thing)
        return NO if NO in answers else UNSURE if UNSURE in answers else YES

    return test


def is_scrap(thing: Thing) -> bool:
    """Whether so little of a thing is visible that one may overlook it."""
    return thing.area < SCRAP_AREA or thing.visibility < SCRAP_VISIBILITY


def visible_parts(thing: Thing) -> Iterator[tuple[str, tuple[Part, ...]]]:
    """The named parts of a thing of which something shows, those of one name together."""
    names: dict[str, list[Part]] = {}
    for part in thing.parts:
        if part.area > 0:
            names.setdefault(part.name, []).append(part)
    for name, parts in names.items():
        yield name, tuple(parts)


def _is_target(thing: Thing) -> bool:
    return thing.area >= MIN_AREA and thing.visibility >= MIN_VISIBILITY


def _by_kind(things: Iterable[Thing]) -> dict[str, tuple[Thing, ...]]:
    found: dict[str, list[Thing]] = {}
    for thing in things:
        found.setdefault(thing.kind, []).append(thing)
    return {kind: tuple(members) for kind, members in found.items()}


def _difference(mine: np.ndarray, others: np.ndarray) -> np.ndarray:
    """float[N, N]: row minus column."""
    return mine[:, None] - others[None, :]


def _three_valued(yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    return np.where(no, NO, np.where(yes, YES, UNSURE))
