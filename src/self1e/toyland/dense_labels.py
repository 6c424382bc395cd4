"""Per-pixel labels of a scene, for training that looks at every pixel."""

from __future__ import annotations

import numpy as np

from self1e.toyland.kinds import KINDS
from self1e.toyland.scene import COLOURS, SIZES, TEXTURES, Scene
from self1e.toyland.vocabulary import PART_NAMES, STUFF, THINGS

#: Class names in the order of their ids. Part 0 is "no named part".
KIND_NAMES: tuple[str, ...] = STUFF + THINGS
PART_LABELS: tuple[str, ...] = ("", *PART_NAMES)
POSES: tuple[str, ...] = tuple(
    dict.fromkeys(pose for kind in KINDS.values() for poses in kind.poses.values() for pose in poses)
)
UNLABELLED = 255

_KIND_IDS = {name: i for i, name in enumerate(KIND_NAMES)}
_PART_IDS = {name: i for i, name in enumerate(PART_LABELS)}


def _ids(names: tuple[str, ...]) -> dict[str | None, int]:
    return {None: UNLABELLED, **{name: i for i, name in enumerate(names)}}


_COLOUR_IDS = _ids(COLOURS)
_LOOKS = {"texture": _ids(TEXTURES), "pose": _ids(POSES), "size": _ids(SIZES)}


def dense_labels(scene: Scene) -> dict[str, np.ndarray]:
    """Labels every pixel of a scene.

    Args:
        scene: A generated scene.

    Returns:
        "kind": int16[H, W], index into `KIND_NAMES`.
        "part": int16[H, W], index into `PART_LABELS`.
        "colour": int16[H, W], index into `COLOURS` of the pixel's part, or of its thing outside of parts; `UNLABELLED`
        where neither has one.
        "thing_colour", "texture", "pose", "size": int16[H, W], index into `COLOURS`, `TEXTURES`, `POSES` and `SIZES` of
        the whole thing, on each of its pixels; `UNLABELLED` on stuff.
        "offset": float32[2, H, W], (dx, dy) from the pixel to its thing's centre over the picture's side; 0 on stuff.
        "extent": float32[2, H, W], (width, height) of its thing's box over the picture's side; 0 on stuff.
    """
    height, width = scene.object_map.shape
    things = [t for t in scene.things if not t.is_stuff]
    owners = scene.things[-1].id + 1
    kind, thing_colour = np.zeros(owners, np.int16), np.full(owners, UNLABELLED, np.int16)
    for t in scene.things:
        kind[t.id], thing_colour[t.id] = _KIND_IDS[t.kind], _COLOUR_IDS[t.colour]
    looks = {name: np.full(owners, UNLABELLED, np.int16) for name in _LOOKS}
    for t in things:
        for name, ids in _LOOKS.items():
            looks[name][t.id] = ids[getattr(t, name)]
    parts = [part for t in things for part in t.parts]
    count = max((part.id for part in parts), default=0) + 1
    part_class, part_colour = np.zeros(count, np.int16), np.zeros(count, np.int16)
    for part in parts:
        part_class[part.id], part_colour[part.id] = _PART_IDS[part.name], _COLOUR_IDS[part.colour]

    # is_thing keeps offsets at 0 on stuff: (0 - 0) * x there, (centre - x) * 1 on things.
    is_thing, geometry = np.zeros(owners, np.float32), np.zeros((4, owners), np.float32)
    for t in things:
        is_thing[t.id] = 1
        geometry[:, t.id] = t.centre[0], t.centre[1], t.box[2] - t.box[0], t.box[3] - t.box[1]
    objects = scene.object_map
    centre_x, centre_y, box_width, box_height = (row.take(objects) for row in geometry / np.float32(width))
    on_thing = is_thing.take(objects)
    x = (np.arange(width, dtype=np.float32) + np.float32(0.5)) / np.float32(width)
    y = (np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5)) / np.float32(width)
    return {
        "kind": kind.take(objects),
        "part": part_class.take(scene.part_map),
        "colour": np.where(scene.part_map > 0, part_colour.take(scene.part_map), thing_colour.take(objects)),
        "thing_colour": thing_colour.take(objects),
        **{name: look.take(objects) for name, look in looks.items()},
        "offset": np.stack([centre_x - x * on_thing, centre_y - y * on_thing]),
        "extent": np.stack([box_width, box_height]),
    }
