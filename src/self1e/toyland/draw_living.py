"""People and animals. One unit is the height of a standing one."""

from __future__ import annotations

from self1e.toyland.canvas import Pen, Point, rounded_box, smooth
from self1e.toyland.colours import INK, RGB, SKIN, darker, lighter
from self1e.toyland.look import Look

#: Per pose: how far the hip is lowered, the feet and knees of both legs, and the elbow and hand of both arms.
_LEGS: dict[str, tuple[tuple[Point, Point], ...]] = {
    "standing": (((-0.075, 0.18), (-0.08, 0.03)), ((0.075, 0.18), (0.08, 0.03))),
    "waving": (((-0.075, 0.18), (-0.08, 0.03)), ((0.075, 0.18), (0.08, 0.03))),
    "running": (((-0.12, 0.2), (-0.29, 0.16)), ((0.15, 0.22), (0.2, 0.03))),
    "sitting": (((0.2, 0.13), (0.33, 0.05)), ((0.2, 0.06), (0.36, 0.04))),
}
_ARMS: dict[str, tuple[tuple[Point, Point], ...]] = {
    "standing": (((-0.19, 0.48), (-0.2, 0.36)), ((0.19, 0.48), (0.2, 0.36))),
    "waving": (((-0.19, 0.48), (-0.2, 0.36)), ((0.24, 0.66), (0.27, 0.86))),
    "running": (((-0.2, 0.5), (-0.28, 0.56)), ((0.19, 0.48), (0.28, 0.58))),
    "sitting": (((-0.18, 0.47), (-0.16, 0.34)), ((0.16, 0.47), (0.24, 0.38))),
}


def draw_person(pen: Pen, look: Look) -> None:
    """A person: trousers, shirt, a big head with hair, sometimes a hat."""
    skin = SKIN[int(look.rng.integers(len(SKIN)))]
    trousers = look.other("blue", "brown", "black", "grey", "green", "white", "purple")
    drop = 0.24 if look.pose == "sitting" else 0.0
    _trousers(pen, look, trousers, drop)
    _shirt(pen, look, skin, drop)
    _face(pen, look, skin, drop)


def _trousers(pen: Pen, look: Look, name: str, drop: float) -> None:
    rgb, hip = look.paint(name), 0.36 - drop
    feet = [foot for _, foot in _LEGS[look.pose]]
    for x, y in feet:
        pen.ellipse(x + 0.03, y, 0.065, 0.035, (92, 58, 44))
    with pen.part("trousers", name):
        for (knee, foot), side in zip(_LEGS[look.pose], (-1, 1), strict=True):
            pen.line([(0.06 * side, hip), knee, (foot[0], foot[1] + 0.02)], 0.1, rgb)
        pen.box(-0.125, hip - 0.06, 0.125, hip + 0.06, rgb, 0.04)


def _shirt(pen: Pen, look: Look, skin: RGB, drop: float) -> None:
    rgb = look.paint()
    shoulder = 0.62 - drop
    arms = [((ex, ey - drop), (hx, hy - drop)) for (ex, ey), (hx, hy) in _ARMS[look.pose]]
    pen.box(-0.04, shoulder - 0.02, 0.04, shoulder + 0.1, darker(skin, 0.1))
    for elbow, hand in arms:
        pen.line([elbow, hand], 0.06, skin)
        pen.ellipse(hand[0], hand[1], 0.042, 0.042, skin)
    with pen.part("shirt", look.colour):
        for (elbow, _), side in zip(arms, (-1, 1), strict=True):
            pen.line([(0.11 * side, shoulder - 0.02), elbow], 0.085, rgb)
        torso = rounded_box(-0.15, 0.36 - drop, 0.15, shoulder + 0.045, 0.07)
        pen.patterned(torso, rgb, look.second(), look.texture, 0.12)


def _face(pen: Pen, look: Look, skin: RGB, drop: float) -> None:
    y = 0.82 - drop
    hair = look.choose("brown", "black", "orange", "yellow", "grey")
    rgb = look.paint(hair)
    long_hair = look.chance(0.45)
    with pen.part("hair", hair):
        pen.ellipse(0, y + 0.03, 0.165, 0.15, rgb)
        if long_hair:
            pen.box(-0.165, y - 0.16, 0.165, y + 0.04, rgb, 0.06)
    with pen.part("head"):
        pen.ellipse(0.015, y - 0.01, 0.135, 0.13, skin)
        for x in (-0.025, 0.075):
            pen.ellipse(x, y + 0.005, 0.016, 0.021, INK)
        pen.line([(-0.01, y - 0.065), (0.03, y - 0.078), (0.065, y - 0.065)], 0.016, (170, 60, 60))
        for x in (-0.065, 0.105):
            pen.ellipse(x, y - 0.04, 0.022, 0.017, (236, 142, 130))
    fringe = pen.parts[-2][0]
    if look.chance(0.35):
        _hat(pen, look, y)
    else:
        with pen.resume(fringe):
            pen.curve(
                [(-0.15, y + 0.02), (-0.12, y + 0.15), (0.04, y + 0.175), (0.16, y + 0.06), (0.04, y + 0.085)], rgb
            )


