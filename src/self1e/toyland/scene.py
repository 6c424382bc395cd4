"""What a toyland scene is: a picture, who owns every pixel of it, and what can be said of each owner.

Two integer maps hold the ground truth. `object_map` gives every pixel to exactly one `Thing` (stuff such as the sky
included); `part_map` refines it (0 where the pixel belongs to no named part). Masks are unions of ids, so they are
exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

#: Colour names that a query may use. Rendered colours are jittered around them, never so far that the name is wrong.
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "black", "grey")
SIZES = ("small", "medium", "large")
TEXTURES = ("plain", "striped", "spotted", "checked")


@dataclass(frozen=True)
class Part:
    """A named piece of a thing, such as the roof of a house.

    `id` is the part's value in `Scene.part_map` (>= 1, unique in the scene); parts of one thing that share a name
    (two wheels) are separate parts with separate ids. `area` counts visible pixels and may be 0.
    """

    id: int
    name: str
    colour: str | None
    area: int


@dataclass(frozen=True)
class Thing:
    """One countable object ("car") or one region of stuff ("grass").

    `id` is its value in `Scene.object_map`. `box` (x0, y0, x1, y1; x1, y1 exclusive) and `centre` (x, y) are of the
    visible pixels. `foot` (x, y) is where it meets the ground: a larger y is nearer to the viewer (None for stuff and
    for what is in the sky). `visibility` is visible pixels / pixels without occlusion, in [0, 1]. `on` is the kind of
    stuff it stands on or hangs before ("road", "water", "grass", "sky", ...).
    """

    id: int
    kind: str
    is_stuff: bool
    colour: str | None
    size: str | None
    texture: str
    pose: str
    box: tuple[int, int, int, int]
    centre: tuple[float, float]
    foot: tuple[float, float] | None
    area: int
    visibility: float
    on: str | None
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Scene:
    """A rendered scene.

    `picture` is uint8[H, W, 3] RGB; `object_map` and `part_map` are int16[H, W]. `things` holds every owner with at
    least one visible pixel, in order of id. `time` is "day", "sunset", "night" or "overcast".
    """

    seed: int
    picture: np.ndarray
    object_map: np.ndarray
    part_map: np.ndarray
    things: tuple[Thing, ...]
    time: str
    extras: dict[str, object] = field(default_factory=dict)

    def object_mask(self, *ids: int) -> np.ndarray:
        """bool[H, W]: the union of the visible pixels of these things."""
        return _union(self.object_map, ids)

    def part_mask(self, *ids: int) -> np.ndarray:
        """bool[H, W]: the union of the visible pixels of these parts."""
        return _union(self.part_map, ids)


def _union(owners: np.ndarray, ids: tuple[int, ...]) -> np.ndarray:
    """bool[H, W]: where one of `ids` owns the pixel. A table look-up; `np.isin` takes ten times as long."""
    wanted = np.zeros(int(owners.max()) + 1, bool)
    wanted[[id_ for id_ in ids if id_ < wanted.size]] = True
    return wanted.take(owners)
