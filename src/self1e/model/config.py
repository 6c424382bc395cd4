"""Settings of the model: InternVL's own, plus which rung of the paper's ladder and which pathways are on."""

# No `from __future__ import annotations`: `strict` checks values against annotations that are types, not strings.
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, InternVLConfig

Refilling = Literal["baseline", "uncompressed", "rfr", "rfa"]


class Rung(NamedTuple):
    """What the refilling head makes masks of, on one rung of the ladder (method, section 2)."""

    meaning: str
    scale: int  # side of the map, in the unit of image tokens
    uncompressed: bool = False  # it uses the self-replicated features F_V1^HQ
    residual: bool = False  # they are refilled with what the LLM added
    amplified: bool = False  # both are amplified and unshuffled


RUNGS: dict[Refilling, Rung] = {
    "baseline": Rung("the LLM's image features alone", 1),
    "uncompressed": Rung("uncompressed vision features alone", 2, uncompressed=True),
    "rfr": Rung("residual features refilling", 2, uncompressed=True, residual=True),
    "rfa": Rung("refilling and amplifying, the full method", 4, uncompressed=True, residual=True, amplified=True),
}


@strict
class SELF1EConfig(InternVLConfig):
    """Configuration of `SELF1EForSegmentation`.

    Args:
        seg_token_id: Id of `[SEG]` in the tokenizer.
        refilling: What the mask is read from, one of `RUNGS`, the rungs of the paper's ablation; `rfa` is the method.
        image_to_image: The first perception pathway; see `DualPerception`.
        image_to_segmentation: The second perception pathway.
        ce_weight: Weight of the language loss; `bce_weight` and `dice_weight` are those of the losses of masks.
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

    @property
    def rung(self) -> Rung:
        """What `refilling` stands for."""
        return RUNGS[self.refilling]  # type: ignore[index]  # one of them, see below

    @property
    def map_side(self) -> int:
        """Cells of the map of mask logits along a side of a tile: 64 for InternVL3."""
        vision = self.vision_config
        image_tokens = vision.image_size[0] // vision.patch_size[0] // 2
        return image_tokens * self.rung.scale

    def weighted(self, losses: Mapping[str, Any]) -> Any:
        """The loss (method, section 4) of those of its parts that are there: "ce", "bce", "dice"."""
        return sum(getattr(self, f"{name}_weight") * loss for name, loss in losses.items())

    def __post_init__(self, **kwargs: Any) -> None:
        if kwargs.pop("image_to_segmentation_from", 0):  # of folders that 0.1 saved
            raise ValueError("image_to_segmentation_from above 0 is no longer known: its masks would be others here")
        super().__post_init__(**kwargs)
        if self.refilling not in RUNGS:
            raise ValueError(f"refilling must be one of {tuple(RUNGS)}, not {self.refilling!r}")
        if min(self.ce_weight, self.bce_weight, self.dice_weight) < 0:
            raise ValueError("the weights of the losses must be at least 0")
        if self.mask_loss_side < 1:
            raise ValueError(f"mask_loss_side must be at least 1 pixel, not {self.mask_loss_side}")
        if self.downsample_ratio != 0.5 or self.vision_feature_layer != -1:
            raise ValueError("the refilling head needs downsample_ratio 0.5 and the last layer of the vision tower")


AutoConfig.register(SELF1EConfig.model_type, SELF1EConfig)
