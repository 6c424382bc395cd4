"""The eleven colour names as RGB, and the small changes a painter makes to them."""

from __future__ import annotations

import numpy as np

RGB = tuple[int, int, int]

#: What each name looks like in plain daylight.
RGB_OF: dict[str, RGB] = {
    "red": (216, 46, 44),
    "orange": (245, 138, 34),
    "yellow": (250, 214, 58),
    "green": (70, 158, 70),
    "blue": (48, 108, 214),
    "purple": (134, 68, 176),
    "pink": (247, 142, 184),
    "brown": (140, 88, 50),
    "white": (246, 245, 240),
    "black": (44, 44, 50),
    "grey": (148, 151, 156),
}

SKIN: tuple[RGB, ...] = ((250, 214, 184), (236, 188, 148), (196, 140, 98), (140, 94, 64))
INK: RGB = (40, 36, 40)
GLASS: RGB = (186, 222, 242)
LIT: RGB = (255, 226, 120)


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """The colour `share` of the way from `a` to `b`."""
    return (
        round(a[0] + (b[0] - a[0]) * share),
        round(a[1] + (b[1] - a[1]) * share),
        round(a[2] + (b[2] - a[2]) * share),
    )


def darker(rgb: RGB, share: float = 0.18) -> RGB:
    """The colour in shadow."""
    return mix(rgb, (20, 16, 40), share)


def lighter(rgb: RGB, share: float = 0.25) -> RGB:
    """The colour in bright light."""
    return mix(rgb, (255, 255, 250), share)


def jittered(rgb: RGB, rng: np.random.Generator, amount: float = 1.0) -> RGB:
    """A neighbour of the colour, near enough to keep its name."""
    gain = 1 + amount * rng.uniform(-0.06, 0.05)
    spread = 6.0 if max(rgb) - min(rgb) > 20 else 2.0  # white, grey and black take on a hue at once
    shift = rng.uniform(-spread, spread, 3) * amount
    r, g, b = (min(255, max(0, round(c * gain + d))) for c, d in zip(rgb, shift.tolist(), strict=True))
    return (r, g, b)


def partner(name: str) -> RGB:
    """The second colour of a pattern: white where that shows, something dark on light colours."""
    partners: dict[str, RGB] = {
        "white": RGB_OF["blue"],
        "yellow": (226, 120, 40),
        "pink": (252, 238, 244),
        "grey": (236, 238, 240),
        "black": (224, 224, 228),
    }
    return partners.get(name, (250, 246, 236))
