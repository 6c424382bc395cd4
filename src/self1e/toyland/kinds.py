"""What every kind of thing may look like, and where it belongs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from self1e.toyland import draw_built, draw_living, draw_nature, draw_toys
from self1e.toyland.canvas import Pen
from self1e.toyland.look import Look

#: Scale of each size word relative to the kind's usual height, far enough apart to survive the mild perspective.
SCALE_OF_SIZE = {"small": 0.62, "medium": 1.0, "large": 1.55}

_PAINTS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black", "grey", "brown")
_BRIGHT = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
_FUR = ("brown", "white", "black", "grey", "orange")


@dataclass(frozen=True)
class Kind:
    """How a kind is drawn and placed.

    Attributes:
        draw: Draws it with its foot at (0, 0) and its top at (0, 1).
        height: Height of a medium one, in picture heights.
        width: Width in units of the height.
        places: Kinds of stuff it may stand on; "sky" for what hangs or flies.
        colours: Names to choose from.
        textures: Patterns to choose from; repeat a name to make it likelier.
        poses: By place, with "" for all other places.
        variants: By place, with "" for all other places.
        green: Variants that are green whatever `colours` says.
        weight: How likely the kind is, relative to others that fit the place; 0 for the sky's own.
    """

    draw: Callable[[Pen, Look], None]
    height: float
    width: float
    places: tuple[str, ...]
    colours: tuple[str, ...]
    textures: tuple[str, ...] = ("plain",)
    poses: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"": ("standing",)})
    variants: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"": ("",)})
    green: tuple[str, ...] = ()
    weight: float = 1.0


_LAND = ("grass", "sand", "snow")

KINDS: dict[str, Kind] = {
    "house": Kind(
        draw_built.draw_house, 0.27, 1.08, ("grass", "snow", "hills"), tuple(c for c in _PAINTS if c != "black"),
        variants={"": ("cottage", "cottage", "tower")}, weight=1.6,
    ),
    "tree": Kind(
        draw_nature.draw_tree, 0.27, 0.76, ("grass", "sand", "snow", "hills"),
        ("green", "green", "green", "orange", "yellow", "red"),
        variants={"": ("round", "round", "pine", "poplar"), "sand": ("palm",), "snow": ("snowy", "snowy", "pine")},
        green=("pine", "palm", "snowy"), weight=2.2,
    ),
    "car": Kind(
        draw_built.draw_car, 0.148, 2.02, ("road", "road", "road", "grass", "sand"), _PAINTS,
        poses={"": ("parked",), "road": ("driving", "driving", "parked")}, weight=1.4,
    ),
    "bus": Kind(draw_built.draw_bus, 0.183, 1.98, ("road",), _BRIGHT, poses={"": ("driving",)}, weight=2.6),
    "truck": Kind(draw_built.draw_truck, 0.178, 2.0, ("road",), _PAINTS, poses={"": ("driving",)}, weight=2.2),
    "boat": Kind(
        draw_built.draw_boat, 0.239, 1.2, ("water",), _PAINTS, ("plain", "plain", "striped", "spotted"),
        poses={"": ("sailing",)}, weight=2.2,
    ),
    "person": Kind(
        draw_living.draw_person, 0.226, 0.5, ("grass", "sand", "snow", "road"), _PAINTS,
        ("plain", "plain", "striped", "checked", "spotted"),
        poses={"": ("standing", "running", "waving", "sitting"), "road": ("standing", "running")}, weight=1.7,
    ),
    "dog": Kind(
        draw_living.draw_dog, 0.158, 1.5, _LAND, ("brown", "white", "black", "grey"), ("plain", "plain", "spotted"),
        poses={"": ("standing", "running", "sitting")}, weight=1.3
    ),
    "cat": Kind(
        draw_living.draw_cat, 0.148, 1.4, ("grass", "sand", "snow"), _FUR, ("plain", "striped"),
        poses={"": ("standing", "sitting")}, weight=1.3,
    ),
    "cow": Kind(
        draw_living.draw_cow, 0.173, 1.65, ("grass",), ("white", "brown", "black"), ("spotted", "plain"), weight=1.1,
    ),
    "sheep": Kind(
        draw_living.draw_sheep, 0.148, 1.35, ("grass", "hills"), ("white", "white", "grey", "black"), weight=1.2,
    ),
    "bird": Kind(
        draw_living.draw_bird, 0.115, 1.55, ("sky", "sky", "grass", "sand", "snow"),
        (*_BRIGHT, "black", "grey", "brown"),
        poses={"": ("standing",), "sky": ("flying",)}, weight=2.2,
    ),
    "duck": Kind(
        draw_living.draw_duck, 0.126, 1.5, ("water", "water", "grass"), ("yellow", "white", "brown", "grey"),
        poses={"": ("standing",), "water": ("swimming",)}, variants={"": ("", "", "mallard")}, weight=1.2,
    ),
    "lamp": Kind(
        draw_built.draw_lamp, 0.308, 0.24, ("grass", "snow", "road"), ("black", "grey", "green", "blue", "red"),
        weight=1.5,
    ),
    "ball": Kind(
        draw_toys.draw_ball, 0.131, 1.0, ("grass", "sand", "snow", "road"), _PAINTS,
        ("plain", "striped", "spotted", "checked"), poses={"": ("lying",)}, weight=1.3,
    ),
    "apple": Kind(draw_nature.draw_apple, 0.126, 0.95, _LAND, ("red", "green", "yellow"), poses={"": ("lying",)}),
    "umbrella": Kind(
        draw_built.draw_umbrella, 0.221, 1.3, ("sand", "sand", "grass"), _BRIGHT,
        ("plain", "striped", "spotted", "checked"), weight=1.2,
    ),
    "bench": Kind(
        draw_built.draw_bench, 0.126, 2.0, ("grass", "snow"),
        ("brown", "brown", "green", "red", "blue", "white", "grey"), weight=1.1,
    ),
    "flower": Kind(
        draw_nature.draw_flower, 0.153, 0.62, ("grass",),
        ("red", "orange", "yellow", "blue", "purple", "pink", "white"),
        variants={"": ("daisy", "daisy", "tulip")}, weight=1.2,
    ),
    "mushroom": Kind(
        draw_nature.draw_mushroom, 0.126, 1.04, ("grass",), ("red", "red", "brown", "orange", "purple", "yellow"),
        ("spotted", "plain"), weight=1.4,
    ),
    "balloon": Kind(
        draw_toys.draw_balloon, 0.239, 0.82, ("sky",), _BRIGHT, ("plain", "striped", "spotted", "checked"),
        poses={"": ("flying",)}, weight=1.1,
    ),
    "kite": Kind(
        draw_toys.draw_kite, 0.193, 0.62, ("sky",), _BRIGHT, ("plain", "striped", "spotted", "checked"),
        poses={"": ("flying",)}, weight=1.2,
    ),
    "sun": Kind(draw_nature.draw_sun, 0.173, 1.0, ("sky",), ("yellow",), poses={"": ("shining",)}, weight=0.0),
    "moon": Kind(
        draw_nature.draw_moon, 0.142, 0.96, ("sky",), ("yellow", "white"), poses={"": ("shining",)},
        variants={"": ("full", "crescent")}, weight=0.0,
    ),
    "cloud": Kind(
        draw_nature.draw_cloud, 0.115, 2.0, ("sky",), ("white", "white", "grey"),
        poses={"": ("flying",)}, weight=0.0,
    ),
    "fence": Kind(
        draw_built.draw_fence, 0.126, 2.9, ("grass", "snow"), ("brown", "white", "white", "grey"), weight=0.8,
    ),
    "tent": Kind(
        draw_built.draw_tent, 0.202, 1.66, _LAND, ("red", "orange", "yellow", "green", "blue", "purple"),
        ("plain", "plain", "striped"), weight=1.0,
    ),
    "snowman": Kind(draw_nature.draw_snowman, 0.221, 0.98, ("snow",), ("white",), weight=2.6),
}  # fmt: skip
