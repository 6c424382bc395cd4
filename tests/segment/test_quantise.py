"""Layers in 8 bits, and the guard: whatever quantisation does to masks is measured, and refused if it is much."""

import io
import os
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from self1e import Segmenter
from self1e.model.network import SELF1EForSegmentation
from self1e.processing.images import ImageError
from self1e.segment import quantise as quantization
from self1e.segment.agreement import LEAST_IOU, agreement, mask_iou
from self1e.segment.load import load_model
from self1e.segment.options import LoadOptions
from self1e.segment.quantise import (
    Int8Linear,
    Quantization,
    QuantizationError,
    bundled_samples,
    check_scheme,
    quantize,
    quantize_checked,
    weight_levels,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SIZE = (8, 8)


@pytest.fixture
def linear():
    torch.manual_seed(0)
    return nn.Linear(256, 96).requires_grad_(False)


@pytest.fixture
def pictures():
    return [(np.random.default_rng(seed).random((64, 64, 3)), ["the red ball"]) for seed in range(2)]


def relative_error(value, truth):
    return float((value.float() - truth.float()).norm() / truth.float().norm())


# ---------------------------------------------------------------------------------------------------------- the layers


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_layer_in_8_bits_computes_nearly_the_same(linear, dtype):
    features = torch.randn(2, 5, 256, dtype=dtype)
    linear = linear.to(dtype)
    result = Int8Linear(linear, weight_levels())(features)
    assert (result.dtype, result.shape) == (dtype, (2, 5, 96))
    assert 0 < relative_error(result, linear(features)) < 0.03


def test_a_layer_without_bias_and_a_single_row():
    linear = nn.Linear(64, 16, bias=False).requires_grad_(False)
    features = torch.randn(64)
    result = Int8Linear(linear, weight_levels())(features)
    assert result.shape == (16,)
    assert relative_error(result, linear(features)) < 0.03


def test_each_token_has_its_own_scale(linear):
    """One token a million times as large as the others, as LLMs have them, costs these nothing."""
    features = torch.randn(4, 256)
    layer = Int8Linear(linear, weight_levels())
    alone = layer(features)
    features[0] *= 1e6
    torch.testing.assert_close(layer(features)[1:], alone[1:])


def test_zeros_stay_zeros_and_what_is_not_finite_stays_so(linear):
    layer = Int8Linear(linear, weight_levels())
    features = torch.randn(3, 256)
    features[0], features[1, 7], features[2, 7] = 0, torch.nan, torch.inf
    result = layer(features)
    torch.testing.assert_close(result[0], linear.bias)
    assert not result[1:].isfinite().any()
    nn.init.zeros_(linear.weight)
    torch.testing.assert_close(Int8Linear(linear, weight_levels())(torch.ones(1, 256)), linear.bias[None])


def test_as_exact_as_torchao(linear):
    torchao = pytest.importorskip("torchao.quantization")
    features = torch.randn(64, 256)
    truth, ours = linear(features), Int8Linear(linear)(features)
    torchao.quantize_(linear, torchao.Int8DynamicActivationInt8WeightConfig(set_inductor_config=False))
    assert relative_error(ours, truth) == pytest.approx(relative_error(linear(features), truth), rel=0.05)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="kernels of x86")
