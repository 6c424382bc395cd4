"""The words of toyland: every kind of stuff, every kind of thing and every named part, in a fixed order.

The position of a name is its class id in the dense label maps, so new names go at the end.
"""

from __future__ import annotations

#: Regions without a shape of their own, each at most a few times in a scene.
STUFF: tuple[str, ...] = ("sky", "grass", "sand", "snow", "road", "water", "hills", "mountains")

#: Countable objects.
THINGS: tuple[str, ...] = (
    "house",
    "tree",
    "car",
    "bus",
    "truck",
    "boat",
    "person",
    "dog",
    "cat",
    "cow",
    "sheep",
    "bird",
    "duck",
    "lamp",
    "ball",
    "apple",
    "umbrella",
    "bench",
    "flower",
    "mushroom",
    "balloon",
    "kite",
    "sun",
    "moon",
    "cloud",
    "fence",
    "tent",
    "snowman",
)

#: Named parts of each kind of thing; a thing may lack some of them (a person without a hat).
PARTS: dict[str, tuple[str, ...]] = {
    "house": ("roof", "wall", "door", "window", "chimney"),
    "tree": ("crown", "trunk"),
    "car": ("body", "window", "wheel"),
    "bus": ("body", "window", "wheel", "door"),
    "truck": ("cab", "cargo", "window", "wheel"),
    "boat": ("hull", "sail"),
    "person": ("head", "hair", "shirt", "trousers", "hat"),
    "dog": ("head", "body", "legs", "tail"),
    "cat": ("head", "body", "legs", "tail"),
    "cow": ("head", "body", "legs"),
    "sheep": ("head", "body", "legs"),
    "bird": ("body", "wing"),
    "duck": ("head", "body"),
    "lamp": ("post", "light"),
    "ball": (),
    "apple": (),
    "umbrella": ("canopy", "handle"),
    "bench": ("seat", "back", "legs"),
    "flower": ("petals", "stem"),
    "mushroom": ("cap", "stem"),
    "balloon": ("envelope", "basket"),
    "kite": ("tail",),
    "sun": (),
    "moon": (),
    "cloud": (),
    "fence": (),
    "tent": ("door",),
    "snowman": ("head", "body", "hat", "scarf"),
}

#: All part names once, in order of first mention; the class id of a part is its position here plus one (0: no part).
PART_NAMES: tuple[str, ...] = tuple(dict.fromkeys(name for names in PARTS.values() for name in names))
