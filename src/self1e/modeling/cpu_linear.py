"""Linear layers in bfloat16 on a CPU, with weights in the blocks that oneDNN's products read.

torch hands oneDNN a plain matrix, which it puts into blocks in every call. Here that is done once in the life of a
layer that is used often. Results are the same to the last bit, where
features are contiguous.
"""

from __future__ import annotations

import platform
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAYS_AFTER = 8
"""Uses of a layer that gain about what its blocks cost (`python -m benchmarks.layouts`): they are made after so many.

Who segments one picture does not wait for them.
"""


class BlockedLinear(nn.Module):
    """The linear layer that it is made of, float[..., K] -> float[..., N], for inference.

    Args:
        linear: Whose parameters are taken over.
        pays_after: See `PAYS_AFTER`.
    """

    weight: Tensor | None
    """None once there are blocks."""

    def __init__(self, linear: nn.Linear, pays_after: int = PAYS_AFTER) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.blocks: Tensor | None = None
        self.uses_left = pays_after

    def forward(self, features: Tensor) -> Tensor:
        weight = self.weight
        if weight is not None:
            self.uses_left -= 1
            if self.uses_left >= 0 or not can_block(weight):
                return F.linear(features, weight, self.bias)
            # In this order: another thread that is here finds one or the other.
            self.blocks = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
            self.weight = None
        return torch.ops.mkldnn._linear_pointwise(features, self.blocks, self.bias, "none", [], "")

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        """As in torch: to another type or device, from the plain matrix."""
        if self.blocks is not None:
            self.weight, self.blocks = nn.Parameter(self.blocks.to_dense(), requires_grad=False), None
        return super()._apply(*args, **kwargs)


def can_block(weight: Tensor) -> bool:
    """Whether oneDNN multiplies such weights here, and is known to be faster when they are in blocks."""
    return (
        weight.dtype == torch.bfloat16
        and weight.device.type == "cpu"
        and platform.machine() in ("x86_64", "AMD64")
        and torch.backends.mkldnn.is_available()
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def block_linears(model: nn.Module, pays_after: int = PAYS_AFTER) -> None:
    """Makes the linear layers of a model that is ready for inference `BlockedLinear`, in place, where that helps.

    Quantised layers stay as they are.
    """
    for name, module in list(model.named_modules()):
        if type(module) is nn.Linear and can_block(module.weight):
            model.set_submodule(name, BlockedLinear(module, pays_after))
