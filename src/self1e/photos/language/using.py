"""Asking for things by what they are for: "What could I ride?"."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from numpy.random import Generator

from self1e.data.wording import Written, pick
from self1e.photos.language.query import Draft, Target
from self1e.photos.language.view import View
from self1e.photos.nouns import Use, nouns, uses


def use_drafts(view: View, rng: Generator) -> Iterator[Draft]:
    """Sentences that something fits, and nothing doubtful."""
    plain = {noun.name for noun in view.present}
    for use in uses():
        there = fitting(view, use)
        if there and plain.issuperset(there):
            parts = {part for name in there for part in view.scene.photo.rules.wholes.get(name, ()) if part != name}
            named = [name for name in there if name not in parts] or there  # not "the pizza and the food"
            several = len(named) > 1 or len(view.things.get(named[0], ())) > 1
            write = partial(_write, use, named, several)
            yield Draft("use", there[0], "sentence", write, Target(nouns=tuple(there)))


def unanswered_drafts(view: View, rng: Generator) -> Iterator[Draft]:
    """Sentences that certainly nothing fits."""
    missing = {noun.name for noun in view.absent}  # which knows that stuff may be there without a label
    for use in uses():
        if missing.issuperset(use.fits) and fitting(view, use) == []:
            yield Draft("absent", "use", "sentence", partial(_write, use, [], False))


def fitting(view: View, use: Use) -> list[str] | None:
    """What is there of the nouns that fit; None where it is not known, or where something doubtful is there."""
    if use.owner and use.owner not in view.scene.photo.rules.owners:
        return None
    if not view.known.issuperset((*use.fits, *use.doubtful)) or any(name in view.areas for name in use.doubtful):
        return None
    there = [name for name in use.fits if name in view.areas]
    unsure = {near for name in use.fits if name not in there for near in nouns()[name].near} - set(use.fits)
    return None if any(near in view.areas for near in unsure) else there


def _write(use: Use, named: list[str], several: bool, rng: Generator) -> Written:
    sentence = pick(rng, use.sentences)
    if not named:
        return Written(sentence)
    words = [nouns()[name].plain for name in named]
    them = " and ".join(
        f"the {word.plural if several and word.plural and len(words) == 1 else word.singular}" for word in words
    )
    because = use.because.format(the=them)
    return Written(sentence, because[0].upper() + because[1:])
