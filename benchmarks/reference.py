"""How the release computes, written anew and plainly, as the rival that ours is measured against.

Every expression is a row of its own with a copy of the picture: vision tower, projector (on the compressed and on the
self-replicated features) and the vision side of the head run again for each of them. Attention is eager, under a mask
of floats that is added to the scores. The LM head runs over every position. Nothing is shared or cached.

    reference = Reference(model)                            the weights of `model`, no copy of them
    reference.segment(processor, image, ["the red car"])    mask logits at the picture's size

What it computes is what the release computes, but for the release's faults on grids of tiles that are not square and on
the token with id 0 (see `tests/benchmarks/test_reference.py`, which holds it against outputs of the released code).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from self1e import SELF1EProcessor
from self1e.conversation import IGNORED_LABEL, Turn
from self1e.model.attention_mask import DualPerception, as_attention_bias
from self1e.model.batch import Batch
from self1e.model.losses import mask_losses
from self1e.model.network import ImageFeatures, SELF1EForSegmentation, SELF1EOutput
from self1e.model.refilling import VisionSide
from self1e.model.rows import Grid
from self1e.processing.prompts import EVAL_ANSWER

BATCH = 4
"""Expressions in one forward pass. More bring nothing, as nothing is shared, and take memory for all their logits."""


class Reference:
    """The release's forward pass on the weights of a model of ours.

    Args:
        model: With `refilling` "rfa", as the release has no other. Its parts are taken as they are now: whatever is put
            in their place later, to make the model faster, does not change what this computes.

    Raises:
        ValueError: If the model is on another rung of the ladder.
    """

    def __init__(self, model: SELF1EForSegmentation) -> None:
        if model.config.refilling != "rfa":
            raise ValueError(f"the release has refilling 'rfa' only, the model has {model.config.refilling!r}")
        self.config = model.config
        self.vision_tower = model.model.vision_tower
        self.projector = model.model.multi_modal_projector
        self.language_model = model.model.language_model
        self.lm_head = model.lm_head
        head = model.refilling_head
        self.amplify_llm, self.amplify_vit, self.fuse = head.amplify_llm, head.amplify_vit, head.fuse

    def segment(self, processor: SELF1EProcessor, image: Image.Image, questions: Sequence[str]) -> list[Tensor]:
        """Mask logits of each question about a picture, float32[1, H, W] at its size: `BATCH` rows to a pass."""
        masks: list[Tensor] = []
        for start in range(0, len(questions), BATCH):
            rows = [[[Turn(question, EVAL_ANSWER)]] for question in questions[start : start + BATCH]]
            batch = processor([image] * len(rows), rows, labels=False).to(self.lm_head.weight.device)
            with torch.inference_mode():
                maps = self(batch).mask_logits
            size = image.height, image.width
            masks += [F.interpolate(of_row[None].float(), size=size, mode="bilinear")[0] for of_row in maps or ()]
        return masks

    def __call__(self, batch: Batch, *, logits_at: Tensor | None = None) -> SELF1EOutput:
        """Takes what `SELF1EForSegmentation.forward` takes, with a copy of the picture for each row.

        Logits are computed for every token, as in the release; `logits_at` only says which of them are returned.

        Raises:
            ValueError: If rows share a picture or hold several conversations: neither is in the release.
        """
        if batch.picture_index != list(range(len(batch))) or batch.pixel_values is None:
            raise ValueError("the reference repeats the picture for each row: give the pixels of one picture a row")
        if batch.conversation_ids.any():
            raise ValueError("the reference knows no packed rows: give one conversation to each")
        with torch.compiler.set_stance("force_eager"), eager_attention(self.vision_tower, self.language_model):
            compressed, uncompressed = self._image_features(batch.pixel_values.to(self.lm_head.weight.dtype))
            embeddings = self.language_model.get_input_embeddings()(batch.input_ids)
            embeddings = embeddings.masked_scatter(batch.image_tokens[..., None], compressed)
            rule = DualPerception(
                batch.attention_mask,
                batch.image_tokens,
                batch.seg_tokens,
                image_to_image=self.config.image_to_image,
                image_to_segmentation=self.config.image_to_segmentation,
            )
            states = self.language_model(
                inputs_embeds=embeddings,
                attention_mask=as_attention_bias(rule.mask(), embeddings.dtype),
                position_ids=batch.position_ids,
                use_cache=False,
            ).last_hidden_state
        logits = self.lm_head(states)
        counts = [len(picture.tiles) for picture in batch.pictures]
        final, low = [], []
        for row, (of_row, sharp) in enumerate(zip(compressed.split(counts), uncompressed.split(counts), strict=True)):
            llm_image = states[row][batch.image_tokens[row]]
            before_seg = states[row][F.pad(batch.seg_tokens[row, 1:], (0, 1))]
            maps = self._masks(llm_image, before_seg, of_row, sharp, batch.pictures[row].grid)
            final.append(maps[0])
            low.append(maps[1])
        losses = self._losses(batch, logits, final, low) if batch.masks is not None else {}
        return SELF1EOutput(
            **losses,
            mask_logits=tuple(final),
            low_resolution_mask_logits=tuple(low),
            logits=logits if logits_at is None else logits.flatten(0, 1)[logits_at],
            last_hidden_state=states,
            image_features=ImageFeatures(compressed, uncompressed, VisionSide(None, None)),
        )

    def _image_features(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """F_V1 and F_V1^HQ: float[T, 3, S, S] -> float[T, n, D] and float[T, 4 n, D]."""
        patches = self.vision_tower(pixel_values=pixel_values).last_hidden_state[:, 1:]
        grid = _as_map(patches)  # T, H, W, Cv
        grid = grid.unflatten(1, (-1, 2)).unflatten(3, (-1, 2))  # T, H/2, row, W/2, column, Cv
        shuffled = grid.permute(0, 1, 3, 2, 4, 5)  # T, H/2, W/2, row, column, Cv
        shuffled = shuffled.flatten(3).flatten(1, 2)  # T, n, 4 Cv
        return self.projector(shuffled), self.projector(patches.repeat(1, 1, 4))

    def _masks(
        self, llm_image: Tensor, before_seg: Tensor, compressed: Tensor, uncompressed: Tensor, grid: Grid
    ) -> tuple[Tensor, Tensor]:
        """Final and low-resolution mask logits of one row with K `[SEG]` (method, section 2)."""
        if not len(before_seg):
            nothing = llm_image.new_zeros(0, 1, 1)
            return nothing, nothing
        llm_map = _stitched(_unshuffled(self.amplify_llm(llm_image.unflatten(0, compressed.shape[:2]))), grid)
        residual = llm_map - _stitched(_unshuffled(self.amplify_vit(compressed)), grid)
        residual = F.interpolate(residual.movedim(-1, 0)[None], scale_factor=2, mode="bilinear")[0].movedim(0, -1)
        pixels = self.fuse(_stitched(_unshuffled(self.amplify_vit(uncompressed)), grid) + residual)
        embedding = self.fuse(self.amplify_llm(before_seg).unflatten(-1, (4, -1)).mean(dim=1))
        scale = embedding.shape[-1] ** -0.5
        final, low = ((each @ embedding.T).movedim(-1, 0) * scale for each in (pixels, llm_map))
        return final, low

    def _losses(
        self, batch: Batch, logits: Tensor, final: Sequence[Tensor], low: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """The method's losses (section 4), the language loss over the logits of all positions."""
        assert batch.masks is not None and batch.supervised is not None and batch.targets is not None
        due = torch.full_like(batch.input_ids, IGNORED_LABEL).flatten()
        due[batch.supervised] = batch.targets
        ce = F.cross_entropy(logits.flatten(0, 1).float(), due, ignore_index=IGNORED_LABEL)
        side = self.config.mask_loss_side
        of_rows = [mask_losses(maps, target, side) for *maps, target in zip(final, low, batch.masks, strict=True)]
        bce, dice = (torch.stack(parts).sum() / len(batch.masks) for parts in zip(*of_rows, strict=True))
        loss = self.config.ce_weight * ce + self.config.bce_weight * bce + self.config.dice_weight * dice
        return {"loss": loss, "ce_loss": ce, "mask_bce_loss": bce, "mask_dice_loss": dice}