def test_cpus_whose_products_overflow_get_smaller_weights():
    script = (
        "import torch; from self1e.segment.quantise import Int8Linear, weight_levels\n"
        "linear = torch.nn.Linear(512, 64, bias=False).requires_grad_(False)\n"
        "linear.weight.fill_(1.0)\n"
        "print(weight_levels(), float(Int8Linear(linear, weight_levels())(torch.ones(64, 512)).mean()))"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    levels, mean = done.stdout.split()
    assert levels == "63"
    assert float(mean) == pytest.approx(512)


@pytest.mark.parametrize(("scheme", "error"), [("nf4", 0.15), ("8bit", 0.03)])
def test_layers_of_bitsandbytes(linear, scheme, error):
    """It has kernels for the CPU, too: slow, but enough to see that the layers are built right."""
    pytest.importorskip("bitsandbytes")
    features = torch.randn(2, 5, 256)
    truth = linear(features)
    result = quantization._bitsandbytes_linear(linear, scheme)(features)
    assert (result.dtype, result.shape) == (torch.float32, (2, 5, 96))
    assert 0 < relative_error(result, truth) < error


def test_what_is_quantised(tiny_model_folder):
    model = SELF1EForSegmentation.from_pretrained(tiny_model_folder)
    layers = quantize(model, "int8")
    names = {name for name, module in model.named_modules() if isinstance(module, Int8Linear)}
    assert len(names) == layers == 2 * 7 + 6  # two layers of text: q, k, v, o and three of the MLP; one of vision
    assert all("vision_tower" in name or "language_model" in name for name in names)
    left = {name for name, module in model.named_modules() if type(module) is nn.Linear}
    assert "lm_head" in left
    assert all(name == "lm_head" or "multi_modal_projector" in name or "refilling_head" in name for name in left)


def test_what_is_quantised_cannot_be_saved(tiny_model_folder, tmp_path):
    """It could not be loaded again."""
    model = SELF1EForSegmentation.from_pretrained(tiny_model_folder)
    quantize(model, "int8")
    with pytest.raises(ValueError, match="in int8 cannot be saved"):
        model.save_pretrained(tmp_path)


# ----------------------------------------------------------------------------------------------------------- the guard


def maps(*arrays):
    return [(array[None].astype(np.float32), SIZE) for array in arrays]


def half(sign=1.0):
    """A map that is above 0 in its left half, or in its right one."""
    return sign * np.broadcast_to(np.linspace(1, -1, 8), (8, 8))


def test_iou_of_masks():
    one = np.array([True, True, False, False])
    assert mask_iou(one, np.array([False, True, True, False])) == pytest.approx(1 / 3)
    assert mask_iou(one, ~one) == 0
    assert mask_iou(one & ~one, one & ~one) == 1


def test_agreement_is_the_mean_iou_of_the_masks():
    assert agreement(maps(half()), maps(half())) == 1
    assert agreement(maps(half()), maps(half(-1))) == 0
    assert agreement(maps(half(), half()), maps(half(), half() - 0.5)) == pytest.approx((1 + 0.5) / 2)


def test_a_mask_that_turned_black_disagrees():
    assert agreement(maps(half()), maps(half() - 9)) == 0
    assert agreement(maps(half() - 9), maps(half())) == 0


def test_empty_masks_prove_nothing():
    nothing = np.full((8, 8), -1.0)
    assert agreement(maps(half(), nothing, nothing), maps(half() - 0.5, nothing, nothing)) == pytest.approx(0.5)


@pytest.mark.parametrize("shift", [-9.0, 9.0])
def test_where_all_masks_are_empty_or_full_the_maps_have_to_agree(shift):
    before = maps(half() + shift)
    assert agreement(before, before) == 1
    assert agreement(before, maps(half(-1) + shift)) == 0
    assert agreement(before, maps(half() + shift - 0.5)) < LEAST_IOU


def test_int8_keeps_the_masks_of_nano():
    segmenter = Segmenter.from_pretrained("nano", device="cpu", quantize="int8")
    kept = segmenter.quantization
    assert isinstance(kept, Quantization)
    assert kept.iou >= LEAST_IOU
    assert kept.masks == sum(len(prompts) for _, prompts in bundled_samples())
    assert f"a mean IoU of {kept.iou:.3f}" in str(kept)
    assert repr(segmenter).endswith("dtype='float32', quantize='int8')")
    scene, prompts = bundled_samples()[0]
    assert segmenter.segment(scene, prompts[0]).mask.any()
    assert segmenter.chat(scene, "What is in the picture?", max_new_tokens=8).text


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (1, r"'int8' changes the masks of this model: .* mean IoU of 0\.\d{3} on 2 masks, and 0\.97 is the least"),
        (0, r"'int8' breaks this model: .*overflow"),
    ],
)
def test_a_broken_quantisation_is_refused(tiny_model_folder, pictures, monkeypatch, levels, message):
    """Weights of three levels are too few; with none, numbers are no numbers."""
    monkeypatch.setattr(quantization, "weight_levels", lambda: levels)
    with pytest.raises(QuantizationError, match=message):
        load_model(tiny_model_folder, LoadOptions(device="cpu", quantize="int8", quantize_check=pictures))


