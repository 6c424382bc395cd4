"""One drawing surface for colour and ground truth together.

Nothing is painted as RGB. Every shape is filled with a *key*, a number that stands for (colour, owner, part); tables
turn the finished map of keys into the picture, the object map and the part map. So the three cannot disagree. The
surface has twice the picture's resolution: colours are averaged over 2x2 keys, while a pixel's owner is read from one
of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from self1e.toyland.colours import RGB, darker

Point = tuple[float, float]
OVERSAMPLING = 2
#: Size at which a line between parts is one pixel wide.
PLAIN_SIZE = 448
#: Outline number of stuff, which has no outline.
NO_OUTLINE = 0


class Canvas:
    """A square map of keys, with the tables that explain them.

    Args:
        size: Side of the finished picture in pixels.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.side = size * OVERSAMPLING
        self.image = Image.new("I;16", (self.side, self.side), 0)
        self.draw = ImageDraw.Draw(self.image)
        self.colours: list[RGB] = []
        self.inks: list[RGB] = []
        self.bright: list[bool] = []
        self.owners: list[int] = []
        self.parts: list[int] = []
        self.outlines: list[int] = []

    def key(self, rgb: RGB, ink: RGB, bright: bool, owner: int, part: int, outline: int) -> int:
        """A new key. Pixels get the colour `ink` where they touch a key with another number as `outline`."""
        self.colours.append(rgb)
        self.inks.append(ink)
        self.bright.append(bright)
        self.owners.append(owner)
        self.parts.append(part)
        self.outlines.append(outline)
        return len(self.colours) - 1

    def keys(self) -> np.ndarray:
        """uint16[size, size]: the key at each pixel's centre."""
        return np.ascontiguousarray(np.asarray(self.image)[1::OVERSAMPLING, 1::OVERSAMPLING])

    def count_from(self, first_key: int, bounds: tuple[int, int, int, int]) -> int:
        """How many pixels within `bounds` (oversampled) have a key >= `first_key`: what was drawn since it was made."""
        x0, y0 = (max(0, v // OVERSAMPLING * OVERSAMPLING) for v in bounds[:2])
        x1, y1 = (min(self.side, v + OVERSAMPLING) for v in bounds[2:])
        if x1 <= x0 or y1 <= y0:
            return 0
        keys = np.asarray(self.image.crop((x0, y0, x1, y1)))[1::OVERSAMPLING, 1::OVERSAMPLING]
        return int((keys >= first_key).sum())

    def picture(self, tint: tuple[float, float, float]) -> Image.Image:
        """The RGB picture with outlines, averaged down to `size`; `tint` is the light's gain per channel."""
        keys = np.asarray(self.image)
        pixels = self._palette(self.colours, tint).take(keys)
        edges = np.flatnonzero(self._edges(keys))
        pixels.ravel()[edges] = self._palette(self.inks, tint).take(keys.ravel()[edges])
        return Image.frombuffer("RGBX", (self.side, self.side), pixels, "raw", "RGBX", 0, 1).convert("RGB").reduce(2)

    def _palette(self, colours: list[RGB], tint: tuple[float, float, float]) -> np.ndarray:
        """uint32[n]: lit colours, the channels of each packed into one number, so that a pixel is one lookup."""
        gains = np.where(np.array(self.bright)[:, None], 1.0, tint)
        palette = np.zeros((len(colours), 4), np.uint8)
        palette[:, :3] = np.minimum(np.array(colours) * gains + 0.5, 255)
        return palette.view(np.uint32)[:, 0]

    def _edges(self, keys: np.ndarray) -> np.ndarray:
        """bool: where there is ink. Lines are thick against stuff, thinner between things and between parts."""
        groups = np.array(self.outlines, np.int16).take(keys)
        thin = max(1, round(self.size / PLAIN_SIZE))
        return _borders(groups, thin) | _borders(groups == NO_OUTLINE, 2 * thin)


def _borders(groups: np.ndarray, width: int) -> np.ndarray:
    """bool: where the group `width` pixels away, along a row or a column, is another one."""
    borders = np.zeros(groups.shape, bool)
    across, down = groups[:, width:] != groups[:, :-width], groups[width:] != groups[:-width]
    borders[:, width:] = across
    borders[:, :-width] |= across
    borders[width:] |= down
    borders[:-width] |= down
    return borders


class Pen:
    """Draws one owner in its own coordinates: (0, 0) is its foot, x grows the way it faces, y grows upwards.

    Args:
        canvas: Where to draw.
        owner: Id of the thing (or stuff) that owns every pixel drawn.
        origin: The foot, in fractions of the picture's side.
        scale: Length of one unit, in fractions of the picture's side.
        facing: 1 to face right, -1 to face left.
        next_part: Id that the first named part gets.
        outlined: Whether shapes get a dark outline (things do, stuff does not).

    Attributes:
        bright: Set while drawing what shines by itself and so ignores the light of the hour.
    """

    def __init__(
        self,
        canvas: Canvas,
        owner: int,
        origin: Point = (0.0, 1.0),
        scale: float = 1.0,
        facing: int = 1,
        next_part: int = 1,
        outlined: bool = True,
    ) -> None:
        self.canvas = canvas
        self.owner = owner
        self.parts: list[tuple[int, str, str | None]] = []
        self.first_key = len(canvas.colours)
        self.bounds = (canvas.side, canvas.side, 0, 0)
        self._x, self._y = origin[0] * canvas.side, origin[1] * canvas.side
        self._unit = scale * canvas.side
        self._facing = facing
        self._next_part = next_part
        self.bright = False
        self._part = 0
        self._outlined = outlined
        self._keys: dict[tuple[RGB, bool, int, bool], int] = {}

    @contextmanager
    def part(self, name: str, colour: str | None = None) -> Iterator[None]:
        """Shapes drawn inside this context belong to a new part."""
        outer, self._part = self._part, self._next_part
        self._next_part += 1
        self.parts.append((self._part, name, colour))
        yield
        self._part = outer

    @contextmanager
    def resume(self, part: int) -> Iterator[None]:
        """Shapes drawn inside this context belong to a part begun before, by its id."""
        outer, self._part = self._part, part
        yield
        self._part = outer

    def polygon(self, points: Sequence[Point], rgb: RGB, own_outline: bool = False) -> None:
        """Fills a polygon; `own_outline` sets it off from the part it lies on by an outline of its own."""
        placed = self._place(points)
        xs, ys = [p[0] for p in placed], [p[1] for p in placed]
        x0, y0, x1, y1 = self.bounds
        self.bounds = (min(x0, *xs), min(y0, *ys), max(x1, *xs), max(y1, *ys))
        self.canvas.draw.polygon(placed, fill=self._key(rgb, own_outline))

    def ellipse(self, x: float, y: float, rx: float, ry: float, rgb: RGB, tilt: float = 0.0, own: bool = False) -> None:
        """Fills an ellipse around (x, y), turned by `tilt` radians."""
        self.polygon(self.oval(x, y, rx, ry, tilt), rgb, own)

    def box(self, x0: float, y0: float, x1: float, y1: float, rgb: RGB, radius: float = 0.0, own: bool = False) -> None:
        """Fills a rectangle, with round corners if `radius` is given."""
        self.polygon(rounded_box(x0, y0, x1, y1, radius), rgb, own)

    def curve(self, points: Sequence[Point], rgb: RGB, own: bool = False) -> None:
        """Fills the smooth closed curve through the points."""
        self.polygon(smooth(points), rgb, own)

    def line(self, points: Sequence[Point], width: float, rgb: RGB, own: bool = False) -> None:
        """Draws a thick line with round ends and joints."""
        half = max(width / 2, 0.8 / self._unit)
        for (x0, y0), (x1, y1) in pairwise(points):
            length = math.hypot(x1 - x0, y1 - y0) or 1.0
            dx, dy = (y1 - y0) / length * half, (x0 - x1) / length * half
            self.polygon([(x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy)], rgb, own)
        if half * self._unit > 1.5:
            for x, y in points:
                self.ellipse(x, y, half, half, rgb, own=own)

    def oval(self, x: float, y: float, rx: float, ry: float, tilt: float = 0.0) -> list[Point]:
        """The outline of an ellipse, with as many corners as its size on the canvas needs."""
        corners = min(72, max(12, int(4 * math.sqrt(max(rx, ry) * self._unit))))
        c, s = math.cos(tilt), math.sin(tilt)
        circle = [(rx * math.cos(a), ry * math.sin(a)) for a in (math.tau * i / corners for i in range(corners))]
        return [(x + u * c - v * s, y + u * s + v * c) for u, v in circle]

    def patterned(self, points: Sequence[Point], rgb: RGB, second: RGB, texture: str, pitch: float) -> None:
        """Fills a polygon and lays a pattern over it, clipped to the polygon.

        Args:
            points: The polygon.
            rgb: Main colour; it keeps more than half of the area.
            second: Colour of the stripes, spots or checks.
            texture: One of `TEXTURES`.
            pitch: Distance from stripe to stripe, in units.
        """
        self.polygon(points, rgb)
        if texture == "plain":
            return
        placed = self._place(points)
        xs, ys = [p[0] for p in placed], [p[1] for p in placed]
        left, top = min(xs), min(ys)
        width, height = max(xs) - left + 1, max(ys) - top + 1
        clip, pattern = Image.new("L", (width, height), 0), Image.new("L", (width, height), 0)
        ImageDraw.Draw(clip).polygon([(x - left, y - top) for x, y in placed], fill=255)
        _PATTERNS[texture](ImageDraw.Draw(pattern), width, height, max(6.0, pitch * self._unit))
        self.canvas.image.paste(self._key(second, False), (left, top), ImageChops.darker(clip, pattern))

    def _place(self, points: Sequence[Point]) -> list[tuple[int, int]]:
        left, foot, unit, turn = self._x, self._y, self._unit, self._unit * self._facing
        return [(round(left + x * turn), round(foot - y * unit)) for x, y in points]

    def _key(self, rgb: RGB, own_outline: bool) -> int:
        entry = (rgb, self.bright, self._part, own_outline)
        if entry not in self._keys:
            outline, ink = NO_OUTLINE, rgb
            if self._outlined:
                # Without an outline of its own, a key shares the number of its part, or of its owner outside of parts.
                shared = self._part or 10_000 + self.owner
                outline, ink = -len(self.canvas.colours) - 1 if own_outline else shared, darker(rgb, 0.42)
            self._keys[entry] = self.canvas.key(rgb, ink, self.bright, self.owner, self._part, outline)
        return self._keys[entry]


def rounded_box(x0: float, y0: float, x1: float, y1: float, radius: float) -> list[Point]:
    """The outline of a rectangle with round corners."""
    if radius <= 0:
        return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    radius = min(radius, abs(x1 - x0) / 2, abs(y1 - y0) / 2)
    corners = (
        (x1 - radius, y1 - radius, 0),
        (x0 + radius, y1 - radius, 1),
        (x0 + radius, y0 + radius, 2),
        (x1 - radius, y0 + radius, 3),
    )
    return [
        (cx + radius * math.cos(a), cy + radius * math.sin(a))
        for cx, cy, quarter in corners
        for a in (math.pi / 2 * (quarter + i / 4) for i in range(5))
    ]


_STEPS = tuple(i / 6 for i in range(6))
_WEIGHTS = tuple(
    (
        (-t + 2 * t**2 - t**3) / 2,
        (2 - 5 * t**2 + 3 * t**3) / 2,
        (t + 4 * t**2 - 3 * t**3) / 2,
        (t**3 - t**2) / 2,
    )
    for t in _STEPS
)


def smooth(points: Sequence[Point]) -> list[Point]:
    """The closed Catmull-Rom curve through the points, as a polygon."""
    n = len(points)
    curve = []
    for i in range(n):
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = points[i - 1], points[i], points[(i + 1) % n], points[(i + 2) % n]
        curve += [(p * ax + q * bx + r * cx + s * dx, p * ay + q * by + r * cy + s * dy) for p, q, r, s in _WEIGHTS]
    return curve


def _stripes(draw: ImageDraw.ImageDraw, width: int, height: int, pitch: float) -> None:
    slant = height * 0.35
    for i in range(-int(slant / pitch) - 1, int(width / pitch) + 2):
        x = (i + 0.25) * pitch
        draw.polygon([(x + slant, 0), (x + slant + pitch * 0.42, 0), (x + pitch * 0.42, height), (x, height)], fill=255)


def _spots(draw: ImageDraw.ImageDraw, width: int, height: int, pitch: float) -> None:
    radius = pitch * 0.3
    for row in range(int(height / (pitch * 0.85)) + 2):
        for column in range(int(width / pitch) + 2):
            x, y = (column + 0.5 * (row % 2)) * pitch, (row + 0.4) * pitch * 0.85
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=255)


def _checks(draw: ImageDraw.ImageDraw, width: int, height: int, pitch: float) -> None:
    half = pitch * 0.5
    for row in range(int(height / half) + 1):
        for column in range(row % 2, int(width / half) + 1, 2):
            draw.rectangle([column * half, row * half, column * half + half * 0.9, row * half + half * 0.9], fill=255)


_PATTERNS = {"striped": _stripes, "spotted": _spots, "checked": _checks}
