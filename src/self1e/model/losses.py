"""Mask losses of the method (section 4): binary cross-entropy and Dice at a bounded resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = 255


def loss_size(height: int, width: int, side: int) -> tuple[int, int]:
    """(height, width) shrunk so that the short side is at most `side`, the long one rounded down; never grown."""
    short = min(height, width)
    if short <= side:
        return height, width
    return height * side // short, width * side // short


def resize(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, float[K, h, w] -> float[K, *size]."""
    if masks.shape[-2:] == torch.Size(size):
        return masks
    return F.interpolate(masks[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def mask_losses(maps: Sequence[Tensor], target: Tensor, side: int = 128) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy and Dice of K masks of one picture, each summed over the masks and over the maps.

    Args:
        maps: float[K, h, w] logits of the same masks, each map of its own resolution.
        target: [K, H, W], 1 inside, 0 outside, 255 where neither counts.
        side: See `loss_size`.

    Returns:
        Two scalars: the pixel mean of BCE, and the Dice loss (each in [0, 1]), summed. 0 for K = 0.
    """
    if target.shape[0] == 0:
        nothing = torch.stack([logits.sum() for logits in maps]).sum()
        return nothing, nothing
    size = loss_size(target.shape[-2], target.shape[-1], side)
    inside = resize((target == 1).float(), size)
    ignored = target == IGNORE
    # Exactly 1 where nothing is ignored, which the host does not ask for: it would have to wait for the device.
    counted = torch.where(ignored.any(), resize((~ignored).float(), size), 1.0)
    pixels = counted.flatten(1).sum(1).clamp(min=1)
    bce, dice = [], []
    for logits in maps:
        logits = resize(logits.float(), size)  # half precision cannot hold the sums
        cross_entropy = F.binary_cross_entropy_with_logits(logits, inside, counted, reduction="none")
        bce.append((cross_entropy.flatten(1).sum(1) / pixels).sum())
        dice.append(dice_loss(logits.sigmoid() * counted, inside * counted).sum())
    return torch.stack(bce).sum(), torch.stack(dice).sum()


def dice_loss(probability: Tensor, target: Tensor, scale: float = 1000.0, eps: float = 1e-6) -> Tensor:
    """1 - Dice of soft masks, float[K, H, W] each -> float[K].

    Sums are divided by `scale` before they meet `eps`, which keeps them small in half precision and sets how much an
    empty target weighs: both are part of the trained recipe.
    """
    probability, target = probability.flatten(1), target.flatten(1)
    overlap = 2 * (probability / scale * target).sum(1)
    total = (probability / scale).sum(1) + (target / scale).sum(1)
    return 1 - (overlap + eps) / (total + eps)
