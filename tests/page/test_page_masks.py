"""Masks, scores and cut-outs of the page `docs/try` are those of the package, from the same logits."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from page_in_node import in_node
from PIL import Image

from self1e.processing.refine import enlarger
from self1e.segment.calibration import Calibration
from self1e.segment.results import Segmentation

WIDTH, HEIGHT = 90, 70
CALIBRATION = Calibration(present=((0.6, 0.1), (0.75, 0.5), (0.9, 0.95)), absent=((0.55, 0.2), (0.8, 0.4), (0.97, 0.9)))
STEPS = [step / 100 for step in range(1, 100)]


def map_of(kind: str) -> np.ndarray:
    """float32[24, 20] of logits: a blob, one that only low thresholds find, a faint one, nothing at all."""
    y, x = np.mgrid[-1:1:24j, -1:1:20j]
    blob = 6 * np.exp(-5 * (x**2 + y**2)) + 0.3 * np.sin(20 * x) * np.cos(17 * y)
    return (blob + {"clear": -3.0, "faint": -5.5, "weak": -7.0, "nothing": -12.0}[kind]).astype(np.float32)


def at_the_pictures_size(logits: np.ndarray) -> np.ndarray:
    tensor = torch.from_numpy(logits)[None, None]
    return F.interpolate(tensor, size=(HEIGHT, WIDTH), mode="bilinear", align_corners=False)[0].numpy()


def as_given(logits: np.ndarray) -> dict[str, Any]:
    return {"logits": logits.flatten().tolist(), "width": logits.shape[1], "height": logits.shape[0]}


def strips_of(picture: np.ndarray, rows: int = 32) -> list[dict[str, Any]]:
    """Of uint8[H, W, 3]: RGBA, as the page reads a picture."""
    rgba = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
    return [{"top": top, "pixels": rgba[top : top + rows].flatten().tolist()} for top in range(0, len(rgba), rows)]


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (11, 9), (20, 24), (1, 1)])
def test_resizing_is_torchs(size: tuple[int, int]) -> None:
    logits = map_of("clear")
    found = in_node(
        'import { resizedRows } from "./masks.js";',
        "return Array.from(resizedRows(given.map, ...given.size, []), (row) => Array.from(row));",
        {"map": as_given(logits), "size": size},
    )
    tensor = torch.from_numpy(logits)[None, None]
    expected = F.interpolate(tensor, size=size[::-1], mode="bilinear", align_corners=False)[0, 0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (200, 33), (13, 15), (1, 1)])
@pytest.mark.parametrize("kind", ["noise", "flat"])
def test_masks_that_follow_edges_are_the_packages(size: tuple[int, int], kind: str) -> None:
    width, height = size
    draw = np.random.default_rng(1)
    picture = np.full((height, width, 3), 90, np.uint8)
    if kind == "noise":
        picture = (
            picture + draw.integers(-30, 30, picture.shape) + 80 * (np.arange(width) > width / 2)[:, None]
        ).astype(np.uint8)
    logits = map_of("clear")
    found = in_node(
        'import { Guide } from "./guide.js"; import { resizedRows } from "./masks.js";',
        """
        const { width, height } = given.map;
        const functions = new Guide(given.strips, given.size, [width, height]).fit(given.map);
        const map = { ...given.map, functions };
        return Array.from(resizedRows(map, ...given.size, given.strips), (row) => Array.from(row));
        """,
        {"map": as_given(logits), "size": size, "strips": strips_of(picture)},
    )
    expected = enlarger(Image.fromarray(picture), logits.shape, "guided")(logits[None])[0]
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    "calibration",
    [None, CALIBRATION, replace(CALIBRATION, least=0.8, withheld=0.7)],
    ids=["raw", "calibrated", "strict"],
)
@pytest.mark.parametrize("kind", ["clear", "faint", "weak", "nothing"])
def test_what_is_said_of_a_mask(kind: str, calibration: Calibration | None) -> None:
    found = in_node(
        'import { STEPS, judge, leastArea, tally } from "./masks.js";',
        """
        const of = tally(given.map, given.width, given.height, []);
        const least = leastArea(given.width, given.height);
        return STEPS.map((_, step) => judge(of, step, least, given.calibration));
        """,
        {
            "map": as_given(map_of(kind)),
            "width": WIDTH,
            "height": HEIGHT,
            "calibration": calibration and calibration.to_dict(),
        },
    )
    logits = at_the_pictures_size(map_of(kind))
    result = Segmentation.from_logits(logits, calibration=calibration, keep_logits=True)
    areas = set()
    for threshold, said in zip(STEPS, found, strict=True):
        expected = result.at(threshold)
        assert said["area"] == pytest.approx(expected.area, abs=1)
        assert said["found"] == expected.found
        assert said["score"] == pytest.approx(expected.score, abs=1e-5)
        areas.add(expected.area)
    if result.withheld.any():
        assert areas == {0}
    else:
        assert kind == "nothing" or len(areas) > 5


def coloured(width: int, height: int) -> np.ndarray:
    """uint8[H, W, 3]: noise, with an edge down the middle."""
    noise = np.random.default_rng(1).integers(60, 120, (height, width, 3))
    return (noise + 80 * (np.arange(width) > width / 2)[:, None]).astype(np.uint8)


@pytest.mark.parametrize("kind", ["clear", "faint", "weak"])
def test_what_is_said_of_a_mask_that_follows_edges(kind: str) -> None:
    picture = coloured(WIDTH, HEIGHT)
    found = in_node(
        'import { Guide } from "./guide.js"; import { STEPS, judge, tally } from "./masks.js";',
        """
        const map = { ...given.map, functions: new Guide(given.strips, given.size, [20, 24]).fit(given.map) };
        const of = tally(map, ...given.size, given.strips);
        return STEPS.map((_, step) => judge(of, step, 1, null));
        """,
        {"map": as_given(map_of(kind)), "size": [WIDTH, HEIGHT], "strips": strips_of(picture)},
    )
    logits = enlarger(Image.fromarray(picture), (24, 20), "guided")(map_of(kind)[None])
    assert np.abs(logits - at_the_pictures_size(map_of(kind))).max() > 0.1
    result = Segmentation.from_logits(logits, keep_logits=True)
    for threshold, said in zip(STEPS, found, strict=True):
        expected = result.at(threshold)
        assert said["area"] == pytest.approx(expected.area, abs=1)
        assert said["score"] == pytest.approx(expected.score, abs=1e-5)


def test_maps_are_enlarged_once() -> None:
    """Not again for another threshold, but for another size; and none is kept that is not drawn any more."""
    found = in_node(
        'import { Guide } from "./guide.js"; import { enlarger, resizedRows } from "./masks.js";',
        """
        const { size, strips, maps } = given;
        const [first, second] = maps.map((map) => ({ ...map, functions: new Guide(strips, size, [20, 24]).fit(map) }));
        const enlarged = enlarger();
        const before = enlarged([first, second], strips[0], ...size);
        const again = enlarged([second], strips[0], ...size);
        const back = enlarged([first, second], strips[0], ...size);
        const other = enlarged([second], { ...strips[0] }, ...size);
        const rows = Array.from(resizedRows(first, ...size, strips), (row) => Array.from(row)).flat();
        return {
          same: rows.every((logit, at) => logit === before[0][at]) && rows.length === before[0].length,
          kept: [again[0] === before[1], back[1] === before[1]],
          anew: [back[0] !== before[0], other[0] !== before[1]],
        };
        """,
        {
            "size": [WIDTH, HEIGHT],
            "strips": strips_of(coloured(WIDTH, HEIGHT), HEIGHT),
            "maps": [as_given(map_of(kind)) for kind in ("clear", "faint")],
        },
    )
    assert found == {"same": True, "kept": [True, True], "anew": [True, True]}


def test_cutout() -> None:
    draw = np.random.default_rng(0)
    picture = draw.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    maps = [map_of("clear"), np.roll(map_of("clear"), 9, axis=1)]
    found = in_node(
        'import { cutout } from "./masks.js";',
        """
        const strips = given.strips.map(({ top, pixels }) => ({ top, pixels: Uint8ClampedArray.from(pixels) }));
        return cutout(() => strips, given.maps, given.cut, given.width, given.height);
        """,
        {
            "strips": strips_of(picture),
            "maps": [as_given(each) for each in maps],
            "cut": math.log(0.3 / 0.7),
            "width": WIDTH,
            "height": HEIGHT,
        },
    )
    logits = np.concatenate([at_the_pictures_size(each) for each in maps])
    expected = Segmentation.from_logits(logits, image=Image.fromarray(picture), keep_logits=True).at(0.3).cutout()
    assert np.array_equal(np.array(found).reshape(HEIGHT, WIDTH, 4), np.asarray(expected))


def test_least_area() -> None:
    from self1e.segment.results import default_min_area

    sizes = [(1, 1), (10, 10), (224, 224), (640, 480), (63, 64)]
    found = in_node('import { leastArea } from "./masks.js";', "return given.map((size) => leastArea(...size));", sizes)
    assert found == [default_min_area(height, width) for width, height in sizes]
