"""Both attentions for CPUs, against torch's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from self1e import Segmenter
from self1e.fast.attention import BY_HEAD, by_head, few_passes
from self1e.model.attention_mask import as_attention_bias

PICTURE = Path(__file__).parents[2] / "examples" / "pictures" / "lakeside.png"
SHAPES = [(4, 1, True), (4, 2, True), (6, 3, True), (3, 1, False)]


def made(heads: int, shared: int, masked: bool) -> tuple[nn.Module, list[Tensor], Tensor | None]:
    """A layer, its query, keys and values, and which of these each row sees."""
    torch.manual_seed(0)
    layer = nn.Module()
    layer.num_key_value_groups = shared
    inputs = [torch.randn(2, heads // each, 7, 8, requires_grad=True) for each in (1, shared, shared)]
    visible = torch.ones(2, 1, 7, 7, dtype=torch.bool).tril() if masked else None
    if visible is not None:
        visible[1, :, :, 1] = False
        visible[1, :, 1, 1] = True
    return layer, inputs, visible


def fused(inputs: list[Tensor], visible: Tensor | None) -> Tensor:
    return nn.functional.scaled_dot_product_attention(*inputs, attn_mask=visible, scale=0.3, enable_gqa=True).transpose(
        1, 2
    )


@pytest.mark.parametrize("function", [few_passes, by_head])
@pytest.mark.parametrize(("heads", "shared", "masked"), SHAPES)
def test_equals_sdpa(function: Any, heads: int, shared: int, masked: bool) -> None:
    layer, inputs, visible = made(heads, shared, masked)
    bias = None if visible is None else as_attention_bias(visible, torch.float32)
    with torch.inference_mode():
        ours, weights = function(layer, *inputs, bias, scaling=0.3)
    assert weights is None and ours.shape == (2, 7, heads, 8)
    torch.testing.assert_close(ours, fused(inputs, visible).detach())


@pytest.mark.parametrize(("heads", "shared", "masked"), SHAPES)
def test_gradients_equal_those_of_sdpa(heads: int, shared: int, masked: bool) -> None:
    layer, inputs, visible = made(heads, shared, masked)
    bias = None if visible is None else as_attention_bias(visible, torch.float32)
    ours = few_passes(layer, *inputs, bias, scaling=0.3)[0]
    toward = torch.randn_like(ours)
    for mine, reference in zip(
        torch.autograd.grad(ours, inputs, toward),
        torch.autograd.grad(fused(inputs, visible), inputs, toward),
        strict=True,
    ):
        torch.testing.assert_close(mine, reference)


def test_dropout_is_for_training_only() -> None:
    layer = nn.Module()
    query, key, value = (torch.randn(1, 2, 5, 4) for _ in range(3))
    kept = few_passes(layer, query, key, value, None, scaling=0.5)[0]
    assert not torch.allclose(few_passes(layer, query, key, value, None, scaling=0.5, dropout=0.5)[0], kept)
    layer.eval()
    assert torch.equal(few_passes(layer, query, key, value, None, scaling=0.5, dropout=0.5)[0], kept)


def test_a_model_in_half_precision_gets_it_and_draws_the_same() -> None:
    ours = Segmenter.from_pretrained("nano", device="cpu", dtype="bfloat16")
    configs = ours.model.config.text_config, ours.model.config.vision_config
    assert [config._attn_implementation for config in configs] == [BY_HEAD] * 2
    theirs = Segmenter.from_pretrained("nano", device="cpu", dtype="bfloat16")
    theirs.model.set_attn_implementation("sdpa")
    prompts = ["the house with the blue roof", "the white cow", "the water"]
    masks = [segmenter.segment(PICTURE, prompts) for segmenter in (ours, theirs)]
    for one, other in zip(*masks, strict=True):
        assert np.count_nonzero(one.mask & other.mask) > 0.98 * np.count_nonzero(one.mask | other.mask) > 0
    question = "Which animal gives milk?"
    assert ours.chat(PICTURE, question).text == theirs.chat(PICTURE, question).text


def test_float32_keeps_the_fused_kernel() -> None:
    model = Segmenter.from_pretrained("nano", device="cpu", dtype="float32").model
    assert model.config.text_config._attn_implementation == "sdpa"
