"""A prepared model: masks of the plain network, by parts that follow the weights wherever these go."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch
from builders import IMAGE, batch_of, conversation, pixels, row_of, tiny_model
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor
from torch.testing import assert_close

from self1e.fast import FastModel, prepare
from self1e.model.batch import Row
from self1e.model.network import SELF1EForSegmentation
from self1e.segment.quantise import Int8Linear, quantize

MODULE = import_module("self1e.fast.prepare")
GRIDS = [(1, 1), (3, 2)]
ROWS = [
    [7, 8, *row[2:]]  # all begin alike
    for row in (
        conversation(1, 1, seed=1),
        conversation(6, 2, seed=2),
        conversation(6, 1, words=5, seed=3),
        conversation(1, 0, seed=4),
    )
]
PICTURES = [0, 1, 1, 0]


def plain_masks(model: SELF1EForSegmentation) -> list[Tensor]:
    """What the network itself makes of the rows."""
    tiles = pixels(7).to(model.dtype)
    with torch.inference_mode():
        return list(model(batch_of(ROWS, tiles, grids=GRIDS, pictures=PICTURES)).mask_logits)


def fast_masks(fast: FastModel, *, with_prefix: bool = True) -> list[Tensor]:
    """The same by a prepared one."""
    rows: list[Row] = [row_of(row) for row in ROWS]
    with torch.inference_mode():
        features = fast.encode_images(pixels(7).to(fast.network.dtype))
        prefix = fast.prefix(rows) if with_prefix else None
        if with_prefix:
            assert prefix is not None and len(prefix) == 2
            rows = [row.after(2) for row in rows]
        return list(fast.mask_logits(batch_of(rows, grids=GRIDS, pictures=PICTURES), features, prefix))


def assert_same(ours: list[Tensor], theirs: list[Tensor], tolerance: float = 1e-5) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        size = 1 + other.abs().max().item() if other.numel() else 1.0
        assert_close(one, other, rtol=tolerance, atol=tolerance * size)


@pytest.mark.parametrize("text_model", ["qwen2", "qwen3"])
@pytest.mark.parametrize("refilling", ["baseline", "uncompressed", "rfr", "rfa"])
@pytest.mark.parametrize("to_image", [True, False])
@pytest.mark.parametrize("to_segmentation", [True, False])
def test_masks_are_those_of_the_network(text_model: str, refilling: str, to_image: bool, to_segmentation: bool) -> None:
    model = tiny_model(text_model, refilling=refilling, image_to_image=to_image, image_to_segmentation=to_segmentation)
    expected = plain_masks(model)
    assert expected[0].std() > 1e-3
    fast = prepare(model)
    for with_prefix in (True, False):
        assert_same(fast_masks(fast, with_prefix=with_prefix), expected)
    assert_same(plain_masks(model), expected)  # the network is as it was


def half_a_step(model: SELF1EForSegmentation) -> None:
    """Not near the old weights, and not in all parts alike."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    row = conversation(1, 1)
    model(batch_of([row], pixels(1), labels=True, masks=[torch.ones(1, 8, 8)])).loss.backward()
    optimiser.step()


