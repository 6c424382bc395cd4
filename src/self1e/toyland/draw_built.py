"""Houses, vehicles and what people put up along the way. One unit is the thing's height."""

from __future__ import annotations

from self1e.toyland.canvas import Pen, Point, rounded_box, smooth
from self1e.toyland.colours import LIT, RGB, RGB_OF, SKIN, darker, lighter
from self1e.toyland.look import Look

FRAME: RGB = (250, 246, 236)


def draw_house(pen: Pen, look: Look) -> None:
    """A house from the front: wall, roof, door, one to three windows, often a chimney."""
    wall, roof_name = look.paint(), look.other("red", "brown", "grey", "blue", "orange", "purple", "black", "green")
    roof = look.paint(roof_name)
    tall = look.variant == "tower"
    half, eaves = (0.26, 0.68) if tall else (0.46, 0.54)
    if look.chance(0.65):
        name = look.other("brown", "grey", "red")
        with pen.part("chimney", name):
            pen.box(half * 0.4, eaves, half * 0.4 + 0.11, 0.96, look.paint(name))
            pen.box(half * 0.4 - 0.015, 0.93, half * 0.4 + 0.125, 0.98, darker(RGB_OF[name]))
    with pen.part("wall", look.colour):
        pen.box(-half, 0, half, eaves + 0.05, wall)
        pen.box(-half, 0, half, 0.05, darker(wall, 0.2))
        for row in range(3):
            y = 0.14 + row * 0.14
            pen.line([(-half + 0.03, y), (-half + 0.1, y)], 0.012, darker(wall, 0.14))
            pen.line([(half - 0.1, y + 0.06), (half - 0.03, y + 0.06)], 0.012, darker(wall, 0.14))
    with pen.part("roof", roof_name):
        ridge = 0.0 if tall or look.chance(0.5) else half * 0.55
        pen.polygon([(-half - 0.08, eaves), (half + 0.08, eaves), (ridge, 0.96), (-ridge, 0.96)], roof)
        for share in (0.3, 0.6):
            y, w = eaves + (0.96 - eaves) * share, (half + 0.05) * (1 - share) + ridge * share
            pen.line([(-w, y), (w, y)], 0.014, darker(roof, 0.22))
    _door(pen, look, 0.0 if tall else look.vary(-0.1, 0.1))
    if tall:
        _house_window(pen, look, 0.0, 0.5)
    else:
        _house_window(pen, look, -0.29, 0.28)
        _house_window(pen, look, 0.29, 0.28)


def _door(pen: Pen, look: Look, x: float) -> None:
    name = look.other("red", "brown", "blue", "green", "white", "yellow", "purple")
    rgb = look.paint(name)
    with pen.part("door", name):
        pen.box(x - 0.085, 0, x + 0.085, 0.3, rgb, 0.03)
        pen.box(x - 0.05, 0.17, x + 0.05, 0.26, darker(rgb, 0.14), 0.02)
        pen.ellipse(x + 0.055, 0.13, 0.014, 0.014, (245, 205, 90))


def _house_window(pen: Pen, look: Look, x: float, y: float) -> None:
    with pen.part("window", look.glass_name()):
        pen.box(x - 0.095, y - 0.085, x + 0.095, y + 0.085, FRAME)
        _pane(pen, look, rounded_box(x - 0.078, y - 0.068, x + 0.078, y + 0.068, 0))
        pen.line([(x, y - 0.07), (x, y + 0.07)], 0.016, FRAME)
        pen.line([(x - 0.08, y), (x + 0.08, y)], 0.016, FRAME)


def _pane(pen: Pen, look: Look, points: list[Point]) -> None:
    """A sheet of glass, which shines at night."""
    pen.bright = look.night
    pen.polygon(points, look.glass())
    pen.bright = False


def draw_car(pen: Pen, look: Look) -> None:
    """A car from the side; a driver shows in the window when it is driving."""
    rgb = look.paint()
    with pen.part("body", look.colour):
        pen.curve(
            [
                (-0.98, 0.22),
                (-1.0, 0.45),
                (-0.78, 0.56),
                (-0.5, 0.95),
                (0.2, 0.98),
                (0.52, 0.6),
                (0.95, 0.5),
                (1.0, 0.24),
            ],
            rgb,
        )
        pen.box(-0.98, 0.16, 0.98, 0.27, darker(rgb, 0.3), 0.05)
        pen.line([(-0.85, 0.42), (0.8, 0.42)], 0.03, lighter(rgb, 0.35))
        pen.ellipse(0.92, 0.4, 0.05, 0.065, (255, 240, 170))
        pen.ellipse(-0.95, 0.42, 0.03, 0.06, (170, 30, 40))
    rear: list[Point] = [(-0.62, 0.58), (-0.42, 0.88), (-0.13, 0.89), (-0.13, 0.58)]
    front: list[Point] = [(-0.05, 0.58), (-0.05, 0.89), (0.15, 0.88), (0.38, 0.58)]
    for window in (rear, front):
        with pen.part("window", look.glass_name()):
            _pane(pen, look, window)
            if window is front and look.pose == "driving":
                pen.ellipse(0.1, 0.68, 0.075, 0.095, SKIN[int(look.rng.integers(3))])
                pen.ellipse(0.08, 0.76, 0.08, 0.045, (70, 48, 36))
    for x in (-0.56, 0.58):
        _wheel(pen, x, 0.21)


