"""Polygons must give their mask back, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask

from self1e.data.masks import polygon_pixels
from self1e.segment.contours import mask_to_polygons

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


def fill(polygons: list[list[int]], shape: tuple[int, ...]) -> np.ndarray:
    """The union of polygons, by pycocotools."""
    if not polygons:
        return np.zeros(shape, bool)
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, *shape))).astype(bool)


def fill_by_rays(polygons: list[list[int]], shape: tuple[int, ...]) -> np.ndarray:
    """The sum of winding numbers at pixel centres, by counting the vertical edges to the left of each."""
    winding = np.zeros(shape, int)
    columns = np.arange(shape[1]) + 0.5
    for polygon in polygons:
        corners = np.array(polygon).reshape(-1, 2)
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            assert x0 == x1 or y0 == y1, "an exact outline runs along pixel edges"
            low, high = sorted((y0, y1))
            winding[low:high] += np.where(columns > x0, np.sign(y0 - y1), 0)
    return winding


@given(MASKS)
@settings(max_examples=300, deadline=None)
def test_round_trip(mask: np.ndarray) -> None:
    polygons = mask_to_polygons(mask)
    assert np.array_equal(fill(polygons, mask.shape), mask)
    # Every inside is wound round exactly once, clockwise, so that any filling rule gives the same.
    assert np.array_equal(fill_by_rays(polygons, mask.shape), mask.astype(int))


@pytest.mark.filterwarnings("ignore:OpenCV")
@given(MASKS)
@settings(max_examples=300, deadline=None)
def test_through_centres_for_programs_that_fill_the_rim_too(mask: np.ndarray) -> None:
    import supervision

    filled = np.zeros((2, *mask.shape), bool)
    for polygon in mask_to_polygons(mask, centres=True):
        assert len(polygon) >= 6
        corners = np.reshape(polygon, (-1, 2))
        filled[0] |= polygon_pixels(corners, *mask.shape)  # OpenCV's rules
        filled[1] |= supervision.polygon_to_mask(corners, mask.shape[::-1]).astype(bool)
    assert np.array_equal(filled, [mask, mask])


@given(MASKS, st.sampled_from([0.5, 1.0, 2.0]))
@settings(max_examples=100, deadline=None)
def test_simplified_polygons_stay_usable(mask: np.ndarray, tolerance: float) -> None:
    exact, simple = mask_to_polygons(mask), mask_to_polygons(mask, tolerance)
    assert len(simple) == len(exact)
    for polygon, original in zip(simple, exact, strict=True):
        assert 6 <= len(polygon) <= len(original)
        points = {tuple(point) for point in np.reshape(polygon, (-1, 2)).tolist()}
        assert points <= {tuple(point) for point in np.reshape(original, (-1, 2)).tolist()}


def test_hand_made_masks() -> None:
    assert mask_to_polygons(np.zeros((3, 4), bool)) == []
    assert mask_to_polygons(np.zeros((0, 0), bool)) == []
    assert mask_to_polygons(np.ones((1, 1), bool)) == [[0, 0, 1, 0, 1, 1, 0, 1]]
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    assert mask_to_polygons(ring) == [[0, 0, 3, 0, 3, 3, 0, 3, 0, 1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 1, 0, 1]]
    assert mask_to_polygons(ring, centres=True) == [[0, 0, 2, 0, 2, 2, 0, 2, 0, 1, 0, 2, 2, 2, 2, 0, 0, 0, 0, 1]]
    assert mask_to_polygons(np.ones((1, 1), bool), centres=True) == [[0, 0, 0, 0, 0, 0]]
    # Pixels that touch at a corner are apart.
    assert mask_to_polygons(np.eye(2, dtype=bool)) == [[0, 0, 1, 0, 1, 1, 0, 1], [1, 1, 2, 1, 2, 2, 1, 2]]


def test_islands_in_lakes_in_islands() -> None:
    mask = np.zeros((21, 21), bool)
    for depth in range(0, 10, 2):
        mask[depth : 21 - depth, depth : 21 - depth] = True
        mask[depth + 1 : 20 - depth, depth + 1 : 20 - depth] = False
    assert len(mask_to_polygons(mask)) == 5
    assert np.array_equal(fill(mask_to_polygons(mask), mask.shape), mask)


def test_a_sieve_is_one_polygon() -> None:
    mask = np.ones((60, 80), bool)
    mask[1:-1:2, 1:-1:2] = False
    polygons = mask_to_polygons(mask)
    assert len(polygons) == 1
    assert np.array_equal(fill(polygons, mask.shape), mask)


def test_tolerance_spares_corners_and_keeps_the_shape() -> None:
    y, x = np.mgrid[:300, :400]
    distance = np.hypot(x - 200, y - 150)
    mask = (distance < 120) & (distance > 60)
    exact, simple = mask_to_polygons(mask), mask_to_polygons(mask, tolerance=1.0)
    assert len(simple[0]) < len(exact[0]) / 5
    filled = fill(simple, mask.shape)
    assert (filled & mask).sum() / (filled | mask).sum() > 0.97


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="shape"):
        mask_to_polygons(np.zeros((1, 2, 3), bool))
    with pytest.raises(ValueError, match="tolerance"):
        mask_to_polygons(np.zeros((2, 3), bool), tolerance=-1)


def test_a_relative_tolerance_is_a_share_of_each_outline() -> None:
    rows, columns = np.ogrid[:200, :400]
    large = (rows - 100) ** 2 + (columns - 100) ** 2 < 90**2
    small = (rows - 100) ** 2 + (columns - 300) ** 2 < 9**2
    x, y = np.reshape(mask_to_polygons(large)[0], (-1, 2)).T
    length = float(np.abs(np.diff(x, append=x[0])).sum() + np.abs(np.diff(y, append=y[0])).sum())
    alone = mask_to_polygons(large, 0.01 * length) + mask_to_polygons(small, 1.0)  # a pixel at least
    assert mask_to_polygons(large | small, 0.01, relative=True) == alone
    assert mask_to_polygons(large, 0.0, relative=True) == mask_to_polygons(large)
