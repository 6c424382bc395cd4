"""Questions answered in words: is there, how many, what colour, on which side.

Yes and no come in pairs of one sort, so that neither is the better guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from numpy.random import Generator

from self1e.data.wording import NUMBERS, Written, chance, pick, shuffled
from self1e.photos.language.absent import Companions, Elsewhere, expected
from self1e.photos.language.colours import colours_of, missing_colours
from self1e.photos.language.places import OPPOSITE, sides_of
from self1e.photos.language.query import Draft
from self1e.photos.language.view import Head, View
from self1e.photos.language.words import indefinite, is_plural, verb, word_of
from self1e.photos.nouns import Noun, Word, nouns

MOST_COUNTED = 4
P_NOT_ONE = 0.65
"""How often single things are not counted, which would otherwise be the best guess."""
THERE = ("Is there {0}?", "Is there {0} in the picture?", "Can you see {0}?")
THERE_PLURAL = ("Are there {0}?", "Are there {0} in the picture?", "Can you see {0}?")
COUNTS = ("How many {0} are there?", "How many {0} can you see?", "Count the {0}.")
COLOUR_QUESTIONS = ("What colour {1} the {0}?", "Which colour {1} the {0}?", "What is the colour of the {0}?")
SIDE_QUESTIONS = (
    "On which side of the picture {1} the {0}?",
    "{2} the {0} on the left or on the right?",
    "{2} the {0} in the left or in the right half?",
)
SIDE_ASKED = ("{2} the {0} on the {1}?", "{2} the {0} on the {1} side of the picture?")
PAIRS = 3

Say = Callable[[Generator], str]


def yesno_drafts(
    view: View, rng: Generator, companions: Companions, elsewhere: Elsewhere | None = None
) -> Iterator[Draft]:
    """Whether something is there, has a colour, is on a side."""
    there = [noun for noun in shuffled(rng, view.present) if noun.name not in view.scene.photo.rules.guessed]
    missing = expected(view, rng, companions, PAIRS, elsewhere)
    for noun, name in zip(there, missing, strict=False):
        yield from _pair("there", _is_there(noun), _is_there(nouns()[name]))
    for name, colours in colours_of(view).items():
        colour, wrong = colours[0][1], shuffled(rng, missing_colours(colours))
        if len(colours) == 1 and colour and wrong:
            yield from _pair("colour", _has(nouns()[name], colour), _has(nouns()[name], wrong[0]))
    for head, side in _halves(view):
        yield from _pair("side", _on(head.words, side), _on(head.words, OPPOSITE[side]))


def count_drafts(view: View, rng: Generator) -> Iterator[Draft]:
    """How many there are, from one to four."""
    for head in view.heads:
        count = len(head.things)
        if count == 1 and chance(rng, P_NOT_ONE):
            continue
        if count <= MOST_COUNTED and head.words[0].plural and head.kind == "thing":
            yield _asking("vqa_count", str(count), _how_many(head.words), NUMBERS[count])


def colour_drafts(view: View, rng: Generator) -> Iterator[Draft]:
    """The colour of the only one."""
    for name, colours in colours_of(view).items():
        colour = colours[0][1]
        if len(colours) == 1 and colour:
            yield _asking("vqa_colour", colour, _what_colour(nouns()[name]), colour)


def where_drafts(view: View, rng: Generator) -> Iterator[Draft]:
    """On which side the only one is."""
    for head, side in _halves(view):
        yield _asking("vqa_where", side, _which_side(head.words), f"on the {side}")


def _halves(view: View) -> Iterator[tuple[Head, str]]:
    """What there is only one of, and the half of the picture that it is wholly in, "left" or "right"."""
    for head in view.heads:
        if head.alone:
            for side in sides_of(head.things[0]):
                if side in ("left", "right"):
                    yield head, side


def _asking(kind: str, variety: str, say: Say, answer: str) -> Draft:
    return Draft(kind, variety, "question", lambda rng: Written(say(rng), f"{answer[0].upper()}{answer[1:]}."))


def _pair(variety: str, yes: Say, no: Say) -> tuple[Draft, Draft]:
    return _asking("vqa_yesno", variety, yes, "yes"), _asking("vqa_yesno", variety, no, "no")


def _is_there(noun: Noun) -> Say:
    def say(rng: Generator) -> str:
        word = word_of(rng, noun.words)
        return pick(rng, THERE_PLURAL if is_plural(word) else THERE).format(indefinite(word))

    return say


def _has(noun: Noun, colour: str) -> Say:
    def say(rng: Generator) -> str:
        word = word_of(rng, noun.words)
        return f"{verb(is_plural(word)).capitalize()} the {word.singular} {colour}?"

    return say


def _on(words: Sequence[Word], side: str) -> Say:
    def say(rng: Generator) -> str:
        form, word = pick(rng, SIDE_ASKED), word_of(rng, words)
        return form.format(word.singular, side, verb(is_plural(word)).capitalize())

    return say


def _how_many(words: Sequence[Word]) -> Say:
    return lambda rng: pick(rng, COUNTS).format(word_of(rng, words).plural)


def _what_colour(noun: Noun) -> Say:
    def say(rng: Generator) -> str:
        word = word_of(rng, noun.words)
        return pick(rng, COLOUR_QUESTIONS).format(word.singular, verb(is_plural(word)))

    return say


def _which_side(words: Sequence[Word]) -> Say:
    def say(rng: Generator) -> str:
        form, word = pick(rng, SIDE_QUESTIONS), word_of(rng, words)
        does = verb(is_plural(word))
        return form.format(word.singular, does, does.capitalize())

    return say