def _hat(pen: Pen, look: Look, y: float) -> None:
    name = look.other("red", "yellow", "blue", "green", "white", "purple", "black", "brown")
    rgb = look.paint(name)
    with pen.part("hat", name):
        pen.curve([(-0.16, y + 0.06), (-0.13, y + 0.17), (0.02, y + 0.21), (0.15, y + 0.16), (0.17, y + 0.06)], rgb)
        pen.box(-0.18, y + 0.04, 0.25, y + 0.085, darker(rgb, 0.12), 0.02)


def draw_dog(pen: Pen, look: Look) -> None:
    """A dog with a hanging ear, a snout and a collar."""
    rgb = look.paint()
    ear, collar = darker(rgb, 0.35), look.paint(look.other("red", "blue", "green"))
    if look.pose == "sitting":
        _sitting(pen, look, rgb)
        hx, hy = 0.16, 0.74
    else:
        _quadruped(pen, look, rgb, leg=0.1, tail=[(-0.5, 0.56), (-0.66, 0.68), (-0.7, 0.85)], tail_width=0.09)
        hx, hy = 0.5, 0.74
    with pen.part("head", look.colour):
        pen.ellipse(hx, hy, 0.21, 0.2, rgb)
        pen.ellipse(hx + 0.18, hy - 0.06, 0.15, 0.1, lighter(rgb, 0.25))
        pen.ellipse(hx + 0.31, hy - 0.02, 0.045, 0.04, INK)
        pen.ellipse(hx + 0.08, hy + 0.06, 0.026, 0.032, INK)
        pen.curve(
            [(hx - 0.08, hy + 0.2), (hx - 0.22, hy + 0.12), (hx - 0.25, hy - 0.14), (hx - 0.12, hy - 0.12)],
            ear,
            own=True,
        )
    pen.line([(hx - 0.17, hy - 0.18), (hx + 0.05, hy - 0.21)], 0.06, collar)


def draw_cat(pen: Pen, look: Look) -> None:
    """A cat with pointed ears, whiskers and a long tail."""
    rgb = look.paint()
    if look.pose == "sitting":
        _sitting(pen, look, rgb)
        hx, hy = 0.08, 0.74
    else:
        _quadruped(
            pen, look, rgb, leg=0.08, tail=[(-0.46, 0.5), (-0.66, 0.6), (-0.66, 0.82), (-0.56, 0.95)], tail_width=0.075
        )
        hx, hy = 0.48, 0.72
    with pen.part("head", look.colour):
        for side in (-1, 1):
            x = hx + side * 0.14
            pen.polygon([(x - 0.1, hy + 0.06), (x + 0.1, hy + 0.06), (x + side * 0.05, hy + 0.28)], rgb)
            pen.polygon([(x - 0.04, hy + 0.1), (x + 0.04, hy + 0.1), (x + side * 0.035, hy + 0.21)], (240, 168, 170))
        pen.ellipse(hx, hy, 0.24, 0.19, rgb)
        eye = (86, 170, 80) if look.colour == "black" else INK
        for side in (-1, 1):
            pen.ellipse(hx + side * 0.09, hy + 0.03, 0.028, 0.038, eye)
            pen.line([(hx + side * 0.1, hy - 0.05), (hx + side * 0.3, hy - 0.03)], 0.012, (230, 226, 220))
        pen.polygon([(hx - 0.03, hy - 0.03), (hx + 0.03, hy - 0.03), (hx, hy - 0.065)], (232, 128, 134))


