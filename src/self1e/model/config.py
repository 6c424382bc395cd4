"""Settings of the model: InternVL's own, plus which rung of the paper's ladder and which pathways are on."""

# No `from __future__ import annotations`: `strict` checks values against annotations that are types, not strings.
from typing import Any, Literal, get_args

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, InternVLConfig

Refilling = Literal["baseline", "uncompressed", "rfr", "rfa"]


@strict
class SELF1EConfig(InternVLConfig):
    """Configuration of `SELF1EForSegmentation`.

    Args:
        seg_token_id: Id of `[SEG]` in the tokenizer.
        refilling: What the mask is read from; the rungs of the paper's ablation. `baseline`: the LLM's image
            features alone, at their own resolution. `uncompressed`: the self-replicated (uncompressed) features alone,
            at twice that. `rfr`: those plus the LLM's residual (Residual Features Refilling). `rfa`: both amplified
            and pixel-unshuffled, at four times the resolution (Residual Features Amplifier); the full method.
        image_to_image: The first perception pathway; see `dual_perception_mask`.
        image_to_segmentation: The second perception pathway.
        ce_weight: Weight of the language loss.
        bce_weight: Weight of the binary cross-entropy of the masks.
        dice_weight: Weight of the Dice loss of the masks.
        mask_loss_side: Ground truth larger than this on its short side (pixels) is shrunk to it for the losses.
    """

    model_type = "self1e"

    seg_token_id: int = 151674
    refilling: str = "rfa"
    image_to_image: bool = True
    image_to_segmentation: bool = True
    ce_weight: float | int = 1.0
    bce_weight: float | int = 2.0
    dice_weight: float | int = 0.5
    mask_loss_side: int = 128

    def __post_init__(self, **kwargs: Any) -> None:
        if kwargs.pop("image_to_segmentation_from", 0):  # of folders that 0.1 saved
            raise ValueError("image_to_segmentation_from above 0 is no longer known: its masks would be others here")
        super().__post_init__(**kwargs)
        if self.refilling not in get_args(Refilling):
            raise ValueError(f"refilling must be one of {get_args(Refilling)}, not {self.refilling!r}")
        if min(self.ce_weight, self.bce_weight, self.dice_weight) < 0:
            raise ValueError("the weights of the losses must be at least 0")
        if self.mask_loss_side < 1:
            raise ValueError(f"mask_loss_side must be at least 1 pixel, not {self.mask_loss_side}")
        if self.downsample_ratio != 0.5 or self.vision_feature_layer != -1:
            raise ValueError("the refilling head needs downsample_ratio 0.5 and the last layer of the vision tower")


AutoConfig.register(SELF1EConfig.model_type, SELF1EConfig)