def test_pictures_to_compare_on(tiny_model_folder, pictures, monkeypatch, tmp_path):
    monkeypatch.setattr(quantization, "LEAST_IOU", 0.0)  # random weights are sensitive
    image, _ = pictures[0]

    def load(check):
        loaded = load_model(tiny_model_folder, LoadOptions(device="cpu", quantize="int8", quantize_check=check))
        assert loaded.quantization is not None
        return loaded.quantization.masks

    assert load([image]) == len(quantization.CHECK_PROMPTS)
    assert load([(image, ["a ball", "a cat"]), *pictures]) == 4
    assert load([(image, "a ball")]) == 1
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG")
    file.seek(0)
    assert load([(file, "a ball")]) == 1
    with pytest.raises(ValueError, match="no picture to compare masks on"):
        load([])
    with pytest.raises(ImageError, match=r"absent\.png"):
        load([tmp_path / "absent.png"])


def test_pictures_to_compare_on_without_quantisation(tiny_model_folder, pictures):
    with pytest.raises(ValueError, match="quantize_check is for quantised models only"):
        Segmenter.from_pretrained(tiny_model_folder, quantize_check=pictures)


# -------------------------------------------------------------------------------------------- what cannot work at all


@pytest.mark.parametrize("scheme", ["int4", "nf4", "8bit"])
def test_schemes_for_cuda_on_the_cpu(scheme):
    with pytest.raises(ValueError, match=f"'{scheme}' runs on CUDA only, not on 'cpu'; use 'int8' on the CPU"):
        Segmenter.from_pretrained("nano", device="cpu", quantize=scheme)


def test_schemes_elsewhere():
    check_scheme("int8", CPU)
    with pytest.raises(ValueError, match="'int8' runs on the CPU and CUDA, not on 'mps'"):
        check_scheme("int8", torch.device("mps"))
    with pytest.raises(ValueError, match="unknown quantisation 'int3': use 'int8', '8bit', 'int4', 'nf4'"):
        Segmenter.from_pretrained("nano", device="cpu", quantize="int3")


@pytest.mark.parametrize(("scheme", "library"), quantization.LIBRARIES.items())
def test_missing_libraries(scheme, library, monkeypatch):
    monkeypatch.setattr(quantization, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=rf"'{scheme}' needs {library} on CUDA: pip install 'self1e\[quantize\]'"):
        check_scheme(scheme, CUDA)


def test_int4_computes_in_bfloat16(tiny_model_folder):
    model = SELF1EForSegmentation.from_pretrained(tiny_model_folder)
    with pytest.raises(ValueError, match="'int4' computes in bfloat16, not in float32"):
        quantize(model, "int4")


def test_one_black_mask_among_many_is_refused(tiny_model_folder, monkeypatch):
    loaded = load_model(tiny_model_folder, LoadOptions(device="cpu"))
    before, after = maps(*[half()] * 40), maps(*[half()] * 39, half() - 9)
    assert agreement(before, after) > LEAST_IOU
    taken = iter((before, after))
    monkeypatch.setattr(quantization, "mask_maps", lambda *_: next(taken))
    with pytest.raises(QuantizationError, match="1 of 40 masks turn empty"):
        quantize_checked(loaded.model, loaded.processor, "int8")


def test_quantising_checks_the_scheme_itself(tiny_model_folder):
    loaded = load_model(tiny_model_folder, LoadOptions(device="cpu"))
    with pytest.raises(ValueError, match="unknown quantisation 'fp8'"):
        quantize_checked(loaded.model, loaded.processor, "fp8")
