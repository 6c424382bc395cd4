"""Drawing masks on pictures: a translucent fill and an anti-aliased outline, with Pillow and numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor

Colour = str | tuple[int, int, int]

#: Told apart with any common colour vision (after Paul Tol's "vibrant" and "bright" sets), in the order masks get them.
PALETTE: tuple[tuple[int, int, int], ...] = (
    (0, 153, 255),  # azure
    (255, 119, 34),  # orange
    (238, 51, 136),  # magenta
    (0, 170, 136),  # teal
    (247, 208, 48),  # yellow
    (136, 85, 221),  # violet
    (153, 221, 255),  # pale cyan
    (170, 34, 68),  # wine
)


def colours_for(count: int, colour: Colour | Sequence[Colour] | None = None) -> list[tuple[int, int, int]]:
    """One RGB colour, 0..255, for each of `count` masks.

    Args:
        count: Number of masks.
        colour: None for `PALETTE`; a name or hex code that Pillow knows, or an RGB tuple, for all masks; or a list of
            such, used in turn.

    Raises:
        ValueError: A colour has no such name, or is no RGB triple of 0..255.
    """
    if colour is None:
        chosen: list[Colour] = list(PALETTE)
    elif isinstance(colour, str):
        chosen = [colour]
    elif len(colour) == 3 and all(isinstance(value, (int, np.integer)) for value in colour):
        chosen = [tuple(colour)]  # type: ignore[list-item]
    else:
        chosen = list(colour)  # type: ignore[arg-type]
    if not chosen:
        raise ValueError("the list of colours is empty")
    rgb = [_rgb(one) for one in chosen]
    return [rgb[index % len(rgb)] for index in range(count)]


def _rgb(colour: Colour) -> tuple[int, int, int]:
    if isinstance(colour, str):
        red, green, blue = ImageColor.getrgb(colour)[:3]
        return red, green, blue
    if len(colour) != 3 or not all(0 <= value <= 255 for value in colour):
        raise ValueError(f"a colour is a name, a hex code or three numbers 0..255, got {colour!r}")
    return colour


def draw_masks(
    image: Image.Image,
    masks: np.ndarray,
    colours: Sequence[tuple[int, int, int]],
    *,
    alpha: float = 0.35,
    outline: bool = True,
    dim: float = 0.35,
) -> Image.Image:
    """Draws masks on a picture.

    Args:
        image: RGB, W x H.
        masks: bool[K, H, W].
        colours: K RGB colours, 0..255.
        alpha: Opacity of the fill, 0 (none) to 1 (solid).
        outline: Whether to draw the line around each mask. Its width follows the size of the picture.
        dim: How much to darken what no mask covers, 0 (not at all) to 1 (black). Nothing is darkened when all masks are
            empty.

    Returns:
        A new RGB picture of the same size.

    Raises:
        ValueError: `alpha` or `dim` is not in [0, 1], or the sizes differ.
    """
    for name, value in (("alpha", alpha), ("dim", dim)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {value}")
    if masks.shape[1:] != (image.height, image.width):
        raise ValueError(
            f"masks of {masks.shape[2]}x{masks.shape[1]} pixels on a picture of {image.width}x{image.height}"
        )
    width = line_width(image.width, image.height)
    canvas = np.array(image.convert("RGB"))
    shapes = [_Shape(mask, reach=int(np.ceil(2 * width)) + 2) if mask.any() else None for mask in masks]

    if dim and any(shapes):
        light = np.zeros(canvas.shape[:2], np.float32)
        for shape in shapes:
            if shape:
                light[shape.window] = np.maximum(light[shape.window], shape.inside())
        _blend(canvas, (slice(None), slice(None)), (0, 0, 0), dim * (1 - light))
    for shape, colour in zip(shapes, colours, strict=True):
        if shape and alpha:
            _blend(canvas, shape.window, colour, alpha * shape.inside())
    # All lines come after all fills, so that no fill covers the outline of its neighbour. A soft dark rim keeps a line
    # visible where the picture has its colour.
    for shape, colour in zip(shapes, colours, strict=True):
        if shape and outline:
            _blend(canvas, shape.window, (0, 0, 0), 0.4 * shape.line(width + 2 * max(0.75, 0.35 * width)))
            _blend(canvas, shape.window, colour, shape.line(width))
    return Image.fromarray(canvas)


def line_width(width: int, height: int) -> float:
    """Width of an outline in pixels: 1/250 of the mean side, at least 1.5."""
    return max(1.5, (width * height) ** 0.5 / 250)


class _Shape:
    """A non-empty mask as a signed distance to its outline, in a window just large enough to draw it.

    Attributes:
        window: The slices (rows, columns) of the picture that hold the shape and `reach` pixels around it.
        distance: float32 of that size. Pixels to the outline: positive inside, negative outside, cut off at +-`reach`.
    """

    def __init__(self, mask: np.ndarray, reach: int) -> None:
        spans = []
        for axis, size in enumerate(mask.shape):
            set_here = np.flatnonzero(mask.any(axis=1 - axis))
            spans.append(slice(max(0, int(set_here[0]) - reach), min(size, int(set_here[-1]) + 1 + reach)))
        self.window = (spans[0], spans[1])
        cropped = mask[self.window]
        # Pixel centres next to an edge are half a pixel from it.
        to_outside, to_inside = _distance_to(~cropped, reach), _distance_to(cropped, reach)
        self.distance = _smooth(np.where(cropped, to_outside - 0.5, 0.5 - to_inside).astype(np.float32))

    def inside(self) -> np.ndarray:
        """float32, 0..1: how much of each pixel lies inside."""
        return np.clip(self.distance + 0.5, 0, 1)

    def line(self, width: float) -> np.ndarray:
        """float32, 0..1: how much of each pixel a line of this width along the outline covers."""
        return np.clip((width + 1) / 2 - np.abs(self.distance), 0, 1)


def _distance_to(mask: np.ndarray, reach: int) -> np.ndarray:
    """float32[H, W]: Euclidean distance of each pixel centre to the nearest set one, cut off at `reach`."""
    far = reach + 1
    rows = np.arange(len(mask), dtype=np.int32)[:, None]
    # Down the columns: the nearest set pixel above and below, by a running maximum and minimum of row numbers.
    above = np.maximum.accumulate(np.where(mask, rows, -far), axis=0)
    below = np.minimum.accumulate(np.where(mask, rows, len(mask) + far)[::-1], axis=0)[::-1]
    vertical = np.minimum(np.minimum(rows - above, below - rows), far)
    squares = vertical * vertical
    # Across: the best of the columns within reach.
    best = squares.copy()
    for shift in range(1, min(reach, mask.shape[1] - 1) + 1):
        best[:, shift:] = np.minimum(best[:, shift:], squares[:, :-shift] + shift * shift)
        best[:, :-shift] = np.minimum(best[:, :-shift], squares[:, shift:] + shift * shift)
    return np.minimum(np.sqrt(best, dtype=np.float32), reach)


def _smooth(values: np.ndarray) -> np.ndarray:
    """float32[H, W] under a binomial kernel of five pixels, which rounds the stairs of pixel edges."""
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (2, 2)
        padded = np.pad(values, pad, mode="edge")
        size = values.shape[axis]
        taps = [np.take(padded, range(offset, offset + size), axis=axis) for offset in range(5)]
        values = (taps[0] + taps[4] + 4 * (taps[1] + taps[3]) + 6 * taps[2]) / 16
    return values


def _blend(canvas: np.ndarray, window: tuple[slice, slice], colour: Sequence[int], opacity: np.ndarray) -> None:
    """Moves uint8[H, W, 3] towards a colour, in place, by opacity float32[h, w] in the window."""
    part = canvas[window].astype(np.float32)
    part += (np.asarray(colour, np.float32) - part) * opacity[..., None]
    canvas[window] = np.rint(part).astype(np.uint8)
