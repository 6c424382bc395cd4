"""Examples of a training set on one picture, for the eye: each with its mask, its words and where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from self1e.data.masks import IGNORE
from self1e.data.members import Member
from self1e.data.records import Query, Talk
from self1e.processing.images import load_image
from self1e.segment.overlay import PALETTE, colours_for, draw_masks

THUMB = (264, 198)
"""Room for a thumbnail, pixels."""

GAP = 12
TEXT_SIZE, TEXT_LINES, LINE_HEIGHT = 15, 3, 19
HEAD_HEIGHT = 34
LONGEST = 400
"""Letters of a text that are looked at."""

SPECK = 25
"""Masks of fewer pixels on the sheet are drawn larger."""

RATIO = 1.5
"""Width of a sheet to its height, as nearly as whole cells allow."""

BACKGROUND, FRAME, INK, FAINT, WARNING = "white", (228, 228, 228), (20, 20, 20), (105, 105, 105), (190, 50, 0)
#: Magenta first, of which photographs have the least.
COLOURS = (PALETTE[2], *PALETTE[:2], *PALETTE[3:])
IGNORED = (150, 150, 150)
"""Colour of what counts neither way."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Cell:
    """An example on a sheet.

    Attributes:
        source: Name of its source, and the kind of query.
        picture: RGB, not larger than `THUMB`, with the masks.
        text: What is asked, and of exchanges in words what is answered.
        note: What has to be said about the mask.
    """

    source: str
    picture: Image.Image
    text: str
    note: str = ""


def contact_sheet(members: Sequence[Member], usable: Sequence[Sequence[int]], count: int, seed: int) -> Image.Image:
    """A sheet of random examples, the same ones for the same seed. Sources take turns.

    Args:
        members: Where examples come from.
        usable: Of each member the places of records that are not broken.
        count: Most examples on the sheet.
        seed: Of the choice.

    Raises:
        ValueError: When there is nothing to show.
    """
    chosen = choose(usable, count, seed)
    if not chosen:
        raise ValueError("there is no record that can be shown")
    return laid_out(
        [
            cell_of(members[member], place, np.random.default_rng((seed, member, place, 3)))
            for member, place in sorted(chosen)
        ],
        f"{len(chosen)} examples at random (seed {seed}). Grey: counts neither way",
    )


def choose(usable: Sequence[Sequence[int]], count: int, seed: int) -> list[tuple[int, int]]:
    """(member, place) of at most `count` records; members take turns, each in random order.

    >>> choose([[], [3], [5, 6, 7]], 3, 1)[:2]
    [(1, 3), (2, 7)]
    """
    orders = [np.random.default_rng((seed, number, 2)).permutation(len(places)) for number, places in enumerate(usable)]
    longest = max(map(len, orders), default=0)
    turns = ((number, turn) for turn in range(min(longest, count)) for number in range(len(usable)))
    found = [(number, usable[number][orders[number][turn]]) for number, turn in turns if turn < len(orders[number])]
    return found[:count]


def cell_of(member: Member, place: int, rng: np.random.Generator) -> Cell:
    """Opens the picture of a record and draws one of its queries or talks on it."""
    record = member.source[place]
    items: tuple[Query | Talk, ...] = (*record.queries, *record.talks)
    item = items[int(rng.integers(len(items)))]
    source = f"{member.label}, {item.kind}" if item.kind else member.label
    picture = load_image(record.image)
    if isinstance(item, Query):
        text, makers = item.text + (f"  ->  {item.answer}" if item.answer else ""), [item.mask]
    else:
        text = "   ".join(f"Q: {turn.question}  A: {turn.answer}" for turn in item.turns)
        makers = list(item.masks)
    masks = [make() for make in makers]
    there = sum(bool((mask == 1).any()) for mask in masks)
    note = "" if there == len(masks) else "not there: empty mask" if not there else "with an empty mask"
    return Cell(source, with_masks(picture, masks), text, note)


