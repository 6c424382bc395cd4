"""Balls, balloons and kites. One unit is the thing's height."""

from __future__ import annotations

import math

from self1e.toyland.canvas import Pen, Point, smooth
from self1e.toyland.colours import darker, lighter
from self1e.toyland.look import Look


def draw_ball(pen: Pen, look: Look) -> None:
    """A ball with a pattern and a highlight."""
    rgb = look.paint()
    pen.patterned(pen.oval(0, 0.5, 0.49, 0.49), rgb, look.second(), look.texture, 0.36)
    pen.ellipse(-0.18, 0.7, 0.11, 0.08, lighter(rgb, 0.65), tilt=0.6)


def draw_balloon(pen: Pen, look: Look) -> None:
    """A hot-air balloon."""
    rgb = look.paint()
    for x in (-0.09, 0.09):
        pen.line([(x, 0.14), (x * 2.2, 0.34)], 0.018, (110, 84, 60))
    with pen.part("envelope", look.colour):
        shape = smooth([(-0.11, 0.25), (-0.32, 0.46), (-0.4, 0.68), (-0.29, 0.9), (0, 1.0),
                        (0.29, 0.9), (0.4, 0.68), (0.32, 0.46), (0.11, 0.25)])  # fmt: skip
        pen.patterned(shape, rgb, look.second(), look.texture, 0.24)
        if look.texture == "plain":
            for x in (-0.2, 0.2):
                pen.line([(x * 0.4, 0.27), (x, 0.55), (x * 1.05, 0.72), (x * 0.4, 0.96)], 0.016, darker(rgb, 0.2))
        pen.ellipse(-0.2, 0.8, 0.05, 0.09, lighter(rgb, 0.5), tilt=-0.5)
        pen.box(-0.12, 0.235, 0.12, 0.275, darker(rgb, 0.3), 0.01)
    with pen.part("basket", "brown"):
        pen.box(-0.11, 0.0, 0.11, 0.15, (146, 96, 54), 0.03)
        pen.box(-0.125, 0.12, 0.125, 0.16, (118, 76, 44), 0.02)
        pen.line([(-0.09, 0.07), (0.09, 0.07)], 0.016, (112, 72, 42))


def draw_kite(pen: Pen, look: Look) -> None:
    """A diamond kite with bows on its tail."""
    rgb, tail_name = look.paint(), look.other("red", "yellow", "blue", "green", "pink")
    tail_rgb = look.paint(tail_name)
    tip: Point = (0.0, 0.36)
    with pen.part("tail", tail_name):
        path = [(0.09 * math.sin(t * 5.5), tip[1] - 0.36 * t) for t in (i / 8 for i in range(9))]
        pen.line(path, 0.03, tail_rgb)
        for x, y in path[2::3]:
            for side in (-1, 1):
                pen.polygon([(x, y), (x + 0.11 * side, y + 0.06), (x + 0.11 * side, y - 0.06)], tail_rgb)
    pen.patterned([(0, 0.34), (-0.3, 0.74), (0, 1.0), (0.3, 0.74)], rgb, look.second(), look.texture, 0.2)
    if look.texture == "plain":
        pen.polygon([(0, 0.34), (0.3, 0.74), (0, 0.74)], darker(rgb, 0.15))
        pen.polygon([(0, 1.0), (-0.3, 0.74), (0, 0.74)], lighter(rgb, 0.18))
    pen.line([(0, 0.35), (0, 0.98)], 0.016, darker(rgb, 0.4))
    pen.line([(-0.29, 0.74), (0.29, 0.74)], 0.016, darker(rgb, 0.4))
