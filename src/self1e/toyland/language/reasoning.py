"""Questions that never name their target: from the table of functions to sentences about one scene."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from numpy.random import Generator

from self1e.data.wording import Written, pick
from self1e.toyland.language.functions import FUNCTIONS, WISHES, WISHES_COLOUR, WISHES_PLACE, Function
from self1e.toyland.language.naming import adjective_word, plain_noun
from self1e.toyland.language.places import region_test
from self1e.toyland.language.query import Draft
from self1e.toyland.language.view import (
    MIN_AREA,
    MIN_PART_AREA,
    UNSURE,
    YES,
    Head,
    SceneView,
    Test,
    anything,
    has_colour,
    has_part,
    has_pose,
)
from self1e.toyland.language.words import COLOURLESS, PART_NOUNS, STUFF_NOUNS
from self1e.toyland.scene import COLOURS, Thing

#: Stuff whose name is a plural.
PLURAL_STUFF = ("hills", "mountains")


def reasoning_drafts(view: SceneView) -> list[Draft]:
    """All reasoning questions that have an answer in the scene."""
    found: list[Draft] = []
    for function in FUNCTIONS:
        head = function_head(view, function)
        if head is None or not head.members:
            continue
        things = head.fitting(function_test(function))
        if not things:
            continue
        if function.part:
            found += _part_question(function, things)
        elif _worth_asking(view, things):
            found.append(_question(function, things, function.sentences, "", ""))
            if function.wish:
                found += _wishes(view, function, head)
    return found


def function_head(view: SceneView, function: Function) -> Head | None:
    """The things of the fitting kinds; None if there is something people would argue about."""
    if function.stuff:
        if any(kind in view.stuff for kind in function.doubtful):
            return None
        return Head("", tuple(thing for kind in function.fits for thing in view.stuff.get(kind, ())))
    if view.members(function.doubtful):
        return None
    return Head("", view.members(function.fits))


def function_test(function: Function) -> Test:
    """Pose or part that narrows the fitting kinds."""
    if function.pose:
        return has_pose(function.pose)
    return has_part(function.having) if function.having else anything


def unanswered(view: SceneView) -> Iterator[Draft]:
    """Sentences to which nothing in the scene is an answer, for the kind "absent"."""
    for function in FUNCTIONS:
        head = function_head(view, function)
        if head is None or function.part or ("person" in function.fits and view.has_driver):
            continue
        if all(function_test(function)(thing) not in (YES, UNSURE) for thing in head.members):
            yield _unanswered(function, "near_sentence" if head.members else "sentence")


def _unanswered(function: Function, variety: str) -> Draft:
    return Draft("absent", variety, "sentence", lambda rng: Written(pick(rng, function.sentences)))


def _worth_asking(view: SceneView, things: tuple[Thing, ...]) -> bool:
    visible = [thing for thing in things if thing.is_stuff or view.is_target(thing)]
    return bool(visible) and sum(thing.area for thing in things) >= MIN_AREA


def _question(
    function: Function, things: tuple[Thing, ...], sentences: tuple[str, ...], colour: str, side: str
) -> Draft:
    subject = _subject(things, colour)
    because = _agree(function.because, subject, len(things) > 1 or things[0].kind in PLURAL_STUFF)
    variety = "wish" if sentences is not function.sentences else "use"

    def write(rng: Generator) -> Written:
        colour_word = adjective_word(rng, colour) if colour else ""
        return Written(pick(rng, sentences).format(wish=function.wish, colour=colour_word, side=side), because)

    return Draft("reasoning", variety, "sentence", write, tuple(thing.id for thing in things))


def _wishes(view: SceneView, function: Function, head: Head) -> Iterator[Draft]:
    """The wish alone, and narrowed to one colour or place where there is a choice."""
    filters: list[tuple[Test, tuple[str, ...], str, str]] = [(anything, WISHES, "", "")]
    colours = {thing.colour for thing in head.members}
    if head.members[0].kind not in COLOURLESS and len(colours) > 1:
        filters += [(has_colour(c), WISHES_COLOUR, c, "") for c in COLOURS if c in colours]
    if len(head.members) > 1:
        filters += [(region_test(view, side), WISHES_PLACE, "", side) for side in ("left", "right")]
    for test, sentences, colour, side in filters:
        things = head.fitting(test)
        if things and _worth_asking(view, things) and (not side or len(things) == 1):
            yield _question(function, things, sentences, colour, side)


def _part_question(function: Function, things: tuple[Thing, ...]) -> Iterator[Draft]:
    parts = [part for thing in things for part in thing.parts if part.name == function.part and part.area > 0]
    if sum(part.area for part in parts) < MIN_PART_AREA:
        return
    singular, plural = PART_NOUNS[function.part][0]
    several = len(parts) > 1
    because = _agree(function.because, f"the {plural if several else singular}", several or singular.endswith("s"))
    ids = tuple(part.id for part in parts)
    yield Draft("reasoning", "part", "sentence", lambda rng: Written(pick(rng, function.sentences), because), parts=ids)


def _subject(things: tuple[Thing, ...], colour: str) -> str:
    """ "the red ball", "the cows and the sheep"."""
    counts: dict[str, int] = {}
    for thing in things:
        counts[thing.kind] = counts.get(thing.kind, 0) + (0 if thing.is_stuff and thing.kind in counts else 1)
    words = []
    for kind, count in counts.items():
        noun = STUFF_NOUNS[kind][0] if kind in STUFF_NOUNS else plain_noun(kind, plural=count > 1)
        words.append(" ".join(filter(None, ["the", colour, noun])))
    return listing(words)


def listing(words: Iterable[str]) -> str:
    """ "a, b and c"."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _agree(template: str, subject: str, plural: bool) -> str:
    verbs = {"is": "are", "has": "have"} if plural else {"is": "is", "has": "has"}
    sentence = template.format(the=subject, **verbs)
    return sentence[0].upper() + sentence[1:]
