"""Decides what stands where: a plan of a scene, independent of the size it is drawn at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from self1e.toyland.kinds import KINDS, SCALE_OF_SIZE, Kind

#: Things of the sky that lie behind all others, farthest first.
_BEHIND = {"sun": -4.0, "moon": -4.0, "cloud": -3.0}
_MOST = 12
_LIKELY_OVERLAP, _RARE_OVERLAP = 0.04, 0.3


@dataclass(frozen=True)
class Placed:
    """One thing of a plan. `x`, `y` (its foot) and `height` are fractions of the picture's side."""

    kind: str
    colour: str
    size: str
    texture: str
    pose: str
    variant: str
    on: str
    x: float
    y: float
    height: float
    facing: int
    seed: int

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The space it takes, x0, y0, x1, y1."""
        half = self.height * KINDS[self.kind].width / 2
        return self.x - half, self.y - self.height, self.x + half, self.y

    @property
    def depth(self) -> float:
        """Sort key of the painter's order: small is far."""
        if self.on == "sky":
            return _BEHIND.get(self.kind, -2.0 + self.y)
        return self.y


class Planner:
    """Fills a landscape with things.

    Args:
        rng: Decides everything.
        stuff: Name of the stuff at each pixel, as an index into `names`.
        names: Names of the stuff in this landscape.
        horizon: Height of the horizon as a fraction from the top.
        time: Time of day.
        favourites: Kinds that are likelier than elsewhere.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        stuff: np.ndarray,
        names: tuple[str, ...],
        horizon: float,
        time: str,
        favourites: tuple[str, ...],
    ) -> None:
        self.rng = rng
        self.stuff = stuff
        self.names = names
        self.horizon = horizon
        self.time = time
        self.favourites = favourites
        self.placed: list[Placed] = []

    def fill(self) -> list[Placed]:
        """Places sky furniture, one or two repeated kinds, then singles; returns all from far to near."""
        self._sky()
        total = int(self.rng.integers(5, _MOST + 1))
        menu = self._menu()
        for kind in self._pick(menu, int(self.rng.integers(1, 3))):
            self._repeat(kind, min(int(self.rng.integers(2, 6)), _MOST - len(self.placed)))
        for _ in range(24):
            if len(self.placed) >= total:
                break
            self._add(self._pick(menu, 1)[0], None)
        return sorted(self.placed, key=lambda thing: thing.depth)

    def _sky(self) -> None:
        chance = self.rng.random()
        if self.time == "night" and chance < 0.75:
            self._add("moon", None)
        elif self.time in ("day", "sunset") and chance < 0.55:
            self._add("sun", None)
        clouds = int(self.rng.integers(1, 4)) if self.rng.random() < (0.7 if self.time == "overcast" else 0.35) else 0
        for _ in range(clouds):
            self._add("cloud", "grey" if self.time == "overcast" and self.rng.random() < 0.6 else None)

    def _menu(self) -> dict[str, float]:
        """How likely each kind is here: its weight, and more if much of the picture suits it."""
        shares = np.bincount(self.stuff.ravel(), minlength=len(self.names)) / self.stuff.size
        share = dict(zip(self.names, shares.tolist(), strict=True))
        menu = {}
        for name, kind in KINDS.items():
            room = sum(share.get(place, 0.0) for place in set(kind.places))
            if kind.weight and room > 0.02:
                menu[name] = kind.weight * min(1.0, 0.3 + 2.5 * room) * (2.5 if name in self.favourites else 1.0)
        return menu

    def _pick(self, menu: dict[str, float], count: int) -> list[str]:
        weights = np.array(list(menu.values()))
        picks = self.rng.choice(len(menu), min(count, len(menu)), replace=False, p=weights / weights.sum())
        return [list(menu)[i] for i in picks.tolist()]

    def _repeat(self, name: str, count: int) -> None:
        """Several of a kind, mostly in different colours; now and then all in one."""
        colours = list(dict.fromkeys(KINDS[name].colours))
        self.rng.shuffle(colours)
        uniform = self.rng.random() < 0.25
        for i in range(count):
            self._add(name, colours[0 if uniform else i % len(colours)])

    def _add(self, name: str, colour: str | None) -> None:
        """Tries to find a spot where the thing belongs and hides little of others; gives up silently."""
        kind = KINDS[name]
        places = [place for place in kind.places if place in self.names]
        if not places:
            return
        place = self._one(places)
        size = self._one(("small", "small", "small", "medium", "medium", "medium", "medium", "large", "large", "large"))
        variant = self._one(kind.variants.get(place, kind.variants[""]))
        look = Placed(
            kind=name,
            colour="green" if variant in kind.green else colour or self._one(kind.colours),
            size=size,
            texture=self._one(kind.textures),
            pose=self._one(kind.poses.get(place, kind.poses[""])),
            variant=variant,
            on=place,
            x=0.0,
            y=0.0,
            height=0.0,
            facing=1 if self.rng.random() < 0.5 else -1,
            seed=int(self.rng.integers(2**31)),
        )
        allowed = _RARE_OVERLAP if self.rng.random() < 0.35 else _LIKELY_OVERLAP
        for u, v in self.rng.random((60, 2)).tolist():
            spot = self._at(look, kind, u, v)
            if self._fits(spot) and self._overlap(spot) <= allowed:
                self.placed.append(spot)
                return

    def _one(self, options: tuple[str, ...] | list[str]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def _at(self, look: Placed, kind: Kind, u: float, v: float) -> Placed:
        """The thing with its foot at a random height and a random place across."""
        base = kind.height * SCALE_OF_SIZE[look.size]
        if look.on == "sky":
            height, top = base, 0.02
            y = top + height + v * max(0.0, self.horizon - 0.01 - top - height)
        else:
            top = self.horizon - (0.1 if look.on == "hills" else 0.0)
            y = top + v * (0.985 - top)
            height = base * (0.86 + 0.26 * max(0.0, (y - self.horizon) / (1 - self.horizon)))
        half = height * kind.width / 2
        x = half + 0.008 + u * max(0.0, 1 - 2 * half - 0.016)
        values = {**look.__dict__, "x": x, "y": y, "height": height}
        return Placed(**values)

    def _fits(self, spot: Placed) -> bool:
        """Whether the whole foot rests on the right stuff and the top is inside the picture."""
        x0, y0, x1, y1 = spot.box
        if y0 < 0.01 or x0 < 0 or x1 > 1:
            return False
        rows = (spot.y, (y0 + y1) / 2) if spot.on == "sky" else (spot.y, spot.y - 0.012)
        inset = (x1 - x0) * (0.02 if spot.on == "water" else 0.1)
        columns = [x0 + inset + (x1 - x0 - 2 * inset) * i / 4 for i in range(5)]
        return all(self._stuff_at(x, y) == spot.on for y in rows for x in columns)

    def _stuff_at(self, x: float, y: float) -> str:
        side = len(self.stuff)
        return self.names[self.stuff[min(side - 1, int(y * side)), min(side - 1, int(x * side))]]

    def _overlap(self, spot: Placed) -> float:
        """The largest share of any thing's box that lies behind another's, were this one added."""
        worst = 0.0
        ax0, ay0, ax1, ay1 = spot.box
        for other in self.placed:
            bx0, by0, bx1, by1 = other.box
            width, height = min(ax1, bx1) - max(ax0, bx0), min(ay1, by1) - max(ay0, by0)
            if width > 0 and height > 0:
                behind = min((spot, other), key=lambda thing: thing.depth).box
                worst = max(worst, width * height / ((behind[2] - behind[0]) * (behind[3] - behind[1])))
        return worst
