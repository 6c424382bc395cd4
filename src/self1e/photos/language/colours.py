"""The colour of things that plainly have one, and naming them by it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial

import numpy as np
from numpy.random import Generator
from PIL import Image

from self1e.data.wording import Written, chance, pick
from self1e.photos.language.query import Draft, Target
from self1e.photos.language.view import View
from self1e.photos.language.words import is_plural, verb, word_of
from self1e.photos.nouns import Noun, nouns

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "black", "grey")
_CHROMATIC = 8  # of these, the first

#: Nouns whose colour is a habit of nature, or many.
COLOURLESS = ("person", "cyclist", "zebra", "giraffe", "tiger", "leopard", "cheetah", "pizza", "television")
COLOURED_GROUPS = ("animal", "transport", "worn", "furniture", "bag", "seat", "tableware", "sports")
COLOURED = ("flower", "umbrella", "vase", "bottle", "kite")

#: Pairs of colours of which one person may call by the one name what another calls by the other.
ALIKE = (
    *(("red", other) for other in ("orange", "pink", "brown", "purple")),
    *(("orange", other) for other in ("yellow", "brown", "pink")),
    *(("yellow", other) for other in ("brown", "white", "green")),
    *(("green", other) for other in ("blue", "grey")),
    *(("blue", other) for other in ("purple", "grey", "black")),
    *(("pink", other) for other in ("purple", "white")),
    *(("grey", other) for other in ("brown", "white", "black")),
    ("brown", "black"),
)
NEAR = {
    colour: frozenset(other for pair in ALIKE if colour in pair for other in pair if other != colour)
    for colour in COLOURS
}
MOST_LOOKED_AT = 1500
PLAIN, OTHERS, NEUTRAL, TINTED = 0.45, 0.12, 0.72, 0.12
LEAST_AREA = 0.006


def plain_colour(pixels: np.ndarray) -> str | None:
    """The name that nobody would doubt for these pixels, uint8[N, 3]; None if there is none.

    A hue has to fill `PLAIN` of them, and no other more than `OTHERS`; what is neither hue nor shadow may be glass or
    metal. Black, white or grey has to fill `NEUTRAL`, with at most `TINTED` in hues.
    """
    shares = np.bincount(_named(pixels), minlength=len(COLOURS) + 1)[: len(COLOURS)] / max(len(pixels), 1)
    hues, neutrals = shares[:_CHROMATIC], shares[_CHROMATIC:]
    best = int(hues.argmax())
    if hues[best] >= PLAIN and hues.sum() - hues[best] <= OTHERS:
        return COLOURS[best]
    if neutrals.max() >= NEUTRAL and hues.sum() <= TINTED:
        return COLOURS[_CHROMATIC + int(neutrals.argmax())]
    return None


def colour_drafts(view: View, rng: Generator) -> Iterator[Draft]:
    """ "the red car": one of several, or the only one."""
    for noun, colours in colours_of(view).items():
        for place, (target, colour) in enumerate(colours):
            if colour is None:
                continue
            others = [other for at, (_, other) in enumerate(colours) if at != place]
            if all(other is not None and other != colour and other not in NEAR[colour] for other in others):
                variety = "alone" if len(colours) == 1 else "told"
                yield Draft("colour", variety, "phrase", partial(write_coloured, nouns()[noun], colour), target)


@lru_cache(maxsize=1)  # several kinds of question ask for the same
def colours_of(view: View) -> dict[str, list[tuple[Target, str | None]]]:
    """Noun -> each of its things with its colour; of nouns whose things are not told apart, all of it at once."""
    if view.scene.grey:
        return {}
    found: dict[str, list[tuple[Target, str | None]]] = {}
    for noun in view.present:
        if not _may_have_colour(noun):
            continue
        if noun.name in view.things:
            found[noun.name] = [
                (Target(things=(thing.number,)), _colour(view, view.scene.things == thing.number))
                for thing in view.things[noun.name]
            ]
        elif noun.groups and set(noun.groups) & {"worn", "bag"}:
            mask = view.scene.mask(noun.name) == 1
            found[noun.name] = [(Target(nouns=(noun.name,)), _colour(view, mask))]
    return found


def missing_colours(colours: list[tuple[Target, str | None]]) -> list[str]:
    """Colours that none of these things has, nor one close to it; none where the colour of one is in doubt."""
    seen = [colour for _, colour in colours]
    if not seen or None in seen:
        return []
    return [
        colour for colour in COLOURS if colour not in seen and not any(other in NEAR[colour] for other in seen if other)
    ]


def _may_have_colour(noun: Noun) -> bool:
    if noun.name in COLOURLESS:
        return False
    return noun.name in COLOURED or bool(set(noun.groups) & set(COLOURED_GROUPS))


def _colour(view: View, mask: np.ndarray) -> str | None:
    if mask.mean() < LEAST_AREA:
        return None
    pixels = view.scene.picture[mask]
    return plain_colour(pixels[:: 1 + len(pixels) // MOST_LOOKED_AT])


def _named(pixels: np.ndarray) -> np.ndarray:
    """int[N]: place in `COLOURS`, or one more where none is certain."""
    hsv = np.asarray(Image.fromarray(pixels[None]).convert("HSV"), np.float32)[0]
    hue, saturation, value = hsv[:, 0] * (360 / 255), hsv[:, 1] / 255, hsv[:, 2] / 255
    named = np.full(len(pixels), len(COLOURS))
    warm = (hue < 40) | (hue > 340)
    rules = (
        ("grey", (saturation < 0.14) & (value >= 0.28) & (value < 0.62)),
        ("white", (saturation < 0.16) & (value >= 0.8)),
        ("red", ((hue < 10) | (hue > 345)) & (saturation > 0.55) & (value > 0.35)),
        ("orange", (hue >= 14) & (hue < 36) & (saturation > 0.6) & (value > 0.62)),
        ("yellow", (hue >= 42) & (hue < 66) & (saturation > 0.4) & (value > 0.5)),
        ("green", (hue >= 76) & (hue < 165) & (saturation > 0.22) & (value > 0.2)),
        ("blue", (hue >= 195) & (hue < 252) & (saturation > 0.35) & (value > 0.32)),
        ("purple", (hue >= 258) & (hue < 300) & (saturation > 0.22) & (value > 0.25)),
        ("pink", (hue >= 305) & (hue < 352) & (saturation > 0.22) & (saturation < 0.75) & (value > 0.6)),
        ("brown", (hue >= 8) & (hue < 40) & (saturation > 0.3) & (value > 0.2) & (value < 0.6)),
        ("black", (value < 0.2) | ((value < 0.26) & (saturation < 0.35) & ~(warm & (saturation > 0.25)))),
    )
    for name, holds in rules:
        named[holds] = COLOURS.index(name)
    return named


def write_coloured(noun: Noun, colour: str, rng: Generator) -> Written:
    """A noun with a colour of `COLOURS`."""
    word = word_of(rng, noun.words)
    shade = "gray" if colour == "grey" and chance(rng, 0.3) else colour
    form = pick(rng, ("the {0} {1}", "the {0} {1}", "the {0} {1}", "the {1} that {2} {0}"))
    return Written(form.format(shade, word.singular, verb(is_plural(word))), plural=is_plural(word))
