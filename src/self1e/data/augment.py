"""Pictures that change a little each time they are seen, with their masks, and with the words about them.

An example stays true: a mirrored picture has its "left" and "right" swapped, and is not mirrored where words cannot
follow (writing, clocks, "right now"); no picture is cut where words count, compare or say a place; what a cut takes
away is not asked for. Colours change so little that their names stay right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageEnhance

from self1e.conversation import Conversation, Example, Turn

LEAST_LEFT = 0.2
"""Share of a thing that a cut has to leave, or it is not asked for."""

_SIDES = {"left": "right", "leftmost": "rightmost", "lefthand": "righthand", "leftward": "rightward"}
_SIDES |= {"lefts": "rights", "leftside": "rightside", "leftwards": "rightwards", "l": "r"}
_MIRRORED = _SIDES | {right: left for left, right in _SIDES.items()}
_SIDE = re.compile(rf"\b({'|'.join(sorted(_MIRRORED, key=len, reverse=True))})\b", re.IGNORECASE)

#: "right" that is no side, words for what a mirror turns into something else, and sides by another name.
_NOT_MIRRORED = re.compile(
    r"\bright (?:now|away|next|behind|beside|in front|above|below|under|there|here|before|after|by|at|where)\b"
    r"|\b(?:all|just|that'?s|is it|are|is) right\b|\bleft (?:over|behind|alone|out|to)\b"
    r"|\b(?:read|reads|say|says|said|written|writing|word|words|letter|letters|text|spell|spells|spelt|spelled"
    r"|number|numbers|digit|digits|logo|brand|time|o'?clock|hour|hours|clockwise|east|west|eastern|western"
    r"|\w+-handed|(?:license|licence|number) plate|flag|map)\b",
    re.IGNORECASE,
)

#: Words that are true of a whole picture, and may not be of a piece of it.
_OF_THE_WHOLE = re.compile(
    r"\b(?:left|right|leftmost|rightmost|top|bottom|upper|lower|middle|mid|cent(?:er|re|ral)|corner|edge|side"
    r"|first|second|third|fourth|fifth|sixth|last|next|\d+(?:st|nd|rd|th)|other|only|alone|single|both|all|every|each"
    r"|\w+est|most|more|less|least|than|nearer|further|closer|front|back|behind|rear|background|foreground"
    r"|two|three|four|five|six|seven|eight|nine|ten|\d+|how many|l|r)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Section:
    """A piece of a picture, mirrored or not: what happens to a picture, and to all that has a value for each pixel.

    Attributes:
        box: (left, top, right, bottom) in whole pixels; right and bottom are outside.
        flip: Whether it is mirrored afterwards.
    """

    box: tuple[int, int, int, int]
    flip: bool = False

    def picture(self, image: Image.Image) -> Image.Image:
        """The piece of a picture."""
        piece = image.crop(self.box)
        return piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.flip else piece

    def pixels(self, values: np.ndarray) -> np.ndarray:
        """The piece of [H, W, ...]: a mask, or a map of labels."""
        left, top, right, bottom = self.box
        piece = values[top:bottom, left:right]
        return np.ascontiguousarray(piece[:, ::-1] if self.flip else piece)


def draw_box(width: int, height: int, smallest: float, rng: Generator) -> tuple[int, int, int, int]:
    """A random piece of a picture: each side between `smallest` and all of the picture's, and much the same shape."""
    share = rng.uniform(smallest, 1)
    sides = np.clip(share * np.exp(rng.uniform(-0.15, 0.15, 2)), smallest, 1)
    columns, rows = (max(1, round(length * side)) for length, side in zip((width, height), sides, strict=True))
    left, top = int(rng.integers(width - columns + 1)), int(rng.integers(height - rows + 1))
    return left, top, left + columns, top + rows


def recoloured(image: Image.Image, strength: float, rng: Generator) -> Image.Image:
    """Brightness, contrast and saturation changed by up to `strength` / 2 each. Hue stays, and so do colour names."""
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = change(image).enhance(1 + strength * rng.uniform(-0.5, 0.5))
    return image


def augmented(
    example: Example,
    rng: Generator,
    *,
    flip: float = 0.0,
    crop: float = 0.0,
    smallest: float = 0.5,
    colour: float = 0.0,
) -> Example:
    """The example, changed; a function of its arguments.

    Args:
        example: Its conversations hold all that is said of the picture. `extras` stay as they are.
        rng: The only source of chance.
        flip: Share of pictures that are mirrored, where words can follow.
        crop: Share of pictures that are cut, where words stay true.
        smallest: Shortest sides of a cut, as a share of the picture's.
        colour: How much brightness, contrast and saturation change; see `recoloured`.

    Returns:
        With at least one conversation where there was one: a cut that leaves none of them is not made.
    """
    talks, image = example.conversations, example.image
    mirror = bool(rng.random() < flip) and all(map(can_be_mirrored, talks))
    box = (0, 0, *image.size)
    if rng.random() < crop and all(map(can_be_cut, talks)):
        box = draw_box(*image.size, smallest, rng)
    section = Section(box, mirror)
    kept = [talk for talk in talks if _is_left(talk, section)]
    if talks and not kept:
        section, kept = Section((0, 0, *image.size), mirror), list(talks)
    image = section.picture(image)
    if colour:
        image = recoloured(image, colour, rng)
    return replace(example, image=image, conversations=tuple(_seen(talk, section) for talk in kept))


def can_be_mirrored(talk: Conversation) -> bool:
    """Whether its words can be made true of the mirrored picture."""
    return not any(_NOT_MIRRORED.search(text) for text in _texts(talk))


def can_be_cut(talk: Conversation) -> bool:
    """Whether its words, as far as what they point at is left, are true of a piece of the picture.

    Only of questions for masks, one turn each. An answer in words may be about anything that was cut away.
    """
    return talk.segmenting and len(talk.turns) == 1 and not any(_OF_THE_WHOLE.search(text) for text in _texts(talk))


def mirrored(text: str) -> str:
    """Left for right, and right for left.

    >>> mirrored("The left cup, on the right-hand side of the LEFTMOST plate")
    'The right cup, on the left-hand side of the RIGHTMOST plate'
    """

    def other(found: re.Match[str]) -> str:
        word = found[0]
        side = _MIRRORED[word.lower()]
        return side.upper() if word.isupper() and len(word) > 1 else side.capitalize() if word[0].isupper() else side

    return _SIDE.sub(other, text)


def _seen(talk: Conversation, section: Section) -> Conversation:
    """The conversation about a section."""
    turns: Sequence[Turn] = talk.turns
    if section.flip:
        turns = [Turn(mirrored(turn.question), mirrored(turn.answer)) for turn in turns]
    return replace(talk, turns=tuple(turns), masks=tuple(section.pixels(np.asarray(mask)) for mask in talk.masks))


def _is_left(talk: Conversation, section: Section) -> bool:
    """Whether enough of each thing is in the section. What was not there before is not there now, either."""
    for mask in talk.masks:
        before = np.count_nonzero(mask == 1)
        if before and np.count_nonzero(section.pixels(mask) == 1) < LEAST_LEFT * before:
            return False
    return True


def _texts(talk: Conversation) -> list[str]:
    return [text for turn in talk.turns for text in (turn.question, turn.answer)]
