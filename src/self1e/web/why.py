"""The method at work: the maps of an `Explanation` as pictures, with a sentence for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from self1e.segment.explain import Explanation
from self1e.segment.overlay import draw_masks

SIDE = 560
"""Pixels of the longer side of a map on the page."""

STRENGTH = 0.72
"""Of a map's colours, over a grey picture."""

AGAINST, FOR = (49, 104, 196), (226, 88, 34)
"""The model says no, and yes."""

GLOW = ((10, 8, 32), (92, 32, 110), (187, 55, 84), (249, 142, 8), (252, 255, 164))
"""Nothing to much, as in matplotlib's "inferno"."""


@dataclass(frozen=True)
class Panel:
    """A map of the page.

    Attributes:
        name: Field of `Explanation`.
        title: In words.
        formula: As in the method, section 2.
        meaning: What to see in it.
    """

    name: str
    title: str
    formula: str
    meaning: str


PANELS = (
    Panel(
        "attention",
        "What [SEG] looks at",
        "attention of F_SEG's position to F_IMG's",
        "The language model reads the picture as {tokens} tokens. Where it looks when it is about to say [SEG]: the "
        "brighter, the more.",
    ),
    Panel(
        "llm",
        "The LLM's map",
        "PUS(amplify(F_IMG)) · s / √D",
        "Its image tokens against its [SEG]. It knows what you mean, but only as finely as its tokens are.",
    ),
    Panel(
        "residual",
        "What the LLM added",
        "R = PUS(amplify(F_IMG)) − PUS(amplify(F_V1))",
        "The same, less what the vision tower gave it: what the language model worked out by itself.",
    ),
    Panel(
        "uncompressed",
        "Vision, uncompressed",
        "fuse(PUS(amplify(F_V1^HQ))) · s / √D",
        "Every patch of the vision tower, four times as many. Sharp, but no language model has seen it.",
    ),
    Panel(
        "refilled",
        "Refilled",
        "P = fuse(uncompressed + residual ×2)",
        "The residual filled into the sharp map: {cells} cells. Above 0, the white line, is the mask.",
    ),
)
"""In the order of the method."""


def panels_of(explanation: Explanation) -> list[Panel]:
    """Those that the model's rung of the ladder has, with its numbers in their sentences."""
    high, wide = explanation.attention.shape[1:]
    rows, columns = explanation.refilled.shape
    numbers = {"tokens": f"{wide} × {high}", "cells": f"{columns} × {rows}"}
    return [
        Panel(panel.name, panel.title, panel.formula, panel.meaning.format(**numbers))
        for panel in PANELS
        if getattr(explanation, panel.name) is not None
    ]


def attention_of(explanation: Explanation, layer: int) -> np.ndarray:
    """float32[h, w] of one layer, from 1 on; 0 is the mean of all."""
    return explanation.attention.mean(axis=0) if layer == 0 else explanation.attention[layer - 1]


def picture_of(explanation: Explanation, name: str, image: Image.Image, layer: int = 0) -> Image.Image:
    """One map over the picture, a square for each of its cells.

    Args:
        explanation: Whose.
        name: Of a panel.
        image: RGB.
        layer: For "attention", see `attention_of`.
    """
    values = attention_of(explanation, layer) if name == "attention" else getattr(explanation, name)
    colours = glow(values) if name == "attention" else signed(values)
    scale = SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    grey = image.convert("L").resize(size, Image.Resampling.BILINEAR).convert("RGB")
    cells = Image.fromarray(colours).resize(size, Image.Resampling.NEAREST)
    over = Image.blend(grey, cells, STRENGTH)
    if name != "refilled":
        return over
    inside = Image.fromarray(values).resize(size, Image.Resampling.BILINEAR)
    return draw_masks(over, (np.asarray(inside) > 0)[None], [(255, 255, 255)], alpha=0, dim=0)


def signed(values: np.ndarray) -> np.ndarray:
    """Logits as colours, uint8[H, W, 3]: against, white at 0, for; as strong as the strongest of 98 in 100."""
    most = max(float(np.quantile(np.abs(values), 0.98)), 1e-6)
    share = np.clip(values / most, -1, 1)[..., None]
    end = np.where(share > 0, np.array(FOR), np.array(AGAINST))
    return np.rint(245 + (end - 245) * np.abs(share)).astype(np.uint8)


def glow(values: np.ndarray) -> np.ndarray:
    """Shares as colours, uint8[H, W, 3], from nothing to the largest."""
    place = values / max(float(values.max()), 1e-9) * (len(GLOW) - 1)
    steps = np.arange(len(GLOW))
    channels = [np.interp(place, steps, [colour[channel] for colour in GLOW]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