def _wheel(pen: Pen, x: float, radius: float) -> None:
    with pen.part("wheel", "black"):
        pen.ellipse(x, radius, radius, radius, RGB_OF["black"])
        pen.ellipse(x, radius, radius * 0.45, radius * 0.45, (188, 192, 198))


def draw_bus(pen: Pen, look: Look) -> None:
    """A bus from the side, with three windows and a door at the front."""
    rgb = look.paint()
    with pen.part("body", look.colour):
        pen.box(-0.98, 0.12, 0.98, 1.0, rgb, 0.12)
        pen.box(-0.98, 0.13, 0.98, 0.22, darker(rgb, 0.3), 0.04)
        pen.box(-0.96, 0.34, 0.96, 0.4, lighter(rgb, 0.5))
        pen.ellipse(0.93, 0.28, 0.035, 0.045, (255, 240, 170))
    for x in (-0.66, -0.22, 0.22):
        with pen.part("window", look.glass_name()):
            _pane(pen, look, rounded_box(x - 0.19, 0.5, x + 0.19, 0.86, 0.05))
            shine = [(x - 0.1, 0.52), (x - 0.02, 0.52), (x + 0.1, 0.84), (x + 0.02, 0.84)]
            pen.polygon(shine, lighter(look.glass(), 0.5))
    with pen.part("door"):
        pen.box(0.54, 0.17, 0.82, 0.88, darker(rgb, 0.35), 0.03)
        for x in (0.57, 0.69):
            _pane(pen, look, rounded_box(x, 0.3, x + 0.1, 0.84, 0))
    for x in (-0.6, 0.38):
        _wheel(pen, x, 0.16)


def draw_truck(pen: Pen, look: Look) -> None:
    """A truck from the side: a cab in front of a cargo box of another colour."""
    rgb, cargo_name = look.paint(), look.other("white", "red", "blue", "green", "yellow", "orange", "brown")
    cargo = look.paint(cargo_name)
    pen.box(-0.98, 0.16, 0.95, 0.28, (84, 86, 94), 0.02)
    with pen.part("cargo", cargo_name):
        pen.box(-1.0, 0.26, 0.36, 1.0, cargo, 0.03)
        for x in (-0.75, -0.42, -0.09, 0.2):
            pen.line([(x, 0.34), (x, 0.92)], 0.02, darker(cargo, 0.16))
    with pen.part("cab", look.colour):
        pen.polygon([(0.42, 0.2), (0.42, 0.82), (0.76, 0.82), (0.9, 0.52), (0.99, 0.47), (0.99, 0.2)], rgb)
        pen.box(0.42, 0.2, 0.99, 0.27, darker(rgb, 0.3))
        pen.ellipse(0.94, 0.37, 0.04, 0.05, (255, 240, 170))
    with pen.part("window", look.glass_name()):
        _pane(pen, look, [(0.53, 0.5), (0.53, 0.75), (0.72, 0.75), (0.83, 0.5)])
    for x in (-0.66, 0.68):
        _wheel(pen, x, 0.18)


def draw_boat(pen: Pen, look: Look) -> None:
    """A sailing boat: hull, mast and one or two sails."""
    rgb = look.paint()
    sail_name = look.other("white", "red", "yellow", "orange", "blue", "pink")
    sail = look.paint(sail_name)
    pen.line([(0.0, 0.2), (0.0, 0.98)], 0.035, (120, 84, 56))
    main: list[Point] = [(0.04, 0.96), (0.3, 0.66), (0.44, 0.3), (0.04, 0.3)]
    with pen.part("sail", sail_name):
        second = (230, 96, 80) if sail_name in ("white", "yellow") else (250, 246, 236)
        pen.patterned(main, sail, second, look.texture, 0.17)
    if look.chance(0.7):
        with pen.part("sail", sail_name):
            pen.polygon([(-0.04, 0.86), (-0.36, 0.3), (-0.04, 0.3)], sail)
    with pen.part("hull", look.colour):
        pen.curve([(-0.56, 0.25), (-0.44, 0.03), (0.0, 0.0), (0.4, 0.03), (0.62, 0.27), (0.0, 0.2)], rgb)
        pen.line([(-0.46, 0.13), (0.0, 0.1), (0.48, 0.14)], 0.03, lighter(rgb, 0.5))


