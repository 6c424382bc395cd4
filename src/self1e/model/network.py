"""SELF1E on transformers' own InternVL: a multimodal LLM that turns one `[SEG]` token into a mask by itself.

    patch_features        F_V0    = vision tower(pixels)                              float[T, 4n, Cv]
    compressed_features   F_V1    = projector(pixel_shuffle(F_V0))                    float[T, n, D]
    uncompressed_features F_V1^HQ = projector(F_V0 repeated 4x along channels)        float[T, 4n, D]
    last_hidden_state             = LLM(text with F_V1 put in place, dual perception mask)
    mask_logits                   = refilling head(states at the image, states before [SEG], F_V1, F_V1^HQ)

A picture enters a batch once, however many rows ask about it, and several conversations can share one row behind a
common prefix (`conversation_ids`). `T` tiles of all pictures, `n` image tokens per tile, `D` width of the LLM.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, InternVLForConditionalGeneration
from transformers.cache_utils import Cache

from self1e.fast.prefix_cache import Opening
from self1e.model.attention_mask import as_attention_bias, dual_perception_mask
from self1e.model.batch import TokenLayout
from self1e.model.config import SELF1EConfig
from self1e.model.losses import mask_losses
from self1e.model.outputs import ImageFeatures, SELF1EOutput
from self1e.model.refilling import RefillingHead
from self1e.model.transfers import to_device
from self1e.processing.rows import Grid


class SELF1EForSegmentation(InternVLForConditionalGeneration):
    """InternVL with the refilling head and the dual perception pathways. `generate` works as in InternVL."""

    config_class = SELF1EConfig
    accepts_loss_kwargs = False  # the losses are normalised here, not by Trainer

    checkpoint_reader: ClassVar[Callable[[Any, dict[str, Any]], tuple[Any, dict[str, Any]]] | None] = None
    """Makes (name, keyword arguments) of `from_pretrained` those that transformers can load this class with.

    `self1e.checkpoints.load` sets it when it is imported: it finds checkpoints, tells what is wrong with them, and
    converts a release of SELF1E or an InternVL base model. `self1e.SELF1EForSegmentation` always has it. Without it,
    this class loads what its own `save_pretrained` wrote.
    """

    def __init__(self, config: SELF1EConfig) -> None:
        super().__init__(config)
        self.refilling_head = RefillingHead(config)
        self.folded_projector: nn.Module | None = None
        # What `self1e.segment.passes` had read of the beginnings of conversations; None for weights that may change.
        self.openings: dict[tuple[int, ...], Opening] | None = None
        self.compiled = False  # see `self1e.segment.load.compile_layers`
        self.post_init()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any = None, *model_args: Any, **kwargs: Any) -> Any:
        """Loads a folder or Hub id; nothing is left to chance.

        Args:
            pretrained_model_name_or_path: What this class saved; with `checkpoint_reader`, whatever that reads.
            model_args: As in transformers.
            kwargs: As in transformers: `subfolder`, `revision`, `dtype`, `device_map`, ..., settings of `SELF1EConfig`
                to override, and what `checkpoint_reader` takes.

        Raises:
            ValueError: When a weight is missing, left over, or of another shape than the configuration says. With
                `checkpoint_reader` also whatever else is wrong with the checkpoint.
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

    @property
    def folded(self) -> bool:
        """Whether `self1e.fast.folding.fold` has made this a model for inference only."""
        return self.folded_projector is not None

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        """As in torch: to another type or device, where what was read has to be read again."""
        if openings := getattr(self, "openings", None):  # which torch does not have yet while it builds the model
            openings.clear()
        return super()._apply(*args, **kwargs)

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """As in transformers.

        Raises:
            ValueError: If the model is folded: what it was folded from cannot be told any more.
        """
        if self.folded:
            raise ValueError("a folded model cannot be saved: load it again with SELF1EForSegmentation.from_pretrained")
        super().save_pretrained(*args, **kwargs)

    def encode_images(self, pixel_values: Tensor) -> ImageFeatures:
        """Vision tower, projector, and the vision side of the head: float[T, 3, S, S] -> `ImageFeatures`."""
        vision = self.model.get_image_features(pixel_values, return_dict=True)
        compressed = vision.pooler_output
        uncompressed = None
        if self.config.refilling != "baseline":
            patch_features = vision.last_hidden_state[:, 1:]  # without the class token
            if self.folded_projector is None:
                uncompressed = self.model.multi_modal_projector(patch_features.repeat(1, 1, 4))
            else:
                uncompressed = self.folded_projector(patch_features)
        return ImageFeatures(compressed, uncompressed, self.refilling_head.vision_side(compressed, uncompressed))

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_features: ImageFeatures | None = None,
        tile_grids: Sequence[Grid] | None = None,
        picture_index: Tensor | None = None,
        conversation_ids: Tensor | None = None,
        perceiving: Tensor | None = None,
        labels: Tensor | None = None,
        masks: Sequence[Tensor] | None = None,
        output_logits: bool | Tensor = False,
        layout: TokenLayout | None = None,
        opening: Opening | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> Any:
        """The mask pass: whole conversations, answers included, in one forward under the dual perception mask.

        With `use_cache` (True or False) or `past_key_values` this is InternVL's own causal forward, which is what
        `generate` needs: image states depend on the later `[SEG]`, so masks cannot come out of a cached pass.

        Args:
            input_ids: int[B, N].
            attention_mask: bool[B, N] (or 0/1), False at padding, on either side. Default: no padding.
            position_ids: int[B, N]. Default: 0, 1, 2, ... over the tokens of a row that are not padding.
            pixel_values: float[T, 3, S, S], the tiles of all pictures of the batch, each picture once.
            image_features: Instead of `pixel_values`: what `encode_images` made of them.
            tile_grids: (columns, rows) of each picture. Default: one tile each.
            picture_index: int[B], which picture each row is about, -1 for none. Default: row i, picture i.
            conversation_ids: int[B, N], see `dual_perception_mask`. Default: a row is a conversation.
            perceiving: bool[B], see `dual_perception_mask`. Rows without it give no masks.
            labels: int[B, N], -100 where nothing is to be predicted; not shifted.
            masks: Ground truth, one [K, H, W] per row with a mask for each of its `[SEG]`; 0, 1, or 255 (ignored).
            output_logits: Also run the LM head: over every position, where this bool[B, N] is True, or at the places
                long[P] among all B N positions.
            layout: `TokenLayout.of` the other arguments, made while they were on the CPU. Without, it is made here, for
                which the host waits for the device.
            opening: P tokens that stand before all rows, and that all the arguments above are without. The default
                positions begin behind them.
            past_key_values: Of the causal forward: its cache.
            use_cache: Of the causal forward: whether to return a cache.
            logits_to_keep: Of the causal forward: positions, from the end, to run the LM head over; 0 for all.
            kwargs: Of the causal forward: what else InternVL's takes.

        Returns:
            `SELF1EOutput`, or InternVL's own output of the causal forward.

        Raises:
            ValueError: When image tokens, tiles, `[SEG]` or masks do not match in number, or the attention
                implementation cannot take the dual perception mask.
            TypeError: When the mask pass is given what only the causal forward takes.
        """
        if input_ids is None:
            raise ValueError("input_ids are needed: inputs_embeds alone do not say where pictures and [SEG] stand")
        if use_cache is not None or past_key_values is not None:
            if any(given is not None for given in (masks, conversation_ids, opening)):
                raise ValueError("masks, packed conversations and openings need the mask pass: leave out use_cache")
            if image_features is None and pixel_values is not None:
                image_features = self.encode_images(pixel_values)
            return super().forward(
                inputs_embeds=self._causal_embeddings(
                    input_ids, image_features, tile_grids, picture_index, past_key_values
                ),
                attention_mask=attention_mask,
                position_ids=position_ids,
                past_key_values=past_key_values,
                use_cache=use_cache,
                labels=labels,
                logits_to_keep=logits_to_keep,
                **kwargs,
            )

        if given := sorted(name for name, value in kwargs.items() if value is not None):
            raise TypeError(f"the mask pass takes no {', '.join(given)}; the causal forward, with use_cache, may")
        if layout is None:
            pictures = pixel_values if image_features is None else image_features.compressed
            layout = TokenLayout.of(
                self.config,
                input_ids,
                tiles=None if pictures is None else len(pictures),
                attention_mask=attention_mask,
                tile_grids=tile_grids,
                picture_index=picture_index,
                conversation_ids=conversation_ids,
                perceiving=perceiving,
                labels=labels,
            )
        layout = layout.to(input_ids.device)
        if image_features is None and pixel_values is not None:
            image_features = self.encode_images(pixel_values)
        real = torch.ones_like(input_ids).bool() if attention_mask is None else attention_mask.bool()
        if position_ids is None:
            position_ids = (real.cumsum(dim=1) - 1).clamp(min=0) + (0 if opening is None else len(opening))
        image_tokens = (input_ids == self.config.image_token_id) & real
        seg_tokens = (input_ids == self.config.seg_token_id) & real
        if perceiving is None:
            perceiving = seg_tokens.any(dim=1)
        embeddings = self._embed(input_ids, layout, image_features)
        states = self._read(
            embeddings, position_ids, real, image_tokens, seg_tokens, conversation_ids, perceiving, layout, opening
        )

        final, low = None, None
        if image_features is not None:
            final, low = self._mask_logits(states, layout, image_features)
        ce_loss, bce_loss, dice_loss = None, None, None
        if labels is not None:
            ce_loss = self._language_loss(states, labels, layout)
        if masks is not None:
            bce_loss, dice_loss = self._mask_losses(final, low, masks, layout)
        return SELF1EOutput(
            loss=self._weighted(ce_loss, bce_loss, dice_loss),
            ce_loss=ce_loss,
            mask_bce_loss=bce_loss,
            mask_dice_loss=dice_loss,
            mask_logits=final,
            low_resolution_mask_logits=None if self.folded else low,
            logits=self._logits(states, output_logits),
            last_hidden_state=states,
            image_features=image_features,
        )

    def _read(
        self,
        embeddings: Tensor,
        position_ids: Tensor,
        real: Tensor,
        image_tokens: Tensor,
        seg_tokens: Tensor,
        conversation_ids: Tensor | None,
        perceiving: Tensor,
        layout: TokenLayout,
        opening: Opening | None,
    ) -> Tensor:
        """The language model under the dual perception mask: states after its final norm."""
        visible = dual_perception_mask(
            real,
            image_tokens,
            seg_tokens,
            image_to_image=self.config.image_to_image,
            image_to_segmentation=self.config.image_to_segmentation,
            conversation_ids=conversation_ids,
            perceiving=perceiving,
        )
        return self.model.language_model(
            inputs_embeds=embeddings,
            attention_mask=self._attention_input(visible, embeddings.dtype, opening),
            position_ids=position_ids,
            past_key_values=opening,
            use_cache=False,
        ).last_hidden_state

    def generate(self, inputs: Tensor | None = None, **kwargs: Any) -> Any:
        """Writes answers, causally, with a KV cache; see transformers' `generate` for the settings of decoding.

        Takes `pixel_values` or `image_features`, `tile_grids` and `picture_index` as `forward` does. The pictures are
        encoded once, however many rows, beams or samples there are.
        """
        pixel_values = kwargs.pop("pixel_values", None)
        if pixel_values is not None:
            with torch.no_grad():
                kwargs["image_features"] = self.encode_images(pixel_values)
        if kwargs.get("image_features") is not None and kwargs.get("picture_index") is None:
            input_ids = kwargs["input_ids"] if inputs is None else inputs
            # Given as a tensor, it is repeated with the rows when there are several beams or samples to each.
            kwargs["picture_index"] = torch.arange(input_ids.shape[0], device=input_ids.device)
        return super().generate(inputs, **kwargs)

    def _embed(self, input_ids: Tensor, layout: TokenLayout, image_features: ImageFeatures | None) -> Tensor:
        """Token embeddings with the compressed features of each row's picture in place of its image tokens."""
        per_tile = 0 if image_features is None else image_features.compressed.shape[1]
        for row, (tokens, picture) in enumerate(zip(layout.image_token_counts, layout.pictures, strict=True)):
            tiles = 0 if picture is None else len(picture.tiles)
            if tokens != tiles * per_tile:
                raise ValueError(
                    f"row {row} holds {tokens} image tokens; its picture has {tiles} tiles of {per_tile} tokens"
                )
        embeddings = self.get_input_embeddings()(input_ids)
        if image_features is None:
            return embeddings
        compressed = image_features.compressed[layout.tiles].flatten(0, 1).to(embeddings.dtype)  # I, D
        flat = embeddings.flatten(0, 1).index_put((layout.image_tokens,), compressed)
        return flat.unflatten(0, input_ids.shape)

    def _causal_embeddings(
        self,
        input_ids: Tensor,
        image_features: ImageFeatures | None,
        tile_grids: Sequence[Grid] | None,
        picture_index: Tensor | None,
        past_key_values: Cache | None,
    ) -> Tensor:
        """Embeddings for the causal forward: pictures stand in the first part of a cached sequence only."""
        if past_key_values is not None and past_key_values.get_seq_length() > 0:
            return self.get_input_embeddings()(input_ids)
        layout = TokenLayout.of(
            self.config,
            input_ids,
            tiles=None if image_features is None else len(image_features.compressed),
            tile_grids=tile_grids,
            picture_index=picture_index,
            perceiving=torch.zeros(len(input_ids), dtype=torch.bool),
        )
        return self._embed(input_ids, layout.to(input_ids.device), image_features)

    def _attention_input(self, visible: Tensor, dtype: torch.dtype, opening: Opening | None) -> Tensor:
        """The mask in the form which the attention of the language model takes. Everyone sees the opening."""
        if opening is not None:
            visible = F.pad(visible, (len(opening), 0), value=True)
        implementation = self.config.text_config._attn_implementation
        if implementation == "sdpa":
            return visible
        if any(kernel in implementation for kernel in ("flash", "flex", "paged")):
            raise ValueError(
                f"attention implementation {implementation!r} cannot take the dual perception mask; "
                "use 'sdpa' or 'eager'"
            )
        return as_attention_bias(visible, dtype)

    def _mask_logits(
        self, states: Tensor, layout: TokenLayout, image_features: ImageFeatures
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Final and low-resolution mask logits of each of the B rows; rows about one picture go together."""
        head = self.refilling_head
        final: list[Tensor] = [states.new_zeros(0, 1, 1)] * len(states)
        low = list(final)
        flat = states.flatten(0, 1)
        per_tile = image_features.compressed.shape[1]
        embeddings = head.segmentation_embedding(flat[layout.before_seg]).split(
            [sum(each.segs) for each in layout.asked]
        )
        llm_images = flat[layout.asked_image_tokens].split(
            [len(each.rows) * len(each.picture.tiles) * per_tile for each in layout.asked]
        )
        for each, embedding, llm_image in zip(layout.asked, embeddings, llm_images, strict=True):
            maps = head(
                llm_image.unflatten(0, (len(each.rows), len(each.picture.tiles), per_tile)),
                image_features.vision.of_tiles(each.picture.tiles),
                embedding.split(each.segs),
                *each.picture.grid,
            )
            for row, (fine, coarse) in zip(each.rows, maps, strict=True):
                final[row], low[row] = fine, coarse
        return tuple(final), tuple(low)

    def _logits(self, states: Tensor, where: bool | Tensor) -> Tensor | None:
        if not isinstance(where, Tensor):
            return self.lm_head(states) if where else None
        return self.lm_head(states[where] if where.dtype == torch.bool else states.flatten(0, 1)[where])

    def _language_loss(self, states: Tensor, labels: Tensor, layout: TokenLayout) -> Tensor:
        """Next-token cross-entropy; the LM head runs on the supervised positions only."""
        before = layout.supervised
        if before is None:
            raise ValueError("there are labels, but the layout was made without them: give them to TokenLayout.of, too")
        logits = self.lm_head(states.flatten(0, 1)[before])
        # The sum over nothing keeps a batch without supervised text differentiable instead of NaN.
        return F.cross_entropy(logits.float(), labels.flatten()[before + 1], reduction="sum") / max(len(before), 1)

    def _mask_losses(
        self,
        final: tuple[Tensor, ...] | None,
        low: tuple[Tensor, ...] | None,
        masks: Sequence[Tensor],
        layout: TokenLayout,
    ) -> tuple[Tensor, Tensor]:
        """BCE and Dice on the final and the low-resolution logits, per conversation of the batch."""
        if final is None or low is None:
            raise ValueError("masks were given but no picture: pass pixel_values or image_features")
        if self.folded:
            raise ValueError("a folded model has no losses: load it with SELF1EForSegmentation.from_pretrained")
        bce = dice = final[0].new_zeros(())
        for row, (target, *row_logits) in enumerate(zip(masks, final, low, strict=True)):
            if row_logits[0].shape[0] != target.shape[0]:
                raise ValueError(f"row {row} has {row_logits[0].shape[0]} mask maps but {target.shape[0]} masks")
            target = to_device(target, row_logits[0].device)
            row_bce, row_dice = mask_losses(row_logits, target, self.config.mask_loss_side)
            bce, dice = bce + row_bce, dice + row_dice
        return bce / layout.conversations, dice / layout.conversations

    def _weighted(self, ce_loss: Tensor | None, bce_loss: Tensor | None, dice_loss: Tensor | None) -> Tensor | None:
        weights = (self.config.ce_weight, self.config.bce_weight, self.config.dice_weight)
        losses = (ce_loss, bce_loss, dice_loss)
        given = [weight * loss for weight, loss in zip(weights, losses, strict=True) if loss is not None]
        return torch.stack(given).sum() if given else None


AutoModelForImageTextToText.register(SELF1EConfig, SELF1EForSegmentation)
