"""Quantisation: the large linear layers in 8 or 4 bits, and a guard that refuses what it breaks.

    int8    weights and activations in 8 bits, whole-number products    CPU (`Int8Linear`), CUDA (torchao)
    8bit    the same, activations that stick out in half precision      CUDA (bitsandbytes)
    int4    weights in 4 bits, groups of 64                             CUDA (torchao)
    nf4     weights in 4 bits, normal-float levels                      CUDA (bitsandbytes)

The linear layers of the transformers, in vision tower and language model, are quantised. The projector and the
refilling head are not: a mask is an inner product of what they give, so that nothing behind them evens out an error,
and they are a small part of the work. Neither are the embeddings, which are looked up and not multiplied, and the LM
head, which no mask depends on.

Whatever a scheme does to a model shows in its masks, so these are compared with those from before (`quantize_checked`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from self1e.model.network import SELF1EForSegmentation
from self1e.processing.images import ImageError, ImageSource, load_image
from self1e.processing.processor import SELF1EProcessor
from self1e.segment.agreement import LEAST_IOU, PromptedPicture, agreement, mask_maps, turned_blank
from self1e.segment.on_torch import TorchRunner

LIBRARIES = {"int8": "torchao", "8bit": "bitsandbytes", "int4": "torchao", "nf4": "bitsandbytes"}
"""The schemes, and what each needs on CUDA. On the CPU there is `int8` only, which needs nothing but torch."""

CHECK_PROMPTS = ("the largest thing", "the thing in the middle", "the background")
"""What is asked about pictures that come without prompts."""

CHECK_PICTURES = Path(__file__).parents[1] / "assets" / "check"
"""Bundled pictures to compare masks on when none are given, and `prompts.json`, what is asked about each."""

CheckPictures = Sequence[ImageSource | PromptedPicture]


class QuantizationError(ValueError):
    """A quantised model whose masks are not those of the model. The message has the figure."""


@dataclass(frozen=True)
class Quantization:
    """How a model was quantised, and what that did to its masks.

    Attributes:
        scheme: One of `LIBRARIES`.
        layers: How many linear layers were quantised.
        iou: Mean IoU of masks with those from before; see `agreement`.
        masks: How many were compared.
    """

    scheme: str
    layers: int
    iou: float
    masks: int

    def __str__(self) -> str:
        return (
            f"{self.layers} layers in {self.scheme}; masks agree with the unquantised model's to a mean IoU of "
            f"{self.iou:.3f} ({self.masks} compared)"
        )


def check_scheme(scheme: str, device: torch.device) -> None:
    """Says what cannot work before a model is loaded.

    Raises:
        ValueError: If the scheme is unknown, does not run on this device, or its library is missing.
    """
    if scheme not in LIBRARIES:
        raise ValueError(f"unknown quantisation {scheme!r}: use {', '.join(map(repr, LIBRARIES))}")
    if device.type == "cpu" and scheme == "int8":
        return
    if device.type != "cuda":
        devices = "the CPU and CUDA" if scheme == "int8" else "CUDA only"
        raise ValueError(f"quantisation {scheme!r} runs on {devices}, not on {str(device)!r}; use 'int8' on the CPU")
    library = LIBRARIES[scheme]
    if find_spec(library) is None:
        raise ValueError(f"quantisation {scheme!r} needs {library} on CUDA: pip install 'self1e[quantize]'")
    if scheme == "int4" and torch.cuda.get_device_capability(device) < (8, 0):
        raise ValueError("quantisation 'int4' needs a GPU of compute capability 8.0 or later: use 'nf4'")


def quantize_checked(
    model: SELF1EForSegmentation,
    processor: SELF1EProcessor,
    scheme: str,
    samples: CheckPictures | None = None,
) -> Quantization:
    """Quantises a model in place, and compares its masks with those from before.

    There is never a second copy of the weights: the masks from before are taken first. Picture files are read twice.

    Args:
        model: On its device. After a `QuantizationError` it is of no more use.
        processor: Its.
        scheme: See `LIBRARIES`.
        samples: Pictures like those that the model is for, or tuples (picture, prompts). None: `bundled_samples`.

    Raises:
        QuantizationError: If the masks agree to less than `LEAST_IOU`, one turns empty, or numbers overflow.
        ValueError: If the scheme cannot be used here, or there is no picture.
        ImageError: If a picture cannot be read.
    """
    check_scheme(scheme, model.device)
    pairs = bundled_samples() if samples is None else [_with_prompts(sample) for sample in samples]
    if not any(prompts for _, prompts in pairs):
        raise ValueError("no picture to compare masks on: give at least one, or none at all for the bundled ones")
    before = mask_maps(TorchRunner(model, processor), pairs)
    layers = quantize(model, scheme)
    try:
        after = mask_maps(TorchRunner(model, processor), pairs)
    except ImageError:
        raise
    except ValueError as error:  # the prompts are the same: only numbers can have gone wrong
        raise QuantizationError(f"quantisation {scheme!r} breaks this model: {error}") from None
    if blank := turned_blank(before, after):
        raise QuantizationError(
            f"quantisation {scheme!r} loses what this model finds: {blank} of {len(before)} masks turn empty; "
            "use another scheme or none"
        )
    iou = agreement(before, after)
    if not iou >= LEAST_IOU:
        raise QuantizationError(
            f"quantisation {scheme!r} changes the masks of this model: they agree with those from before to a mean IoU "
            f"of {iou:.3f} on {len(before)} masks, and {LEAST_IOU} is the least; use another scheme or none"
        )
    return Quantization(scheme, layers, iou, len(before))


def quantize(model: SELF1EForSegmentation, scheme: str) -> int:
    """Quantises the linear layers of vision tower and language model in place, one after the other, unchecked.

    Returns:
        How many there are.

    Raises:
        ValueError: If the scheme cannot compute in the model's type.
    """
    if scheme == "int4" and model.dtype != torch.bfloat16:
        name = str(model.dtype).removeprefix("torch.")
        raise ValueError(f"quantisation 'int4' computes in bfloat16, not in {name}: load with dtype='bfloat16'")
    convert = _converter(scheme, model.device)
    layers = 0
    for part in (model.model.vision_tower.encoder, model.model.language_model):
        # Names, as a list of the layers would keep all their weights in memory to the end.
        for name in [name for name, module in part.named_modules() if type(module) is nn.Linear]:
            linear: Any = part.get_submodule(name)
            part.set_submodule(name, convert(linear))
            layers += 1
    return layers


class Int8Linear(nn.Module):
    """A linear layer on the CPU that multiplies whole numbers of 8 bits.

    Weights have one scale for each output. Each row of the input gets its own scale on the fly, as the states of
    an LLM differ in size by orders of magnitude from token to token.

    Args:
        linear: float[K] -> float[N]; is left as it is.
        levels: Weights run from -levels to levels; see `weight_levels`. Inputs run from -127 to 127.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear, levels: int = 127) -> None:
        super().__init__()
        weight = linear.weight.detach()
        scale = _step(weight, levels)
        self.register_buffer("weight", (weight / scale).round().to(torch.int8))  # int8[N, K]
        self.register_buffer("scale", scale[:, 0])  # float32[N]
        self.bias = linear.bias
        self.register_state_dict_pre_hook(_refuse_to_save)

    def forward(self, features: Tensor) -> Tensor:
        """float[..., K] -> float[..., N], of the same type."""
        rows = features.reshape(-1, features.shape[-1])
        step = _step(rows, 127)
        product = torch._int_mm((rows / step).round().to(torch.int8), self.weight.T)
        scaled = (product * step).mul_(self.scale)
        if self.bias is not None:
            scaled += self.bias
        return scaled.to(features.dtype).reshape(*features.shape[:-1], -1)


