"""Parts ("the roof of the blue house") and several things at once ("the two red balls", "all the wheels")."""

from __future__ import annotations

from collections.abc import Iterator

from numpy.random import Generator

from self1e.data.wording import Written, chance, pick
from self1e.toyland.language.naming import Name, adjective_word, names, noun_word, part_word
from self1e.toyland.language.query import Draft
from self1e.toyland.language.view import (
    MIN_AREA,
    MIN_PART_AREA,
    Head,
    SceneView,
    Test,
    anything,
    has_colour,
    is_scrap,
    stands_on,
    visible_parts,
)
from self1e.toyland.language.words import COLOURLESS, NUMBERS, ON_STUFF, PART_NOUNS, VAGUE_PARTS
from self1e.toyland.scene import COLOURS, Part, Thing

#: Kinds on and in stuff as a whole: "everything in the sky".
EVERYTHING = ("everything", "all things", "all the things")
#: Parts that come in rows, of which one can be singled out by its place.
ROWED_PARTS = ("window", "wheel")


def part_drafts(view: SceneView) -> list[Draft]:
    """The parts of every thing that can be named."""
    found: list[Draft] = []
    owners_of = _owners(view)
    for thing in view.objects:
        if not view.is_target(thing) or not thing.parts:
            continue
        owner_names = [name for name in names(view, thing) if name.noun == thing.kind]
        for part_name, parts in visible_parts(thing):
            if sum(part.area for part in parts) < MIN_PART_AREA:
                continue
            ids = tuple(part.id for part in parts)
            if part_name in VAGUE_PARTS:
                pass
            elif len(owners_of[part_name]) == 1:
                found.append(_only_part_draft(part_name, ids))
            elif _tells_by_colour(parts, owners_of[part_name]):
                found.append(_coloured_part_draft(part_name, parts))
            telling = [name for name in owner_names if not _mentions(name, part_name)]
            if telling:
                found.append(_owned_part_draft(part_name, ids, telling))
                found += _rowed_part_drafts(view, thing, part_name, parts, telling)
    return found


def _mentions(name: Name, part_name: str) -> bool:
    """Whether a name speaks of this part already: nobody says "the roof of the house with the red roof"."""
    return any(PART_NOUNS[part_name][0][0] in ending for ending in name.after)


def owned(rng: Generator, words: str, owner: Name) -> str:
    """ "the roof of the house" or, with a short owner, "the house's roof"."""
    name = owner.say(rng)
    if len(name.split()) <= 3 and not name.endswith("s") and chance(rng, 0.2):
        return f"{name}'s {words}"
    return f"the {words} of {name}"


def plural_drafts(view: SceneView) -> list[Draft]:
    """Several things at once."""
    found: list[Draft] = []
    for head in view.heads:
        for before, after, variety, test in _plural_filters(view, head):
            things = head.fitting(test)
            if things is not None and len(things) > 1 and _clear_enough(view, things):
                found.append(_plural_draft(head.noun, before, after, variety, things))
    for stuff, where in ON_STUFF.items():
        on_it = Head("", view.objects).fitting(stands_on(stuff))
        if on_it is not None and len(on_it) > 1 and stuff in view.stuff:
            found.append(_everything_draft(where, on_it))
    found += _all_parts_drafts(view)
    return found


def plural_words(rng: Generator, noun: str, before: str, after: tuple[str, ...], count: int | None) -> str:
    """For example "all the red cars", "both red cars", "the two cars on the road"."""
    word = noun_word(rng, noun, plural=True)
    if before:
        colour = adjective_word(rng, before)
        word = f"{word} in {colour}" if noun == "person" else f"{colour} {word}"
    starts = ["all the", "all", "all the", "the"]
    if count is not None and count < len(NUMBERS):
        starts += [f"the {NUMBERS[count]}", f"all {NUMBERS[count]}" if count > 2 else "both"]
    return " ".join(filter(None, [pick(rng, starts), word, pick(rng, after) if after else ""]))


def _owners(view: SceneView) -> dict[str, list[tuple[Thing, tuple[Part, ...]]]]:
    owners: dict[str, list[tuple[Thing, tuple[Part, ...]]]] = {}
    for thing in view.objects:
        for name, parts in visible_parts(thing):
            owners.setdefault(name, []).append((thing, parts))
    return owners


def _only_part_draft(part_name: str, ids: tuple[int, ...]) -> Draft:
    def write(rng: Generator) -> Written:
        return Written(f"the {part_word(rng, part_name, plural=len(ids) > 1)}")

    return Draft("part", "only", "phrase", write, parts=ids)


def _tells_by_colour(parts: tuple[Part, ...], owners: list[tuple[Thing, tuple[Part, ...]]]) -> bool:
    colours = [part.colour for _, others in owners for part in others]
    colour = parts[0].colour
    return colour is not None and None not in colours and colours.count(colour) == len(parts) == 1


