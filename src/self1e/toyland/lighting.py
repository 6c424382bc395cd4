"""The last coat: contact shadows, light of the hour, a little grain. It changes the picture and never the maps."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

#: Gain per channel at each time of day. Night stays light enough that a person can still name the colours.
TINT = {
    "day": (1.0, 1.0, 1.0),
    "sunset": (1.03, 0.95, 0.88),
    "night": (0.84, 0.86, 0.96),
    "overcast": (0.92, 0.94, 0.96),
}
_SHADOW_SIDE = 112


def finish(
    picture: Image.Image,
    is_stuff: np.ndarray,
    shadows: list[tuple[float, float, float, float]],
    rng: np.random.Generator,
) -> np.ndarray:
    """Lights a drawn scene.

    Args:
        picture: The flat drawing.
        is_stuff: bool[H, W]; only stuff receives shadows.
        shadows: Ellipses x, y, rx, ry in fractions of the side.
        rng: Decides softness and grain.

    Returns:
        uint8[H, W, 3].
    """
    if rng.random() < 0.3:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.55)) * picture.width / 448))
    size = picture.width
    gain = np.where(is_stuff, _shade(shadows, size), np.float32(1.0)) * _vignette(size)
    gain *= np.float32(rng.uniform(0.97, 1.02))
    shift = tuple((rng.random(2) * size).astype(int).tolist())
    noise = np.roll(_noise(size), shift, (0, 1)) * np.float32(rng.uniform(0.5, 4.0))
    lit = np.empty((size, size, 3), np.uint8)
    for channel, band in enumerate(picture.split()):
        level = np.asarray(band) * gain + noise
        lit[:, :, channel] = np.clip(level, 0, 255, out=level)
    return lit


def _shade(shadows: list[tuple[float, float, float, float]], size: int) -> np.ndarray:
    """float32[size, size]: 1 in the light, less in soft contact shadows."""
    small = Image.new("L", (_SHADOW_SIDE, _SHADOW_SIDE), 255)
    draw = ImageDraw.Draw(small)
    for x, y, rx, ry in shadows:
        box = [(x - rx) * _SHADOW_SIDE, (y - ry) * _SHADOW_SIDE, (x + rx) * _SHADOW_SIDE, (y + ry) * _SHADOW_SIDE]
        draw.ellipse(box, fill=186)
    soft = small.filter(ImageFilter.GaussianBlur(0.9)).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(soft, np.float32) / np.float32(255)


@lru_cache(maxsize=4)
def _vignette(size: int) -> np.ndarray:
    """float32[size, size]: slightly darker corners."""
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    return np.float32(1.0) - np.float32(0.045) * (axis[:, None] ** 2 + axis[None, :] ** 2)


@lru_cache(maxsize=4)
def _noise(size: int) -> np.ndarray:
    """float32[size, size]: normal noise; scenes share one field, each with its own shift."""
    return np.random.default_rng(0).standard_normal((size, size), np.float32)