CHANGES: dict[str, Callable[[SELF1EForSegmentation], object]] = {
    "load_state_dict": lambda model: model.load_state_dict(tiny_model(seed=1).state_dict()),
    "assign": lambda model: model.load_state_dict(tiny_model(seed=1).state_dict(), assign=True),
    "assign twice": lambda model: [
        model.load_state_dict(tiny_model(seed=seed).state_dict(), assign=True) for seed in range(1, 6)
    ],
    "to": lambda model: model.to(torch.float64),
    "there and back": lambda model: model.to(torch.bfloat16).to(torch.float32),
    "quantize": lambda model: quantize(model, "int8"),
    "optimiser": half_a_step,
    "projector": lambda model: torch.nn.init.ones_(model.model.multi_modal_projector.layer_norm.weight),
    "head": lambda model: torch.nn.init.ones_(model.refilling_head.fuse.linear_2.bias),
    "embeddings": lambda model: torch.nn.init.normal_(model.get_input_embeddings().weight),
    "a new layer": lambda model: setattr(model.refilling_head, "fuse", tiny_model(seed=2).refilling_head.fuse),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("where", ["outside", "inference_mode"])
def test_parts_are_made_again_once_weights_change(change: str, where: str) -> None:
    """What was made of the old weights would show."""
    fast = prepare(tiny_model())
    before = fast_masks(fast)
    stale = fast.head, *fast._prefixes._value.values()
    if where == "inference_mode" and change in ("projector", "head", "embeddings", "load_state_dict"):
        with torch.inference_mode():
            CHANGES[change](fast.network)
    else:
        CHANGES[change](fast.network)
    after = fast_masks(fast)
    assert_same(after, plain_masks(fast.network))
    fresh = prepare(copy.deepcopy(fast.network))
    assert_same(after, fast_masks(fresh), 1e-6)
    if change != "to":  # which changes no number
        assert max((one - other).abs().max() for one, other in zip(after, before, strict=True) if one.numel()) > 1e-3
    kept = fast.head, *fast._prefixes._value.values()
    assert len(kept) == len(stale) == 2  # what is stale is let go


def switched_off(model: SELF1EForSegmentation) -> None:
    for layer in model.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.enable_adapters(False)


def scaled_down(model: SELF1EForSegmentation) -> None:
    for layer in model.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.set_scale("default", 0)


def other_scales(model: SELF1EForSegmentation) -> None:
    for layer in model.model.language_model.modules():
        if isinstance(layer, Int8Linear):
            layer.scale.mul_(1.3)


def with_adapters() -> SELF1EForSegmentation:
    model = tiny_model()
    settings = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    inject_adapter_in_model(settings, model.model.language_model)
    return model


def in_int8() -> SELF1EForSegmentation:
    model = tiny_model()
    quantize(model, "int8")
    return model


@pytest.mark.parametrize(
    ("make", "change"), [(with_adapters, switched_off), (with_adapters, scaled_down), (in_int8, other_scales)]
)
def test_adapters_and_quantised_weights_are_watched_too(
    make: Callable[[], SELF1EForSegmentation], change: Callable[[SELF1EForSegmentation], None]
) -> None:
    fast = prepare(make())
    before = fast_masks(fast)
    change(fast.network)
    after = fast_masks(fast)
    assert_same(after, fast_masks(prepare(fast.network)), 1e-6)
    assert max((one - other).abs().max() for one, other in zip(after, before, strict=True) if one.numel()) > 1e-3


def test_writes_that_torch_does_not_count_can_be_told_of() -> None:
    fast = prepare(tiny_model())
    fast_masks(fast)
    version = fast.vision_version()
    for weight in fast.network.parameters():
        weight.data += 0.01
    fast.forget()
    assert fast.vision_version() != version
    assert_same(fast_masks(fast), plain_masks(fast.network))


def test_parts_are_made_once() -> None:
    fast = prepare(tiny_model())
    fast_masks(fast)
    parts = fast.head, fast._projector._value, *fast._prefixes._value.values()
    fast_masks(fast)
    again = fast.head, fast._projector._value, *fast._prefixes._value.values()
    assert len(parts) == 3 and all(one is other for one, other in zip(parts, again, strict=True))


def test_the_network_can_still_be_trained_and_saved(tmp_path) -> None:
    plain = tiny_model()
    expected = copy.deepcopy(plain.state_dict())
    fast = prepare(plain)
    fast_masks(fast)
    assert fast.network is plain and not plain.training
    plain.save_pretrained(tmp_path)
    saved = SELF1EForSegmentation.from_pretrained(tmp_path).state_dict()
    assert saved.keys() == expected.keys() and all(torch.equal(saved[name], expected[name]) for name in expected)

    row, mask = conversation(1, 1), [torch.ones(1, 8, 8)]
    for model in (plain, other := tiny_model()):
        model.train()
        output = model(batch_of([row], pixels(1), labels=True, masks=mask))
        assert output.low_resolution_mask_logits is not None
        output.loss.backward()
    for (name, one), other_one in zip(plain.named_parameters(), other.parameters(), strict=True):
        assert one.requires_grad and one.grad is not None and one.grad.abs().max() > 0, name
        assert_close(one.grad, other_one.grad)


def test_prefixes() -> None:
    fast = prepare(tiny_model())
    picture = [IMAGE] * 4
    rows = [row_of([1, 2, *picture, 3]), row_of([1, 2, *picture, 4, 5])]
    prefix = fast.prefix(rows)
    assert prefix is not None and len(prefix) == 2 and fast.prefix(rows[:1]) is prefix
    for without in (
        [rows[0], row_of([1, 3, *picture])],  # other words
        [rows[0], row_of([1, *picture])],
        [row_of([*picture, 1])],
        [row_of([1, 2, 3])],  # no picture: nothing would be left
        [rows[0], row_of([1, 2, 3])],
    ):
        assert fast.prefix(without) is None
    other = fast.prefix([row_of([4, *picture, 3])])
    assert other is not None and len(other) == 1 and fast.prefix(rows) is prefix


def test_compiled_models_have_no_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compiled before a layer runs."""
    monkeypatch.setattr(MODULE, "check_compiler", lambda _: None)
    fast = prepare(tiny_model(), compile=True)
    assert fast.compiled and not prepare(tiny_model()).compiled
    assert all(layer._compiled_call_impl is not None for layer in fast.network.model.language_model.layers)
    assert fast.prefix([row_of(row) for row in ROWS]) is None


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE.shutil, "which", lambda _: None)
    with pytest.raises(ValueError, match="to compile for a CPU torch needs"):
        prepare(tiny_model(), compile=True)


@pytest.mark.parametrize("compile", [False, True])
def test_answers_are_those_of_the_network(compile: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled one runs its layers as they were written, so that no compiler is needed for this."""
    monkeypatch.setattr(MODULE, "check_compiler", lambda _: None)
    model = tiny_model()
    row = [1, 2, *[IMAGE] * 8, 3]
    settings = {"max_new_tokens": 5, "do_sample": False}
    expected = model.generate(batch_of([row], pixels(2)), **settings)
    fast = prepare(model, compile=compile)
    with torch.inference_mode():
        features = fast.encode_images(pixels(2))
        ours = fast.generate(batch_of([row], side="left"), features, **settings)
    assert ours.shape == (1, 5) and torch.equal(ours, expected)


def test_a_copy_follows_its_own_weights() -> None:
    """In a process of its own: references to storage that two owners free end Python, when it is about to end."""
    script = """
import copy
import torch
from builders import tiny_model
from test_prepare import fast_masks
from self1e.fast import prepare

fast = prepare(tiny_model())
before = fast_masks(fast)
other = copy.deepcopy(fast)
with torch.no_grad():
    for weight in other.network.parameters():
        weight.mul_(1.5)
assert not torch.equal(fast_masks(other)[0], before[0])
assert all(torch.equal(one, two) for one, two in zip(fast_masks(fast), before))
again = copy.deepcopy(other)
assert torch.equal(fast_masks(again)[0], fast_masks(other)[0])
"""
    folder = Path(__file__).parent
    paths = os.pathsep.join([str(folder.parent), str(folder), *sys.path])
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths}
    )
    assert ran.returncode == 0, ran.stderr
