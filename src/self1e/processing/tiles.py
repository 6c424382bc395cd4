"""Pictures in, tiles out: cuts a picture into the square tiles that the vision tower takes.

InternVL's dynamic tiling stretches a picture to columns x rows tiles (nothing is padded or cropped), so what the model
says about the stitched tiles maps back to the picture by a plain resize. Importing this needs no torch.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

MAX_TILES = 256
"""More would not fit into the context of any model, and take minutes to count."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def check_max_tiles(max_tiles: int) -> None:
    """Raises ValueError unless a picture may be cut into so many tiles."""
    if not 1 <= max_tiles <= MAX_TILES:
        raise ValueError(f"max_tiles must be at least 1 and at most {MAX_TILES}, got {max_tiles}")


def tile_grid(width: int, height: int, max_tiles: int, tile_size: int) -> tuple[int, int]:
    """InternVL's choice of a grid of tiles for a picture.

    Of all grids of at most `max_tiles` tiles, the one whose aspect ratio is closest to the picture's. Of several (1x1
    and 2x2, say) the largest that the picture fills: it must have more than half of the grid's pixels. If it fills
    none, the smallest.

    Args:
        width: of the picture, pixels.
        height: of the picture, pixels.
        max_tiles: most tiles to use, 1 to `MAX_TILES`.
        tile_size: side of a tile, pixels.

    Returns:
        (columns, rows)

    Raises:
        ValueError: if a size or `max_tiles` is less than 1, or `max_tiles` more than `MAX_TILES`.
    """
    check_max_tiles(max_tiles)
    if min(width, height, tile_size) < 1:
        raise ValueError(
            f"a picture of {width}x{height} cannot be cut into tiles of {tile_size} pixels: all of these must be at "
            "least 1"
        )
    grids = [(columns, rows) for columns in range(1, max_tiles + 1) for rows in range(1, max_tiles // columns + 1)]
    grids.sort(key=lambda grid: grid[0] * grid[1])

    def distance(grid: tuple[int, int]) -> float:
        return abs(width / height - grid[0] / grid[1])

    smallest_distance = min(map(distance, grids))
    closest = [grid for grid in grids if distance(grid) == smallest_distance]
    filled = [grid for grid in closest if width * height > 0.5 * tile_size**2 * grid[0] * grid[1]]
    return filled[-1] if filled else closest[0]


def to_tiles(image: Image.Image, max_tiles: int, image_size: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Stretch a picture to its grid of tiles, normalise it as in ImageNet training, and cut it.

    Args:
        image: RGB, as `load_image` returns it.
        max_tiles: most tiles to use.
        image_size: side S of a tile, pixels.

    Returns:
        float32[T, 3, S, S], tiles row by row, T = columns * rows; and (columns, rows).

    Raises:
        ValueError: if the picture is not RGB.
    """
    if image.mode != "RGB":
        raise ValueError(f"tiles are cut from RGB pictures, not from mode {image.mode!r}: read it with load_image")
    columns, rows = tile_grid(*image.size, max_tiles, image_size)
    resized = image.resize((columns * image_size, rows * image_size), Image.Resampling.BICUBIC)
    tiles = as_array(resized).reshape(rows, image_size, columns, image_size, 3)
    tiles = tiles.transpose(0, 2, 4, 1, 3)  # [rows, columns, 3, S, S]
    tiles = np.ascontiguousarray(tiles.reshape(rows * columns, 3, image_size, image_size))
    # A plane at a time: where the three colours of a pixel lie side by side, numpy takes twice as long.
    tiles -= np.array(IMAGENET_MEAN, np.float32)[:, None, None]
    tiles /= np.array(IMAGENET_STD, np.float32)[:, None, None]
    return tiles, (columns, rows)


def as_array(image: Image.Image) -> np.ndarray:
    """An RGB picture as float32[height, width, 3] from 0 to 1."""
    return np.array(image, dtype=np.float32) / 255
