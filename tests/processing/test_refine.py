"""Masks that follow the picture's edges."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from builders import at_size
from PIL import Image

from self1e import ModelError, Segmenter, SELF1EProcessor
from self1e.metrics import intersection_and_union
from self1e.processing.processor import CONFIG_NAME
from self1e.processing.refine import Guide, enlarger, resized

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


def seen_in_cells(mask: np.ndarray) -> np.ndarray:
    """Logits float[1, 32, 32] that know of each cell how much of it is inside, and where that is not."""
    share = F.avg_pool2d(torch.from_numpy(mask).float()[None], CELL)
    return (8 * (share - 0.5)).numpy()


def test_masks_follow_the_edges_of_the_picture() -> None:
    mask = disc()
    image, logits = painted(mask), seen_in_cells(mask)
    plain, refined = (enlarger(image, logits.shape[1:], way)(logits)[0] > 0 for way in ("none", "guided"))
    ious = [both / either for both, either in (intersection_and_union(each, mask) for each in (plain, refined))]
    assert ious[0] < 0.99 < 0.999 < ious[1], ious


def test_a_picture_without_edges_moves_nothing() -> None:
    flat = Image.new("RGB", (SIDE * CELL, SIDE * CELL), (90, 120, 30))
    ramp = np.broadcast_to(np.linspace(-3, 3, SIDE, dtype=np.float32), (1, SIDE, SIDE))
    refined, plain = Guide(flat, ramp.shape[1:])(ramp), resized(ramp, flat.size)
    inner = slice(4 * CELL, -4 * CELL)
    assert np.allclose(refined[:, inner, inner], plain[:, inner, inner], atol=1e-4)


def test_a_function_of_the_colours_stays_one() -> None:
    """Between the values of the cells that it is made of."""
    image = painted(disc(), noise=40)
    pixels = (np.asarray(image).astype(np.float32) / 255).transpose(2, 0, 1)
    weights = np.array([[3.0, -2.0, 1.0], [0.5, 4.0, -6.0]], np.float32)
    of_colours = np.einsum("kc,chw->khw", weights, pixels) + 0.3
    in_cells = F.avg_pool2d(torch.from_numpy(of_colours)[None], CELL)[0].numpy()
    refined = Guide(image, in_cells.shape[1:], smoothness=1e-8)(in_cells)
    highest = resized(F.max_pool2d(torch.from_numpy(in_cells), 5, 1, 2).numpy(), image.size)
    lowest = -resized(F.max_pool2d(torch.from_numpy(-in_cells), 5, 1, 2).numpy(), image.size)
    expected = np.clip(of_colours, lowest, highest)
    assert np.abs(refined - expected).mean() < 1e-3  # and not more, in few places, by how floats round
    assert (expected == of_colours).mean() > 0.25


def test_nothing_is_found_that_no_cell_has() -> None:
    rising = np.linspace(-4, -0.5, SIDE * SIDE, dtype=np.float32).reshape(1, SIDE, SIDE)
    assert Guide(painted(disc(), noise=60), rising.shape[1:])(rising).max() <= -0.5


@pytest.mark.parametrize("size", [(31, 224), (224, 31), (1, 1), (40, 40)])
def test_sizes(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, "red")
    logits = np.ones((3, 16, 32), np.float32)
    assert np.allclose(Guide(image, logits.shape[1:])(logits), np.ones((3, size[1], size[0])), atol=1e-4)
    assert resized(np.zeros((0, 1, 1), np.float32), size).shape == (0, size[1], size[0])


@pytest.mark.parametrize("size", [(101, 51), (64, 32), (20, 30), (1, 1), (640, 480)])
def test_resizing_is_bilinear_as_torch_has_it(size: tuple[int, int]) -> None:
    maps = np.random.default_rng(0).normal(0, 9, (2, 32, 64)).astype(np.float32)
    found = resized(maps, size)
    assert found.dtype == np.float32
    assert np.abs(found - at_size(torch.from_numpy(maps), size).numpy()).max() < 1e-4
    assert resized(np.zeros((0, 1, 1)), (7, 5)).shape == (0, 5, 7)


def test_masks_are_stretched_to_the_picture() -> None:
    ramp = np.broadcast_to(np.linspace(-1, 1, 64), (2, 32, 64))  # left half out, right half in
    logits = resized(ramp, (101, 51))
    assert logits.shape == (2, 51, 101)
    assert not (logits[:, :, :50] > 0).any()
    assert (logits[:, :, 51:] > 0).all()


def test_a_segmenter_refines(tiny_model_folder: Path) -> None:
    segmenter = Segmenter.from_pretrained(tiny_model_folder, dtype="float32")
    image = painted(disc())
    plain = segmenter.segment(image, "the red ball", logits=True)
    refined = segmenter.segment(image, "the red ball", logits=True, refine="guided")
    assert plain.logits is not None and refined.logits is not None
    assert np.corrcoef(plain.logits.ravel(), refined.logits.ravel())[0, 1] > 0.5
    assert np.abs(plain.logits - refined.logits).max() > 1e-3
    with pytest.raises(ValueError, match="refine is one of none, guided, not 'sharp'"):
        segmenter.segment(image, "the red ball", refine="sharp")  # type: ignore[arg-type]


def test_a_model_says_what_is_done_without_being_asked(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model_folder, tmp_path / "model")
    settings = json.loads((folder / CONFIG_NAME).read_text())
    assert "refine" not in settings
    (folder / CONFIG_NAME).write_text(json.dumps(settings | {"refine": "guided"}))
    segmenter, image = Segmenter.from_pretrained(folder, dtype="float32"), painted(disc())

    def logits(**options: Any) -> np.ndarray:
        found = segmenter.segment(image, "the red ball", logits=True, **options).logits
        assert found is not None
        return found

    usual = logits()
    assert np.array_equal(usual, logits(refine="guided")) and not np.allclose(usual, logits(refine="none"))
    answer = segmenter.chat(image, "the red ball")
    assert answer.masks.shape == (len(answer), *image.size[::-1])
    assert answer.text == segmenter.chat(image, "the red ball", refine="none").text
    segmenter.processor.save_pretrained(tmp_path / "saved")
    assert SELF1EProcessor.from_pretrained(tmp_path / "saved").refine == "guided"
    (folder / CONFIG_NAME).write_text(json.dumps(settings | {"refine": "sharp"}))
    with pytest.raises(ModelError, match="refine is one of none, guided, not 'sharp'"):
        Segmenter.from_pretrained(folder)