def draw_cow(pen: Pen, look: Look) -> None:
    """A cow with horns and a pink muzzle; a spotted one has dark patches."""
    rgb = look.paint()
    pen.line([(-0.6, 0.72), (-0.7, 0.6), (-0.68, 0.4)], 0.04, darker(rgb, 0.25))
    _legs(pen, look, rgb, (-0.48, -0.28, 0.24, 0.44), 0.11, 0.45)
    patch = (62, 52, 50) if look.colour != "black" else (240, 238, 232)
    with pen.part("body", look.colour):
        pen.box(-0.62, 0.34, 0.58, 0.82, rgb, 0.2)
        pen.ellipse(-0.22, 0.33, 0.11, 0.06, (244, 172, 178))
        if look.texture == "spotted":
            pen.curve([(-0.5, 0.74), (-0.28, 0.78), (-0.22, 0.6), (-0.38, 0.52), (-0.52, 0.6)], patch)
            pen.curve([(-0.02, 0.6), (0.16, 0.7), (0.28, 0.56), (0.14, 0.42), (0.0, 0.46)], patch)
    with pen.part("head", look.colour):
        for x in (0.52, 0.78):
            pen.line([(x, 0.88), (x + (0.03 if x > 0.6 else -0.03), 1.0)], 0.05, (232, 220, 190))
        pen.ellipse(0.44, 0.82, 0.1, 0.05, darker(rgb, 0.2), tilt=0.4)
        pen.ellipse(0.86, 0.82, 0.1, 0.05, darker(rgb, 0.2), tilt=-0.4)
        pen.ellipse(0.65, 0.74, 0.17, 0.2, rgb)
        pen.ellipse(0.67, 0.61, 0.16, 0.1, (246, 178, 180))
        for x in (0.62, 0.73):
            pen.ellipse(x, 0.61, 0.02, 0.026, (150, 84, 90))
        for x in (0.58, 0.73):
            pen.ellipse(x, 0.79, 0.024, 0.03, (90, 140, 90) if look.colour == "black" else INK)


def draw_sheep(pen: Pen, look: Look) -> None:
    """A woolly sheep with a dark face."""
    rgb, face = look.paint(), (70, 62, 66) if look.colour != "black" else (196, 176, 160)
    with pen.part("legs"):
        for x in (-0.34, -0.16, 0.18, 0.34):
            pen.box(x - 0.05, 0, x + 0.05, 0.36, face, 0.03)
    with pen.part("body", look.colour):
        puffs = (
            (-0.42, 0.52),
            (-0.28, 0.76),
            (0.0, 0.82),
            (0.28, 0.76),
            (0.42, 0.54),
            (0.22, 0.36),
            (-0.04, 0.32),
            (-0.28, 0.36),
        )
        for x, y in puffs:
            pen.ellipse(x, y, 0.19, 0.17, rgb)
        pen.ellipse(0, 0.56, 0.46, 0.28, rgb)
        for x, y in ((-0.28, 0.6), (-0.06, 0.7), (-0.1, 0.46), (0.14, 0.55)):
            pen.line([(x - 0.06, y), (x, y - 0.035), (x + 0.06, y)], 0.022, darker(rgb, 0.13))
    with pen.part("head"):
        pen.ellipse(0.36, 0.74, 0.11, 0.05, face, tilt=0.5)
        pen.ellipse(0.56, 0.66, 0.15, 0.19, face)
        pen.ellipse(0.53, 0.83, 0.13, 0.08, rgb)
        for x in (0.54, 0.64):
            pen.ellipse(x, 0.7, 0.034, 0.038, (250, 248, 240))
            pen.ellipse(x + 0.008, 0.7, 0.016, 0.02, INK)


def draw_bird(pen: Pen, look: Look) -> None:
    """A small bird, flying with raised wings or standing."""
    rgb, wing = look.paint(), darker(look.paint(), 0.1)
    if look.pose == "flying":
        pen.polygon([(-0.4, 0.36), (-0.84, 0.5), (-0.8, 0.22)], wing)
        with pen.part("wing", look.colour):
            pen.curve([(0.2, 0.46), (0.3, 0.85), (0.1, 0.96), (-0.06, 0.5)], darker(wing, 0.1))
    else:
        for x in (-0.06, 0.12):
            pen.line([(x, 0.2), (x, 0.03), (x + 0.09, 0.02)], 0.045, (226, 140, 50))
        pen.polygon([(-0.4, 0.5), (-0.82, 0.42), (-0.78, 0.24), (-0.3, 0.3)], wing)
    dy = 0.0 if look.pose == "flying" else 0.12
    with pen.part("body", look.colour):
        pen.curve([(-0.5, 0.34 + dy), (-0.2, 0.13 + dy), (0.2, 0.14 + dy), (0.5, 0.36 + dy), (0.46, 0.62 + dy),
                   (0.24, 0.68 + dy), (0.06, 0.54 + dy), (-0.2, 0.48 + dy)], rgb)  # fmt: skip
        pen.ellipse(0.18, 0.26 + dy, 0.18, 0.1, lighter(rgb, 0.4), tilt=0.3)
        pen.ellipse(0.34, 0.53 + dy, 0.042, 0.048, (250, 250, 246))
        pen.ellipse(0.35, 0.53 + dy, 0.028, 0.034, INK)
    pen.polygon([(0.48, 0.54 + dy), (0.48, 0.4 + dy), (0.72, 0.45 + dy)], (246, 164, 44))
    with pen.part("wing", look.colour):
        if look.pose == "flying":
            pen.curve([(0.14, 0.4), (-0.06, 0.78), (-0.36, 0.98), (-0.4, 0.7), (-0.26, 0.36)], wing)
        else:
            pen.curve([(0.1, 0.52), (-0.1, 0.6), (-0.46, 0.44), (-0.2, 0.32), (0.04, 0.36)], wing)


