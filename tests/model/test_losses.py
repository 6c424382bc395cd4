"""Mask losses against their formulas, mask by mask and pixel by pixel."""

import math

import pytest
import torch

from self1e.model.losses import IGNORE, dice_loss, loss_size, mask_losses


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(150, 200, (128, 170)), (96, 130, (96, 130)), (480, 640, (128, 170)), (300, 200, (192, 128)), (1, 1, (1, 1))],
)
def test_loss_size(height, width, expected):
    assert loss_size(height, width, 128) == expected


def test_against_formulas():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, generator=generator)
    target = (torch.rand(2, 3, 4, generator=generator) > 0.5).to(torch.uint8)
    target[0, 1] = IGNORE
    bce, dice = mask_losses([logits], target)
    expected_bce = expected_dice = 0.0
    for mask_logits, mask in zip(logits, target, strict=True):
        pairs = [
            (1 / (1 + math.exp(-logit)), int(label))
            for logit, label in zip(mask_logits.flatten().tolist(), mask.flatten().tolist(), strict=True)
            if label != IGNORE
        ]
        expected_bce += sum(-math.log(p if label else 1 - p) for p, label in pairs) / len(pairs)
        overlap = 2 * sum(p / 1000 * label for p, label in pairs)
        total = sum(p / 1000 for p, _ in pairs) + sum(label / 1000 for _, label in pairs)
        expected_dice += 1 - (overlap + 1e-6) / (total + 1e-6)
    assert bce.item() == pytest.approx(expected_bce, rel=1e-5)
    assert dice.item() == pytest.approx(expected_dice, rel=1e-5)


def test_large_targets_are_shrunk_and_logits_follow():
    target = torch.zeros(1, 40, 60)
    target[:, :, 30:] = 1
    logits = torch.full((1, 2, 2), -50.0)
    logits[:, :, 1] = 50.0
    bce, dice = mask_losses([logits], target, side=20)
    assert bce.item() < 2  # wrong near the boundary only, where the coarse logits are blurred
    assert dice.item() < 0.1


def test_half_precision_is_summed_in_single():
    logits = torch.randn(1, 100, 100)
    target = (torch.rand(1, 100, 100) > 0.5).float()
    single = torch.stack(mask_losses([logits.bfloat16().float()], target))
    half = torch.stack(mask_losses([logits.bfloat16()], target))
    assert torch.equal(single, half)


def test_maps_of_several_resolutions_add_up():
    small, large = torch.randn(2, 4, 4), torch.randn(2, 8, 8)
    target = (torch.rand(2, 20, 30) > 0.5).float()
    together = torch.stack(mask_losses([small, large], target))
    apart = torch.stack(mask_losses([small], target)) + torch.stack(mask_losses([large], target))
    torch.testing.assert_close(together, apart)


def test_nothing_to_segment():
    logits = torch.zeros(0, 4, 4, requires_grad=True)
    bce, dice = mask_losses([logits], torch.zeros(0, 9, 9))
    assert bce.item() == dice.item() == 0
    (bce + dice).backward()


@pytest.mark.parametrize("height", [20, 23, 27, 36])
def test_where_nothing_is_ignored_all_pixels_count_the_same(height):
    """Pixels are shrunk by weights that add up to 1 but for rounding, which would show here."""
    logits = torch.zeros(1, *loss_size(height, 20, 16), requires_grad=True)
    bce, _ = mask_losses([logits], torch.zeros(1, height, 20, dtype=torch.uint8), side=16)
    bce.backward()
    assert len(logits.grad.unique()) == 1


def test_all_ignored_is_finite():
    bce, dice = mask_losses([torch.randn(1, 4, 4)], torch.full((1, 4, 4), IGNORE))
    assert bce.item() == 0
    assert dice.isfinite()


def test_dice_of_empty_target():
    assert dice_loss(torch.zeros(1, 3, 3), torch.zeros(1, 3, 3)).item() == 0
    assert dice_loss(torch.ones(1, 3, 3), torch.zeros(1, 3, 3)).item() == pytest.approx(1, abs=1e-3)
