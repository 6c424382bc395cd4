"""Masks in every form, against independent pixels, and the ones that are none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from self1e.data.masks import MaskError, decode_segmentation, read_index_map, runs_of, union

RECTANGLE = [2.0, 1.0, 6.0, 1.0, 6.0, 4.0, 2.0, 4.0]


def rectangle(height: int = 8, width: int = 10) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[1:4, 2:6] = 1
    return mask


def runs(mask: np.ndarray) -> list[int]:
    """Lengths of alternating runs, column by column, from 0."""
    lengths, value = [0], 0
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            lengths.append(0)
            value = pixel
        lengths[-1] += 1
    return lengths


def test_every_form_means_the_same() -> None:
    mask = rectangle()
    packed = coco_mask.encode(np.asfortranarray(mask))
    left, right = mask.copy(), mask.copy()
    left[:, 4:], right[:, :4] = 0, 0
    forms = [
        [RECTANGLE],
        RECTANGLE,
        {"size": [8, 10], "counts": runs(mask)},
        packed,
        packed | {"counts": packed["counts"].decode()},
        [coco_mask.encode(np.asfortranarray(left)), {"size": [8, 10], "counts": runs(right)}],
    ]
    for form in forms:
        decoded = decode_segmentation(form, 8, 10)
        assert decoded.dtype == np.uint8 and np.array_equal(decoded, mask), form


@pytest.mark.parametrize("nothing", [None, [], [[]], {"size": [3, 4], "counts": [12]}])
def test_nothing_is_an_empty_mask(nothing: object) -> None:
    assert decode_segmentation(nothing, 3, 4).shape == (3, 4) and not decode_segmentation(nothing, 3, 4).any()


def test_polygons_may_leave_the_picture() -> None:
    assert decode_segmentation([[-50.0, -50.0, 60.0, -50.0, 60.0, 60.0, -50.0, 60.0]], 8, 10).all()
    assert not decode_segmentation([[50.0, 50.0, 60.0, 50.0, 60.0, 60.0]], 8, 10).any()


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1), st.floats(0.02, 0.98))
def test_compressed_runs_are_read_as_pycocotools_wrote_them(height: int, width: int, seed: int, share: float) -> None:
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    packed = coco_mask.encode(np.asfortranarray(mask))
    assert runs_of(packed["counts"]) == runs(mask)
    assert np.array_equal(decode_segmentation(packed, height, width), mask)


def test_long_runs() -> None:
    mask = np.zeros((1500, 900), np.uint8)
    mask[3:1400, 20:800] = 1
    assert runs_of(coco_mask.encode(np.asfortranarray(mask))["counts"]) == runs(mask)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("polygon", "not str"),
        ([["a", 1, 2, 3, 4, 5]], "list of numbers"),
        ([[1, 2, 3, 4]], "three points"),
        ([[1, 2, 3, 4, 5, 6, 7]], "three points"),
        ([[0, 0, 1e9, 0, 1e9, 1e9]], "reaches 1000000000"),
        ([[0, 0, float("nan"), 0, 5, 5]], "reaches"),
        ({"counts": [80]}, "`size`"),
        ({"size": [10, 8], "counts": [80]}, "does not fit"),
        ({"size": [8], "counts": [80]}, "of 8 does not fit"),
        ({"size": [8, 10], "counts": None}, "`counts`"),
        ({"size": [8, 10], "counts": ["many"]}, "`counts`"),
        ({"size": [8, 10], "counts": [80, None]}, "`counts`"),
        ({"size": [8, 10], "counts": [79]}, "add up to 79"),
        ({"size": [8, 10], "counts": [90, -10]}, "add up to 80"),
        ({"size": [8, 10], "counts": ""}, "add up to 0"),
        ({"size": [8, 10], "counts": "0"}, "add up to 0"),
        ({"size": [8, 10], "counts": "~~~~"}, "holds the byte|ends within"),
        ({"size": [8, 10], "counts": "P"}, "ends within a run"),
    ],
)
def test_what_is_no_mask(wrong: object, reason: str) -> None:
    with pytest.raises(MaskError, match=reason):
        decode_segmentation(wrong, 8, 10)


def test_union_and_index_maps(tmp_path) -> None:
    first, second = np.eye(3, dtype=np.uint8), np.zeros((3, 3), np.uint8)
    second[0] = 1
    assert union([first, second], 3, 3).tolist() == [[1, 1, 1], [0, 1, 0], [0, 0, 1]]
    assert not union([], 3, 3).any()
    values = np.array([[0, 1, 255], [7, 1, 0]], np.uint8)
    Image.fromarray(values).save(tmp_path / "map.png")
    assert np.array_equal(read_index_map(tmp_path / "map.png"), values)
    Image.new("RGB", (2, 2)).save(tmp_path / "colour.png")
    with pytest.raises(MaskError, match="mode L or P"):
        read_index_map(tmp_path / "colour.png")