def _refuse_to_save(*_: Any) -> None:
    raise ValueError("a model in int8 cannot be saved and loaded again: save the model that it was made of")


def weight_levels() -> int:
    """Largest whole number that weights may take on this CPU: 127, or 63 where products of larger ones overflow.

    CPUs without instructions for it (VNNI) add two products of 8 bits in 16, which then stick at the largest number
    there is.
    """
    ones = torch.ones(64, 512, dtype=torch.int8)
    exact = torch._int_mm(127 * ones, 127 * ones.T)
    return 127 if bool((exact == 512 * 127 * 127).all()) else 63


def _step(rows: Tensor, levels: int) -> Tensor:
    """What a whole number stands for in each row: float[M, K] -> float32[M, 1], above 0 even for a row of zeros."""
    return rows.abs().amax(dim=-1, keepdim=True).float().clamp(min=1e-30) / levels


def _converter(scheme: str, device: torch.device) -> Callable[[nn.Linear], nn.Module]:
    """Makes a quantised layer of a linear one."""
    if scheme == "int8" and device.type == "cpu":
        levels = weight_levels()
        return lambda linear: Int8Linear(linear, levels)
    if LIBRARIES[scheme] == "torchao":
        return _torchao_converter(scheme)
    return lambda linear: _bitsandbytes_linear(linear, scheme)


