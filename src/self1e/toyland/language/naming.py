"""Naming things by what they are and how they look: class, attribute, size and ordinal phrases, and stuff."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

from numpy.random import Generator

from self1e.data.wording import Written, chance, pick
from self1e.toyland.language.query import Draft
from self1e.toyland.language.view import (
    NO,
    UNSURE,
    YES,
    Head,
    SceneView,
    Test,
    anything,
    both,
    has_colour,
    has_part,
    has_pose,
    has_texture,
    plain_colour,
)
from self1e.toyland.language.words import (
    ADJECTIVES,
    GROUPS,
    NOUNS,
    NUMBERS,
    OPTIONAL_PARTS,
    ORDINALS,
    PART_NOUNS,
    POSES,
    STUFF_NOUNS,
    SUPERLATIVES,
    TELLING_PARTS,
    UNCOUNTABLE_PARTS,
)
from self1e.toyland.scene import COLOURS, Thing

#: A superlative must be this many times the runner-up.
CLEAR_RATIO = 1.4
#: Neighbours in a row must be this far apart, in widths of the picture.
CLEAR_STEP = 0.05


@dataclass(frozen=True)
class Name:
    """A noun phrase, from which words are chosen when it is said.

    `before` are adjectives, `after` one or more equally good endings ("with the red roof") of which one is used.
    """

    thing: Thing
    kind: str
    variety: str
    noun: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    ordinal: bool = False

    def say(self, rng: Generator) -> str:
        """For example "the red car". Short, as it may become a piece of a longer phrase."""
        return noun_phrase(rng, self.noun, self.before, pick(rng, self.after) if self.after else "")

    def draft(self) -> Draft:
        """The query that asks for it."""
        return Draft(self.kind, self.variety, "phrase", self.write, things=(self.thing.id,))

    def write(self, rng: Generator) -> Written:
        """Say it alone, where an adjective may also stand behind the noun: "the car that is red"."""
        movable = len(self.before) == 1 and not self.after and not self.ordinal
        if movable and self._reads_behind and chance(rng, 0.2):
            return Written(f"the {noun_word(rng, self.noun)} that is {adjective_word(rng, self.before[0])}")
        return Written(self.say(rng))

    @property
    def _reads_behind(self) -> bool:
        return not (self.noun == "person" and self.before[0] in COLOURS)


def noun_word(rng: Generator, noun: str, *, plural: bool = False) -> str:
    """A synonym of a kind or group; the plain word most often."""
    synonyms = GROUPS[noun][2] if noun in GROUPS else NOUNS[noun]
    pair = synonyms[0] if len(synonyms) == 1 or chance(rng, 0.6) else pick(rng, synonyms[1:])
    return pair[plural]


def plain_noun(noun: str, *, plural: bool = False) -> str:
    """The word for a kind that answers use."""
    return NOUNS[noun][0][plural]


def adjective_word(rng: Generator, adjective: str) -> str:
    """A synonym of an adjective."""
    return pick(rng, ADJECTIVES.get(adjective, (adjective,)))


def part_word(rng: Generator, part: str, *, plural: bool = False) -> str:
    """A synonym of a part."""
    return pick(rng, PART_NOUNS[part])[plural]


def noun_phrase(rng: Generator, noun: str, before: tuple[str, ...] = (), after: str = "", article: str = "the") -> str:
    """A singular noun phrase: article, adjectives, noun, ending."""
    word = noun_word(rng, noun)
    adjectives = [adjective_word(rng, adjective) for adjective in before]
    if noun == "person" and before and before[-1] in COLOURS:  # their clothes are red, not they
        word = f"{word} in {adjectives.pop()}"
    return " ".join(filter(None, [article, *adjectives, word, after]))


def article_for(word: str) -> str:
    """ "a" or "an"."""
    return "an" if word[0] in "aeiou" else "a"


def names(view: SceneView, thing: Thing) -> list[Name]:
    """All ways to name one thing without relating it to others of another kind; those that fit it alone."""
    if thing.id in view.names:
        return view.names[thing.id]
    found = view.names[thing.id] = []
    for head in view.heads:
        if head.has(thing) and not (head.is_group and len(head.members) == 1):
            found += [*_class_names(head, thing), *_attribute_names(head, thing), *_size_names(head, thing)]
            found += _ordinal_names(view, head, thing)
    return found


def stuff_drafts(view: SceneView) -> list[Draft]:
    """ "the grass": all regions of it together."""
    return [
        Draft("stuff", kind, "phrase", partial(_write_stuff, kind), tuple(region.id for region in regions))
        for kind, regions in view.stuff.items()
        if sum(region.area for region in regions) >= 600
    ]


def stuff_word(rng: Generator, kind: str) -> str:
    """A synonym of a kind of stuff."""
    synonyms = STUFF_NOUNS[kind]
    return synonyms[0] if chance(rng, 0.6) else pick(rng, synonyms)


def size_test(head: Head, size: str) -> Test:
    """Whether a thing is "small" or "large": by its own size, unless perspective makes it look otherwise."""

    def test(thing: Thing) -> int:
        if thing.size is None:
            return UNSURE
        if thing.size != size:
            return NO
        others = [_height(other) for other in head.members if other.size != size]
        looks = (
            all(_height(thing) > 1.1 * other for other in others)
            if size == "large"
            else all(1.1 * _height(thing) < other for other in others)
        )
        return YES if looks else UNSURE

    return test


def _write_stuff(kind: str, rng: Generator) -> Written:
    return Written(f"the {stuff_word(rng, kind)}")


def _class_names(head: Head, thing: Thing) -> Iterator[Name]:
    if head.only(anything) is thing:
        yield Name(thing, "class", head.noun, head.noun)


def _attribute_names(head: Head, thing: Thing) -> Iterator[Name]:
    alone = "_alone" if len(head.members) == 1 else ""
    adjectives = list(_adjectives(thing))
    for variety, word, test in adjectives:
        if head.only(test) is thing:
            yield Name(thing, "attribute", variety + alone, head.noun, before=(word,))
    for i, (_, first, first_test) in enumerate(adjectives):
        for _, second, second_test in adjectives[:i]:
            if head.only(both(first_test, second_test)) is thing:
                yield Name(thing, "attribute", "two" + alone, head.noun, before=(first, second))
    if head.is_group:
        return
    if thing.kind == "person" and thing.texture != "plain" and head.only(has_texture(thing.texture)) is thing:
        shirt = f"the {thing.texture} shirt"
        yield Name(thing, "attribute", "texture" + alone, head.noun, after=_having(thing, shirt, "shirt"))
    for part in OPTIONAL_PARTS.get(thing.kind, ()):
        if len(head.members) > 1 and head.only(has_part(part)) is thing:
            after = _having(thing, f"a {PART_NOUNS[part][0][0]}", part)
            yield Name(thing, "attribute", "having", head.noun, after=after)
    telling = TELLING_PARTS.get(thing.kind, ())
    for name, colour in [(part.name, part.colour) for part in thing.parts if part.name in telling]:
        if colour is not None and head.only(has_part(name, colour)) is thing:
            words = f"{colour} {PART_NOUNS[name][0][0]}"
            after = _having(thing, words if name in UNCOUNTABLE_PARTS else f"the {words}", name)
            yield Name(thing, "attribute", "part_colour" + alone, head.noun, after=after)


def _having(thing: Thing, phrase: str, part: str) -> tuple[str, ...]:
    worn = part in ("hat", "shirt", "trousers", "scarf")
    return (f"with {phrase}", f"wearing {phrase}") if worn and thing.kind == "person" else (f"with {phrase}",)


def _adjectives(thing: Thing) -> Iterator[tuple[str, str, Test]]:
    """(variety, adjective, its test); colour first, as it stands next to the noun."""
    colour = plain_colour(thing)
    if colour is not None:
        yield "colour", colour, has_colour(colour)
    if thing.texture != "plain" and thing.kind != "person":
        yield "texture", thing.texture, has_texture(thing.texture)
    if thing.pose in POSES.get(thing.kind, ()):
        yield "pose", thing.pose, has_pose(thing.pose)


def _size_names(head: Head, thing: Thing) -> Iterator[Name]:
    others = [other for other in (*head.members, *head.doubtful) if other is not thing]
    if not others:
        return
    if not head.is_group and thing.size in ("small", "large") and head.only(size_test(head, thing.size)) is thing:
        yield Name(thing, "size", thing.size, head.noun, before=(thing.size,))
    scales = {
        "largest": _exceeds(thing, others, 1),
        "smallest": _exceeds(thing, others, -1),
        "tallest": all(_height(thing) > CLEAR_RATIO * _height(other) for other in others),
    }
    for superlative, holds in scales.items():
        if holds:
            words = SUPERLATIVES[superlative]
            name = Name(thing, "size", superlative, head.noun, ordinal=True)
            yield from (replace(name, before=(word,)) for word in words)


def _exceeds(thing: Thing, others: list[Thing], direction: int) -> bool:
    """Whether a thing is clearly larger (or smaller) than all others, as seen and also if nothing hid them."""

    def clear(a: float, b: float) -> bool:
        return a > CLEAR_RATIO * b if direction > 0 else CLEAR_RATIO * a < b

    return all(
        clear(thing.area, other.area)
        and clear(thing.area / thing.visibility, other.area / max(other.visibility, 0.01))
        and (_height(thing) - _height(other)) * direction > 0
        for other in others
    )


def _height(thing: Thing) -> int:
    return thing.box[3] - thing.box[1]


def _ordinal_names(view: SceneView, head: Head, thing: Thing) -> Iterator[Name]:
    if head.doubtful or not 2 <= len(head.members) <= 6:
        return
    row = sorted(head.members, key=lambda other: other.centre[0])
    steps = [(b.centre[0] - a.centre[0]) / view.width > CLEAR_STEP for a, b in pairwise(row)]
    place = row.index(thing)
    for end, order, step in (("left", place, steps[0]), ("right", len(row) - 1 - place, steps[-1])):
        if order == 0 and step:
            yield Name(thing, "ordinal", f"{end}most", head.noun, before=(f"{end}most",), ordinal=True)
            yield Name(thing, "ordinal", f"{end}most", head.noun, after=(f"furthest to the {end}",))
        if all(steps) and len(row) <= 5 and (order > 0 or len(row) > 2):  # of two, "leftmost" says it better
            ending = (f"from the {end}", f"counting from the {end}")
            yield Name(thing, "ordinal", f"nth_{end}", head.noun, (ORDINALS[order],), ending, ordinal=True)
    if len(row) in (3, 5) and place == len(row) // 2 and all(steps):
        ending = (f"of the {NUMBERS[len(row)]}", "")
        yield Name(thing, "ordinal", "middle", head.noun, ("middle",), ending, ordinal=True)
