"""Attention for training in half precision on a CPU.

There the fused kernel's backward pass is slow, and transformers' eager one spends most of its time moving scores
through memory: scaled, masked and cast to float32 and back, each a pass over them all. This one reads and writes them
as seldom as torch's operators allow. Softmax still sums in float32 inside.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "few_passes"


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """softmax(scaling Q K^T + mask) V, as transformers' attention interface wants it.

    Args:
        module: The attention layer; says how many query heads share a key head.
        query: float[B, H, N, d].
        key: float[B, h, M, d].
        value: float[B, h, M, d].
        attention_mask: float[B, 1, N, M], added to the scores.
        scaling: Usually 1 / sqrt(d).
        dropout: Of attention weights.

    Returns:
        float[B, N, H, d], and no weights.
    """
    shared = getattr(module, "num_key_value_groups", 1)
    if shared > 1:
        key, value = (each.repeat_interleave(shared, dim=1) for each in (key, value))
    scores = (query * scaling) @ key.transpose(2, 3)
    if attention_mask is not None:
        scores.add_(attention_mask)  # the product's backward pass does not need the product
    weights = scores.softmax(dim=-1)
    if dropout:
        weights = nn.functional.dropout(weights, dropout, module.training)
    return (weights @ value).transpose(1, 2).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register(NAME, attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, eager_mask)
