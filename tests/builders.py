"""Tiny models and batches for tests of the model itself: 56 px tiles, 4 x 4 patches, 4 image tokens a tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from self1e.model.batch import Batch, build_batch
from self1e.model.config import SELF1EConfig
from self1e.model.network import SELF1EForSegmentation
from self1e.model.rows import Grid, Row

IMAGE, SEG, END = 50, 51, 52
VOCABULARY = 64
TOKENS_PER_TILE = 4
TILE = 56

TEXT = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 512,
}
VISION = {
    "model_type": "internvl_vision",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": TILE,
    "patch_size": 14,
    "attention_bias": True,
}


def tiny_config(text_model: str = "qwen2", text: dict[str, Any] | None = None, **settings: Any) -> SELF1EConfig:
    """A configuration with weights of a few hundred kilobytes."""
    head_dim = {"head_dim": 8} if text_model == "qwen3" else {}
    defaults = {"tie_word_embeddings": False, "image_token_id": IMAGE, "seg_token_id": SEG, "image_seq_length": 4}
    return SELF1EConfig(
        vision_config=dict(VISION),
        text_config={"model_type": text_model, **TEXT, **head_dim, **(text or {})},
        **{**defaults, **settings},
    )


def tiny_model(text_model: str = "qwen2", seed: int = 0, **settings: Any) -> SELF1EForSegmentation:
    """A model in which every parameter is random and matters, unlike in one that was just initialised."""
    model = SELF1EForSegmentation(tiny_config(text_model, **settings)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(centre + 0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def conversation(tiles: int, segs: int, words: int = 3, seed: int = 0) -> list[int]:
    """Token ids: words, a picture of `tiles` tiles, words, and for each `[SEG]` a word and the token; then a word."""
    generator = torch.Generator().manual_seed(100 * seed + 10 * tiles + segs)

    def some(number: int) -> list[int]:
        return torch.randint(0, IMAGE, (number,), generator=generator).tolist()

    ids = some(2) + [IMAGE] * (TOKENS_PER_TILE * tiles) + some(words)
    for _ in range(segs):
        ids += [*some(1), SEG]
    return ids + some(1)


def batch_of(
    rows: Sequence[Sequence[int] | Row],
    pixel_values: Tensor | None = None,
    *,
    grids: Sequence[Grid] | None = None,
    pictures: Sequence[int] | None = None,
    labels: Sequence[Sequence[int]] | bool = False,
    masks: Sequence[Tensor] | None = None,
    bidirectional: Sequence[bool | None] | None = None,
    side: str = "right",
    pad: int = 0,
    seg: int = SEG,
) -> Batch:
    """A batch of token ids, each row one conversation, or of rows as they are.

    Every row with image tokens has a picture of its own, with its tiles side by side, unless it is said otherwise.
    Labels are given for each row, or True for all tokens.
    """
    made = [row if isinstance(row, Row) else row_of(row) for row in rows]
    tiles = [row.input_ids.count(IMAGE) // TOKENS_PER_TILE for row in made]
    if grids is None:
        grids = [(each, 1) for each in tiles if each]
    if pictures is None and not isinstance(rows[0], Row):
        pictures = [place - 1 if each else -1 for place, each in zip(accumulate(map(bool, tiles)), tiles, strict=True)]
    if pictures is not None:
        made = [replace(row, picture=picture) for row, picture in zip(made, pictures, strict=True)]
    if bidirectional is not None:
        made = [replace(row, bidirectional=opened) for row, opened in zip(made, bidirectional, strict=True)]
    if labels is True:
        made = [replace(row, labels=row.input_ids) for row in made]
    elif labels:
        made = [replace(row, labels=list(of_row)) for row, of_row in zip(made, labels, strict=True)]
    return build_batch(
        made,
        grids,
        image_token_id=IMAGE,
        seg_token_id=seg,
        pad_id=pad,
        pixel_values=pixel_values,
        masks=masks,
        labels=bool(labels),
        left_padded=side == "left",
    )


def row_of(ids: Sequence[int]) -> Row:
    """A row that is one conversation, with nothing to learn."""
    return Row(list(ids), [-100] * len(ids), [0] * len(ids), list(range(len(ids))))


def pixels(tiles: int, seed: int = 0) -> Tensor:
    """float[tiles, 3, TILE, TILE]."""
    return torch.randn(tiles, 3, TILE, TILE, generator=torch.Generator().manual_seed(seed))


def at_size(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Mask logits float[K, h, w] at a picture's size (width, height), as torch resizes them: float32[K, H, W]."""
    width, height = size
    return F.interpolate(logits[None].float(), size=(height, width), mode="bilinear", align_corners=False)[0]
