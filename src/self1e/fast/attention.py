"""Attention in half precision on a CPU, where torch's fused kernel is slow.

`few_passes` is for training: the fused backward pass is slow, and transformers' eager one spends most of its time
moving scores through memory, scaled, masked and cast to float32 and back, each a pass over them all. This one reads and
writes them as seldom as torch's operators allow.

`by_head` is for inference: one key head at a time, with all query heads that share it, as two products of plain
matrices. The scores of a head stay in the cache from one to the other.

Softmax sums in float32 inside of both. In float32 the fused kernel is the fastest (`python -m benchmarks.attention`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

FEW_PASSES, BY_HEAD = "few_passes", "by_head"
HALF_PRECISION = (torch.bfloat16, torch.float16)


def few_passes(
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
        # Rounded first: with a mask of another type, the sum would go through copies of all scores.
        mask = attention_mask.to(scores.dtype).clamp(min=torch.finfo(scores.dtype).min)
        scores.add_(mask)  # the product's backward pass does not need the product
    weights = scores.softmax(dim=-1)
    if dropout:
        weights = nn.functional.dropout(weights, dropout, module.training)
    return (weights @ value).transpose(1, 2).contiguous(), None


def by_head(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """As `few_passes`.

    Raises:
        ValueError: With dropout, which inference has none of.
    """
    if dropout:
        raise ValueError(f"attention by head is for inference, and there is a dropout of {dropout}: use {FEW_PASSES!r}")
    rows, heads, length, width = query.shape
    shared = heads // key.shape[1]
    found = query.new_empty(rows, length, heads, width)
    for row in range(rows):
        for number, (keys, values) in enumerate(zip(key[row], value[row], strict=True)):
            sharing = slice(number * shared, (number + 1) * shared)
            scores = (query[row, sharing] * scaling).flatten(0, 1) @ keys.T
            if attention_mask is not None:
                scores.unflatten(0, (shared, length)).add_(attention_mask[row])
            weighted = scores.softmax(dim=-1) @ values
            found[row, :, sharing] = weighted.unflatten(0, (shared, length)).transpose(0, 1)
    return found, None


for _name, _function in ((FEW_PASSES, few_passes), (BY_HEAD, by_head)):
    ALL_ATTENTION_FUNCTIONS.register(_name, _function)
    ALL_MASK_ATTENTION_FUNCTIONS.register(_name, eager_mask)


def choose_attention(model: PreTrainedModel) -> None:
    """Gives a model that is ready for inference the fastest attention for its type and device."""
    if model.device.type == "cpu" and model.dtype in HALF_PRECISION:
        model.set_attn_implementation(BY_HEAD)
