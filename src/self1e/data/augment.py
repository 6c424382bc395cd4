"""Pictures that change a little each time they are seen, with their masks, and with the words about them.

An example stays true: a mirrored picture has its "left" and "right" swapped, and is not mirrored where words cannot
follow (writing, clocks, "right now"; see `self1e.processing.sides`); no picture is cut where words count, compare or
say a place; what a cut takes away is not asked for. Colours change so little that their names stay right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageEnhance

from self1e.conversation import Conversation, Example, Turn
from self1e.processing.sides import follows_a_mirror, holds_of_a_piece, mirrored

LEAST_LEFT = 0.2
"""Share of a thing that a cut has to leave, or it is not asked for."""


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
        example: Its conversations, rehearsed ones too, hold all that is said of the picture. `extras` stay as they are.
        rng: The only source of chance.
        flip: Share of pictures that are mirrored, where words can follow.
        crop: Share of pictures that are cut, where words stay true.
        smallest: Shortest sides of a cut, as a share of the picture's.
        colour: How much brightness, contrast and saturation change; see `recoloured`.

    Returns:
        With at least one conversation where there was one: a cut that leaves none of them is not made.
    """
    image, said = example.image, (example.conversations, example.rehearsed)
    mirror = bool(rng.random() < flip) and all(map(can_be_mirrored, chain(*said)))
    section = whole = Section((0, 0, *image.size), mirror)
    if rng.random() < crop and all(map(can_be_cut, chain(*said))):
        section = Section(draw_box(*image.size, smallest, rng), mirror)
    if example.conversations and not any(_is_left(talk, section) for talk in example.conversations):
        section = whole
    seen = [tuple(_seen(talk, section) for talk in talks if _is_left(talk, section)) for talks in said]
    image = section.picture(image)
    if colour:
        image = recoloured(image, colour, rng)
    return replace(example, image=image, conversations=seen[0], rehearsed=seen[1])


def can_be_mirrored(talk: Conversation) -> bool:
    """Whether its words can be made true of the mirrored picture."""
    return all(map(follows_a_mirror, _texts(talk)))


def can_be_cut(talk: Conversation) -> bool:
    """Whether its words, as far as what they point at is left, are true of a piece of the picture.

    Only of questions for masks, one turn each. An answer in words may be about anything that was cut away.
    """
    return talk.segmenting and len(talk.turns) == 1 and all(map(holds_of_a_piece, _texts(talk)))


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
