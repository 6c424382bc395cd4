"""References to what is not there. Half of the varieties are near misses: the thing is there, but not like that."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from numpy.random import Generator

from self1e.data.wording import Written, chance, pick, shuffled
from self1e.toyland.language.naming import Name, names, noun_phrase, part_word, stuff_word
from self1e.toyland.language.pieces import owned, plural_words
from self1e.toyland.language.places import RELATIONS, anchors, suits
from self1e.toyland.language.query import Draft
from self1e.toyland.language.view import (
    NO,
    Head,
    SceneView,
    Test,
    has_colour,
    has_part,
    has_pose,
    has_texture,
    stands_on,
)
from self1e.toyland.language.words import (
    COLOURLESS,
    NEAR_COLOURS,
    NUMBERS,
    ON_STUFF,
    OPTIONAL_PARTS,
    ORDINALS,
    POSES,
)
from self1e.toyland.scene import COLOURS, TEXTURES
from self1e.toyland.vocabulary import PARTS, STUFF

#: Stuff that people would take for other stuff.
NEAR_STUFF: dict[str, tuple[str, ...]] = {
    "hills": ("mountains",),
    "mountains": ("hills",),
    "grass": ("hills",),
    "snow": ("mountains",),
}
#: Parts that are asked of things which have none.
STRANGE_PARTS = ("roof", "sail", "wheel", "chimney", "tail", "hat")
Say = Callable[[Generator], str]


def absent_drafts(view: SceneView, rng: Generator) -> list[Draft]:
    """Phrases that fit nothing in the scene; a handful of each variety, chosen at random."""
    found = [*_missing_kinds(view, rng), *_missing_stuff(view)]
    for head in shuffled(rng, view.heads):
        if not head.is_group:
            found += [*_wrong_looks(head, rng), *_wrong_place(view, head), *_one_too_many(head)]
            found += _missing_parts(view, head, rng)
    found += _wrong_relations(view, rng)
    return found


def missing_colours(head: Head) -> list[str]:
    """Colours that no member has, nor one close to it."""
    if head.noun in COLOURLESS:
        return []
    shades = [colour for colour in COLOURS if _nobody(head, has_colour(colour))]
    seen = {thing.colour for thing in head.members}
    return [colour for colour in shades if not seen & set(NEAR_COLOURS[colour])]


def _nobody(head: Head, test: Test) -> bool:
    return all(test(thing) == NO for thing in (*head.members, *head.doubtful))


def _draft(variety: str, say: Say) -> Draft:
    return Draft("absent", variety, "phrase", lambda rng: Written(say(rng)))


def _missing_kinds(view: SceneView, rng: Generator) -> Iterator[Draft]:
    for kind in shuffled(rng, view.absent_kinds):
        yield _missing_kind(kind)
        yield _missing_plural(kind)


def _missing_kind(kind: str) -> Draft:
    def say(rng: Generator) -> str:
        colour = (pick(rng, COLOURS),) if kind not in COLOURLESS and chance(rng, 0.3) else ()
        return noun_phrase(rng, kind, colour)

    return _draft("kind", say)


def _missing_plural(kind: str) -> Draft:
    return _draft("plural", lambda rng: plural_words(rng, kind, "", (), None))


def _missing_stuff(view: SceneView) -> Iterator[Draft]:
    for stuff in STUFF:
        if stuff not in view.stuff and not any(near in view.stuff for near in NEAR_STUFF.get(stuff, ())):
            yield _missing_stuff_draft(stuff)


def _missing_stuff_draft(stuff: str) -> Draft:
    return _draft("stuff", lambda rng: f"the {stuff_word(rng, stuff)}")


def _wrong_looks(head: Head, rng: Generator) -> Iterator[Draft]:
    """ "the blue car" where there is only a red one."""
    for colour in shuffled(rng, missing_colours(head))[:3]:
        yield _wrong_look("near_colour", head.noun, colour)
    textured = any(thing.texture != "plain" for thing in head.members) or head.noun in ("ball", "umbrella", "tent")
    if textured and head.noun != "person":
        for texture in TEXTURES[1:]:
            if _nobody(head, has_texture(texture)):
                yield _wrong_look("near_texture", head.noun, texture)
    for pose in POSES.get(head.noun, ()):
        if _nobody(head, has_pose(pose)):
            yield _wrong_look("near_pose", head.noun, pose)


def _wrong_look(variety: str, noun: str, adjective: str) -> Draft:
    return _draft(variety, lambda rng: noun_phrase(rng, noun, (adjective,)))


def _wrong_place(view: SceneView, head: Head) -> Iterator[Draft]:
    if head.noun in ("sun", "moon", "cloud"):
        return
    for stuff, where in ON_STUFF.items():
        if stuff in view.stuff and _nobody(head, stands_on(stuff)):
            yield _wrong_place_draft(head.noun, where)


def _wrong_place_draft(noun: str, where: tuple[str, ...]) -> Draft:
    return _draft("near_place", lambda rng: noun_phrase(rng, noun, (), pick(rng, where)))


def _one_too_many(head: Head) -> Iterator[Draft]:
    """ "the third tree from the left" where there are two."""
    count = len(head.members)
    if 2 <= count < len(ORDINALS) and not head.doubtful:
        yield _too_many_draft(head.noun, ORDINALS[count])


def _too_many_draft(noun: str, order: str) -> Draft:
    def say(rng: Generator) -> str:
        return noun_phrase(rng, noun, (order,), f"from the {pick(rng, ('left', 'right'))}")

    return _draft("near_ordinal", say)


def _missing_parts(view: SceneView, head: Head, rng: Generator) -> Iterator[Draft]:
    """Parts that the thing could have but has not ("the chimney of the house"), and parts of other things."""
    for thing in head.members:
        if not view.is_target(thing) or not PARTS.get(thing.kind):
            continue
        owners = [name for name in names(view, thing) if name.noun == thing.kind]
        if not owners:
            continue
        for part in OPTIONAL_PARTS.get(thing.kind, ()):
            if has_part(part)(thing) == NO:
                yield _missing_part(part, pick(rng, owners))
        strange = pick(rng, STRANGE_PARTS)
        if strange not in PARTS[thing.kind]:
            yield _missing_part(strange, pick(rng, owners))


def _missing_part(part: str, owner: Name) -> Draft:
    return _draft("near_part", lambda rng: owned(rng, part_word(rng, part), owner))


def _wrong_relations(view: SceneView, rng: Generator) -> Iterator[Draft]:
    """ "the dog to the left of the house" where all dogs are elsewhere."""
    for anchor in anchors(view, rng, 3):
        for head in view.heads:
            for relation in ("left", "right", "behind", "front", "above"):
                if anchor.thing.kind == head.noun or head.is_group:
                    continue
                sensible = all(suits(relation, thing, anchor.thing) for thing in head.members)
                if sensible and _nobody(head, view.relation(relation, anchor.thing)):
                    yield _wrong_relation(head.noun, relation, anchor)


def _wrong_relation(noun: str, relation: str, anchor: Name) -> Draft:
    words = RELATIONS[relation]
    return _draft("near_relation", lambda rng: noun_phrase(rng, noun, (), f"{pick(rng, words)} {anchor.say(rng)}"))


def not_here(rng: Generator, phrase: str) -> str:
    """The answer in words: "There is no red car here."."""
    words = phrase.split()
    plural = words[0] in ("all", "both") or words[-1] in ("hills", "mountains")
    while words[0] in ("all", "both", "the", *NUMBERS):
        words = words[1:]
    verb = "are" if plural else "is"
    return pick(rng, (f"There {verb} no {{}} here.", f"There {verb} no {{}} in this picture.")).format(" ".join(words))
