"""Plants, fruit, the sky's own things and a snowman. One unit is the thing's height."""

from __future__ import annotations

import math

from self1e.toyland.canvas import Pen, Point, smooth
from self1e.toyland.colours import INK, RGB, RGB_OF, darker, jittered, lighter
from self1e.toyland.look import Look

BARK: RGB = (138, 90, 54)


def draw_tree(pen: Pen, look: Look) -> None:
    """A tree in one of four builds."""
    {"round": _round_tree, "pine": _pine, "snowy": _pine, "palm": _palm, "poplar": _poplar}[look.variant](pen, look)


def _trunk(pen: Pen, look: Look, top: float, width: float) -> None:
    bark = jittered(BARK, look.rng)
    with pen.part("trunk", "brown"):
        pen.polygon([(-width, 0), (width, 0), (width * 0.7, top), (-width * 0.7, top)], bark)
        pen.polygon([(-width * 1.7, 0), (width * 1.7, 0), (width * 0.6, 0.08), (-width * 0.6, 0.08)], bark)
        pen.line([(width * 0.2, 0.08), (width * 0.25, top - 0.03)], 0.014, darker(bark))


def _round_tree(pen: Pen, look: Look) -> None:
    _trunk(pen, look, 0.5, 0.055)
    rgb = look.paint()
    phase = look.vary(0, math.tau)
    with pen.part("crown", look.colour):
        blob = _leafy(0, 0.67, 0.35, 0.3, int(look.vary(7, 10)), phase)
        pen.polygon(blob, darker(rgb, 0.1))
        pen.polygon([(x * 0.84 - 0.03, 0.7 + (y - 0.67) * 0.8) for x, y in blob], rgb)
        for x, y in ((-0.16, 0.78), (0.05, 0.84), (-0.05, 0.66), (0.14, 0.68), (-0.2, 0.6)):
            pen.ellipse(x, y, 0.045, 0.03, lighter(rgb, 0.16))


def _leafy(x: float, y: float, rx: float, ry: float, bumps: int, phase: float) -> list[Point]:
    """An ellipse with a scalloped edge."""
    points = []
    for i in range(6 * bumps):
        a = math.tau * i / (6 * bumps)
        r = 0.96 + 0.13 * abs(math.sin(a * bumps / 2))
        points.append((x + rx * r * math.cos(a + phase), y + ry * r * math.sin(a + phase)))
    return points


def _pine(pen: Pen, look: Look) -> None:
    _trunk(pen, look, 0.3, 0.05)
    rgb = look.paint()
    snowy = look.variant == "snowy"
    with pen.part("crown", look.colour):
        for level, (base, half, top) in enumerate(((0.14, 0.34, 0.6), (0.38, 0.27, 0.8), (0.6, 0.19, 1.0))):
            shade = darker(rgb, 0.16 - 0.08 * level)
            pen.polygon(
                [
                    (-half, base),
                    (-half * 0.4, base + 0.035),
                    (0, base),
                    (half * 0.4, base + 0.035),
                    (half, base),
                    (0, top),
                ],
                shade,
            )
            pen.polygon([(0.0, base + 0.05), (half * 0.75, base + 0.04), (0, top)], darker(shade, 0.13))
            if snowy:
                pen.polygon(
                    [(-half * 0.45, base + 0.2), (-0.05, base + 0.17), (half * 0.45, base + 0.2), (0, top)],
                    (240, 246, 250),
                )


def _poplar(pen: Pen, look: Look) -> None:
    _trunk(pen, look, 0.35, 0.045)
    rgb = look.paint()
    with pen.part("crown", look.colour):
        pen.curve(
            [(0, 0.16), (-0.17, 0.26), (-0.2, 0.5), (-0.12, 0.8), (0, 1.0), (0.12, 0.8), (0.2, 0.5), (0.17, 0.26)], rgb
        )
        pen.curve([(0.02, 0.2), (0.14, 0.3), (0.16, 0.5), (0.1, 0.76), (0.02, 0.92), (0.07, 0.6)], darker(rgb, 0.13))
        for y in (0.4, 0.55, 0.7):
            pen.ellipse(-0.07, y, 0.025, 0.05, lighter(rgb, 0.2))


