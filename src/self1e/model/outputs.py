"""What the model makes of a batch, and of the pictures in it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from transformers.utils import ModelOutput

from self1e.model.refilling import VisionSide


@dataclass
class ImageFeatures:
    """What depends on the pictures alone. Tiles of all pictures in order; shapes as in `self1e.model.network`."""

    compressed: Tensor
    uncompressed: Tensor | None
    vision: VisionSide


@dataclass
class SELF1EOutput(ModelOutput):
    """Output of `SELF1EForSegmentation`.

    Args:
        loss: Scalar; ce_weight CE + bce_weight BCE + dice_weight Dice. Given when `labels` or `masks` are.
        ce_loss: Scalar, mean over supervised tokens.
        mask_bce_loss: Scalar, BCE of the final and the low-resolution logits, summed over masks, per conversation.
        mask_dice_loss: Scalar, Dice in the same way.
        mask_logits: One float[K, H, W] per row of the batch: a map for each `[SEG]`, > 0 inside. `(H, W)` is
            `(rows, columns)` of the tile grid times 64 for InternVL3 with `rfa`. K = 0 for rows without a picture.
        low_resolution_mask_logits: The same from the LLM's image features alone; half the size for `rfa`.
        logits: float[B, N, vocabulary], or float[P, vocabulary] of chosen positions; only when asked for.
        last_hidden_state: float[B, N, D], after the final norm. Undefined at padding.
        image_features: Features of all tiles of the batch.
    """

    loss: Tensor | None = None
    ce_loss: Tensor | None = None
    mask_bce_loss: Tensor | None = None
    mask_dice_loss: Tensor | None = None
    mask_logits: tuple[Tensor, ...] | None = None
    low_resolution_mask_logits: tuple[Tensor, ...] | None = None
    logits: Tensor | None = None
    last_hidden_state: Tensor | None = None
    image_features: ImageFeatures | None = None