def draw_lamp(pen: Pen, look: Look) -> None:
    """A street lamp with a lantern on its post."""
    rgb = look.paint()
    with pen.part("post", look.colour):
        pen.box(-0.022, 0.0, 0.022, 0.76, rgb)
        pen.polygon([(-0.07, 0), (0.07, 0), (0.03, 0.09), (-0.03, 0.09)], rgb)
        pen.box(-0.045, 0.55, 0.045, 0.58, darker(rgb))
        pen.polygon([(-0.11, 0.95), (0.11, 0.95), (0.0, 1.0)], rgb)
        pen.box(-0.07, 0.74, 0.07, 0.78, rgb)
    pen.bright = look.night
    with pen.part("light", "yellow" if look.night else None):
        glass = LIT if look.night else (250, 244, 214)
        pen.polygon([(-0.06, 0.775), (0.06, 0.775), (0.1, 0.95), (-0.1, 0.95)], glass)
        pen.ellipse(0, 0.86, 0.03, 0.05, lighter(glass, 0.7))


def draw_bench(pen: Pen, look: Look) -> None:
    """A park bench from the front."""
    rgb = look.paint()
    with pen.part("legs", "black"):
        for x in (-0.72, 0.72):
            pen.box(x - 0.05, 0, x + 0.05, 0.5, (58, 58, 64))
            pen.line([(x, 0.4), (x * 1.02, 0.95)], 0.08, (58, 58, 64))
    with pen.part("back", look.colour):
        pen.box(-0.95, 0.8, 0.95, 0.98, rgb, 0.05)
        pen.box(-0.95, 0.57, 0.95, 0.75, rgb, 0.05)
    with pen.part("seat", look.colour):
        pen.box(-1.0, 0.34, 1.0, 0.5, lighter(rgb, 0.12), 0.05)
        pen.line([(-0.95, 0.42), (0.95, 0.42)], 0.03, darker(rgb))


def draw_umbrella(pen: Pen, look: Look) -> None:
    """A big open sunshade on a pole."""
    rgb = look.paint()
    lean = look.vary(-0.08, 0.1)
    with pen.part("handle", "brown"):
        pen.line([(0, 0.02), (lean, 0.9)], 0.05, (140, 94, 58))
    with pen.part("canopy", look.colour):
        outline = smooth([(-0.62, 0.5), (-0.5, 0.76), (-0.22, 0.93), (0, 0.97), (0.22, 0.93), (0.5, 0.76), (0.62, 0.5),
                          (0.42, 0.57), (0.21, 0.51), (0.0, 0.57), (-0.21, 0.51), (-0.42, 0.57)])  # fmt: skip
        pen.patterned([(x + lean, y) for x, y in outline], rgb, look.second(), look.texture, 0.26)
        for x in (-0.21, 0.21):
            pen.line([(lean, 0.96), (lean + x * 0.7, 0.75), (lean + x, 0.53)], 0.02, darker(rgb, 0.25))
        pen.line([(lean, 0.95), (lean, 1.0)], 0.04, darker(rgb, 0.3))


def draw_fence(pen: Pen, look: Look) -> None:
    """A picket fence."""
    rgb = look.paint()
    for y in (0.3, 0.66):
        pen.box(-1.45, y, 1.45, y + 0.13, darker(rgb, 0.1))
    for i in range(8):
        x = -1.26 + i * 0.36
        pen.polygon([(x - 0.11, 0), (x + 0.11, 0), (x + 0.11, 0.8), (x, 1.0), (x - 0.11, 0.8)], rgb, own_outline=True)


def draw_tent(pen: Pen, look: Look) -> None:
    """A camping tent with an open flap."""
    rgb = look.paint()
    body: list[Point] = [(-0.82, 0), (0.82, 0), (0.4, 0.52), (0, 1.0), (-0.4, 0.52)]
    pen.patterned(body, rgb, look.second(), look.texture, 0.34)
    pen.polygon([(0.45, 0), (0.82, 0), (0.4, 0.52), (0.0, 1.0)], darker(rgb, 0.16))
    with pen.part("door"):
        pen.polygon([(-0.3, 0), (0.3, 0), (0.0, 0.68)], darker(rgb, 0.62))
    pen.polygon([(-0.3, 0), (-0.42, 0.02), (-0.02, 0.72), (0.0, 0.68)], lighter(rgb, 0.4))