def draw_duck(pen: Pen, look: Look) -> None:
    """A duck; swimming ones show no legs."""
    rgb = look.paint()
    if look.pose == "swimming":
        dy = -0.06
    else:
        dy = 0.06
        for x in (-0.12, 0.12):
            pen.line([(x, 0.2), (x, 0.04), (x + 0.12, 0.03)], 0.06, (240, 140, 40))
    with pen.part("body", look.colour):
        pen.curve([(-0.66, 0.56 + dy), (-0.5, 0.24 + dy), (-0.1, 0.07 + dy), (0.3, 0.1 + dy), (0.5, 0.32 + dy),
                   (0.4, 0.5 + dy), (0.0, 0.48 + dy), (-0.3, 0.46 + dy)], rgb)  # fmt: skip
        pen.curve(
            [(0.16, 0.4 + dy), (-0.1, 0.44 + dy), (-0.42, 0.4 + dy), (-0.2, 0.22 + dy), (0.06, 0.24 + dy)],
            darker(rgb, 0.13),
        )
    head_name = "green" if look.variant == "mallard" else look.colour
    pen.polygon([(0.54, 0.76 + dy), (0.56, 0.6 + dy), (0.84, 0.63 + dy), (0.84, 0.69 + dy)], (246, 148, 40))
    with pen.part("head", head_name):
        head = rgb if head_name == look.colour else look.paint("green")
        pen.polygon(
            smooth(
                [
                    (0.14, 0.38 + dy),
                    (0.16, 0.76 + dy),
                    (0.36, 0.92 + dy),
                    (0.58, 0.8 + dy),
                    (0.56, 0.6 + dy),
                    (0.44, 0.38 + dy),
                ]
            ),
            head,
        )
        pen.ellipse(0.44, 0.74 + dy, 0.045, 0.05, (250, 250, 246))
        pen.ellipse(0.45, 0.74 + dy, 0.028, 0.034, INK)


def _legs(pen: Pen, look: Look, rgb: RGB, xs: tuple[float, ...], width: float, top: float) -> None:
    """Four straight legs, or swung ones when running; the far pair is darker."""
    swing = 0.16 if look.pose == "running" else 0.0
    with pen.part("legs", look.colour):
        for i, x in enumerate(xs):
            away = swing * (-1 if i < 2 else 1) * (1.0 if i % 2 else 0.45)
            shade = rgb if i % 2 else darker(rgb, 0.12)
            pen.line([(x, top), (x + away, width / 2 + abs(away) * 0.3)], width, shade)


def _quadruped(pen: Pen, look: Look, rgb: RGB, leg: float, tail: list[Point], tail_width: float) -> None:
    """Body, legs and tail of a small animal seen from the side."""
    with pen.part("tail", look.colour):
        pen.line(tail, tail_width, rgb)
    _legs(pen, look, rgb, (-0.4, -0.26, 0.2, 0.34), leg, 0.4)
    with pen.part("body", look.colour):
        body = smooth(
            [
                (-0.52, 0.48),
                (-0.4, 0.64),
                (0.1, 0.62),
                (0.42, 0.68),
                (0.5, 0.46),
                (0.3, 0.28),
                (-0.1, 0.32),
                (-0.42, 0.29),
            ]
        )
        pen.patterned(body, rgb, darker(rgb, 0.3), look.texture, 0.2)


def _sitting(pen: Pen, look: Look, rgb: RGB) -> None:
    """Body, legs and tail of a small animal that sits."""
    with pen.part("tail", look.colour):
        pen.line([(-0.26, 0.08), (-0.46, 0.12), (-0.54, 0.3)], 0.085, rgb)
    with pen.part("body", look.colour):
        body = smooth(
            [(-0.34, 0.06), (-0.36, 0.3), (-0.14, 0.56), (0.1, 0.66), (0.26, 0.5), (0.24, 0.06), (-0.05, 0.02)]
        )
        pen.patterned(body, rgb, darker(rgb, 0.3), look.texture, 0.2)
    with pen.part("legs", look.colour):
        pen.ellipse(-0.2, 0.1, 0.19, 0.1, darker(rgb, 0.1))
        for x in (0.08, 0.22):
            pen.line([(x, 0.42), (x + 0.02, 0.05)], 0.09, rgb)
            pen.ellipse(x + 0.05, 0.04, 0.07, 0.04, rgb)
