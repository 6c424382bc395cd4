"""What a drawing function is told about the one thing it draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from self1e.toyland.colours import GLASS, LIT, RGB, RGB_OF, jittered, partner


@dataclass(frozen=True)
class Look:
    """The looks of one thing.

    Attributes:
        colour: Name of its main colour.
        texture: One of `TEXTURES`.
        pose: What it is doing.
        variant: Which build it has, such as "pine" for a tree; "" where a kind has only one.
        night: Whether lamps and windows are lit.
        rng: For everything else; a fresh generator for each drawing, so that a thing looks the same at every size.
    """

    colour: str
    texture: str
    pose: str
    variant: str
    night: bool
    rng: np.random.Generator

    def paint(self, name: str | None = None) -> RGB:
        """A shade of the named colour (default: the main colour)."""
        return jittered(RGB_OF[name or self.colour], self.rng)

    def second(self) -> RGB:
        """The second colour of this thing's pattern."""
        return partner(self.colour)

    def choose(self, *names: str) -> str:
        """One of the names at random."""
        return names[int(self.rng.integers(len(names)))]

    def other(self, *names: str) -> str:
        """One of the names at random, but not the main colour."""
        return self.choose(*(name for name in names if name != self.colour))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.rng.random() < probability)

    def vary(self, low: float, high: float) -> float:
        """A number between the two."""
        return float(self.rng.uniform(low, high))

    def glass(self) -> RGB:
        """The colour of a window pane, lit at night."""
        return LIT if self.night else GLASS

    def glass_name(self) -> str | None:
        """The name of that colour, if it has one."""
        return "yellow" if self.night else None
