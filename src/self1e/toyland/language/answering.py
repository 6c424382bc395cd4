"""Questions answered in words: colours, counts, places, yes or no, and a caption."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations

from numpy.random import Generator

from self1e.data.wording import Written, chance, pick, shuffled
from self1e.toyland.language.absent import missing_colours
from self1e.toyland.language.naming import (
    Name,
    adjective_word,
    article_for,
    names,
    noun_word,
    part_word,
    plain_noun,
)
from self1e.toyland.language.pieces import owned
from self1e.toyland.language.places import REGIONS, RELATIONS, anchors, region_test, suits
from self1e.toyland.language.query import Draft
from self1e.toyland.language.reasoning import listing
from self1e.toyland.language.view import (
    MIN_PART_AREA,
    NO,
    YES,
    Head,
    SceneView,
    is_scrap,
    plain_colour,
    visible_parts,
)
from self1e.toyland.language.words import NUMBERS, STUFF_NOUNS, UNCOUNTABLE_PARTS
from self1e.toyland.scene import COLOURS, Thing

Say = Callable[[Generator], str]
#: The two sides of a relation, by which a true statement becomes a false one.
OPPOSITES = {"left": "right", "right": "left", "behind": "front", "front": "behind"}
SIDES = ("left", "middle", "right")
SIDE_ANSWERS = {"left": "On the left.", "middle": "In the middle.", "right": "On the right."}
SIDE_QUESTIONS = (
    "On which side of the picture is {it}?",
    "Is {it} on the left, in the middle or on the right?",
    "Where in the picture is {it}?",
)
ON_QUESTIONS = ("What is {it} on?", "On what kind of ground is {it}?", "What is under {it}?")
COLOUR_QUESTIONS = ("What colour is {it}?", "Which colour is {it}?", "What is the colour of {it}?")
COUNT_QUESTIONS = ("How many {them} are there?", "How many {them} can you see?", "Count the {them}.")
CAPTION_QUESTIONS = ("Describe this image.", "What is in this picture?", "Write a short caption.")
TIMES = {"day": "by day", "sunset": "at sunset", "night": "at night", "overcast": "on a grey day"}
MAX_COUNT = len(NUMBERS) - 1


def colour_drafts(view: SceneView) -> list[Draft]:
    """The colour of a thing or of a part."""
    found: list[Draft] = []
    for thing in filter(view.is_target, view.objects):
        subjects = [name for name in names(view, thing) if not _tells_colour(name)]
        if not subjects:
            continue
        whole = plain_colour(thing)
        if whole is not None and thing.kind != "person" and thing.texture == "plain":
            found.append(_colour_draft("thing", _names_say(subjects), whole))
        for part_name, parts in visible_parts(thing):
            colour = parts[0].colour
            alone = len(parts) == 1 and parts[0].area >= MIN_PART_AREA
            if alone and colour in COLOURS and part_name not in (*UNCOUNTABLE_PARTS, "head", "body", "legs"):
                found.append(_colour_draft("part", _part_say(part_name, subjects), colour))
    return found


def count_drafts(view: SceneView, rng: Generator) -> list[Draft]:
    """How many there are of a kind, from none to six."""
    found = [_count_draft(kind, 0) for kind in shuffled(rng, view.absent_kinds)[:4]]
    for head in view.heads:
        if countable(view, head) and len(head.members) <= MAX_COUNT and head.noun not in ("sun", "moon"):
            found.append(_count_draft(head.noun, len(head.members)))
    return found


def where_drafts(view: SceneView) -> list[Draft]:
    """On which side, and on what."""
    found: list[Draft] = []
    for thing in filter(view.is_target, view.objects):
        subjects = [name for name in names(view, thing) if name.kind in ("class", "attribute", "size")]
        if not subjects:
            continue
        sides = [side for side in SIDES if region_test(view, side)(thing) == YES]
        if sides:
            found.append(_asking("vqa_where", sides[0], SIDE_QUESTIONS, _names_say(subjects), SIDE_ANSWERS[sides[0]]))
        if thing.foot is not None and thing.on in ("grass", "sand", "snow", "road"):
            answer = f"The {STUFF_NOUNS[thing.on][0]}."
            found.append(_asking("vqa_where", "on", ON_QUESTIONS, _names_say(subjects), answer))
    return found


def yesno_drafts(view: SceneView, rng: Generator) -> list[Draft]:
    """Questions in pairs of one "yes" and one "no" of the same type, so that neither is the better guess."""
    pairs = [
        *_colour_pairs(view, rng),
        *_kind_pairs(view, rng),
        *_relation_pairs(view, rng),
        *_part_pairs(view),
        *_more_pairs(view),
        *_side_pairs(view),
        *_number_pairs(view),
    ]
    return [draft for pair in pairs for draft in pair]


def caption_drafts(view: SceneView) -> list[Draft]:
    """One sentence on the most striking things."""
    described = caption(view)
    if not described:
        return []
    return [Draft("caption", "", "question", lambda rng: Written(pick(rng, CAPTION_QUESTIONS), described))]


def countable(view: SceneView, head: Head) -> bool:
    """Whether everyone would count the same."""
    if head.noun == "person" and view.has_driver:
        return False
    return not head.doubtful and not any(is_scrap(thing) for thing in head.members)


def caption(view: SceneView) -> str:
    """ "A red car, two trees and a dog by day." """
    weight: dict[str, int] = {}
    for thing in view.objects:
        if thing.kind not in ("cloud", "sun", "moon"):
            weight[thing.kind] = weight.get(thing.kind, 0) + thing.area
    kinds = sorted(weight, key=lambda kind: -weight[kind])[:3]
    words = [_counted(view.kinds[kind]) for kind in kinds]
    if not words:
        return ""
    sentence = f"{listing(words)} {TIMES.get(view.scene.time, '')}".strip()
    return f"{sentence[0].upper()}{sentence[1:]}."


def _counted(things: tuple[Thing, ...]) -> str:
    thing, count = things[0], len(things)
    if count > 1:
        return f"{NUMBERS[count] if count < len(NUMBERS) else 'many'} {plain_noun(thing.kind, plural=True)}"
    colour = plain_colour(thing)
    if colour is not None and thing.kind != "person":
        return f"{article_for(colour)} {colour} {plain_noun(thing.kind)}"
    return f"{article_for(thing.kind)} {plain_noun(thing.kind)}"


def _tells_colour(name: Name) -> bool:
    return bool(set(COLOURS) & {word for phrase in (*name.before, *name.after) for word in phrase.split()})


def _names_say(subjects: list[Name]) -> Say:
    return lambda rng: pick(rng, subjects).say(rng)


def _part_say(part_name: str, subjects: list[Name]) -> Say:
    return lambda rng: owned(rng, part_word(rng, part_name), pick(rng, subjects))


def _asking(kind: str, variety: str, questions: tuple[str, ...], it: Say, answer: str) -> Draft:
    return Draft(kind, variety, "question", lambda rng: Written(pick(rng, questions).format(it=it(rng)), answer))


def _colour_draft(variety: str, it: Say, colour: str) -> Draft:
    return _asking("vqa_colour", variety, COLOUR_QUESTIONS, it, f"{colour.capitalize()}.")


def _count_draft(noun: str, count: int) -> Draft:
    def write(rng: Generator) -> Written:
        them = noun_word(rng, noun, plural=True)
        return Written(pick(rng, COUNT_QUESTIONS).format(them=them), f"{NUMBERS[count].capitalize()}.")

    return Draft("vqa_count", NUMBERS[count], "question", write)


Pair = tuple[Draft, Draft]


def _pair(variety: str, yes: Say, no: Say) -> Pair:
    def draft(say: Say, answer: str) -> Draft:
        return Draft("vqa_yesno", variety, "question", lambda rng: Written(say(rng), answer))

    return draft(yes, "Yes."), draft(no, "No.")


def _is_there(noun: str, before: tuple[str, ...] = (), after: str = "") -> Say:
    """ "Is there a red car?" """

    def say(rng: Generator) -> str:
        word = noun_word(rng, noun)
        adjectives = [adjective_word(rng, adjective) for adjective in before]
        in_colour = noun == "person" and adjectives
        phrase = f"{word} in {adjectives[0]}" if in_colour else " ".join([*adjectives, word])
        phrase = " ".join(filter(None, [article_for(phrase), phrase, after]))
        return pick(rng, (f"Is there {phrase}?", f"Is there {phrase} in the picture?", f"Can you see {phrase}?"))

    return say


def _colour_pairs(view: SceneView, rng: Generator) -> Iterator[Pair]:
    for head in view.heads:
        colours = [plain_colour(thing) for thing in filter(view.is_target, head.members)]
        seen = [colour for colour in colours if colour is not None]
        missing = missing_colours(head)
        if seen and missing and not head.is_group:
            there, not_there = pick(rng, seen), pick(rng, missing)
            yield _pair("colour", _is_there(head.noun, (there,)), _is_there(head.noun, (not_there,)))


def _kind_pairs(view: SceneView, rng: Generator) -> Iterator[Pair]:
    """One pair only: how likely a kind is at all could be learned without looking."""
    present = sorted({thing.kind for thing in view.objects if view.is_target(thing)})
    if present and view.absent_kinds:
        yield _pair("kind", _is_there(pick(rng, present)), _is_there(pick(rng, view.absent_kinds)))


def _relation_pairs(view: SceneView, rng: Generator) -> Iterator[Pair]:
    for anchor, subject in permutations(anchors(view, rng, 5), 2):
        for relation, opposite in OPPOSITES.items():
            holds = view.relation(relation, anchor.thing)(subject.thing) == YES
            fails = view.relation(opposite, anchor.thing)(subject.thing) == NO
            if holds and fails and suits(relation, subject.thing, anchor.thing):
                yes, no = (_is_related(subject, side, anchor) for side in (relation, opposite))
                yield _pair("relation", yes, no)


def _is_related(subject: Name, relation: str, anchor: Name) -> Say:
    return lambda rng: f"Is {subject.say(rng)} {pick(rng, RELATIONS[relation])} {anchor.say(rng)}?"


def _part_pairs(view: SceneView) -> Iterator[Pair]:
    """Whether someone wears a hat, or a house has a chimney: needs one with and one without."""
    for kind, part, question in (
        ("person", "hat", ("Does {it} wear a hat?", "Is {it} wearing a hat?")),
        ("house", "chimney", ("Does {it} have a chimney?", "Is there a chimney on {it}?")),
    ):
        having: list[list[Name]] = []
        lacking: list[list[Name]] = []
        for thing in filter(view.is_target, view.kinds.get(kind, ())):
            areas = [piece.area for piece in thing.parts if piece.name == part]
            subjects = [name for name in names(view, thing) if name.variety != "having"]
            if subjects and (not areas or min(areas) >= 60):
                (having if areas else lacking).append(subjects)
        for with_it, without in zip(having, lacking, strict=False):
            yield _pair("part", _about(question, with_it), _about(question, without))


def _about(questions: tuple[str, ...], subjects: list[Name]) -> Say:
    return lambda rng: pick(rng, questions).format(it=pick(rng, subjects).say(rng))


def _more_pairs(view: SceneView) -> Iterator[Pair]:
    """ "Are there more trees than houses?" """
    heads = [head for head in view.heads if not head.is_group and countable(view, head)]
    for many in heads:
        for few in heads:
            if len(many.members) > len(few.members):
                yield _pair("more", _more(many.noun, few.noun), _more(few.noun, many.noun))


def _more(first: str, second: str) -> Say:
    def say(rng: Generator) -> str:
        many, few = (noun_word(rng, noun, plural=True) for noun in (first, second))
        return f"Are there more {many} than {few}?"

    return say


def _side_pairs(view: SceneView) -> Iterator[Pair]:
    """ "Is the dog on the left side of the picture?" """
    for thing in filter(view.is_target, view.objects):
        subjects = [name for name in names(view, thing) if name.kind in ("class", "attribute")]
        for side, other in (("left", "right"), ("right", "left")):
            if subjects and region_test(view, side)(thing) == YES:
                yield _pair("side", _is_on_side(subjects, side), _is_on_side(subjects, other))


def _is_on_side(subjects: list[Name], side: str) -> Say:
    return lambda rng: f"Is {pick(rng, subjects).say(rng)} {REGIONS[side][0].format(picture='picture')}?"


def _number_pairs(view: SceneView) -> Iterator[Pair]:
    """ "Are there three trees?" """
    for head in view.heads:
        count = len(head.members)
        if countable(view, head) and 2 <= count < MAX_COUNT:
            yield _pair("number", _are_there(head.noun, count), _are_there(head.noun, _not_quite(count)))


def _are_there(noun: str, count: int | Callable[[Generator], int]) -> Say:
    def say(rng: Generator) -> str:
        number = count if isinstance(count, int) else count(rng)
        return f"Are there {NUMBERS[number]} {noun_word(rng, noun, plural=True)}?"

    return say


def _not_quite(count: int) -> Callable[[Generator], int]:
    return lambda rng: count + (1 if count == 2 or chance(rng, 0.5) else -1)
