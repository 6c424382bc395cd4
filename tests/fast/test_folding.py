"""Folded weights give the masks of the plain ones, with fewer products."""

import copy

import pytest
import torch
from builders import batch_of, conversation, pixels, tiny_model
from torch.utils.flop_counter import FlopCounterMode

from self1e.fast import prepare


def batch_about(grids, rows, dtype=torch.float32):
    ids = [
        conversation(grids[picture][0] * grids[picture][1], segs, seed=seed)
        for seed, (picture, segs) in enumerate(rows)
    ]
    tiles = sum(columns * rows_ for columns, rows_ in grids)
    return batch_of(ids, pixels(tiles).to(dtype), grids=grids, pictures=[picture for picture, _ in rows])


@torch.inference_mode()
def plain_run(model, grids, rows, dtype=torch.float32):
    return model(batch_about(grids, rows, dtype)).mask_logits


@torch.inference_mode()
def fast_run(fast, grids, rows, dtype=torch.float32):
    batch = batch_about(grids, rows, dtype)
    return fast.mask_logits(batch, fast.encode_images(batch.pixel_values))


def test_masks_in_half_precision():
    model = tiny_model().bfloat16()
    [plain] = plain_run(model, [(2, 1)], [(0, 2)], torch.bfloat16)
    [ours] = fast_run(prepare(copy.deepcopy(model)), [(2, 1)], [(0, 2)], torch.bfloat16)
    [exact] = plain_run(tiny_model().bfloat16().float(), [(2, 1)], [(0, 2)])
    assert ours.dtype == torch.bfloat16
    # Rounding once instead of twice: no further from the truth than the plain model, give or take.
    assert (ours - exact).abs().mean() <= 1.5 * (plain - exact).abs().mean()


def test_fewer_products():
    """The projector's first linear on a quarter of its columns, and no linear at all at the refilled pixels."""
    model = tiny_model()
    fast = prepare(model)
    fast_run(fast, [(1, 1)], [(0, 1)])  # weights are multiplied now

    def products(run, of):
        with FlopCounterMode(display=False) as counter:
            run(of, [(1, 1)], [(0, 1)])
        return counter.get_total_flops()

    width, patches, channels = 24, 16, 16
    spared = patches * 3 * channels * width  # of the projector
    pixels_of_tile = 4 * patches
    spared += pixels_of_tile * 2 * width * width  # both linears of `fuse`
    spared += (patches // 4) * 4 * width  # low-resolution logits
    assert products(plain_run, model) - products(fast_run, fast) == pytest.approx(2 * spared, rel=0.02)
