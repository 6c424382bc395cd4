"""Drawing: what must be coloured is, what must not be is not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from self1e.segment.overlay import PALETTE, _distance_to, colours_for, draw_masks, line_width

GREY = (100, 100, 100)


def canvas(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), GREY)


def square(height: int = 100, width: int = 120) -> np.ndarray:
    mask = np.zeros((1, height, width), bool)
    mask[0, 30:70, 40:80] = True
    return mask


def test_fill_line_and_background() -> None:
    drawn = np.array(draw_masks(canvas(120, 100), square(), [(200, 0, 0)], alpha=0.5, dim=0.5))
    assert drawn[50, 60].tolist() == [150, 50, 50]
    assert drawn[5, 5].tolist() == [50, 50, 50]
    # The line is 1.5 pixels wide here and straddles the edge.
    assert line_width(120, 100) == 1.5
    assert drawn[50, 39, 0] > 140 and drawn[50, 39, 1] < 20
    assert drawn[50, 40, 0] > 160 and drawn[50, 40, 1] < 20
    assert np.array_equal(drawn[50], drawn[50, ::-1])


def test_everything_off_is_the_picture() -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (100, 120, 3), np.uint8))
    drawn = draw_masks(picture, square(), [(200, 0, 0)], alpha=0, outline=False, dim=0)
    assert np.array_equal(np.array(drawn), np.array(picture))


def test_lines_are_anti_aliased() -> None:
    y, x = np.mgrid[:200, :200]
    disc = (np.hypot(x - 100, y - 100) < 70)[None]
    drawn = np.array(draw_masks(Image.new("RGB", (200, 200)), disc, [(255, 255, 255)], alpha=0, dim=0))
    assert len(np.unique(drawn)) > 20


def test_nothing_found_leaves_the_picture_alone() -> None:
    picture = canvas(30, 20)
    for masks in (np.zeros((0, 20, 30), bool), np.zeros((2, 20, 30), bool)):
        assert np.array_equal(np.array(draw_masks(picture, masks, colours_for(len(masks)))), np.array(picture))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 50), (50, 1), (3, 2), (400, 7), (1000, 700)])
def test_any_size_full_and_single_pixel(width: int, height: int) -> None:
    masks = np.zeros((2, height, width), bool)
    masks[0] = True
    masks[1, height // 2, width // 2] = True
    drawn = draw_masks(canvas(width, height), masks, colours_for(2))
    assert drawn.size == (width, height) and drawn.mode == "RGB"
    assert np.array(drawn)[height // 2, width // 2].tolist() != list(GREY)


def test_outline_follows_the_size_of_the_picture() -> None:
    assert line_width(100, 100) == 1.5
    assert line_width(4000, 4000) == 16


def test_no_line_along_the_border_of_the_picture() -> None:
    masks = np.ones((1, 50, 60), bool)
    drawn = np.array(draw_masks(canvas(60, 50), masks, [(200, 0, 0)], alpha=0.5))
    assert np.unique(drawn.reshape(-1, 3), axis=0).tolist() == [[150, 50, 50]]


def test_colours() -> None:
    assert colours_for(2) == list(PALETTE[:2])
    assert colours_for(len(PALETTE) + 1)[-1] == PALETTE[0]
    assert len(set(PALETTE)) == len(PALETTE)
    assert colours_for(2, "red") == [(255, 0, 0)] * 2
    assert colours_for(1, "#0080ff") == [(0, 128, 255)]
    assert colours_for(3, [(1, 2, 3), "lime"]) == [(1, 2, 3), (0, 255, 0), (1, 2, 3)]
    assert colours_for(1, (9, 8, 7)) == [(9, 8, 7)]
    for bad in ("no such colour", (1, 2, 300), [], [(1, 2)]):
        with pytest.raises(ValueError, match="colo"):
            colours_for(1, bad)  # type: ignore[arg-type]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="alpha"):
        draw_masks(canvas(120, 100), square(), [(0, 0, 0)], alpha=1.5)
    with pytest.raises(ValueError, match="120x100"):
        draw_masks(canvas(100, 100), square(), [(0, 0, 0)])


def test_distance_is_a_search_over_all_pixels() -> None:
    rng = np.random.default_rng(0)
    for density in (0.0, 0.02, 0.5):
        mask = rng.random((17, 23)) < density
        ys, xs = np.nonzero(mask)
        y, x = np.mgrid[:17, :23]
        expected = np.full(mask.shape, 6.0)
        for cy, cx in zip(ys, xs, strict=True):
            expected = np.minimum(expected, np.hypot(y - cy, x - cx))
        np.testing.assert_allclose(_distance_to(mask, reach=6), expected, rtol=1e-6)