def _coloured_part_draft(part_name: str, parts: tuple[Part, ...]) -> Draft:
    def write(rng: Generator) -> Written:
        return Written(f"the {adjective_word(rng, parts[0].colour or '')} {part_word(rng, part_name)}")

    return Draft("part", "colour", "phrase", write, parts=tuple(part.id for part in parts))


def _owned_part_draft(part_name: str, ids: tuple[int, ...], owner_names: list[Name]) -> Draft:
    def write(rng: Generator) -> Written:
        return Written(owned(rng, part_word(rng, part_name, plural=len(ids) > 1), pick(rng, owner_names)))

    return Draft("part", part_name, "phrase", write, parts=ids)


def _rowed_part_drafts(
    view: SceneView, thing: Thing, part_name: str, parts: tuple[Part, ...], owner_names: list[Name]
) -> Iterator[Draft]:
    """ "the left wheel of the car": the outer ones of a row of parts."""
    if part_name not in ROWED_PARTS or not 2 <= len(parts) <= 5:
        return
    row = sorted((view.part_centre(part, thing)[0], part.id, part.area) for part in parts)
    for end, (x, part_id, area), (neighbour, _, _) in (("left", row[0], row[1]), ("right", row[-1], row[-2])):
        if area >= MIN_PART_AREA and abs(x - neighbour) > 0.03:
            words = (f"{end}most",) if len(row) > 2 else (end, f"{end}most")
            yield _rowed_part_draft(part_name, part_id, words, owner_names)


def _rowed_part_draft(part_name: str, part_id: int, words: tuple[str, ...], owner_names: list[Name]) -> Draft:
    def write(rng: Generator) -> Written:
        return Written(owned(rng, f"{pick(rng, words)} {PART_NOUNS[part_name][0][0]}", pick(rng, owner_names)))

    return Draft("part", "row", "phrase", write, parts=(part_id,))


def _plural_filters(view: SceneView, head: Head) -> Iterator[tuple[str, tuple[str, ...], str, Test]]:
    """(adjective, endings, variety, test) of the subsets of a kind that can be named."""
    yield "", (), "group" if head.is_group else "kind", anything
    for colour in {thing.colour: None for thing in head.members}:
        if colour in COLOURS and colour is not None and head.noun not in COLOURLESS:
            yield colour, (), "colour", has_colour(colour)
    if head.noun not in ("sun", "moon", "cloud"):
        for stuff in view.stuff:
            if stuff in ON_STUFF:
                yield "", ON_STUFF[stuff], "on", stands_on(stuff)


def _clear_enough(view: SceneView, things: tuple[Thing, ...]) -> bool:
    return any(view.is_target(thing) for thing in things) and sum(thing.area for thing in things) >= MIN_AREA


def _plural_draft(noun: str, before: str, after: tuple[str, ...], variety: str, things: tuple[Thing, ...]) -> Draft:
    count = None if any(is_scrap(thing) for thing in things) else len(things)

    def write(rng: Generator) -> Written:
        return Written(plural_words(rng, noun, before, after, count))

    return Draft("plural", variety, "phrase", write, tuple(thing.id for thing in things))


def _everything_draft(where: tuple[str, ...], things: tuple[Thing, ...]) -> Draft:
    def write(rng: Generator) -> Written:
        return Written(f"{pick(rng, EVERYTHING)} {pick(rng, where)}")

    return Draft("plural", "everything", "phrase", write, tuple(thing.id for thing in things))


def _all_parts_drafts(view: SceneView) -> Iterator[Draft]:
    """ "all the wheels", and "the windows of the two houses"."""
    for name, owned_parts in _owners(view).items():
        ids = tuple(part.id for _, parts in owned_parts for part in parts)
        area = sum(part.area for _, parts in owned_parts for part in parts)
        if len(owned_parts) > 1 and name not in VAGUE_PARTS and area >= 2 * MIN_PART_AREA:
            yield _all_parts_draft(name, "", ids)
        for kind in {thing.kind: None for thing, _ in owned_parts}:
            mine = [part for thing, parts in owned_parts if thing.kind == kind for part in parts]
            several = len({thing.id for thing, _ in owned_parts if thing.kind == kind}) > 1
            if several and sum(part.area for part in mine) >= 2 * MIN_PART_AREA:
                yield _all_parts_draft(name, kind, tuple(part.id for part in mine))


def _all_parts_draft(part_name: str, kind: str, ids: tuple[int, ...]) -> Draft:
    def write(rng: Generator) -> Written:
        words = f"{pick(rng, ('all the', 'all', 'the'))} {part_word(rng, part_name, plural=True)}"
        return Written(f"{words} of the {noun_word(rng, kind, plural=True)}" if kind else words)

    return Draft("plural", "parts_of_kind" if kind else "parts", "phrase", write, parts=ids)