def _torchao_converter(scheme: str) -> Callable[[nn.Linear], nn.Module]:
    from torchao.quantization import Int4WeightOnlyConfig, Int8DynamicActivationInt8WeightConfig, quantize_

    config = (
        Int8DynamicActivationInt8WeightConfig(set_inductor_config=False)
        if scheme == "int8"
        # The format of torch's own kernel; others need a library of their own. HQQ fits scales to the weights.
        else Int4WeightOnlyConfig(
            group_size=64,
            int4_packing_format="tile_packed_to_4d",
            int4_choose_qparams_algorithm="hqq",
            set_inductor_config=False,
        )
    )

    def convert(linear: nn.Linear) -> nn.Module:
        quantize_(linear, config)  # gives it another weight
        return linear

    return convert


def _bitsandbytes_linear(linear: nn.Linear, scheme: str) -> nn.Module:
    from bitsandbytes import nn as bitsandbytes

    shape, bias, device = (linear.in_features, linear.out_features), linear.bias, linear.weight.device
    weight = linear.weight.detach().cpu()  # it is quantised on its way from there to the device
    quantized: nn.Module
    if scheme == "nf4":
        quantized = bitsandbytes.Linear4bit(*shape, compute_dtype=weight.dtype, quant_type="nf4", device="meta")
        quantized.weight = bitsandbytes.Params4bit(weight, quant_type="nf4", module=quantized).to(device)
    else:
        # Activations above 6 are multiplied in half precision, as in LLM.int8().
        quantized = bitsandbytes.Linear8bitLt(*shape, has_fp16_weights=False, threshold=6.0, device="meta")
        quantized.weight = bitsandbytes.Int8Params(weight, requires_grad=False).to(device)
    quantized.bias = bias
    return quantized.eval()


def bundled_samples() -> list[PromptedPicture]:
    """Pictures of the package with prompts for things that are in them; no training run sees them."""
    prompts: dict[str, list[str]] = json.loads((CHECK_PICTURES / "prompts.json").read_text("utf-8"))
    return [(load_image(CHECK_PICTURES / name), asked) for name, asked in prompts.items()]


def _with_prompts(sample: ImageSource | PromptedPicture) -> PromptedPicture:
    image, prompts = sample if isinstance(sample, tuple) else (sample, CHECK_PROMPTS)
    if not isinstance(image, str | os.PathLike):
        image = load_image(image)  # an open file can be read once only
    return image, [prompts] if isinstance(prompts, str) else prompts