def _palm(pen: Pen, look: Look) -> None:
    bark = jittered((164, 118, 74), look.rng)
    with pen.part("trunk", "brown"):
        spine = [(-0.06, 0.0), (-0.02, 0.25), (0.01, 0.5), (0.02, 0.76)]
        pen.line(spine, 0.075, bark)
        for i in range(1, 7):
            y = i * 0.11
            x = -0.06 + 0.12 * y
            pen.line([(x - 0.03, y), (x + 0.035, y)], 0.014, darker(bark, 0.25))
    rgb = look.paint()
    with pen.part("crown", look.colour):
        for angle in (-0.25, 0.45, 1.1, 1.95, 2.65, 3.4):
            c, s = math.cos(angle), math.sin(angle)
            tip = (0.02 + 0.4 * c, 0.76 + 0.26 * s - 0.07)
            middle = (0.02 + 0.24 * c, 0.82 + 0.22 * s)
            shade = rgb if s > 0.3 else darker(rgb, 0.13)
            pen.curve(
                [(0.02, 0.73), (middle[0], middle[1] - 0.07), tip, (middle[0], middle[1] + 0.04), (0.02, 0.81)],
                shade,
                own=True,
            )
        for x in (-0.02, 0.06):
            pen.ellipse(x, 0.735, 0.03, 0.03, (110, 74, 46))


def draw_flower(pen: Pen, look: Look) -> None:
    """A single big flower on its stem."""
    green = look.paint("green")
    with pen.part("stem", "green"):
        pen.line([(0, 0), (0.02, 0.35), (0, 0.65)], 0.065, green)
        pen.curve([(0.01, 0.12), (0.13, 0.33), (0.3, 0.34), (0.2, 0.18)], green)
        pen.curve([(0.01, 0.08), (-0.13, 0.28), (-0.3, 0.28), (-0.2, 0.12)], green)
    rgb = look.paint()
    with pen.part("petals", look.colour):
        if look.variant == "tulip":
            pen.curve(
                [
                    (0, 0.54),
                    (-0.2, 0.66),
                    (-0.24, 0.98),
                    (-0.09, 0.83),
                    (0, 1.0),
                    (0.09, 0.83),
                    (0.24, 0.98),
                    (0.2, 0.66),
                ],
                rgb,
            )
            pen.curve([(0, 0.56), (-0.09, 0.72), (0, 0.97), (0.09, 0.72)], lighter(rgb, 0.14), own=True)
        else:
            for i in range(6):
                a = math.tau * i / 6 + 0.3
                pen.ellipse(0.17 * math.cos(a), 0.71 + 0.17 * math.sin(a), 0.135, 0.105, rgb, tilt=a, own=True)
            centre = (250, 206, 60) if look.colour != "yellow" else (150, 92, 44)
            pen.ellipse(0, 0.71, 0.11, 0.11, centre, own=True)


def draw_mushroom(pen: Pen, look: Look) -> None:
    """A mushroom with a domed cap."""
    with pen.part("stem", "white"):
        pen.curve(
            [(-0.2, 0.03), (-0.13, 0.3), (-0.14, 0.55), (0.14, 0.55), (0.13, 0.3), (0.2, 0.03), (0, 0.0)],
            (246, 238, 222),
        )
    rgb = look.paint()
    with pen.part("cap", look.colour):
        cap = smooth(
            [
                (-0.52, 0.47),
                (-0.42, 0.78),
                (0, 0.99),
                (0.42, 0.78),
                (0.52, 0.47),
                (0.26, 0.42),
                (0, 0.41),
                (-0.26, 0.42),
            ]
        )
        pen.polygon(cap, rgb)
        if look.texture == "spotted":
            for x, y, r in ((-0.24, 0.65, 0.075), (0.04, 0.82, 0.085), (0.27, 0.62, 0.075), (0.02, 0.57, 0.055)):
                pen.ellipse(x, y, r, r * 0.85, (252, 246, 236))


def draw_apple(pen: Pen, look: Look) -> None:
    """An apple with a stalk and a leaf."""
    rgb = look.paint()
    pen.curve([(0, 0.04), (-0.24, 0.0), (-0.46, 0.28), (-0.42, 0.66), (-0.18, 0.8), (0, 0.72),
               (0.18, 0.8), (0.42, 0.66), (0.46, 0.28), (0.24, 0.0)], rgb)  # fmt: skip
    pen.ellipse(-0.22, 0.55, 0.08, 0.13, lighter(rgb, 0.55), tilt=-0.4)
    pen.line([(0, 0.7), (0.05, 0.95)], 0.07, (98, 66, 42))
    pen.curve([(0.06, 0.82), (0.2, 0.98), (0.4, 0.94), (0.24, 0.82)], (86, 166, 70))


