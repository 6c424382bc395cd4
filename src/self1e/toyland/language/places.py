"""Naming things by where they are: beside, behind or nearest to something, on the road, on the left of the picture."""

from __future__ import annotations

from collections.abc import Iterator

from numpy.random import Generator

from self1e.data.wording import Written, chance, pick, shuffled
from self1e.toyland.language.naming import Name, names
from self1e.toyland.language.query import Draft
from self1e.toyland.language.view import NO, UNSURE, YES, Head, SceneView, Test, plain_colour, stands_on
from self1e.toyland.language.words import ON_STUFF
from self1e.toyland.scene import Thing

#: How each relation of `SceneView.relations` is said.
RELATIONS: dict[str, tuple[str, ...]] = {
    "left": ("to the left of", "left of", "on the left of"),
    "right": ("to the right of", "right of", "on the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
    "behind": ("behind",),
    "front": ("in front of",),
    "beside": ("next to", "beside"),
}
NEAREST = ("nearest to", "closest to")

PICTURE = ("picture", "image")
#: Places in the picture: how each is said ({picture} is one of `PICTURE`).
REGIONS: dict[str, tuple[str, ...]] = {
    "left": ("on the left side of the {picture}", "on the left", "at the left edge of the {picture}"),
    "right": ("on the right side of the {picture}", "on the right", "at the right edge of the {picture}"),
    "middle": ("in the middle of the {picture}", "in the middle"),
    "corner_left": ("in the top left corner", "in the upper left corner"),
    "corner_right": ("in the top right corner", "in the upper right corner"),
}
NEAR_US = ("closest to us", "in the foreground", "nearest to the viewer")
FAR_FROM_US = ("farthest away from us", "in the background")

HEAVENLY = ("sun", "moon", "cloud")

#: An anchor may be named in these ways (others would nest relations).
ANCHOR_KINDS = ("class", "attribute")


def region_test(view: SceneView, region: str) -> Test:
    """Whether a thing is in a part of the picture, with a wide band of doubt."""

    def test(thing: Thing) -> int:
        x, y = thing.centre[0] / view.width, thing.centre[1] / view.height
        if region.endswith("right"):
            x = 1 - x
        if region == "middle":
            return YES if abs(x - 0.5) < 0.1 else NO if abs(x - 0.5) > 0.22 else UNSURE
        if region.startswith("corner"):
            return YES if x < 0.3 and y < 0.25 else NO if x > 0.42 or y > 0.4 else UNSURE
        return YES if x < 0.25 else NO if x > 0.42 else UNSURE

    return test


def anchors(view: SceneView, rng: Generator, limit: int) -> list[Name]:
    """One name each for up to `limit` things that are easily told, to relate others to."""
    found = []
    for thing in shuffled(rng, [thing for thing in view.objects if view.is_target(thing)]):
        simple = [name for name in names(view, thing) if name.kind in ANCHOR_KINDS and name.noun == thing.kind]
        plain = [name for name in simple if name.kind == "class"]
        if simple:
            found.append(pick(rng, plain or simple))
        if len(found) >= limit:
            break
    return found


def spatial_drafts(view: SceneView, rng: Generator, *, anchor_limit: int = 8) -> list[Draft]:
    """All references by place."""
    found: list[Draft] = []
    for head in view.heads:
        found += _region_drafts(view, head)
        found += _on_drafts(view, head)
        found += _depth_drafts(view, head)
    for anchor in anchors(view, rng, anchor_limit):
        for head in view.heads:
            found += _related_drafts(view, head, anchor)
    return found


def suits(relation: str, thing: Thing, anchor: Thing) -> bool:
    """Whether people would relate these two: not a dog to the sun, nor the sun to a dog."""
    if thing.kind in HEAVENLY and anchor.foot is not None:
        return relation == "above" and thing.kind == "cloud" and anchor.kind in ("house", "tree", "boat")
    if relation == "below":
        return anchor.foot is None and anchor.kind not in HEAVENLY
    if relation == "above":
        return thing.foot is None and anchor.kind not in HEAVENLY
    return anchor.kind not in HEAVENLY or thing.foot is None


def related_phrase(rng: Generator, thing: Thing, noun: str, where: str) -> str:
    """ "the dog {where}", now and then with the thing's colour, which cannot make it less unique."""
    colour = plain_colour(thing)
    before = (colour,) if colour is not None and thing.kind != "person" and chance(rng, 0.2) else ()
    return Name(thing, "spatial", "", noun, before, (where,)).say(rng)


def _draft(view: SceneView, thing: Thing | None, variety: str, noun: str, where: tuple[str, ...]) -> Iterator[Draft]:
    if thing is None or not view.is_target(thing):
        return

    def write(rng: Generator) -> Written:
        return Written(related_phrase(rng, thing, noun, pick(rng, where).format(picture=pick(rng, PICTURE))))

    yield Draft("spatial", variety, "phrase", write, (thing.id,))


def _region_drafts(view: SceneView, head: Head) -> Iterator[Draft]:
    if head.is_group or len(head.members) > 1:
        for region, words in REGIONS.items():
            yield from _draft(view, head.only(region_test(view, region)), "region", head.noun, words)


def _on_drafts(view: SceneView, head: Head) -> Iterator[Draft]:
    alone = "_alone" if len(head.members) == 1 else ""
    for stuff in view.stuff:
        if stuff in ON_STUFF and (not alone or stuff != "sky"):
            yield from _draft(view, head.only(stands_on(stuff)), "on" + alone, head.noun, ON_STUFF[stuff])


def _depth_drafts(view: SceneView, head: Head) -> Iterator[Draft]:
    """The one in the foreground, and the one in the background."""
    everyone = (*head.members, *head.doubtful)
    if len(everyone) < 2 or head.doubtful:
        return
    feet = [(thing.foot[1] / view.height, thing) for thing in everyone if thing.foot is not None]
    if len(feet) < len(everyone):
        return
    feet.sort(key=lambda pair: pair[0])
    if feet[-1][0] - feet[-2][0] > 0.06:
        yield from _draft(view, feet[-1][1], "near_us", head.noun, NEAR_US)
    if feet[1][0] - feet[0][0] > 0.06:
        yield from _draft(view, feet[0][1], "far_from_us", head.noun, FAR_FROM_US)


def _related_drafts(view: SceneView, head: Head, anchor: Name) -> Iterator[Draft]:
    for relation, words in RELATIONS.items():
        thing = head.only(view.relation(relation, anchor.thing))
        if thing is None or not view.is_target(thing) or not suits(relation, thing, anchor.thing):
            continue
        alone = "_alone" if len(head.members) == 1 else ""
        yield relation_draft(thing, head.noun, relation + alone, words, anchor)
    nearest = _nearest(view, head, anchor.thing)
    if nearest is not None and view.is_target(nearest):
        yield relation_draft(nearest, head.noun, "nearest", NEAREST, anchor)


def relation_draft(thing: Thing, noun: str, variety: str, words: tuple[str, ...], anchor: Name) -> Draft:
    """ "the dog behind the house"."""

    def write(rng: Generator) -> Written:
        return Written(related_phrase(rng, thing, noun, f"{pick(rng, words)} {anchor.say(rng)}"))

    return Draft("spatial", variety, "phrase", write, (thing.id,))


def _nearest(view: SceneView, head: Head, anchor: Thing) -> Thing | None:
    """The member that is clearly nearest to the anchor, by centres and by the gap between."""
    if len(head.members) < 2 or head.doubtful or head.has(anchor) or anchor.foot is None:
        return None
    if any(thing.foot is None for thing in head.members):
        return None
    column = view.row[anchor.id]
    across, down = view.gaps
    ranked = sorted(head.members, key=lambda thing: float(view.distances[view.row[thing.id], column]))
    first, second = (view.row[thing.id] for thing in ranked[:2])
    near, next_near = float(view.distances[first, column]), float(view.distances[second, column])
    gaps = (across + down)[[view.row[thing.id] for thing in ranked], column]
    clear = next_near > 1.4 * near and next_near - near > 0.08 and gaps[0] <= gaps[1:].min()
    return ranked[0] if clear else None
