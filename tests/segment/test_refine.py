"""Masks that follow the picture's edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from self1e.metrics import intersection_and_union
from self1e.processing.processor import mask_logits_to_picture
from self1e.segment.refine import guided, to_picture
from self1e.segment.segmenter import Segmenter

CELL = 7
SIDE = 32


def disc() -> np.ndarray:
    """bool[224, 224]."""
    rows, columns = np.mgrid[: SIDE * CELL, : SIDE * CELL]
    return (rows - 100) ** 2 + (columns - 120) ** 2 < 60**2


def painted(mask: np.ndarray, noise: float = 8) -> Image.Image:
    """The mask in one colour on another, with noise."""
    colours = np.where(mask[..., None], (200.0, 60.0, 40.0), (60.0, 90.0, 120.0))
    colours += np.random.default_rng(0).normal(0, noise, colours.shape)
    return Image.fromarray(colours.clip(0, 255).astype(np.uint8))


def seen_in_cells(mask: np.ndarray) -> torch.Tensor:
    """Logits float[1, 32, 32] that know of each cell how much of it is inside, and where that is not."""
    share = F.avg_pool2d(torch.from_numpy(mask).float()[None], CELL)
    return 8 * (share - 0.5)


def test_masks_follow_the_edges_of_the_picture() -> None:
    mask = disc()
    image, logits = painted(mask), seen_in_cells(mask)
    plain, refined = ((to_picture(logits, image, way)[0] > 0).numpy() for way in ("none", "guided"))
    ious = [both / either for both, either in (intersection_and_union(each, mask) for each in (plain, refined))]
    assert ious[0] < 0.99 < 0.999 < ious[1], ious


def test_a_picture_without_edges_moves_nothing() -> None:
    flat = Image.new("RGB", (SIDE * CELL, SIDE * CELL), (90, 120, 30))
    ramp = torch.linspace(-3, 3, SIDE)[None, None].expand(1, SIDE, SIDE)
    refined, plain = guided(ramp, flat), mask_logits_to_picture(ramp, flat.size)
    inner = slice(4 * CELL, -4 * CELL)
    assert torch.allclose(refined[:, inner, inner], plain[:, inner, inner], atol=1e-4)


def test_a_function_of_the_colours_stays_one() -> None:
    image = painted(disc(), noise=40)
    pixels = torch.from_numpy(np.asarray(image).astype(np.float32) / 255).permute(2, 0, 1)
    weights = torch.tensor([[3.0, -2.0, 1.0], [0.5, 4.0, -6.0]])
    of_colours = torch.einsum("kc,chw->khw", weights, pixels) + 0.3
    refined = guided(F.avg_pool2d(of_colours[None], CELL)[0], image, smoothness=1e-8)
    assert (refined - of_colours).abs().mean() < 1e-3  # and not more, in few places, by how floats round


@pytest.mark.parametrize("size", [(31, 224), (224, 31), (1, 1), (40, 40)])
def test_sizes(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, "red")
    logits = torch.ones(3, 16, 32)
    assert torch.allclose(guided(logits, image), torch.ones(3, size[1], size[0]), atol=1e-4)
    assert guided(torch.zeros(0, 1, 1), image).shape == (0, size[1], size[0])


def test_a_segmenter_refines(tiny_model_folder: object) -> None:
    segmenter = Segmenter.from_pretrained(str(tiny_model_folder), dtype="float32")
    image = painted(disc())
    plain = segmenter.segment(image, "the red ball", logits=True)
    refined = segmenter.segment(image, "the red ball", logits=True, refine="guided")
    assert plain.logits is not None and refined.logits is not None
    assert np.corrcoef(plain.logits.ravel(), refined.logits.ravel())[0, 1] > 0.5
    assert np.abs(plain.logits - refined.logits).max() > 1e-3
    with pytest.raises(ValueError, match="refine is one of none, guided, not 'sharp'"):
        segmenter.segment(image, "the red ball", refine="sharp")  # type: ignore[arg-type]