def with_masks(picture: Image.Image, masks: Sequence[np.ndarray]) -> Image.Image:
    """A thumbnail of the picture with its masks (uint8 as in `Query.mask`); what they ignore is grey."""
    thumb = picture.copy()
    thumb.thumbnail(THUMB, Image.Resampling.LANCZOS)
    scale = min(THUMB[0] / thumb.width, THUMB[1] / thumb.height)
    if scale > 1:  # a tiny picture, pixel for pixel
        thumb = thumb.resize(
            (max(1, int(thumb.width * scale)), max(1, int(thumb.height * scale))), Image.Resampling.NEAREST
        )
    if not masks:
        return thumb
    inside = [_shrunk(mask == 1, thumb.size) for mask in masks]
    ignored = np.logical_or.reduce([_shrunk(mask == IGNORE, thumb.size) for mask in masks])
    thumb = draw_masks(thumb, ignored[None], [IGNORED], alpha=0.6, outline=False, dim=0)
    return draw_masks(thumb, np.stack(inside), colours_for(len(inside), COLOURS), alpha=0.5)


def _shrunk(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """bool[height, width] of a mask at another size; specks grow, or nobody would see them."""
    shares = np.asarray(Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BOX))
    small = shares >= 0.5
    if mask.any() and not small.any():
        small = shares >= shares.max()
    if 0 < small.sum() < SPECK:
        small = np.asarray(Image.fromarray(small).convert("L").filter(ImageFilter.MaxFilter(5))) > 0
    return small


def laid_out(cells: Sequence[Cell], title: str, columns: int | None = None) -> Image.Image:
    """Cells in a grid under a title; of `columns` columns, or as many as `RATIO` asks for."""
    width = THUMB[0] + 2 * GAP
    height = GAP + THUMB[1] + (TEXT_LINES + 1) * LINE_HEIGHT + GAP
    columns = columns or max(1, min(len(cells), round((RATIO * len(cells) * height / width) ** 0.5)))
    rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * width, HEAD_HEIGHT + rows * height), BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT_SIZE)
    small = ImageFont.load_default(TEXT_SIZE - 2)
    draw.text((GAP, GAP), wrapped(title, small, sheet.width - 2 * GAP, 1)[0], FAINT, small)
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        left, top = column * width + GAP, HEAD_HEIGHT + row * height
        draw.rectangle((left, top, left + THUMB[0] - 1, top + THUMB[1] - 1), FRAME)
        beside, above = (room - side for room, side in zip(THUMB, cell.picture.size, strict=True))
        sheet.paste(cell.picture, (left + beside // 2, top + above // 2))
        top += THUMB[1] + 4
        for line in wrapped(cell.source, small, THUMB[0], 1):
            draw.text((left, top), line, FAINT, small)
        top += LINE_HEIGHT
        for line in wrapped(cell.text, font, THUMB[0], TEXT_LINES - bool(cell.note)):
            draw.text((left, top), line, INK, font)
            top += LINE_HEIGHT
        if cell.note:
            draw.text((left, top), cell.note, WARNING, font)
    return sheet


def wrapped(text: str, font: Font, width: int, lines: int) -> list[str]:
    """The text in lines of at most `width` pixels; what takes more than `lines` is cut."""
    words = [piece for word in text[:LONGEST].split() for piece in _broken_up(list(word), "", font, width)]
    found = _broken_up(words, " ", font, width)
    if len(found) <= lines:
        return found
    last = f"{found[lines - 1]}..."
    while font.getlength(last) > width and len(last) > 4:
        last = f"{last[:-4].rstrip()}..."
    return [*found[: lines - 1], last]


def _broken_up(parts: Sequence[str], joint: str, font: Font, width: int) -> list[str]:
    """The parts (letters, or words), joined to stretches of at most `width` pixels."""
    found: list[str] = []
    for part in parts:
        longer = f"{found[-1]}{joint}{part}" if found else part
        if found and font.getlength(longer) <= width:
            found[-1] = longer
        else:
            found.append(part)
    return found
