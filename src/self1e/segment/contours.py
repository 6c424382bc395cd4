"""Polygons of a mask, traced along pixel edges, so that filling them gives the mask back bit by bit.

A pixel (x, y) is the unit square from corner (x, y) to (x + 1, y + 1). The outline of a mask turns only at those grid
corners where its 2x2 pixels are not two equal halves. All corners are found at once with numpy; every straight run
between two neighbouring corners of a row or a column is an edge; walking horizontal, vertical, horizontal, ... closes
the rings. Only the walk is a Python loop, over corners and not over pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

Point = tuple[int, int]


@dataclass
class _Ring:
    """One closed outline, its corners in walking order: clockwise on the screen, anti-clockwise around a hole."""

    corners: list[Point]
    is_hole: bool
    #: What the path goes through in place of the corners.
    points: list[Point]
    start: int = 0
    #: (edge, distance from the edge's first corner, point on the edge, the hole's closed path that hangs there).
    cuts: list[tuple[int, int, Point, list[tuple[Point, bool]]]] = field(default_factory=list)

    def path(self, entry: Point) -> list[tuple[Point, bool]]:
        """The closed path from `entry`, on the edge at `start`, back to it, through all cuts.

        A flag marks points that must not be moved.
        """
        count = len(self.corners)
        cuts: dict[int, list[tuple[int, Point, list[tuple[Point, bool]]]]] = {}
        for edge, distance, point, hole in self.cuts:
            cuts.setdefault(edge, []).append((distance, point, hole))
        path: list[tuple[Point, bool]] = [(entry, True)]
        for step in range(count):
            edge = (self.start + step) % count
            for _, point, hole in sorted(cuts.get(edge, ()), key=lambda cut: cut[0]):
                path += [(point, True), *hole, (point, True)]
            path.append((self.points[(edge + 1) % count], False))
        path.append((entry, True))
        return path


def mask_to_polygons(
    mask: np.ndarray, tolerance: float = 0.0, *, centres: bool = False, relative: bool = False
) -> list[list[int]]:
    """Traces a mask into polygons, one for each 4-connected region.

    Coordinates are those of COCO: pixel edges, x to the right, y down, so that a single pixel at (x, y) becomes
    `[x, y, x+1, y, x+1, y+1, x, y+1]`. Polygon formats know no holes, so a hole is joined to the outline around it by a
    cut of zero width: the polygon goes in, round the hole in the opposite sense, and out by the same way. Even-odd and
    non-zero filling both leave the hole empty. Regions that touch only at a corner are separate polygons.

    With `centres`, the outline goes through the pixels of the rim, which most programs fill together with the inside
    (OpenCV's `fillPoly`, and with it supervision and ultralytics; labelme): a single pixel becomes `[x, y] * 3`. There,
    outlines along edges would give a mask that is a pixel wider and higher.

    Args:
        mask: bool[H, W].
        tolerance: How far, in pixels, the outline may be moved to spare corners (Douglas-Peucker). 0 is exact.
        centres: Whether coordinates are numbers of pixels in place of edges.
        relative: Whether `tolerance` is a share of the length of each outline, in place of pixels. If it is more than
            0 it is at least a pixel, the height of the steps of an outline.

    Returns:
        Polygons as flat lists [x0, y0, x1, y1, ...] without a closing repetition, in order of their top-left corner.
        With a tolerance, a polygon that would collapse keeps its exact form.

    Raises:
        ValueError: `mask` is not two-dimensional, or `tolerance` is negative.

    >>> mask_to_polygons(np.ones((2, 3), bool))
    [[0, 0, 3, 0, 3, 2, 0, 2]]
    >>> mask_to_polygons(np.ones((2, 3), bool), centres=True)
    [[0, 0, 2, 0, 2, 1, 0, 1]]
    """
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f"a mask must be bool[H, W], got shape {mask.shape}")
    if tolerance < 0:
        raise ValueError(f"tolerance must be at least 0 pixels, got {tolerance}")
    mask = mask.astype(bool)
    rings, edges = _trace(mask)
    if centres:
        for ring in rings:
            ring.points = _inset(ring.corners)
    # A line as wide as one pixel is an outline that goes out and back by the same way.
    clean = _without_repeats if centres else _without_spikes
    polygons = []
    for ring in _join_holes(mask, rings, edges, centres):
        path = ring.path(ring.points[ring.start])
        reach = max(1.0, tolerance * _length(path)) if relative and tolerance else tolerance
        points = clean(_simplify(path, reach)) if reach else []
        if len(points) < 3:
            points = clean([point for point, _ in path])
        points += [points[-1]] * (3 - len(points))
        polygons.append([value for point in points for value in point])
    return polygons


def _inset(corners: list[Point]) -> list[Point]:
    """The corners, moved with both of their edges by half a pixel into the mask: numbers of pixels of its rim."""
    there = np.array(corners)
    across, down = (np.roll(there, -1, axis=0) - np.roll(there, 1, axis=0)).T  # along the level and the upright edge
    # The mask is on the right hand of who walks along an edge.
    moved = there - np.stack([down > 0, across < 0], axis=1)
    return [(x, y) for x, y in moved.tolist()]


@dataclass(frozen=True)
class _Edges:
    """The vertical edges, in order of (x, upper y), for finding the one beside a pixel.

    `keys` int[E] = x * stride + upper y; `owners` int[E, 3] = (ring, position of the upper corner, of the lower one).
    """

    stride: int
    keys: np.ndarray
    owners: np.ndarray

    def left_of_pixel(self, x: int, y: int) -> tuple[int, int, int]:
        """The owner of the edge that runs along the left side of pixel (x, y)."""
        index = int(np.searchsorted(self.keys, x * self.stride + y, side="right")) - 1
        ring, upper, lower = self.owners[index]
        return int(ring), int(upper), int(lower)


def _trace(mask: np.ndarray) -> tuple[list[_Ring], _Edges]:
    """All outlines of bool[H, W], in order of their topmost-leftmost corner."""
    padded = np.pad(mask, 1)
    above_left, above_right = padded[:-1, :-1], padded[:-1, 1:]
    below_left, below_right = padded[1:, :-1], padded[1:, 1:]

    # A vertex of the grid is a corner when an odd number of its four pixels is set, and a saddle (two corners in one
    # place) when a diagonal pair is. Each corner joins one horizontal with one vertical edge.
    odd = above_left ^ above_right ^ below_left ^ below_right
    saddle = (above_left == below_right) & (above_right == below_left) & (above_left != above_right)
    odd_y, odd_x = np.nonzero(odd)
    saddle_y, saddle_x = np.nonzero(saddle)
    y = np.concatenate([odd_y, saddle_y, saddle_y])
    x = np.concatenate([odd_x, saddle_x, saddle_x])

    # At a saddle the two corners stay on their own set pixel, which makes regions 4-connected. The first copy is the
    # corner that holds the edge to the left; it goes up when the pixel above left is set, else down.
    zeros, ones = np.zeros_like(odd_x), np.ones_like(saddle_x)
    first_goes_down = (~above_left[saddle_y, saddle_x]).astype(ones.dtype)
    order_in_row = np.concatenate([zeros, 0 * ones, ones])
    order_in_column = np.concatenate([zeros, first_goes_down, 1 - first_goes_down])

    # In the order of a row (column), corners 0-1, 2-3, ... are the ends of its horizontal (vertical) edges.
    by_row = np.lexsort((order_in_row, x, y)).reshape(-1, 2)
    by_column = np.lexsort((order_in_column, y, x)).reshape(-1, 2)
    across, along = np.empty(len(x), np.int64), np.empty(len(x), np.int64)
    across[by_row[:, 0]], across[by_row[:, 1]] = by_row[:, 1], by_row[:, 0]
    along[by_column[:, 0]], along[by_column[:, 1]] = by_column[:, 1], by_column[:, 0]

    rings: list[_Ring] = []
    ring_of, position_of = np.full(len(x), -1, np.int64), np.zeros(len(x), np.int64)
    xs, ys, horizontal, vertical = x.tolist(), y.tolist(), across.tolist(), along.tolist()
    seen = bytearray(len(xs))
    for first in by_row.ravel().tolist():
        if seen[first]:
            continue
        # The first corner met of a ring is its topmost-leftmost one: its edges go right and down, and the pixel between
        # them is inside the ring. Going right first walks clockwise.
        is_hole = not mask[ys[first], xs[first]]
        walk, corner, go_across = [], first, not is_hole
        while not seen[corner]:
            seen[corner] = 1
            walk.append(corner)
            corner = horizontal[corner] if go_across else vertical[corner]
            go_across = not go_across
        ring_of[walk], position_of[walk] = len(rings), np.arange(len(walk))
        corners = [(xs[corner], ys[corner]) for corner in walk]
        rings.append(_Ring(corners, is_hole, corners))

    upper, lower = by_column[:, 0], by_column[:, 1]
    stride = len(mask) + 1
    owners = np.stack([ring_of[upper], position_of[upper], position_of[lower]], axis=1)
    return rings, _Edges(stride, x[upper] * stride + y[upper], owners)


def _join_holes(mask: np.ndarray, rings: list[_Ring], edges: _Edges, centres: bool) -> list[_Ring]:
    """Hangs every hole on the ring to its left; returns the outer rings.

    From the upper end of a hole's leftmost edge the cut runs left along set pixels to the first edge, which belongs to
    the surrounding outline or to another hole of the same region. That hole reaches further left, so going from the
    rightmost hole to the leftmost one, every hole is complete when its turn comes.
    """
    holes = [ring for ring in rings if ring.is_hole]
    for hole in holes:
        hole.start = min(range(len(hole.corners)), key=lambda index: hole.corners[index])
    for hole in sorted(holes, key=lambda hole: hole.corners[hole.start], reverse=True):
        x, y = hole.corners[hole.start]
        unset = np.flatnonzero(~mask[y, :x])
        left = int(unset[-1]) + 1 if len(unset) else 0
        owner, upper, lower = edges.left_of_pixel(left, y)
        parent = rings[owner]
        downwards = (upper + 1) % len(parent.corners) == lower
        edge = upper if downwards else lower
        path = hole.path((x - 1, y) if centres else (x, y))
        parent.cuts.append((edge, abs(y - parent.corners[edge][1]), (left, y), path))
    return [ring for ring in rings if not ring.is_hole]


def _length(path: list[tuple[Point, bool]]) -> float:
    """Of a path, in pixels."""
    return float(np.linalg.norm(np.diff([point for point, _ in path], axis=0), axis=1).sum())


def _simplify(path: list[tuple[Point, bool]], tolerance: float) -> list[Point]:
    """Douglas-Peucker between the fixed points of a closed path."""
    points = np.array([point for point, _ in path], np.float64)
    keep = np.array([fixed for _, fixed in path])
    fixed = np.flatnonzero(keep)
    stack = list(zip(fixed[:-1].tolist(), fixed[1:].tolist(), strict=True))
    while stack:
        first, last = stack.pop()
        if last - first < 2:
            continue
        between = points[first + 1 : last] - points[first]
        chord = points[last] - points[first]
        length = float(chord @ chord)
        # Distance to the chord as a segment; a loop that returns to its first point has a chord of length 0.
        share = np.clip(between @ chord / length, 0, 1) if length else np.zeros(len(between))
        distances = np.linalg.norm(between - share[:, None] * chord, axis=1)
        farthest = int(distances.argmax())
        if distances[farthest] > tolerance:
            middle = first + 1 + farthest
            keep[middle] = True
            stack += [(first, middle), (middle, last)]
    return [path[index][0] for index in np.flatnonzero(keep)]


def _without_repeats(points: list[Point]) -> list[Point]:
    """Drops points that repeat the one before, and the closing point."""
    clean = [point for place, point in enumerate(points) if not place or point != points[place - 1]]
    return clean[:-1] if len(clean) > 1 and clean[0] == clean[-1] else clean


def _without_spikes(points: list[Point]) -> list[Point]:
    """Drops repeated points, ways that go out and straight back, and the closing point."""
    clean: list[Point] = []
    for point in points:
        if len(clean) >= 2 and clean[-2] == point:
            clean.pop()
        elif not clean or clean[-1] != point:
            clean.append(point)
    if len(clean) > 1 and clean[0] == clean[-1]:
        clean.pop()
    return clean
