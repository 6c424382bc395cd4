"""Telling one of several things by its place in the row, its size, its side of the picture, or what is beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise

from numpy.random import Generator

from self1e.data.wording import NUMBERS, ORDINALS, Written, pick
from self1e.photos.language.query import Draft, Target
from self1e.photos.language.view import Head, Thing, View
from self1e.photos.language.words import is_plural, word_of
from self1e.photos.nouns import Word

CLEAR_STEP = 0.05
"""Neighbours in a row must be this far apart, in widths of the picture."""

CLEAR_RATIO = 1.5
"""The largest must be this many times the runner-up."""

MOST_IN_ROW = 5
INSIDE = 0.46
"""A thing that ends before this share of the picture is in the left, or upper, half of it."""

SLACK = 0.02
"""How far things beside each other may overlap, in sides of the picture."""

#: Ways to name the thing at an end; "{0}" is the noun, "{1}" the side.
AT_END = ("the {1}most {0}", "the {0} on the far {1}", "the {0} furthest to the {1}")
OF_TWO = ("the {0} on the {1}", "the {1} {0}", "the {0} on the {1} side", *AT_END)
SIZES = {"largest": ("the largest {0}", "the biggest {0}"), "smallest": ("the smallest {0}",)}
REGIONS = {
    "left": ("the {0} on the left", "the {0} on the left side of the picture", "the {0} in the left half"),
    "right": ("the {0} on the right", "the {0} on the right side of the picture", "the {0} in the right half"),
    "top": ("the {0} at the top", "the {0} in the upper half"),
    "bottom": ("the {0} at the bottom", "the {0} in the lower half"),
}
OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
RELATIONS = {
    "left": ("the {0} to the left of the {1}", "the {0} left of the {1}"),
    "right": ("the {0} to the right of the {1}", "the {0} right of the {1}"),
    "top": ("the {0} above the {1}",),
    "bottom": ("the {0} below the {1}",),
}


def ordinal_drafts(view: View, rng: Generator) -> Iterator[Draft]:
    """The leftmost, the second from the right, the middle one."""
    for head in view.heads:
        row = head.things
        if not 2 <= len(row) <= 2 * MOST_IN_ROW:
            continue
        steps = [b.x - a.x > CLEAR_STEP for a, b in pairwise(row)]
        for side, things, clear in (("left", row, steps), ("right", row[::-1], steps[::-1])):
            if clear[0]:
                ends = OF_TWO if len(row) == 2 and head.kind == "thing" else AT_END  # a car has a right side of its own
                yield _draft("ordinal", f"{side}most", head, ends, side, things[0])
            for place in range(min(len(row), MOST_IN_ROW) if len(row) > 2 else 0):
                if all(clear[: place + 1]):
                    counted = (f"the {ORDINALS[place]} {{0}} from the {{1}}",)
                    yield _draft("ordinal", "counted", head, counted, side, things[place])
        if len(row) in (3, 5) and all(steps):
            middle = ("the {0} in the middle", "the middle {0}", f"the middle {{0}} of the {NUMBERS[len(row)]}")
            yield _draft("ordinal", "middle", head, middle, "", row[len(row) // 2])


def size_drafts(view: View, rng: Generator) -> Iterator[Draft]:
    """The largest and the smallest, by what is seen of them."""
    for head in view.heads:
        if len(head.things) < 2 or head.kind == "part":
            continue
        by_area = sorted(head.things, key=lambda thing: -thing.area)
        for size, first, second in (("largest", by_area[0], by_area[1]), ("smallest", by_area[-2], by_area[-1])):
            if first.area > CLEAR_RATIO * second.area and first.height > second.height:
                yield _draft("size", size, head, SIZES[size], "", first if size == "largest" else second)


def place_drafts(view: View, rng: Generator) -> Iterator[Draft]:
    """The only one, by the side of the picture it is on."""
    for head in view.heads:
        if head.alone:
            for side in sides_of(head.things[0]):
                yield _draft("place", side, head, REGIONS[side], side, head.things[0])


def relation_drafts(view: View, rng: Generator) -> Iterator[Draft]:
    """ "the person to the left of the horse", where there is one horse, and one person there."""
    for head, anchor, side, found in relations(view):
        if found is not None:
            write = partial(write_related, head.words, anchor.words, side)
            yield Draft("relation", side, "phrase", write, Target(things=(found.number,)))


def relations(view: View) -> Iterator[tuple[Head, Head, str, Thing | None]]:
    """(what, beside what, on which side, the only thing that is there); None where certainly none is."""
    heads = [head for head in view.heads if not head.group and head.kind == "thing"]
    for anchor in heads:
        if len(anchor.things) != 1:
            continue
        for head in heads:
            if head is anchor or len(head.things) > MOST_IN_ROW:
                continue
            for side in RELATIONS:
                there = [beside(thing, anchor.things[0], side) for thing in head.things]
                if there.count(True) == 1 and None not in there:
                    yield head, anchor, side, head.things[there.index(True)]
                elif all(each is False for each in there):
                    yield head, anchor, side, None


def sides_of(thing: Thing) -> list[str]:
    """The halves of the picture that a thing is in as a whole."""
    (left, right), (top, bottom) = thing.across, thing.down
    held = {"left": right < INSIDE, "right": left > 1 - INSIDE, "top": bottom < INSIDE, "bottom": top > 1 - INSIDE}
    return [side for side, holds in held.items() if holds]


def beside(thing: Thing, anchor: Thing, side: str) -> bool | None:
    """Whether a thing is on a side of another; None where people might not agree."""
    spans = [(thing.across, anchor.across), (thing.down, anchor.down)]
    along, level = spans if side in ("left", "right") else spans[::-1]
    if _overlap(*along) >= SLACK or _overlap(*level) <= 0:
        return None
    return (sum(along[0]) < sum(along[1])) == (side in ("left", "top"))


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Of two spans; below 0 the gap between them."""
    return min(one[1], other[1]) - max(one[0], other[0])


def _draft(kind: str, variety: str, head: Head, forms: Sequence[str], side: str, thing: Thing) -> Draft:
    return Draft(
        kind, variety, "phrase", partial(write_placed, head.words, forms, side), Target(things=(thing.number,))
    )


def write_placed(words: Sequence[Word], forms: Sequence[str], side: str, rng: Generator) -> Written:
    """One of these forms, of which "{0}" is the noun and "{1}" the side."""
    form, word = pick(rng, forms), word_of(rng, words)
    return Written(form.format(word.singular, side), plural=is_plural(word))


def write_related(words: Sequence[Word], anchor: Sequence[Word], side: str, rng: Generator) -> Written:
    """What is on a side of an anchor."""
    form, word = pick(rng, RELATIONS[side]), word_of(rng, words)
    return Written(form.format(word.singular, word_of(rng, anchor).singular), plural=is_plural(word))
