"""A model from nothing: InternVL's architecture at a small size, with a tokenizer learnt from the run's own texts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from self1e.conversation import IMG_CONTEXT, SEG
from self1e.model.config import Refilling, SELF1EConfig
from self1e.model.network import SELF1EForSegmentation
from self1e.processing.processor import SELF1EProcessor
from self1e.processing.tokens import special_ids
from self1e.training.config import Architecture

CONTEXT = 2048
"""Most tokens that such a model reads."""


def build_from_scratch(
    architecture: Architecture, tokenizer: PreTrainedTokenizerFast, seed: int, refilling: Refilling = "rfa"
) -> tuple[SELF1EForSegmentation, SELF1EProcessor]:
    """A model with random weights that depend on `seed` alone, and its processor."""
    special = special_ids(tokenizer)
    config = SELF1EConfig(
        vision_config={
            "hidden_size": architecture.vision_width,
            "intermediate_size": 4 * architecture.vision_width,
            "num_hidden_layers": architecture.vision_layers,
            "num_attention_heads": architecture.vision_heads,
            "image_size": architecture.image_size,
            "patch_size": architecture.patch_size,
            "attention_bias": True,
            # InternVL's 0.1 lets a deep pretrained tower grow slowly; a shallow new one should learn at once.
            "layer_scale_init_value": 1.0,
        },
        text_config={
            "model_type": "qwen2",
            "hidden_size": architecture.text_width,
            "intermediate_size": architecture.text_mlp_width,
            "num_hidden_layers": architecture.text_layers,
            "num_attention_heads": architecture.text_heads,
            "num_key_value_heads": architecture.text_heads,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": CONTEXT,
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        tie_word_embeddings=True,
        refilling=refilling,
        image_token_id=special[IMG_CONTEXT],
        seg_token_id=special[SEG],
        image_seq_length=architecture.tokens_per_tile,
    )
    torch.manual_seed(seed)
    model = SELF1EForSegmentation(config)
    for part in (model.model.language_model, model.refilling_head):
        scale_to_width(part)
    side = architecture.image_size // architecture.patch_size
    with torch.no_grad():
        model.model.vision_tower.embeddings.position_embeddings[0, 1:] = sine_positions(side, architecture.vision_width)
    return model, SELF1EProcessor(tokenizer, architecture.image_size, architecture.tokens_per_tile)


def scale_to_width(module: nn.Module) -> None:
    """Redraws matrices with variance 1 / inputs.

    The usual deviation of 0.02 suits thousands of channels. With two hundred, signals fade from layer to layer, and
    mask logits, a product of two faded ones, start so flat that training stands still for its first minutes.
    """
    with torch.no_grad():
        for child in module.modules():
            if isinstance(child, nn.Linear | nn.Embedding):
                child.weight.normal_(std=child.weight.shape[1] ** -0.5)


def sine_positions(side: int, width: int) -> Tensor:
    """Fixed waves of x and y to start the learnt positions from, float[side * side, width], of the size of patches.

    InternVL starts from zeros; a small model that begins with a sense of place learns "left" in minutes.
    """
    waves = width // 4
    frequency = 100.0 ** -(torch.arange(waves) / waves)
    angle = torch.arange(side)[:, None] * frequency  # [side, waves]
    wave = torch.cat([angle.sin(), angle.cos()], dim=1)  # [side, width / 2]
    rows = wave[:, None].expand(side, side, -1)
    columns = wave[None].expand(side, side, -1)
    positions = torch.cat([rows, columns], dim=2).flatten(0, 1)
    return 0.1 * torch.nn.functional.pad(positions, (0, width - positions.shape[1]))
