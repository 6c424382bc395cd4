"""Hand-made toyland scenes, in which the right answers are plain to see."""

from __future__ import annotations

import numpy as np

from self1e.toyland.scene import Part, Scene, Thing
from self1e.toyland.vocabulary import STUFF

SIZE = 200
#: Pixels per unit of a drawing: things of 20 x 20 units are just large enough to be asked for.
SCALE = 1.3


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class Drawing:
    """Builds a scene out of rectangles."""

    def __init__(self, ground: str = "grass") -> None:
        self.objects = np.ones((SIZE, SIZE), np.int16)
        self.objects[:60] = 2
        self.parts = np.zeros((SIZE, SIZE), np.int16)
        self.rows: list[tuple] = [(1, ground, {}, ()), (2, "sky", {}, ())]
        self.next_part = 1

    def add(self, kind: str, x: int, y: int, w: int = 24, h: int = 24, parts: tuple = (), **looks: object) -> Drawing:
        """A thing whose box starts at (x, y); `parts` are (name, colour, rows), stacked from the top."""
        number = len(self.rows) + 1
        self.objects[y : y + h, x : x + w] = number
        self.parts[y : y + h, x : x + w] = 0
        made, top = [], y
        for name, colour, rows in parts:
            self.parts[top : top + rows, x : x + w] = self.next_part
            made.append((self.next_part, name, colour))
            self.next_part, top = self.next_part + 1, top + rows
        self.rows.append((number, kind, looks, tuple(made)))
        return self

    def scene(self) -> Scene:
        things = []
        pixels = (np.arange(int(SIZE * SCALE)) / SCALE).astype(int)
        objects, part_map = (each[pixels[:, None], pixels] for each in (self.objects, self.parts))
        for number, kind, looks, made in self.rows:
            ys, xs = np.nonzero(objects == number)
            parts = tuple(Part(i, name, colour, int((part_map == i).sum())) for i, name, colour in made)
            is_stuff = kind in STUFF
            on = looks.get("on", "sky" if ys.mean() < 50 * SCALE else self.rows[0][1])
            things.append(
                Thing(
                    id=number,
                    kind=kind,
                    is_stuff=is_stuff,
                    colour=looks.get("colour"),
                    size=looks.get("size", "medium"),
                    texture=looks.get("texture", "plain"),
                    pose=looks.get("pose", "standing"),
                    box=(int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1),
                    centre=(float(xs.mean()), float(ys.mean())),
                    foot=None if is_stuff or on == "sky" else (float(xs.mean()), float(ys.max())),
                    area=len(xs),
                    visibility=looks.get("visibility", 1.0),
                    on=None if is_stuff else on,
                    parts=parts,
                )
            )
        picture = np.zeros((*objects.shape, 3), np.uint8)
        return Scene(0, picture, objects, part_map, tuple(things), "day")


def street() -> Scene:
    """Red car, blue car, a house between them with a red roof, a dog before the house, a bird above it."""
    return (
        Drawing()
        .add("car", 10, 120, 30, 20, colour="red", on="road")
        .add("car", 150, 120, 30, 20, colour="blue", on="road")
        .add("house", 80, 80, 50, 60, parts=(("roof", "red", 20), ("wall", "white", 40)), colour="white")
        .add("dog", 95, 150, 24, 20, colour="brown", pose="running")
        .add("bird", 95, 10, 20, 20, colour="blue", pose="flying")
        .scene()
    )


RED_CAR, BLUE_CAR, HOUSE, DOG, BIRD = 3, 4, 5, 6, 7
