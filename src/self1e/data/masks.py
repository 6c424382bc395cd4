"""Masks in every form that the field's files hold them in, as uint8[H, W]: 1 inside, 0 outside, 255 ignored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

IGNORE, IGNORE_16 = 255, 65535
"""Pixels that count neither way: in masks and in maps, and in maps of 16 bits."""

FARTHEST = 1_000_000
"""How far from the origin a polygon may reach, pixels."""


class MaskError(ValueError):
    """An annotation that is no mask, or does not fit its picture."""


def decode_segmentation(segmentation: Any, height: int, width: int) -> np.ndarray:
    """A COCO `segmentation` as pixels, rasterised by pycocotools as the published figures are.

    Args:
        segmentation: Polygons [[x0, y0, x1, y1, ...], ...]; one polygon [x0, y0, ...]; a run-length code
            {"size": [h, w], "counts": list of numbers, str or bytes}; a list of such codes, whose union is meant; or
            nothing at all (None, [], [[]]), which is an empty mask.
        height: Of the picture, pixels.
        width: Of the picture, pixels.

    Returns:
        uint8[height, width], 0 or 1.

    Raises:
        MaskError: When it is none of these, or its size is not the picture's.
    """
    if isinstance(segmentation, Mapping):
        return _from_rle(segmentation, height, width)
    if segmentation is None or (isinstance(segmentation, Sequence) and not isinstance(segmentation, str | bytes)):
        items = list(segmentation or ())
        if _is_numbers(items):
            items = [items]
        if any(isinstance(item, Mapping) for item in items):
            return union((decode_segmentation(item, height, width) for item in items), height, width)
        polygons = [_polygon(item) for item in items if not _is_empty(item)]
        if not polygons:
            return np.zeros((height, width), np.uint8)
        return _decoded(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)))
    raise MaskError(f"a segmentation is polygons or a run-length code, not {type(segmentation).__name__}")


def without_stubs(segmentation: Any) -> tuple[Any, list[str]]:
    """A COCO `segmentation` without polygons of 2, 4 or an odd number of values, and what is wrong with each of these.

    Programs that draw outlines leave them beside good ones. Everything else stays as it is, `[]` where nothing is left.

    >>> without_stubs([[0, 0, 4, 0, 4, 4], [1, 1]])[0]
    [[0, 0, 4, 0, 4, 4]]
    """
    if not isinstance(segmentation, list):
        return segmentation, []
    pieces = [segmentation] if _is_numbers(segmentation) else segmentation
    stubs = [_STUB.format(len(piece)) for piece in pieces if _is_stub(piece)]
    return ([piece for piece in pieces if not _is_stub(piece)] if stubs else segmentation), stubs


_STUB = "a polygon needs three points or more, x and y of each; this one has {} numbers"


def union(masks: Iterable[np.ndarray], height: int, width: int) -> np.ndarray:
    """Where any of the masks (uint8[height, width], 0 or 1) is 1; empty for none."""
    whole = np.zeros((height, width), np.uint8)
    for mask in masks:
        np.maximum(whole, mask, out=whole)
    return whole


def union_of_segmentations(segmentations: Sequence[Any], height: int, width: int) -> np.ndarray:
    """`decode_segmentation` of several annotations (of a multi-target expression, or all instances of a class)."""
    return union((decode_segmentation(each, height, width) for each in segmentations), height, width)


def read_index_map(path: Path) -> np.ndarray:
    """A PNG whose pixels are class numbers, uint8[H, W], or uint16: the number counts, and a palette is for the eye.

    Raises:
        MaskError: When the picture has colours instead of numbers.
    """
    with Image.open(path) as image:
        if image.mode in ("I;16", "I;16B", "I"):  # how Pillow opens PNGs of 16 bits
            return np.array(image).astype(np.uint16)
        if image.mode not in ("L", "P", "1"):
            raise MaskError(f"{path} should hold one class number a pixel (mode L or P, or I;16), but is {image.mode}")
        return np.array(image, dtype=np.uint8)


def polygon_pixels(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """The pixels that OpenCV's `polylines` (thickness 1) and `fillPoly` together set, from their rules.

    Those are the pixels of the outline, and of every row the pixels on or between its 1st and 2nd crossing with the
    outline, its 3rd and 4th, ... (even-odd). An edge is drawn from its left end, a pixel for each step along its longer
    side, the other coordinate rounded, half down in the direction of the edge; it crosses the rows from its upper end,
    inclusive, to its lower end, exclusive. One or two points are a dot or a line.

    OpenCV computes crossings with 16 binary digits after the point; that cannot show, as the pixel nearest to a
    crossing belongs to the outline. Polygons inside of the picture have the same pixels as in OpenCV 5.0 (tested).
    OpenCV 4.7 to 4.10 also set the pixel right of the outline where a right edge passes exactly half way between two
    pixels (their issue 26130, reasoned). Of edges that leave the picture OpenCV draws the clipped rest, which may be a
    pixel off: here, pixels are those of the same polygon on a larger canvas (tested).

    Args:
        points: int[N, 2], x and y of the corners, N >= 1; may lie outside of the picture.
        height: Of the picture, pixels.
        width: Of the picture, pixels.

    Returns:
        bool[height, width]
    """
    inside = np.zeros((height, width), bool)
    crossings: list[np.ndarray] = []  # each float[n, 4]: row, x, first pixel at or right of x, last at or left of it
    for start, end in zip(np.roll(points, 1, axis=0), points, strict=True):
        xs, ys = _line(start, end)
        seen = (xs >= 0) & (xs < width) & (ys >= 0) & (ys < height)
        inside[ys[seen], xs[seen]] = True
        crossings.append(_crossings(start, end, height))
    rows, xs, firsts, lasts = np.concatenate(crossings).T
    order = np.lexsort((xs, rows))
    rows, firsts, lasts = (column[order].astype(np.int64) for column in (rows, firsts, lasts))
    # A closed outline crosses a row an even number of times.
    for row, first, last in zip(rows[::2], firsts[::2], lasts[1::2], strict=True):
        inside[row, max(first, 0) : max(last + 1, 0)] = True
    return inside


def _from_rle(code: Mapping[str, Any], height: int, width: int) -> np.ndarray:
    try:
        size, counts = [int(side) for side in code["size"]], code["counts"]
        if isinstance(counts, str):
            counts = counts.encode("ascii", errors="replace")
        runs = runs_of(counts) if isinstance(counts, bytes) else [int(run) for run in counts]
    except MaskError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise MaskError(f"a run-length code needs `size` and `counts`: {error!r}") from None
    if size != [height, width]:
        sides = " x ".join(map(str, size))
        raise MaskError(f"a run-length code of {sides} does not fit a picture of {height} x {width}")
    if min(runs, default=0) < 0 or sum(runs) != height * width:  # pycocotools would read past its memory
        raise MaskError(f"run lengths add up to {sum(runs)}, not to {height} x {width} = {height * width} pixels")
    return _decoded(coco_mask.frPyObjects({"size": size, "counts": runs}, height, width))


def runs_of(counts: bytes) -> list[int]:
    """The run lengths that COCO's compressed form stands for.

    Each run is written as its difference to the one before the last, in 5-bit digits from the lowest up, a character a
    digit: 48 + digit, + 32 if more follow. The highest digit carries the sign.

    Raises:
        MaskError: When the string ends within a run, or holds another character.
    """
    runs: list[int] = []
    value = digits = 0
    for character in counts:
        digit = character - 48
        if not 0 <= digit < 64:
            raise MaskError(f"a run-length code cannot be read: it holds the byte {character}")
        value |= (digit & 31) << 5 * digits
        digits += 1
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << 5 * digits
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = digits = 0
    if digits:
        raise MaskError("a run-length code cannot be read: it ends within a run")
    return runs


def _decoded(code: Any) -> np.ndarray:
    return np.ascontiguousarray(coco_mask.decode(code), dtype=np.uint8)


def _is_numbers(item: Any) -> bool:
    return isinstance(item, list) and bool(item) and all(isinstance(number, int | float) for number in item)


def _is_stub(piece: Any) -> bool:
    """Whether it is numbers like those of a polygon, but of none."""
    return _is_numbers(piece) and (len(piece) < 6 or len(piece) % 2 == 1)


def _is_empty(item: Any) -> bool:
    return isinstance(item, Sequence) and not len(item)


def _polygon(item: Any) -> list[float]:
    if not isinstance(item, Sequence) or isinstance(item, str | bytes):
        raise MaskError(f"a polygon is a list of numbers, not {type(item).__name__}")
    try:
        numbers = [float(number) for number in item]
    except (TypeError, ValueError):
        raise MaskError(f"a polygon is a list of numbers x0, y0, x1, y1, ..., not {str(item)[:60]}") from None
    if _is_stub(numbers):
        raise MaskError(_STUB.format(len(numbers)))
    if not (np.abs(numbers) <= FARTHEST).all():  # pycocotools would crash the process
        raise MaskError(f"a polygon reaches {max(numbers, key=abs)}: coordinates are pixels, at most {FARTHEST:,}")
    return numbers


def _line(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the pixels of a line, int[n] each."""
    if end[0] < start[0]:
        start, end = end, start
    reach = np.abs(end - start)
    long = int(reach[1] > reach[0])  # the coordinate that goes on with every step
    steps = np.arange(reach[long] + 1)
    pixels = np.empty((2, len(steps)), np.int64)
    pixels[long] = start[long] + np.sign(end[long] - start[long]) * steps
    # steps * short / long, rounded, half down
    beside = (2 * reach[1 - long] * steps + reach[long] - 1) // max(2 * reach[long], 1)
    pixels[1 - long] = start[1 - long] + np.sign(end[1 - long] - start[1 - long]) * beside
    return pixels[0], pixels[1]


def _crossings(start: np.ndarray, end: np.ndarray, height: int) -> np.ndarray:
    """Where an edge crosses the rows of the picture: float[n, 4], see `polygon_pixels`."""
    if start[1] > end[1]:
        start, end = end, start
    rows = np.arange(max(start[1], 0), min(end[1], height))
    run, rise = end - start
    scaled = start[0] * rise + (rows - start[1]) * run  # x * rise, a whole number: no rounding so far
    rise = max(rise, 1)  # a level edge crosses no row
    return np.stack([rows, scaled / rise, -(-scaled // rise), scaled // rise], axis=1).astype(np.float64)