@contextmanager
def eager_attention(*towers: nn.Module) -> Iterator[None]:
    """Attention as plain products and a softmax, for as long as this lasts."""
    configs: list[Any] = [tower.config for tower in towers]
    before = [config._attn_implementation for config in configs]
    try:
        for config in configs:
            config._attn_implementation = "eager"
        yield
    finally:
        for config, implementation in zip(configs, before, strict=True):
            config._attn_implementation = implementation


def _as_map(tokens: Tensor) -> Tensor:
    """float[T, n * n, D] -> float[T, n, n, D]."""
    side = round(tokens.shape[1] ** 0.5)
    return tokens.unflatten(1, (side, side))


def _unshuffled(tokens: Tensor) -> Tensor:
    """PUS: float[T, n * n, 4 D] -> float[T, 2 n, 2 n, D]."""
    grid = _as_map(tokens).unflatten(-1, (2, 2, -1))  # T, H, W, row, column, D
    grid = grid.permute(0, 1, 3, 2, 4, 5)  # T, H, row, W, column, D
    return grid.flatten(3, 4).flatten(1, 2)


def _stitched(tiles: Tensor, grid: Grid) -> Tensor:
    """Tiles row by row, float[columns * rows, h, w, D] -> float[rows h, columns w, D]."""
    columns, rows = grid
    lines = tiles.unflatten(0, (rows, columns)).transpose(1, 2)  # rows, h, columns, w, D
    return lines.flatten(2, 3).flatten(0, 1)
