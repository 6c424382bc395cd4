"""What tests of exported models ask for, and about which pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from self1e.engines.artefact import Artefact
from self1e.export.verify import samples_to_check
from self1e.segment.agreement import PromptedPicture

PROMPTS = ["the red ball", "Which of them rolls?", "a blue ball, or something else that is rather long to describe"]

Models = Callable[[bool], Path]
Exported = Callable[..., Artefact]


def noise(width: int = 96, height: int = 96, seed: int = 0) -> Image.Image:
    """A small picture. One that is twice as wide as high, or more, has several tiles where these are allowed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def samples() -> list[PromptedPicture]:
    """Few, as a test has no time: a scene, and the last of all, which is two tiles high."""
    first, *_, last = samples_to_check()
    return [first, last]
