"""The land and the sky of a scene: which stuff covers what, in smooth outlines."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from self1e.toyland.canvas import Canvas, Pen, Point, smooth
from self1e.toyland.colours import RGB, darker, jittered, lighter, mix

#: Colours of the sky at its top and at the horizon.
_SKY: dict[str, tuple[RGB, RGB]] = {
    "day": ((98, 176, 238), (206, 234, 250)),
    "sunset": ((128, 112, 190), (255, 190, 128)),
    "night": ((26, 34, 84), (84, 98, 158)),
    "overcast": ((158, 170, 184), (216, 222, 226)),
}
_GREENS: tuple[RGB, ...] = ((138, 200, 98), (122, 190, 104), (156, 204, 92))
_SAND: RGB = (242, 220, 164)
_SNOW: RGB = (228, 238, 248)
_ROAD: RGB = (112, 116, 126)
_WATER: RGB = (84, 168, 214)
_ROCK: RGB = (140, 140, 172)


class Land:
    """Paints stuff from far to near.

    Args:
        canvas: Where to draw; everything is in fractions of its side, with y growing downwards.
        rng: Decides all outlines and shades.
        time: Time of day, for the sky.
    """

    def __init__(self, canvas: Canvas, rng: np.random.Generator, time: str) -> None:
        self.canvas = canvas
        self.rng = rng
        self.owners: dict[str, int] = {}
        self.pens: dict[str, Pen] = {}
        self.horizon = float(rng.uniform(0.36, 0.48))
        self._sky(time)

    def pen(self, kind: str) -> Pen:
        """The pen that draws this kind of stuff; y grows downwards for it, from the top of the picture."""
        if kind not in self.pens:
            self.owners[kind] = len(self.owners) + 1
            self.pens[kind] = Pen(self.canvas, self.owners[kind], (0.0, 0.0), outlined=False)
        return self.pens[kind]

    def paint(self, kind: str, points: list[Point], rgb: RGB) -> None:
        """Fills a polygon with stuff."""
        self.pen(kind).polygon([(x, -y) for x, y in points], rgb)

    def below(self, kind: str, edge: list[Point], rgb: RGB) -> None:
        """Fills everything below an edge that runs from the left to the right side."""
        self.paint(kind, [*edge, (1.05, 1.05), (-0.05, 1.05)], rgb)

    def band(self, kind: str, upper: list[Point], lower: list[Point], rgb: RGB) -> None:
        """Fills the strip between two edges."""
        self.paint(kind, upper + lower[::-1], rgb)

    def wave(self, y: float, height: float, waves: float = 1.5) -> list[Point]:
        """A gently rolling edge around `y`."""
        a, b = self.rng.uniform(0, math.tau, 2).tolist()
        steps = [-0.05 + 1.1 * i / 40 for i in range(41)]
        return [
            (
                x,
                y
                + height * (0.7 * math.sin(math.tau * waves * x + a) + 0.3 * math.sin(math.tau * 2.3 * waves * x + b)),
            )
            for x in steps
        ]

    def vary(self, low: float, high: float) -> float:
        """A number between the two."""
        return float(self.rng.uniform(low, high))

    def green(self) -> RGB:
        """A shade of grass."""
        return jittered(_GREENS[int(self.rng.integers(len(_GREENS)))], self.rng)

    def _sky(self, time: str) -> None:
        top, bottom = _SKY[time]
        rows = 48
        for i in range(rows):
            y, below = (self.horizon * 1.2 * j / rows for j in (i, i + 1.1))
            self.paint("sky", [(0, y), (1, y), (1, below), (0, below)], mix(top, bottom, (i / (rows - 1)) ** 1.3))
        if time == "night":
            for x, y in self.rng.random((46, 2)).tolist():
                self.pen("sky").ellipse(x, -y * self.horizon, 0.0022, 0.0022, (206, 212, 240))


def _far_hills(land: Land, snowy: bool = False) -> None:
    """One or two rows of rolling hills."""
    base: RGB = (206, 220, 236) if snowy else (104, 168, 120)
    for rise, share in ((0.075, 0.22), (0.025, 0.0))[int(land.rng.integers(2)) :]:
        rgb = mix(jittered(base, land.rng), (180, 205, 230), share)
        land.below("hills", land.wave(land.horizon - rise, land.vary(0.02, 0.045), land.vary(0.9, 1.8)), rgb)


def _far_mountains(land: Land) -> None:
    """A jagged range with snow on the higher peaks."""
    rgb = jittered(_ROCK, land.rng)
    xs = np.linspace(-0.1, 1.1, int(land.rng.integers(4, 6))) + land.rng.uniform(-0.06, 0.06)
    for i in land.rng.permutation(len(xs)).tolist():
        x, rise, half = float(xs[i]), land.vary(0.1, 0.24), land.vary(0.2, 0.28)
        top = land.horizon - rise
        foot = land.horizon + 0.06
        land.paint(
            "mountains", [(x - half, foot), (x - half * 0.2, top + rise * 0.25), (x, top), (x + half, foot)], rgb
        )
        land.paint(
            "mountains",
            [(x, top), (x + half, foot), (x + half * 0.1, foot), (x + half * 0.12, top + rise * 0.5)],
            darker(rgb, 0.16),
        )
        cap = rise * 0.28
        w = half * cap / (foot - top)
        zigzag = ((0.0, 0.0), (1.0, 1.0), (0.4, 0.75), (0.0, 1.1), (-0.4, 0.8), (-0.85, 1.05))
        land.paint("mountains", [(x + w * u, top + cap * v) for u, v in zigzag], (244, 248, 252))


def _background(land: Land, snowy: bool = False) -> None:
    style = int(land.rng.integers(4))
    if style in (1, 3):
        _far_mountains(land)
    if style in (0, 1, 2):
        _far_hills(land, snowy)


def _grass(land: Land, y: float, height: float = 0.012) -> None:
    """Grass from `y` down, in two or three rolling shades."""
    rgb = land.green()
    land.below("grass", land.wave(y, height), rgb)
    for share in (0.35, 0.7):
        rgb = darker(rgb, 0.035)
        land.below("grass", land.wave(y + (1 - y) * share, 0.02, land.vary(0.8, 1.6)), rgb)


def _road(land: Land, y: float, width: float) -> None:
    """A road across the picture, with kerbs and a dashed line along its middle."""
    middle = land.wave(y, land.vary(0.0, 0.014), 0.7)
    rgb = jittered(_ROAD, land.rng)

    def edge(offset: float) -> list[Point]:
        return [(x, v + offset * width) for x, v in middle]

    land.band("road", edge(-0.54), edge(0.54), lighter(rgb, 0.45))
    land.band("road", edge(-0.47), edge(0.47), rgb)
    for i in range(1, 39, 4):
        dash = middle[i : i + 3]
        upper, lower = [(x, v - 0.004) for x, v in dash], [(x, v + 0.004) for x, v in dash]
        land.band("road", upper, lower, (236, 232, 214))


def _blob(land: Land, x: float, y: float, rx: float, ry: float, grow: float) -> list[Point]:
    bumps = land.rng.uniform(0.86, 1.12, 10).tolist()
    angles = [math.tau * i / 10 for i in range(10)]
    return smooth(
        [(x + grow * rx * b * math.cos(a), y + grow * ry * b * math.sin(a)) for a, b in zip(angles, bumps, strict=True)]
    )


def _pond(land: Land, x: float, y: float, rx: float, ry: float, shore: str, shore_rgb: RGB) -> None:
    """A lake with a lighter rim that belongs to the shore."""
    outline = _blob(land, x, y, rx, ry, 1.0)
    land.paint(shore, [(x + (u - x) * 1.06, y + (v - y) * 1.1) for u, v in outline], shore_rgb)
    land.paint("water", outline, jittered(_WATER, land.rng))


def _meadow(land: Land) -> None:
    _background(land)
    _grass(land, land.horizon)


def _meadow_road(land: Land) -> None:
    _background(land)
    _grass(land, land.horizon)
    _road(land, land.vary(0.64, 0.82), land.vary(0.13, 0.18))


def _lakeside(land: Land) -> None:
    _background(land)
    _grass(land, land.horizon)
    x, y = land.vary(0.3, 0.7), land.vary(0.64, 0.74)
    _pond(land, x, y, land.vary(0.34, 0.48), land.vary(0.13, 0.18), "grass", (196, 206, 130))


def _beach(land: Land) -> None:
    if land.vary(0, 1) < 0.5:
        _far_hills(land)
    land.below("water", [(-0.05, land.horizon), (1.05, land.horizon)], jittered(_WATER, land.rng))
    y, sand = land.vary(0.6, 0.72), jittered(_SAND, land.rng)
    shore = land.wave(y, land.vary(0.015, 0.045), land.vary(0.6, 1.3))
    land.band("water", [(x, v - 0.018) for x, v in shore], [(x, v + 0.02) for x, v in shore], (232, 246, 250))
    land.below("sand", shore, darker(sand, 0.08))
    land.below("sand", [(x, v + 0.022) for x, v in shore], sand)


def _town(land: Land) -> None:
    _background(land)
    _grass(land, land.horizon, 0.004)
    _road(land, land.vary(0.74, 0.82), land.vary(0.19, 0.24))


def _snowfield(land: Land) -> None:
    _background(land, snowy=True)
    rgb = jittered(_SNOW, land.rng, 0.4)
    land.below("snow", land.wave(land.horizon, 0.012), rgb)
    for share in (0.35, 0.7):
        rgb = mix(rgb, (212, 226, 246), 0.22)
        land.below("snow", land.wave(land.horizon + (1 - land.horizon) * share, 0.025, land.vary(0.8, 1.6)), rgb)
    extra = land.vary(0, 1)
    if extra < 0.3:
        _road(land, land.vary(0.66, 0.8), land.vary(0.13, 0.18))
    elif extra < 0.5:
        _pond(
            land,
            land.vary(0.3, 0.7),
            land.vary(0.68, 0.76),
            land.vary(0.28, 0.4),
            land.vary(0.1, 0.14),
            "snow",
            (206, 224, 246),
        )


def _river(land: Land) -> None:
    _background(land)
    _grass(land, land.horizon)
    start, end, bend = land.vary(0.25, 0.75), land.vary(0.2, 0.8), land.vary(-0.16, 0.16)
    left, right, banks = [], [], []
    for i in range(31):
        t = i / 30
        x = start + (end - start) * t + bend * math.sin(math.tau * t * 0.9) * t
        y = land.horizon + (1.05 - land.horizon) * t
        half = 0.02 + 0.21 * t**1.1
        left.append((x - half, y))
        right.append((x + half, y))
        banks.append((x, y, half + 0.006 + 0.02 * t))
    land.paint("grass", [(x - h, y) for x, y, h in banks] + [(x + h, y) for x, y, h in banks[::-1]], (196, 206, 130))
    land.paint("water", left + right[::-1], jittered(_WATER, land.rng))
    if land.vary(0, 1) < 0.5:
        _road(land, land.vary(0.58, 0.66), 0.13)


def _desert(land: Land) -> None:
    if land.vary(0, 1) < 0.6:
        _far_mountains(land)
    rgb = jittered((238, 204, 138), land.rng)
    land.below("sand", land.wave(land.horizon, 0.03, 1.2), darker(rgb, 0.07))
    for share in (0.2, 0.55):
        rgb = mix(rgb, (252, 228, 172), 0.3)
        land.below("sand", land.wave(land.horizon + (1 - land.horizon) * share, 0.03, land.vary(0.7, 1.5)), rgb)
    if land.vary(0, 1) < 0.5:
        _pond(
            land,
            land.vary(0.3, 0.7),
            land.vary(0.68, 0.78),
            land.vary(0.24, 0.36),
            land.vary(0.09, 0.13),
            "grass",
            land.green(),
        )


def _bay(land: Land) -> None:
    _background(land)
    land.below("water", [(-0.05, land.horizon + 0.01), (1.05, land.horizon + 0.01)], jittered(_WATER, land.rng))
    _grass(land, land.vary(0.76, 0.84), 0.025)


@dataclass(frozen=True)
class GroundPlan:
    """A kind of landscape: how it is drawn, how often it is chosen, and which things are likelier in it."""

    draw: Callable[[Land], None]
    weight: float
    favourites: tuple[str, ...]


GROUND_PLANS: dict[str, GroundPlan] = {
    "meadow": GroundPlan(_meadow, 1.2, ("tree", "cow", "sheep", "flower", "mushroom", "tent", "fence")),
    "meadow road": GroundPlan(_meadow_road, 1.4, ("tree", "car", "bus", "truck", "cow", "house")),
    "lakeside": GroundPlan(_lakeside, 1.2, ("duck", "boat", "tree", "bench", "person")),
    "beach": GroundPlan(_beach, 1.4, ("boat", "umbrella", "person", "ball", "tree", "kite")),
    "town": GroundPlan(_town, 1.6, ("house", "car", "bus", "truck", "lamp", "tree", "person", "bench")),
    "snowfield": GroundPlan(_snowfield, 1.4, ("snowman", "tree", "house", "person", "dog")),
    "river": GroundPlan(_river, 1.1, ("tree", "duck", "house", "sheep", "boat", "cow")),
    "desert": GroundPlan(_desert, 0.7, ("tree", "tent", "balloon", "car")),
    "bay": GroundPlan(_bay, 1.0, ("boat", "duck", "person", "bench", "balloon")),
}


def draw_clutter(land: Land, kind: str, x: float, y: float, variant: float, far: float) -> None:
    """One small detail that belongs to the stuff at (x, y): a tuft, a pebble, a ripple.

    Args:
        land: Where to draw.
        kind: The stuff there.
        x: Fraction of the picture from the left.
        y: Fraction of the picture from the top.
        variant: A number in [0, 1) that decides which detail it is.
        far: Scale, smaller far away.
    """
    pen, s = land.pen(kind), 0.011 * far
    if kind == "grass" and variant < 0.8:
        blades = ((-0.6, 0), (-0.9, 1.2), (-0.25, 0.5), (0, 1.6), (0.25, 0.5), (0.9, 1.2), (0.6, 0))
        pen.polygon([(x + s * u, -y + s * v) for u, v in blades], (92, 164, 78))
    elif kind == "grass":
        petal = ((250, 246, 240), (250, 220, 90), (244, 160, 190))[int(variant * 1000) % 3]
        for dx, dy in ((-0.4, 0), (0.4, 0), (0, 0.4), (0, -0.4)):
            pen.ellipse(x + s * dx, -y + s * dy, s * 0.32, s * 0.32, petal)
    elif kind == "water":
        crests = [(x + s * u, -y + s * 0.4 * (i % 2)) for i, u in enumerate((-2.2, -1.1, 0, 1.1, 2.2))]
        pen.polygon(crests + [(u, v - s * 0.35) for u, v in crests[::-1]], (186, 222, 240))
    elif kind == "snow":
        pen.ellipse(x, -y, s * 2.4, s * 0.55, (208, 222, 242))
    elif kind == "sand":
        pen.ellipse(x, -y, s * (0.4 + variant * 0.6), s * 0.4, (206, 178, 122))
