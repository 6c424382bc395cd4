"""A folded model gives the masks of the plain one, with fewer products, and says what it can no longer do."""

import copy

import pytest
import torch
from builders import batch_of, conversation, pixels, tiny_model
from torch.utils.flop_counter import FlopCounterMode

from self1e.fast.folding import fold

RUNGS = ("baseline", "uncompressed", "rfr", "rfa")


def folded_copy(model):
    return fold(copy.deepcopy(model))


def run(model, grids, rows, dtype=torch.float32):
    batch = batch_of(
        [
            conversation(grids[picture][0] * grids[picture][1], segs, seed=seed)
            for seed, (picture, segs) in enumerate(rows)
        ]
    )
    tiles = sum(columns * rows_ for columns, rows_ in grids)
    picture_index = torch.tensor([picture for picture, _ in rows])
    with torch.inference_mode():
        return model(
            **batch, pixel_values=pixels(tiles).to(dtype), tile_grids=grids, picture_index=picture_index
        ).mask_logits


@pytest.mark.parametrize("refilling", RUNGS)
def test_masks_are_those_of_the_plain_model(refilling):
    model = tiny_model(refilling=refilling)
    folded = folded_copy(model)
    grids, rows = [(1, 1), (3, 2)], [(0, 1), (1, 2), (1, 1), (0, 0)]
    for plain, ours in zip(run(model, grids, rows), run(folded, grids, rows), strict=True):
        assert plain.shape == ours.shape
        torch.testing.assert_close(
            ours, plain, rtol=1e-4, atol=1e-4 * (1 + plain.abs().max().item() if plain.numel() else 1)
        )


def test_masks_in_half_precision():
    model = tiny_model().bfloat16()
    [plain], [ours] = (
        run(model, [(2, 1)], [(0, 2)], torch.bfloat16),
        run(folded_copy(model), [(2, 1)], [(0, 2)], torch.bfloat16),
    )
    [exact] = run(tiny_model().bfloat16().float(), [(2, 1)], [(0, 2)])
    assert ours.dtype == torch.bfloat16
    # Rounding once instead of twice: no further from the truth than the plain model, give or take.
    assert (ours - exact).abs().mean() <= 1.5 * (plain - exact).abs().mean()


def test_fewer_products():
    """The projector's first linear on a quarter of its columns, and no linear at all at the refilled pixels."""
    model = tiny_model()

    def products(of):
        with FlopCounterMode(display=False) as counter:
            run(of, [(1, 1)], [(0, 1)])
        return counter.get_total_flops()

    width, patches, channels = 24, 16, 16
    spared = patches * 3 * channels * width  # of the projector
    pixels_of_tile = 4 * patches
    spared += pixels_of_tile * 2 * width * width  # both linears of `fuse`
    spared += (patches // 4) * 4 * width  # low-resolution logits
    assert products(model) - products(folded_copy(model)) == pytest.approx(2 * spared, rel=0.02)


def test_folding_twice_changes_nothing():
    once = folded_copy(tiny_model())
    before = run(once, [(1, 1)], [(0, 1)])[0]
    assert torch.equal(run(fold(once), [(1, 1)], [(0, 1)])[0], before)


def test_a_folded_model_is_not_saved_or_trained(tmp_path):
    folded = folded_copy(tiny_model())
    with pytest.raises(ValueError, match="cannot be saved"):
        folded.save_pretrained(tmp_path)
    batch = batch_of([conversation(1, 1)])
    with pytest.raises(ValueError, match="no losses"):
        folded(**batch, pixel_values=pixels(1), masks=[torch.ones(1, 8, 8)])
    assert folded(**batch, pixel_values=pixels(1)).low_resolution_mask_logits is None
