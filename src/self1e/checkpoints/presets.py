"""InternVL3 at its published sizes, with random weights: to see what fits and how long it takes, without a download."""

from __future__ import annotations

import torch

from self1e.model.config import SELF1EConfig
from self1e.model.network import SELF1EForSegmentation

#: Width, MLP width, layers, heads and key-value heads of the text model (method, section 6).
TEXT_SHAPES = {
    "1B": (896, 4864, 24, 14, 2),
    "2B": (1536, 8960, 28, 12, 2),
    "8B": (3584, 18944, 28, 28, 4),
}
#: Width, MLP width, layers and heads of the vision tower.
VISION_SHAPE = (1024, 4096, 24, 16)
VOCABULARY = 151_676
"""Rows of the embeddings of a SELF1E model."""


def full_config(size: str, *, seg_token_id: int, image_token_id: int) -> SELF1EConfig:
    """The configuration of an InternVL3 model of size "1B", "2B" or "8B" with SELF1E's vocabulary.

    Args:
        size: One of `TEXT_SHAPES`.
        seg_token_id: Of `[SEG]` in the tokenizer to be used with it.
        image_token_id: Of `<IMG_CONTEXT>`, likewise.
    """
    width, mlp_width, layers, heads, key_value_heads = TEXT_SHAPES[size]
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    return SELF1EConfig(
        vision_config={**dict(zip(names, VISION_SHAPE, strict=True)), "attention_bias": True},
        text_config={
            "model_type": "qwen2",
            "hidden_size": width,
            "intermediate_size": mlp_width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": key_value_heads,
            "vocab_size": VOCABULARY,
            "max_position_embeddings": 32768,
            "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e6},
            "tie_word_embeddings": False,
        },
        tie_word_embeddings=False,
        seg_token_id=seg_token_id,
        image_token_id=image_token_id,
    )


def random_model(config: SELF1EConfig, dtype: torch.dtype) -> SELF1EForSegmentation:
    """The model with weights drawn once, in `dtype`, without a copy in another precision."""
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return SELF1EForSegmentation(config)
    finally:
        torch.set_default_dtype(default)
