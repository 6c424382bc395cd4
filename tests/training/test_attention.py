"""Attention of few passes, against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from self1e.modeling.attention_mask import as_attention_bias
from self1e.training.attention import attention


@pytest.mark.parametrize(("heads", "shared", "masked"), [(4, 1, True), (4, 2, True), (3, 1, False)])
def test_equals_sdpa_with_gradients(heads: int, shared: int, masked: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Module()
    layer.num_key_value_groups = shared
    query = torch.randn(2, heads, 7, 8, requires_grad=True)
    key, value = (torch.randn(2, heads // shared, 7, 8, requires_grad=True) for _ in range(2))
    visible = torch.ones(2, 1, 7, 7, dtype=torch.bool).tril() if masked else None
    bias = None if visible is None else as_attention_bias(visible, torch.float32)
    ours, weights = attention(layer, query, key, value, bias, scaling=0.3)
    theirs = nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=visible, scale=0.3, enable_gqa=True
    ).transpose(1, 2)
    assert weights is None and ours.shape == (2, 7, heads, 8)
    torch.testing.assert_close(ours, theirs)
    toward = torch.randn_like(ours)
    for mine, reference in zip(
        torch.autograd.grad(ours, (query, key, value), toward),
        torch.autograd.grad(theirs, (query, key, value), toward),
        strict=True,
    ):
        torch.testing.assert_close(mine, reference)


def test_dropout_is_for_training_only() -> None:
    layer = nn.Module()
    query, key, value = (torch.randn(1, 2, 5, 4) for _ in range(3))
    kept = attention(layer, query, key, value, None, scaling=0.5)[0]
    assert not torch.allclose(attention(layer, query, key, value, None, scaling=0.5, dropout=0.5)[0], kept)
    layer.eval()
    assert torch.equal(attention(layer, query, key, value, None, scaling=0.5, dropout=0.5)[0], kept)
