"""The page `docs/try` resamples pictures as Pillow does, and cuts them into the package's tiles."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import numpy as np
import PIL
import pytest
from page_in_node import in_node
from PIL import Image

from self1e.processing.tiles import IMAGENET_MEAN, IMAGENET_STD, tile_grid, to_tiles

PICTURES = Path(__file__).parents[2] / "examples" / "pictures"

RESIZED = """
const pixels = Uint8ClampedArray.from(Buffer.from(given.rgba, "base64"));
const [columns, rows] = given.grid;
const image = resized([{ top: 0, pixels }], given.from, [columns * given.image_size, rows * given.image_size]);
"""
IMPORTS = 'import { cut, resized } from "./image.js";'


def given(image: Image.Image, grid: tuple[int, int], size: int) -> dict[str, object]:
    return {
        "rgba": b64encode(np.asarray(image.convert("RGBA")).tobytes()).decode(),
        "from": image.size,
        "grid": grid,
        "image_size": size,
        "mean": IMAGENET_MEAN,
        "deviation": IMAGENET_STD,
    }


def noise(width: int, height: int) -> Image.Image:
    """Of black and white, at which a cubic overshoots most."""
    draw = np.random.default_rng(width)
    return Image.fromarray(draw.choice(np.array([0, 255], np.uint8), (height, width, 3)))


@pytest.mark.skipif(int(PIL.__version__.split(".")[0]) < 13, reason="Pillow 13 resamples otherwise than those before")
@pytest.mark.parametrize("size", [(300, 200), (64, 64), (7, 640), (70, 77), (31, 33), (128, 1), (1, 1)])
def test_resampling_is_pillows(size: tuple[int, int]) -> None:
    image = noise(*size)
    resized = image.resize((64, 64), Image.Resampling.BICUBIC)
    found = in_node(IMPORTS, RESIZED + "return image;", given(image, (1, 1), 64))
    assert found == np.asarray(resized).flatten().tolist()


def test_tiles_of_a_photograph() -> None:
    with Image.open(PICTURES / "cat.jpg") as file:
        image = file.convert("RGB")
    tiles, grid = to_tiles(image, 6, 48)
    assert grid[0] * grid[1] > 1
    found = in_node(IMPORTS, RESIZED + "return cut(image, given.grid, given);", given(image, grid, 48))
    assert np.array_equal(np.array(found, np.float32), np.asarray(tiles).flatten())


def test_grids_of_tiles() -> None:
    draw = np.random.default_rng(0)
    asked = [
        [int(side) for side in draw.integers(1, 3000, 2)] + [most, size]
        for most in (1, 2, 6, 12)
        for size in (256, 448)
    ]
    asked += [[800, 800, 12, 448], [448, 448, 4, 448], [4000, 30, 12, 448], [1, 2000, 12, 256], [633, 634, 12, 448]]
    asked += [[634, 634, 12, 448], [633, 633, 12, 448]]  # just more and just less than half of four tiles
    found = in_node('import { tileGrid } from "./image.js";', "return given.map((each) => tileGrid(...each));", asked)
    assert found == [list(tile_grid(*each)) for each in asked]