def draw_sun(pen: Pen, look: Look) -> None:
    """The sun with its rays."""
    rgb = look.paint()
    for i in range(12):
        a, w = math.tau * i / 12, 0.11
        pen.polygon([(0.36 * math.cos(a - w * 2), 0.5 + 0.36 * math.sin(a - w * 2)),
                     (0.36 * math.cos(a + w * 2), 0.5 + 0.36 * math.sin(a + w * 2)),
                     (0.5 * math.cos(a), 0.5 + 0.5 * math.sin(a))], darker(rgb, 0.04))  # fmt: skip
    pen.ellipse(0, 0.5, 0.35, 0.35, rgb, own=True)
    pen.ellipse(-0.06, 0.56, 0.2, 0.2, lighter(rgb, 0.3))


def draw_moon(pen: Pen, look: Look) -> None:
    """A crescent or full moon."""
    pen.bright = True
    rgb = look.paint()
    if look.variant == "full":
        pen.ellipse(0, 0.5, 0.48, 0.48, rgb)
        for x, y, r in ((-0.17, 0.62, 0.1), (0.16, 0.7, 0.07), (0.1, 0.34, 0.12), (-0.2, 0.3, 0.06)):
            pen.ellipse(x, y, r, r, darker(rgb, 0.1))
        return
    outer = [(0.48 * math.cos(a), 0.5 + 0.48 * math.sin(a)) for a in (0.9 + 4.48 * i / 30 for i in range(31))]
    inner = [(0.22 + 0.38 * math.cos(a), 0.5 + 0.38 * math.sin(a)) for a in (5.08 - 3.88 * i / 24 for i in range(25))]
    pen.polygon(outer + inner, rgb)


def draw_cloud(pen: Pen, look: Look) -> None:
    """A cloud with a flat base."""
    rgb = look.paint()
    puffs = [(-0.62, 0.3, 0.3), (-0.22, 0.52, 0.42), (0.28, 0.46, 0.38), (0.68, 0.28, 0.28)]
    lift = look.vary(-0.08, 0.06)
    pen.box(-0.85, 0.0, 0.9, 0.4, rgb, 0.2)
    for x, y, r in puffs:
        pen.ellipse(x, y + (lift if r > 0.3 else 0), r, r, rgb)
    for x, y, r in puffs[1:3]:
        pen.ellipse(x - 0.04, y + lift + 0.06, r * 0.72, r * 0.66, lighter(rgb, 0.5))


def draw_snowman(pen: Pen, look: Look) -> None:
    """A snowman with hat, scarf, carrot and stick arms."""
    snow: RGB = (248, 250, 254)
    for side in (-1, 1):
        pen.line([(0.2 * side, 0.42), (0.4 * side, 0.56), (0.46 * side, 0.66)], 0.03, BARK)
        pen.line([(0.38 * side, 0.54), (0.49 * side, 0.56)], 0.025, BARK)
    with pen.part("body", "white"):
        pen.ellipse(0, 0.21, 0.26, 0.22, snow)
        pen.ellipse(0, 0.46, 0.2, 0.17, snow, own=True)
        for y in (0.38, 0.47):
            pen.ellipse(0, y, 0.022, 0.022, INK)
    with pen.part("head", "white"):
        pen.ellipse(0, 0.7, 0.15, 0.135, snow)
        for x in (-0.03, 0.08):
            pen.ellipse(x, 0.74, 0.018, 0.02, INK)
        pen.polygon([(0.02, 0.72), (0.02, 0.66), (0.2, 0.675)], (244, 130, 40))
    scarf = look.choose("red", "green", "blue", "yellow", "orange", "purple")
    with pen.part("scarf", scarf):
        rgb = look.paint(scarf)
        pen.box(-0.16, 0.55, 0.16, 0.63, rgb, 0.035)
        pen.box(-0.14, 0.4, -0.05, 0.58, rgb, 0.02)
    hat = look.choose("black", "red", "blue", "purple", "brown")
    with pen.part("hat", hat):
        rgb = look.paint(hat)
        pen.box(-0.12, 0.8, 0.12, 1.0, rgb, 0.02)
        pen.box(-0.19, 0.78, 0.19, 0.83, rgb, 0.02)
        pen.box(-0.12, 0.83, 0.12, 0.865, lighter(RGB_OF[hat], 0.45))
