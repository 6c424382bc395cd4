"""SELF1E on transformers' own InternVL: a multimodal LLM that turns one `[SEG]` token into a mask by itself.

    patch_features  F_V0    = vision tower(pixels)                                    float[T, 4n, Cv]
    compressed      F_V1    = projector(pixel shuffle(F_V0))                          float[T, n, D]
    uncompressed    F_V1^HQ = projector(self-replicated F_V0)                         float[T, 4n, D]
    states                  = LLM(text with F_V1 put in place, dual perception mask)  float[B, N, D]
    mask logits             = refilling head(F_IMG, F_SEG, F_V1, F_V1^HQ)             float[K, H, W] of each row

F_IMG are the states at the image tokens, F_SEG those one position before each `[SEG]`: the states that predict it.

A picture enters a batch once, however many rows ask about it, and several conversations can share one row behind a
common prefix (`self1e.model.batch`). `T` tiles of all pictures, `n` image tokens per tile, `D` width of the LLM.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask
from transformers import AutoModelForImageTextToText, InternVLForConditionalGeneration
from transformers.cache_utils import Cache
from transformers.utils import ModelOutput

from self1e.model.attention_mask import DualPerception, as_attention_bias
from self1e.model.batch import Batch
from self1e.model.config import SELF1EConfig
from self1e.model.losses import mask_losses
from self1e.model.refilling import MaskHead, RefillingHead, VisionSide, self_replicate
from self1e.model.stem import fit_stem

OURS = {"image_features", "prefix", "logits_at", "masks", "grids", "picture_index", "conversation_ids"}
"""What people may give without a `Batch`, and the causal forward would take no notice of."""

LOSS_FIELDS = {"ce": "ce_loss", "bce": "mask_bce_loss", "dice": "mask_dice_loss"}
"""Parts of the loss, by the names that their weights have -> fields of `SELF1EOutput`."""


@dataclass
class ImageFeatures:
    """What depends on the pictures alone, tile by tile; shapes as above."""

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
        mask_logits: One float[K, H, W] per row: a map for each `[SEG]`, > 0 inside. `(H, W)`
            is `(rows, columns)` of the tile grid times 64 for InternVL3 with `rfa`.
        low_resolution_mask_logits: The same from the LLM's image features alone; half the size for `rfa`.
        logits: float[L, vocabulary], only when asked for.
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

    @property
    def losses(self) -> dict[str, Tensor]:
        """The parts of `loss` that are there, by the names that their weights have."""
        parts = {name: getattr(self, field) for name, field in LOSS_FIELDS.items()}
        return {name: loss for name, loss in parts.items() if loss is not None}


class SELF1EForSegmentation(InternVLForConditionalGeneration):
    """InternVL with the refilling head and the dual perception pathways. `generate` works as in InternVL."""

    config_class = SELF1EConfig
    accepts_loss_kwargs = False  # the losses are normalised here, not by Trainer

    checkpoint_reader: ClassVar[Callable[[Any, dict[str, Any]], tuple[Any, dict[str, Any]]] | None] = None
    """Makes (name, keyword arguments) of `from_pretrained` those that transformers can load this class with.

    `self1e.checkpoints.load` sets it, to convert releases and base models. Without it, only own folders load."""

    def __init__(self, config: SELF1EConfig) -> None:
        super().__init__(config)
        fit_stem(self.model.vision_tower)
        self.refilling_head = RefillingHead(config)
        self.loss_type = "ForCausalLM"  # of InternVL's own forward; transformers would go by the name of the class
        self.post_init()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any = None, *model_args: Any, **kwargs: Any) -> Any:
        """Loads a folder or Hub id; nothing is left to chance.

        Args:
            pretrained_model_name_or_path: What this class saved; with `checkpoint_reader`, whatever that reads.
            model_args: As in transformers.
            kwargs: As in transformers, settings of `SELF1EConfig` to override, and what `checkpoint_reader` takes.

        Raises:
            ValueError: When a weight is missing, left over, or of another shape than the configuration says.
        """
        name = source = pretrained_model_name_or_path
        if cls.checkpoint_reader is not None and name is not None:
            source, kwargs = cls.checkpoint_reader(name, kwargs)
        asked_for_info = kwargs.pop("output_loading_info", False)
        kwargs |= {"output_loading_info": True, "ignore_mismatched_sizes": True, "use_safetensors": True}
        model, info = super().from_pretrained(source, *model_args, **kwargs)
        for kind in ("missing", "unexpected", "mismatched"):
            if info[f"{kind}_keys"]:  # transformers would warn, and go on with random numbers
                raise ValueError(f"the weights of {name} do not fit: {kind} are {sorted(info[f'{kind}_keys'])}")
        return (model, info) if asked_for_info else model

    def encode_images(
        self, pixel_values: Tensor, head: MaskHead | None = None, project: Callable[[Tensor], Tensor] | None = None
    ) -> ImageFeatures:
        """Vision tower, projector, and the vision side of the head: float[T, 3, S, S] -> `ImageFeatures`.

        `head` may compute the same as the refilling head in another way, `project` as the projector behind replication.
        """
        vision = self.model.get_image_features(pixel_values, return_dict=True)
        compressed, uncompressed = vision.pooler_output, None
        if self.config.rung.uncompressed:
            patch_features = vision.last_hidden_state[:, 1:]  # without the class token
            replicated = self_replicate(patch_features) if project is None else patch_features
            uncompressed = (project or self.model.multi_modal_projector)(replicated)
        head = head or self.refilling_head
        return ImageFeatures(compressed, uncompressed, head.vision_side(compressed, uncompressed))

    def forward(
        self,
        batch: Batch | None = None,
        *,
        image_features: ImageFeatures | None = None,
        prefix: Cache | None = None,
        logits_at: Tensor | None = None,
        **causal: Any,
    ) -> Any:
        """The mask pass: whole conversations, answers included, in one forward under the dual perception mask.

        Called with InternVL's own arguments in place of a batch, this is InternVL's own causal forward, which is what
        `generate` needs. Image states depend on the later `[SEG]`, so masks cannot come out of a cached pass.

        Args:
            batch: From `build_batch`, on the model's device.
            image_features: What `encode_images` made of the batch's pictures, in place of its pixels.
            prefix: P tokens that stand before all rows and that the batch is without, as a cache of keys and values.
            logits_at: long[L], places among all tokens (see `Batch`) at which to run the LM head.
            causal: InternVL's arguments.

        Returns:
            `SELF1EOutput`, or InternVL's own output of the causal forward.

        Raises:
            ValueError: When image tokens and tiles, or masks and `[SEG]`, do not match in number, or the attention
                implementation cannot take the dual perception mask.
            TypeError: When a batch and InternVL's arguments are mixed.
        """
        if batch is None:
            given = {"image_features": image_features, "prefix": prefix, "logits_at": logits_at} | causal
            if lost := sorted(name for name in OURS if given.get(name) is not None):
                raise TypeError(f"the causal forward takes no {', '.join(lost)}: make a Batch by build_batch for masks")
            return super().forward(**causal)
        if causal:
            raise TypeError(f"the mask pass takes no {', '.join(sorted(causal))}: all that it reads is in the batch")
        if not len(batch):
            raise ValueError("the batch has no rows: give at least one conversation")
        if image_features is None and batch.pixel_values is not None:
            image_features = self.encode_images(batch.pixel_values)
        states = self.read(batch, self.embed(batch, image_features), prefix)
        maps, losses = None, dict[str, Tensor]()
        if image_features is not None:
            maps = self.mask_maps(batch, states, image_features, self.refilling_head)
        if batch.targets is not None:
            losses["ce"] = self._language_loss(batch.targets, states.flatten(0, 1)[batch.supervised])
        if batch.masks is not None:
            losses["bce"], losses["dice"] = self._mask_losses(batch, maps)
        return SELF1EOutput(
            loss=self.config.weighted(losses) if losses else None,
            **{LOSS_FIELDS[name]: loss for name, loss in losses.items()},
            mask_logits=None if maps is None else tuple(final for final, _ in maps),
            low_resolution_mask_logits=None if maps is None else tuple(low for _, low in maps),
            logits=None if logits_at is None else self.lm_head(states.flatten(0, 1)[logits_at]),
            last_hidden_state=states,
            image_features=image_features,
        )

    def generate(
        self, batch: Batch | None = None, *, image_features: ImageFeatures | None = None, **kwargs: Any
    ) -> Any:
        """Writes answers, causally, with a KV cache: long[B, new tokens].

        Args:
            batch: Open questions, padded on the left. None: `kwargs` are InternVL's own.
            image_features: As in `forward`.
            kwargs: Settings of decoding, see transformers' `generate`.
        """
        if batch is None:
            return super().generate(**kwargs)
        with torch.no_grad():
            if image_features is None and batch.pixel_values is not None:
                image_features = self.encode_images(batch.pixel_values)
            embeddings = self.embed(batch, image_features)
        return super().generate(inputs_embeds=embeddings, attention_mask=batch.attention_mask.long(), **kwargs)

    def embed(self, batch: Batch, image_features: ImageFeatures | None) -> Tensor:
        """Token embeddings with the compressed features of each row's picture in place of its image tokens.

        Returns:
            float[B, N, D].
        """
        per_tile = 0 if image_features is None else image_features.compressed.shape[1]
        for row, (tokens, picture) in enumerate(zip(batch.image_token_counts, batch.picture_index, strict=True)):
            tiles = 0 if picture < 0 else len(batch.pictures[picture].tiles)
            if tokens != tiles * per_tile:
                raise ValueError(
                    f"row {row} holds {tokens} image tokens; its picture has {tiles} tiles of {per_tile} tokens"
                )
        embeddings = self.get_input_embeddings()(batch.input_ids)
        if image_features is None:
            return embeddings
        tiles = sum(len(picture.tiles) for picture in batch.pictures)
        if len(image_features.compressed) != tiles:
            raise ValueError(f"the pictures have {tiles} tiles, but the features {len(image_features.compressed)}")
        compressed = image_features.compressed[batch.tiles].flatten(0, 1).to(embeddings.dtype)  # I, D
        flat = embeddings.flatten(0, 1).index_put((batch.image_places,), compressed)
        return flat.unflatten(0, batch.input_ids.shape)

    def read(self, batch: Batch, embeddings: Tensor, prefix: Cache | None = None) -> Tensor:
        """The language model under the dual perception mask: float[B, N, D], states after its final norm."""
        rule = DualPerception(
            batch.attention_mask,
            batch.image_tokens,
            batch.seg_tokens,
            image_to_image=self.config.image_to_image,
            image_to_segmentation=self.config.image_to_segmentation,
            conversation_ids=batch.conversation_ids,
            bidirectional=batch.bidirectional,
        )
        before = 0 if prefix is None else prefix.get_seq_length()
        return self.model.language_model(
            inputs_embeds=embeddings,
            attention_mask=self._attention_input(rule, before, embeddings.dtype),
            position_ids=batch.position_ids,
            past_key_values=prefix,
            use_cache=False,
        ).last_hidden_state

    def _attention_input(self, rule: DualPerception, before: int, dtype: torch.dtype) -> Tensor | BlockMask:
        """The rule in the form which the attention of the language model takes; everyone sees the tokens `before`."""
        implementation = self.config.text_config._attn_implementation
        if implementation == "flex_attention":
            return rule.block_mask(before)
        if any(kernel in implementation for kernel in ("flash", "flex", "paged")):
            raise ValueError(
                f"attention implementation {implementation!r} cannot take the dual perception mask; "
                "use 'sdpa', 'flex_attention' or 'eager'"
            )
        visible = rule.mask(before)
        return visible if implementation == "sdpa" else as_attention_bias(visible, dtype)

    def mask_maps(
        self, batch: Batch, states: Tensor, image_features: ImageFeatures, head: MaskHead
    ) -> list[tuple[Tensor, ...]]:
        """Mask logits of each of the B rows, float[K, H, W] each: final and low-resolution ones.

        Rows about one picture go through the head together.

        Args:
            batch: What was read.
            states: What `read` made of it.
            image_features: Of the batch's pictures, by the same head.
            head: The refilling head, or one that computes the same.
        """
        maps: list[tuple[Tensor, ...]] = [(states.new_zeros(0, 1, 1),) * 2] * len(batch)
        flat = states.flatten(0, 1)
        per_tile = image_features.compressed.shape[1]
        seg_states = flat[batch.before_seg]  # F_SEG
        embeddings = head.segmentation_embedding(seg_states).split([sum(each.segs) for each in batch.asked])
        llm_images = flat[batch.asked_image_places].split(
            [len(each.rows) * len(each.picture.tiles) * per_tile for each in batch.asked]
        )
        visions = image_features.vision.split([len(each.tiles) for each in batch.pictures])
        of_picture = dict(zip(batch.pictures, visions, strict=True))
        for each, embedding, llm_image in zip(batch.asked, embeddings, llm_images, strict=True):
            made = head(
                llm_image.unflatten(0, (len(each.rows), len(each.picture.tiles), per_tile)),
                of_picture[each.picture],
                embedding.split(each.segs),
                *each.picture.grid,
            )
            for row, of_row in zip(each.rows, made, strict=True):
                maps[row] = of_row
        return maps

    def _language_loss(self, targets: Tensor, states: Tensor) -> Tensor:
        """Next-token cross-entropy; the LM head runs on the supervised positions only."""
        # The sum over nothing keeps a batch without supervised text differentiable instead of NaN.
        return F.cross_entropy(self.lm_head(states).float(), targets, reduction="sum") / max(len(targets), 1)

    def _mask_losses(self, batch: Batch, maps: list[tuple[Tensor, ...]] | None) -> tuple[Tensor, Tensor]:
        """BCE and Dice on the final and the low-resolution logits, per conversation of the batch."""
        if maps is None or batch.masks is None:
            raise ValueError("masks were given but no picture: give pixel_values or image_features")
        bce = dice = maps[0][0].new_zeros(())
        for row, (target, of_row) in enumerate(zip(batch.masks, maps, strict=True)):
            if len(of_row[0]) != len(target):
                raise ValueError(f"row {row} has {len(of_row[0])} mask maps but {len(target)} masks")
            row_bce, row_dice = mask_losses(of_row, target, self.config.mask_loss_side)
            bce, dice = bce + row_bce, dice + row_dice
        return bce / batch.conversations, dice / batch.conversations


# `generate` looks here for what it may hand on.
SELF1EForSegmentation.forward.__signature__ = signature(InternVLForConditionalGeneration.forward)  # type: ignore[attr-defined]
AutoModelForImageTextToText.register(SELF1EConfig, SELF1EForSegmentation)
