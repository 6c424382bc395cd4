"""Linear layers in bfloat16 on a CPU, with prepacked weights.

oneDNN, which multiplies for torch, reads weights in blocks. torch hands it a plain matrix, which it packs in every
call. Here that is done once, when a layer has shown that it is used often.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import sys
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from self1e.devices import cpu_has

PAYS_AFTER = 8
"""Calls of a layer before its weight is packed.

A compromise: packing takes as long as 1 to 10 calls with a picture's tokens save, and 6 to 60 with one token
(`python -m benchmarks.layouts`). Segmenting one picture takes fewer calls, unless it is asked about with many prompts.
"""

PAGE_OUT = 21
"""Linux's MADV_PAGEOUT, since 5.4; an older kernel says no, and the pages stay until memory is short."""


class PrepackedLinear(nn.Module):
    """A linear layer for inference, float[..., K] -> float[..., N], whose weight is packed after some calls.

    On the CPUs of `can_prepack` the results before and after are the same to the last bit, if features are contiguous.
    The packed weight takes as much memory as the plain one, which is let go. Several processes that mapped one file
    share the plain weight, but not the packed one.

    Args:
        linear: Whose parameters are taken over.
        pays_after: See `PAYS_AFTER`.
    """

    weight: Tensor | None
    """float[N, K]; None once it is packed."""

    def __init__(self, linear: nn.Linear, pays_after: int = PAYS_AFTER) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.packed_weight: Tensor | None = None
        self.calls_left = pays_after

    def forward(self, features: Tensor) -> Tensor:
        weight = self.weight
        if weight is not None:
            self.calls_left -= 1
            if self.calls_left >= 0 or not can_prepack(weight):
                return F.linear(features, weight, self.bias)
            # In this order: another thread that is here finds one or the other.
            self.packed_weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
            self.weight = None
            _give_back(weight)
        if torch.is_grad_enabled() and features.requires_grad:  # products with packed weights have no backward pass
            return F.linear(features, self.plain_weight(), self.bias)
        return torch.ops.mkldnn._linear_pointwise(features, self.packed_weight, self.bias, "none", [], "")

    def plain_weight(self) -> Tensor:
        """float[N, K], packed or not."""
        if self.weight is not None:
            return self.weight
        assert self.packed_weight is not None
        return self.packed_weight.to_dense()

    def unpack(self) -> None:
        """Back to the plain weight."""
        if self.weight is None:
            self.weight = nn.Parameter(self.plain_weight(), requires_grad=False)
            self.packed_weight = None

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        """As in torch: to another type or device, which packed weights cannot be brought to."""
        self.unpack()
        return super()._apply(*args, **kwargs)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.weight is None:
            destination[f"{prefix}weight"] = self.plain_weight()

    def __getstate__(self) -> dict[str, Any]:
        """For copies, and to pickle: packed weights can be neither."""
        self.unpack()
        return self.__dict__

    def extra_repr(self) -> str:
        """How the layer looks when it is printed."""
        return f"bias={self.bias is not None}, packed={self.weight is None}"


def _give_back(weight: Tensor) -> None:
    """Lets Linux take back the pages of a weight that is mapped from a file, which others may keep mapped.

    Nothing is lost: whoever reads the weight again has it read from the file again.
    """
    storage = weight.untyped_storage()
    if sys.platform != "linux" or storage.resizable():  # then the memory is torch's own, and goes with the weight
        return
    start, end = storage.data_ptr(), storage.data_ptr() + storage.nbytes()
    first, behind = -(-start // mmap.PAGESIZE), end // mmap.PAGESIZE
    if behind > first:
        length = ctypes.c_size_t((behind - first) * mmap.PAGESIZE)
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first * mmap.PAGESIZE), length, PAGE_OUT)


def can_prepack(weight: Tensor) -> bool:
    """Whether this is a CPU on which prepacked weights were measured to be faster: x86 with AVX-512 and bf16 products.

    Those with AMX are not among them: not run.
    """
    return (
        weight.dtype == torch.bfloat16
        and weight.device.type == "cpu"
        and platform.machine() in ("x86_64", "AMD64")
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
        and cpu_has("avx512_bf16")
        and not cpu_has("amx_tile")
    )


def prepack_linears(model: nn.Module, pays_after: int = PAYS_AFTER) -> None:
    """Makes the linear layers of a model that is ready for inference `PrepackedLinear`, in place, where that helps.

    Layers that stand in several places stay shared. Quantised ones stay as they are.
    """
    made: dict[nn.Module, PrepackedLinear] = {}
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if type(module) is nn.Linear and can_prepack(module.weight):
            if module not in made:
                made[module] = PrepackedLinear(module, pays_after)
            model.set_submodule(name, made[module])
