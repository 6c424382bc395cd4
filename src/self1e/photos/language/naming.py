"""Naming all that is there of a noun, or of several: "the cat", "the dogs", "the animals", "the sky and the trees"."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import combinations

from numpy.random import Generator

from self1e.data.wording import Written, chance, pick, shuffled
from self1e.photos.language.query import Draft, Target
from self1e.photos.language.view import View
from self1e.photos.language.words import is_plural, word_of
from self1e.photos.nouns import Group, Noun, groups, nouns

P_PLURAL = 0.6
"""How often several things are named in the plural; otherwise as classes are ("the person"), which means all."""

UNIONS = 6
PARTS_OF_IT = ("the {owner}'s {part}", "the {part} of the {owner}")


def noun_drafts(view: View, rng: Generator) -> Iterator[Draft]:
    """Everything of a noun."""
    for noun in view.present:
        count = len(view.things.get(noun.name, ()))
        yield Draft("noun", noun.name, "phrase", partial(_all_of, noun, count), Target(nouns=(noun.name,)))


def group_drafts(view: View, rng: Generator) -> Iterator[Draft]:
    """ "the animals": everything of a group."""
    for group in groups().values():
        there = group_members(view, group)
        if there:
            things = [view.things.get(name, []) for name in there]
            count = sum(map(len, things)) if all(things) else 0
            if count or len(there) > 1 or not group.words[0].plural:
                write = partial(_all_of_group, group, count)
                yield Draft("group", group.name, "phrase", write, Target(tuple(there), unsure=group.beside))


def union_drafts(view: View, rng: Generator) -> Iterator[Draft]:
    """ "the sky and the trees": everything of two nouns."""
    pairs = [
        (first, second)
        for first, second in combinations(view.present, 2)
        if first.name not in second.near
        and not set(view.scene.members(first.name)) & set(view.scene.members(second.name))
    ]
    for first, second in shuffled(rng, pairs)[:UNIONS]:
        counts = [len(view.things.get(noun.name, ())) for noun in (first, second)]
        target = Target(nouns=(first.name, second.name))
        yield Draft("union", "", "phrase", partial(_both, first, second, counts[0], counts[1]), target)


def part_drafts(view: View, rng: Generator) -> Iterator[Draft]:
    """ "the car's bumper": parts of which the set says whose they are."""
    for owner, parts in view.scene.photo.rules.owners.items():
        if owner in view.left_out:
            continue
        for noun in view.present:
            if noun.name in parts:
                write = partial(_part_of, nouns()[owner], noun)
                yield Draft("part", noun.name, "phrase", write, Target(nouns=(noun.name,)))


def group_members(view: View, group: Group) -> list[str]:
    """The nouns of a group that are there; none where it is not known whether there is more of the group."""
    if not set(group.core) <= view.known:
        return []
    there = [name for name in view.areas if name in group.members]
    asked = {noun.name for noun in view.present}
    return there if asked.issuperset(there) else []


def _all_of(noun: Noun, count: int, rng: Generator) -> Written:
    word = word_of(rng, noun.words)
    if count > 1 and word.plural and chance(rng, P_PLURAL):
        article = pick(rng, ("the", "all", "all the") if count > 2 else ("the", "both", "all"))
        return Written(f"{article} {word.plural}", plural=True)
    return Written(f"the {word.singular}", plural=is_plural(word))


def _all_of_group(group: Group, count: int, rng: Generator) -> Written:
    word = word_of(rng, group.words)
    if not word.plural or count == 1:
        return Written(f"the {word.singular}", plural=is_plural(word))
    return Written(f"{pick(rng, ('the', 'all', 'all the'))} {word.plural}", plural=True)


def _both(first: Noun, second: Noun, first_count: int, second_count: int, rng: Generator) -> Written:
    phrases = [_all_of(first, first_count, rng).text, _all_of(second, second_count, rng).text]
    return Written(" and ".join(shuffled(rng, phrases)), plural=True)


def _part_of(owner: Noun, part: Noun, rng: Generator) -> Written:
    word = word_of(rng, part.words)
    text = pick(rng, PARTS_OF_IT).format(owner=owner.plain.singular, part=word.singular)
    return Written(text, plural=is_plural(word))
