"""Linear layers with prepacked weights, against plain ones."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from self1e import Segmenter
from self1e.modeling.cpu_linear import PrepackedLinear, can_prepack, prepack_linears
from self1e.quantization import Int8Linear, quantize

PICTURE = Path(__file__).parents[2] / "examples" / "pictures" / "lakeside.png"
HERE = can_prepack(torch.zeros(1, dtype=torch.bfloat16))
packs_here = pytest.mark.skipif(not HERE, reason="weights are not packed on this CPU")


def layer(bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(40, 24, bias=bias, dtype=torch.bfloat16)


@packs_here
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 40), (2, 7, 40), (3, 1, 5, 40), (0, 40)])
def test_equals_a_plain_layer_to_the_last_bit(bias: bool, shape: tuple[int, ...]) -> None:
    plain = layer(bias)
    packing = PrepackedLinear(plain, pays_after=2)
    features = torch.randn(shape, dtype=torch.bfloat16)
    with torch.inference_mode():
        for use in range(4):
            assert torch.equal(packing(features), plain(features))
            assert (packing.packed_weight is None, packing.weight is None) == (
                (True, False) if use < 2 else (False, True)
            )
        turned = features.transpose(0, -2)  # torch rounds before it adds the bias then
        torch.testing.assert_close(packing(turned), plain(turned), rtol=0.02, atol=0.002)


@packs_here
def test_a_thread_that_comes_while_another_packs_finds_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = layer()
    packing = PrepackedLinear(plain, pays_after=0)
    features = torch.randn(9, 40, dtype=torch.bfloat16)
    found = []

    def watched(name: str, value: Any) -> None:
        """Another call at each assignment of the first."""
        nn.Module.__setattr__(packing, name, value)
        if name in ("packed_weight", "weight") and not found:
            found.append(None)
            found[0] = packing(features)

    monkeypatch.setattr(PrepackedLinear, "__setattr__", lambda _, name, value: watched(name, value))
    with torch.inference_mode():
        first = packing(features)
        assert torch.equal(first, plain(features)) and torch.equal(found[0], first)


@packs_here
def test_nothing_else_notices() -> None:
    plain = layer()
    packing = PrepackedLinear(plain, pays_after=0)
    features = torch.randn(9, 40, dtype=torch.bfloat16)
    with torch.no_grad():
        packing(features)
    assert "packed=True" in repr(packing)
    assert torch.equal(packing.state_dict()["weight"], plain.weight)
    assert packing.state_dict().keys() == plain.state_dict().keys()
    features.requires_grad_()
    mine, theirs = (torch.autograd.grad(each(features).sum(), features)[0] for each in (packing, plain))
    assert torch.equal(mine, theirs)
    copied = copy.deepcopy(packing)
    assert torch.equal(copied.plain_weight(), plain.weight) and torch.equal(copied(features), plain(features))


@packs_here
def test_shared_layers_stay_shared() -> None:
    shared = layer()
    model = nn.ModuleDict({"one": shared, "other": nn.Sequential(shared)})
    prepack_linears(model)
    assert isinstance(model["one"], PrepackedLinear) and model["other"][0] is model["one"]


@packs_here
def test_no_plain_layer_is_left() -> None:
    model = Segmenter.from_pretrained("nano", device="cpu", dtype="bfloat16").model
    assert not [name for name, each in model.named_modules(remove_duplicate=False) if type(each) is nn.Linear]


@packs_here
def test_can_be_quantised() -> None:
    model = Segmenter.from_pretrained("nano", device="cpu", dtype="bfloat16").model
    assert quantize(model, "int8") > 50
    assert not [each for each in model.model.language_model.modules() if isinstance(each, PrepackedLinear)]


@packs_here
@pytest.mark.parametrize("target", [torch.float64, torch.bfloat16])
def test_moves_like_a_plain_layer(target: torch.dtype) -> None:
    plain = layer()
    packing = PrepackedLinear(plain, pays_after=0)
    features = torch.randn(9, 40, dtype=torch.bfloat16)
    with torch.inference_mode():
        packing(features)
        assert packing.weight is None
        moved, plainly = packing.to(target), plain.to(target)
        assert moved.weight is not None and torch.equal(moved.weight, plainly.weight)
        assert torch.equal(moved(features.to(target)), plainly(features.to(target)))
        assert (moved.packed_weight is None) == (target != torch.bfloat16)


@packs_here
@pytest.mark.skipif(sys.platform != "linux", reason="pages are given back on Linux")
def test_pages_of_a_mapped_file_are_given_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file({"weight": torch.randn(4096, 4096).bfloat16(), "other": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with safe_open(tmp_path / "weights.safetensors", "pt") as file:
        mapped, other = file.get_tensor("weight"), file.get_tensor("other")
    linear = nn.Linear(4096, 4096, bias=False, device="meta")
    linear.weight = nn.Parameter(mapped, requires_grad=False)
    packing = PrepackedLinear(linear, pays_after=1)
    features = torch.randn(3, 4096, dtype=torch.bfloat16)
    with torch.inference_mode():
        expected = packing(features)
        before = mapped_mib()
        assert torch.equal(packing(features), expected) and packing.weight is None
        assert before - mapped_mib() > 16  # of 32
        assert torch.equal(linear(features), expected) and other == 0  # nothing is lost


def mapped_mib() -> float:
    """Pages of files that this process holds."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssFile:"))
    return int(line.split()[1]) / 1024


def test_only_plain_layers_in_bfloat16_change() -> None:
    model = nn.ModuleDict(
        {"bfloat16 layer": layer(), "float32 layer": layer().float(), "int8 layer": Int8Linear(layer())}
    )
    prepack_linears(model)
    kinds = {name: type(each) for name, each in model.items()}
    assert kinds == {
        "bfloat16 layer": PrepackedLinear if HERE else nn.Linear,
        "float32 layer": nn.Linear,
        "int8 layer": Int8Linear,
    }


@packs_here
def test_masks_and_answers_stay_the_same() -> None:
    segmenter = Segmenter.from_pretrained("nano", device="cpu", dtype="bfloat16")
    layers = [each for each in segmenter.model.modules() if isinstance(each, PrepackedLinear)]
    assert len(layers) > 50 and segmenter.model.get_submodule("lm_head") in layers

    def outcome() -> tuple[np.ndarray, str]:
        result = segmenter.segment(PICTURE, "the white cow", logits=True)
        assert result.logits is not None
        return result.logits, segmenter.chat(PICTURE, "How many cows are there?").text

    for each in layers:
        each.calls_left = 10**9
    before = outcome()
    assert not [each for each in layers if each.weight is None]
    for each in layers:
        each.calls_left = 0
    after = outcome()
    assert sum(each.weight is None for each in layers) > 50
    assert np.array_equal(before[0], after[0]) and before[1] == after[1]


def test_float32_is_left_alone() -> None:
    segmenter = Segmenter.from_pretrained("nano", device="cpu", dtype="float32")
    assert not [each for each in segmenter.model.modules() if isinstance(each, PrepackedLinear)]
