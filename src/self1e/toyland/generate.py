"""Draws a toyland scene from a number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from self1e.toyland.canvas import OVERSAMPLING, Canvas, Pen
from self1e.toyland.ground import GROUND_PLANS, Land, draw_clutter
from self1e.toyland.kinds import KINDS
from self1e.toyland.lighting import TINT, finish
from self1e.toyland.look import Look
from self1e.toyland.placement import Placed, Planner
from self1e.toyland.scene import Part, Scene, Thing

#: Scenes are planned at this size, so that a seed gives the same scene at every size.
PLAN_SIZE = 448
#: In smaller pictures, things lose their last pixel.
MIN_SIZE = 64
MIN_VISIBILITY = 0.45
MIN_AREA = 300
_TIMES = {"day": 0.58, "sunset": 0.14, "night": 0.12, "overcast": 0.16}
_CASTS_NO_SHADOW = ("sky", "water")

#: Streams of random numbers, one for each concern, so that a change in one leaves the others alone.
_GROUND, _PLAN, _CLUTTER, _LIGHT = range(4)


Box = tuple[int, int, int, int]

#: A spot for clutter: the arguments of `draw_clutter`.
_Spot = tuple[str, float, float, float, float]


@dataclass
class _Drawing:
    """A drawn scene before lighting. `drawn` holds the number of unoccluded pixels of each placed thing."""

    canvas: Canvas
    land: Land
    objects: np.ndarray
    parts: np.ndarray
    pens: list[Pen]
    drawn: list[int]
    bare: np.ndarray


def generate_scene(seed: int, size: int = PLAN_SIZE) -> Scene:
    """Draws the scene of a seed.

    Args:
        seed: Any non-negative number; the same seed gives the same scene.
        size: Side of the picture in pixels, at least `MIN_SIZE`.

    Returns:
        The picture with its exact maps and descriptions.

    Raises:
        ValueError: The seed is negative, or the size too small.
    """
    if seed < 0 or size < MIN_SIZE:
        raise ValueError(f"a scene needs a seed from 0 and a size from {MIN_SIZE} pixels, got {seed} and {size}")
    rng = np.random.default_rng([seed, _PLAN])
    time = str(rng.choice(list(_TIMES), p=list(_TIMES.values())))
    weights = np.array([option.weight for option in GROUND_PLANS.values()])
    layout = str(rng.choice(list(GROUND_PLANS), p=weights / weights.sum()))
    canvas, land = _draw_land(seed, layout, time, PLAN_SIZE)
    stuff = np.array(canvas.owners, np.int16).take(canvas.keys())
    names = ("", *land.owners)
    plan = Planner(rng, stuff, names, land.horizon, time, GROUND_PLANS[layout].favourites).fill()
    clutter = _scatter(seed, stuff, names, land.horizon)

    drawing = _draw_things(canvas, land, clutter, plan, time)
    while hidden := _worst_hidden(drawing):
        plan = [thing for i, thing in enumerate(plan, start=1) if i != hidden]
        drawing = _draw_things(*_draw_land(seed, layout, time, PLAN_SIZE), clutter, plan, time)
    if size != PLAN_SIZE:
        drawing = _draw_things(*_draw_land(seed, layout, time, size), clutter, plan, time)

    stuff_count = len(drawing.land.owners)
    is_stuff = drawing.objects <= stuff_count
    picture = finish(
        drawing.canvas.picture(TINT[time]), is_stuff, _shadows(plan), np.random.default_rng([seed, _LIGHT])
    )
    things = _describe(drawing, plan)
    return Scene(seed, picture, drawing.objects, drawing.parts, things, time, {"layout": layout})


def _draw_land(seed: int, layout: str, time: str, size: int) -> tuple[Canvas, Land]:
    canvas = Canvas(size)
    land = Land(canvas, np.random.default_rng([seed, _GROUND]), time)
    GROUND_PLANS[layout].draw(land)
    return canvas, land


def _scatter(seed: int, stuff: np.ndarray, names: tuple[str, ...], horizon: float) -> list[_Spot]:
    """Spots for clutter, away from the borders between stuff."""
    spots = []
    for u, v, variant in np.random.default_rng([seed, _CLUTTER]).random((42, 3)).tolist():
        x, y = 0.02 + 0.96 * u, horizon + 0.03 + (0.94 - horizon) * v
        column, row, reach = int(x * PLAN_SIZE), int(y * PLAN_SIZE), 9
        around = stuff[row - 4 : row + 5 : 4, max(0, column - reach) : column + reach + 1 : reach]
        if (around == around[0, 0]).all():
            spots.append((names[around[0, 0]], x, y, variant, 0.75 + 0.6 * (y - horizon) / (1 - horizon)))
    return spots


def _draw_things(canvas: Canvas, land: Land, clutter: list[_Spot], plan: list[Placed], time: str) -> _Drawing:
    """Draws clutter and things, from far to near, on a canvas that shows the land."""
    for spot in clutter:
        draw_clutter(land, *spot)
    bare = np.bincount(np.array(canvas.owners).take(canvas.keys()).ravel(), minlength=len(land.owners) + 1)
    pens: list[Pen] = []
    drawn: list[int] = []
    next_part = 1
    for owner, thing in enumerate(plan, start=len(land.owners) + 1):
        pen = Pen(canvas, owner, (thing.x, thing.y), thing.height, thing.facing, next_part)
        look = Look(
            thing.colour, thing.texture, thing.pose, thing.variant, time == "night", np.random.default_rng(thing.seed)
        )
        KINDS[thing.kind].draw(pen, look)
        next_part += len(pen.parts)
        pens.append(pen)
        drawn.append(canvas.count_from(pen.first_key, pen.bounds))
    keys = canvas.keys()
    objects = np.array(canvas.owners, np.int16).take(keys)
    parts = np.array(canvas.parts, np.int16).take(keys)
    return _Drawing(canvas, land, objects, parts, pens, drawn, bare)


def _worst_hidden(drawing: _Drawing) -> int:
    """The position (from 1) of the thing that shows too little of itself, or 0 if all show enough."""
    first = len(drawing.land.owners) + 1
    visible = np.bincount(drawing.objects.ravel(), minlength=first + len(drawing.pens))[first:]
    shares = [
        v / max(1, d) if v >= MIN_AREA else v / MIN_AREA * MIN_VISIBILITY * 0.99
        for v, d in zip(visible.tolist(), drawing.drawn, strict=True)
    ]
    worst = min(range(len(shares)), key=shares.__getitem__, default=-1)
    return worst + 1 if worst >= 0 and shares[worst] < MIN_VISIBILITY else 0


def _shadows(plan: list[Placed]) -> list[tuple[float, float, float, float]]:
    spots = []
    for thing in plan:
        if thing.on not in _CASTS_NO_SHADOW:
            half = (thing.box[2] - thing.box[0]) * 0.44
            spots.append((thing.x + half * 0.12, thing.y - 0.002, half, max(0.007, half * 0.16)))
    return spots


def _describe(drawing: _Drawing, plan: list[Placed]) -> tuple[Thing, ...]:
    """Measures everything that is visible."""
    owners = drawing.land.owners
    areas = np.bincount(drawing.objects.ravel(), minlength=len(owners) + len(plan) + 1).tolist()
    part_areas = np.bincount(drawing.parts.ravel(), minlength=int(drawing.parts.max()) + 1).tolist()
    things = []
    for kind, owner in owners.items():
        if areas[owner]:
            box, centre = _extent(drawing.objects, owner, drawing.land.pens[kind].bounds)
            share = areas[owner] / max(1, int(drawing.bare[owner]))
            things.append(
                Thing(owner, kind, True, None, None, "plain", "", box, centre, None, areas[owner], share, None)
            )
    for owner, (thing, pen, drawn) in enumerate(
        zip(plan, drawing.pens, drawing.drawn, strict=True), start=len(owners) + 1
    ):
        box, centre = _extent(drawing.objects, owner, pen.bounds)
        size = drawing.canvas.size
        parts = tuple(
            Part(i, name, colour, part_areas[i] if i < len(part_areas) else 0) for i, name, colour in pen.parts
        )
        things.append(
            Thing(
                id=owner,
                kind=thing.kind,
                is_stuff=False,
                colour=thing.colour,
                size=thing.size,
                texture=thing.texture,
                pose=thing.pose,
                box=box,
                centre=centre,
                foot=None if thing.on == "sky" else (thing.x * size, thing.y * size),
                area=areas[owner],
                visibility=areas[owner] / max(1, drawn),
                on=thing.on,
                parts=parts,
            )
        )
    return tuple(things)


def _extent(objects: np.ndarray, owner: int, bounds: tuple[int, int, int, int]) -> tuple[Box, tuple[float, float]]:
    """Box and centre of the visible pixels of a thing, all of which lie within `bounds` (oversampled)."""
    x0, y0 = bounds[0] // OVERSAMPLING, bounds[1] // OVERSAMPLING
    x0, y0 = max(0, x0), max(0, y0)
    mask = objects[y0 : bounds[3] // OVERSAMPLING + 1, x0 : bounds[2] // OVERSAMPLING + 1] == owner
    across, down = np.count_nonzero(mask, axis=0), np.count_nonzero(mask, axis=1)
    xs, ys = np.flatnonzero(across), np.flatnonzero(down)
    box = (x0 + int(xs[0]), y0 + int(ys[0]), x0 + int(xs[-1]) + 1, y0 + int(ys[-1]) + 1)
    area = down.sum()
    centre = (
        x0 + 0.5 + float(across @ np.arange(len(across)) / area),
        y0 + 0.5 + float(down @ np.arange(len(down)) / area),
    )
    return box, centre
