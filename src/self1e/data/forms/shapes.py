"""A mask as the shapes of LabelMe, which X-AnyLabeling's are, too. Importing this is cheap."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from self1e.segment.contours import mask_to_polygons

Points = list[list[float]]


def shapes_of(
    mask: np.ndarray,
    label: str,
    score: float | None,
    *,
    number: int,
    tolerance: float = 0.0,
    relative: bool = False,
) -> list[dict[str, Any]]:
    """A polygon for each part of a mask, through the pixels of the rim, as these programs fill them.

    Args:
        mask: bool[H, W].
        label: Of all parts.
        score: A key of its own; None: there is none.
        number: Of the mask in its picture: the `group_id` of its parts, where there are several.
        tolerance: See `mask_to_polygons`.
        relative: See `mask_to_polygons`.
    """
    polygons = mask_to_polygons(mask, tolerance, centres=True, relative=relative)
    shape: dict[str, Any] = {
        "label": label,
        "group_id": number if len(polygons) > 1 else None,
        "shape_type": "polygon",
        "flags": {},
        "description": "",
    }
    if score is not None:
        shape["score"] = score
    return [shape | {"points": _begun_well(np.reshape(polygon, (-1, 2)).tolist())} for polygon in polygons]


def _begun_well(points: Points) -> Points:
    """The same outline for programs that take a point like the first for the end, and leave it out.

    It begins at a point that does not come again. A single pixel becomes a triangle within it.

    >>> _begun_well([[4, 4], [7, 4], [4, 4], [4, 9]]), _begun_well([[4, 4]] * 3)
    ([[7, 4], [4, 4], [4, 9], [4, 4]], [[4, 4], [4.25, 4], [4.25, 4.25]])
    """
    times = Counter(map(tuple, points))
    if len(times) == 1:
        (x, y) = points[0]
        return [[x, y], [x + 0.25, y], [x + 0.25, y + 0.25]]
    start = next((place for place, point in enumerate(points) if times[tuple(point)] == 1), 0)
    return points[start:] + points[:start]
