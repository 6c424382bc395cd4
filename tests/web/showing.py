"""What tests of the page share."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from self1e.segment.explain import Explanation
from self1e.segment.results import Segmentation
from self1e.web.models import LocalModel
from self1e.web.state import Source

PICTURES = Path(__file__).parents[2] / "examples" / "pictures"
LAKESIDE = PICTURES / "lakeside.png"


class Counted(LocalModel):
    """A model that counts how often it is asked."""

    passes = 0

    def segment(self, picture, prompts: list[str]) -> list[Segmentation]:
        self.passes += 1
        return super().segment(picture, prompts)

    def explain(self, picture, prompt: str) -> Explanation:
        self.passes += 1
        return super().explain(picture, prompt)


def lakeside() -> Source:
    """The example that nano knows."""
    return Source(LAKESIDE.read_bytes(), "lakeside.png", ("the red boat",))


def source(width: int, height: int, name: str = "noise.png") -> Source:
    """A picture of noise."""
    file = io.BytesIO()
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return Source(file.getvalue(), name)


def pixels_of(content: bytes) -> np.ndarray:
    """uint8[H, W, ...] of a picture's file."""
    return np.asarray(Image.open(io.BytesIO(content)))
