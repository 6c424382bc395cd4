"""References to what is not there: what one could expect or mistake something for, or what is not quite like that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from numpy.random import Generator

from self1e.data.wording import ORDINALS, Written, chance, shuffled
from self1e.photos.language.colours import colours_of, missing_colours, write_coloured
from self1e.photos.language.places import OPPOSITE, REGIONS, relations, sides_of, write_placed, write_related
from self1e.photos.language.query import Draft, drawn
from self1e.photos.language.using import unanswered_drafts
from self1e.photos.language.view import View
from self1e.photos.language.words import is_plural, word_of
from self1e.photos.nouns import Group, Word, groups, nouns

MOST = 4
P_PLURAL = 0.2
ALIKE, EXPECTED = 8.0, 4.0
"""How much likelier a noun is asked for when something of its group is there, or what it always comes with."""

NEAR_MISSES = 2
"""Drafts at most."""

Companions = Mapping[str, Mapping[str, float]]
"""Noun -> other noun -> how often the other is there when the first is, from 0 to 1."""

Elsewhere = Mapping[str, int]
"""Noun -> in how many of a few other photographs of the same set it is there."""

P_NOWHERE = 0.005
"""How often a noun is asked for that no photograph of a set has."""


def absent_drafts(
    view: View, rng: Generator, companions: Companions, count: int | None = None, elsewhere: Elsewhere | None = None
) -> Iterator[Draft]:
    """A handful of each variety, chosen at random.

    Args:
        count: Of nouns, at most, and at most one more than there are nouns that are there. None: about half as many
            as these, and not more than `MOST`.
        elsewhere: See `expected`.
    """
    there = len(view.present)
    count = min(MOST, 1 + there // 2) if count is None else min(count, 1 + there)
    for name in expected(view, rng, companions, count, elsewhere):
        yield Draft("absent", name, "phrase", partial(_words, nouns()[name].words))
    missing = [group for group in groups().values() if _is_missing(view, group)]
    for group in shuffled(rng, missing)[:1]:
        yield Draft("absent", "group", "phrase", partial(_words, group.words))
    near = [*_one_too_many(view), *_wrong_colour(view, rng), *_wrong_side(view), *_wrong_relation(view)]
    yield from shuffled(rng, near)[:NEAR_MISSES]
    yield from shuffled(rng, list(unanswered_drafts(view, rng)))[:1]


def expected(
    view: View, rng: Generator, companions: Companions, count: int, elsewhere: Elsewhere | None = None
) -> list[str]:
    """Nouns that are not there, mostly those that one could expect: at most `count` of them.

    Args:
        elsewhere: A noun is asked for because other photographs, drawn as this one was, have it. So none is asked for
            much oftener where it is not than where it is: a model that is trained on that learns that it never is.
            None: all nouns alike, as for a measurement.
    """
    alike = {group for noun in view.present for group in noun.groups}
    weights = {}
    for noun in view.absent:
        usual = max((companions.get(other.name, {}).get(noun.name, 0.0) for other in view.present), default=0.0)
        weights[noun.name] = 1 + ALIKE * bool(alike & set(noun.groups)) + EXPECTED * usual
    if elsewhere is not None:
        nowhere = {name: 1 for name in weights if name in view.unmarked and chance(rng, P_NOWHERE)}
        seen = {**nowhere, **elsewhere}
        weights = {name: weight * seen.get(name, 0) for name, weight in weights.items()}
    return drawn(rng, weights, count)


def _one_too_many(view: View) -> Iterator[Draft]:
    """ "the third dog from the left" where there are two."""
    for head in view.heads:
        count = len(head.things)
        if count < len(ORDINALS) and not head.group and head.kind == "thing":
            forms = tuple(f"the {ORDINALS[count]} {{0}} from the {side}" for side in ("left", "right"))
            yield _near_miss(partial(write_placed, head.words, forms, ""))


def _wrong_colour(view: View, rng: Generator) -> Iterator[Draft]:
    for name, colours in colours_of(view).items():
        for colour in shuffled(rng, missing_colours(colours))[:1]:
            yield _near_miss(partial(write_coloured, nouns()[name], colour))


def _wrong_side(view: View) -> Iterator[Draft]:
    """ "the dog on the right" where the only one is on the left."""
    for head in view.heads:
        if head.alone:
            for side in sides_of(head.things[0]):
                other = OPPOSITE[side]
                yield _near_miss(partial(write_placed, head.words, REGIONS[other], other))


def _wrong_relation(view: View) -> Iterator[Draft]:
    for head, anchor, side, found in relations(view):
        if found is None:
            yield _near_miss(partial(write_related, head.words, anchor.words, side))


def _near_miss(write: Callable[[Generator], Written]) -> Draft:
    """In the words of those that are there: a model is not to tell them apart by these."""
    return Draft("absent", "near", "phrase", write)


def _is_missing(view: View, group: Group) -> bool:
    """Whether nothing of a group is there, nor anything that could be taken for it."""
    if not view.known.issuperset(group.core):
        return False
    near = {other for name in group.members for other in nouns()[name].near}
    return (group.members | near | set(group.beside)).isdisjoint(view.areas)


def _words(words: Sequence[Word], rng: Generator) -> Written:
    word = word_of(rng, words)
    if word.plural and chance(rng, P_PLURAL):
        return Written(f"the {word.plural}", plural=True)
    return Written(f"the {word.singular}", plural=is_plural(word))
