"""Linear layers with weights in blocks, against plain ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from self1e import Segmenter
from self1e.modeling.cpu_linear import BlockedLinear, block_linears, can_block
from self1e.quantization import Int8Linear

PICTURE = Path(__file__).parents[2] / "examples" / "pictures" / "lakeside.png"
HERE = can_block(torch.zeros(1, dtype=torch.bfloat16))
blocks_here = pytest.mark.skipif(not HERE, reason="weights are not put into blocks on this CPU")


def layer(bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(40, 24, bias=bias, dtype=torch.bfloat16)


@blocks_here
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 40), (2, 7, 40), (3, 1, 5, 40), (0, 40)])
def test_equals_a_plain_layer_to_the_last_bit(bias: bool, shape: tuple[int, ...]) -> None:
    plain = layer(bias)
    blocked = BlockedLinear(plain, pays_after=2)
    features = torch.randn(shape, dtype=torch.bfloat16)
    with torch.inference_mode():
        for use in range(4):
            assert torch.equal(blocked(features), plain(features))
            assert (blocked.blocks is None, blocked.weight is None) == ((True, False) if use < 2 else (False, True))
        turned = features.transpose(0, -2)  # torch rounds before it adds the bias then
        torch.testing.assert_close(blocked(turned), plain(turned), rtol=0.02, atol=0.002)


@blocks_here
def test_no_use_is_lost_among_threads() -> None:
    plain = layer()
    blocked = BlockedLinear(plain, pays_after=5)
    features = torch.randn(9, 40, dtype=torch.bfloat16)
    expected = plain(features)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(torch.no_grad()(lambda _: blocked(features)), range(200)))
    assert all(torch.equal(each, expected) for each in found)


@blocks_here
@pytest.mark.parametrize("target", [torch.float64, torch.bfloat16])
def test_moves_like_a_plain_layer(target: torch.dtype) -> None:
    plain = layer()
    blocked = BlockedLinear(plain, pays_after=0)
    features = torch.randn(9, 40, dtype=torch.bfloat16)
    with torch.inference_mode():
        blocked(features)
        assert blocked.weight is None
        moved, plainly = blocked.to(target), plain.to(target)
        assert moved.weight is not None and torch.equal(moved.weight, plainly.weight)
        assert torch.equal(moved(features.to(target)), plainly(features.to(target)))
        assert (moved.blocks is None) == (target != torch.bfloat16)


def test_only_plain_layers_in_bfloat16_change() -> None:
    model = nn.ModuleDict(
        {"bfloat16 layer": layer(), "float32 layer": layer().float(), "int8 layer": Int8Linear(layer())}
    )
    block_linears(model)
    kinds = {name: type(each) for name, each in model.items()}
    assert kinds == {
        "bfloat16 layer": BlockedLinear if HERE else nn.Linear,
        "float32 layer": nn.Linear,
        "int8 layer": Int8Linear,
    }


@blocks_here
def test_masks_and_answers_stay_the_same() -> None:
    segmenter = Segmenter.from_pretrained("nano", device="cpu", dtype="bfloat16")
    layers = [each for each in segmenter.model.modules() if isinstance(each, BlockedLinear)]
    assert len(layers) > 50 and segmenter.model.get_submodule("lm_head") in layers

    def outcome() -> tuple[np.ndarray, str]:
        result = segmenter.segment(PICTURE, "the white cow", logits=True)
        assert result.logits is not None
        return result.logits, segmenter.chat(PICTURE, "How many cows are there?").text

    before = outcome()
    for each in layers:
        each.uses_left = 0
    after = outcome()
    assert all(each.weight is None for each in layers if each.uses_left < 0)
    assert sum(each.weight is None for each in layers) > 50
    assert np.array_equal(before[0], after[0]) and before[1] == after[1]


def test_float32_is_left_alone() -> None:
    segmenter = Segmenter.from_pretrained("nano", device="cpu", dtype="float32")
    assert not [each for each in segmenter.model.modules() if isinstance(each, BlockedLinear)]
