"""Which products of a program have weights in 8 bits: as in `self1e.segment.quantise`, the linear layers of the
transformers, in vision tower and language model, and no others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:  # what is exported to torch needs no such package
    import onnx

SCOPES = "pkg.torch.onnx.name_scopes"
"""Where torch's exporter writes down which module an operator comes from."""

_OF_TRANSFORMERS = re.compile(r"(tower\.encoder|language_model)\.layer")


class LayersError(ValueError):
    """A program whose layers were not found again in what torch made of it."""


def linear_layers(program: nn.Module) -> int:
    """How many layers of a program are to be quantised."""
    return sum(
        isinstance(module, nn.Linear) and _OF_TRANSFORMERS.search(name) is not None
        for name, module in program.named_modules()
    )


def products_to_quantise(model: onnx.ModelProto, layers: int) -> list[str]:
    """Names of the products of a program with the weights of its layers.

    Args:
        model: As torch exported it.
        layers: How many there have to be.

    Raises:
        LayersError: If there are others: then this torch names modules in another way.
    """
    stored = {tensor.name for tensor in model.graph.initializer}
    found = [
        node.name
        for node in model.graph.node
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in stored and _scope(node)
    ]
    if len(found) != layers:
        raise LayersError(
            f"{layers} linear layers are to be quantised, and {len(found)} products of theirs were found: this version "
            "of torch exports them in another way; export in float16, or with the versions of constraints.txt"
        )
    return found


def _scope(node: onnx.NodeProto) -> bool:
    scopes = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "")
    return _OF_TRANSFORMERS.search(scopes) is not None
