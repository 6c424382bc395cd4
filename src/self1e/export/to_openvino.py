"""Programs as OpenVINO has them: a file of operators, and one of numbers beside it.

Halves are for storage, as in ONNX. In 8 bits the linear layers of the transformers have whole numbers for weights, and
OpenVINO makes whole numbers of what goes into them while it computes, where the CPU has instructions for it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from self1e.engines.programs import import_engine
from self1e.export.quantised import LayersError, products_to_quantise
from self1e.export.to_onnx import save, store_in_halves
from self1e.export.trace import Traced

WITH_NUMBERS = ("MatMul", "Gather", "Convolution", "GroupConvolution")
"""Operators whose weights would be brought to 8 bits."""


def write_openvino(traced: Traced, path: Path, precision: str) -> None:
    """Writes a program.

    Args:
        traced: From `self1e.export.trace.trace`.
        path: Of the file of operators; that of numbers is called the same, and ends in ".bin".
        precision: "float32", "float16" (of what is stored), or "int8".
    """
    openvino = import_engine("openvino")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        onnx_file, in_onnx = Path(folder) / "program.onnx", traced.in_onnx.model_proto
        products = set(products_to_quantise(in_onnx, traced.layers)) if precision == "int8" else set[str]()
        if precision != "float32":
            # OpenVINO itself would round the frequencies of positions as well, far too much.
            store_in_halves(in_onnx, but_of=products)
        save(in_onnx, onnx_file)
        model = openvino.Core().read_model(str(onnx_file))
        if products:
            model = _in_8_bits(model, products)
        openvino.save_model(model, str(path), compress_to_fp16=False)


def _in_8_bits(model: Any, products: set[str]) -> Any:
    """Has those products, and none else, weights in 8 bits."""
    import nncf

    with_numbers = [node.get_friendly_name() for node in model.get_ops() if node.get_type_name() in WITH_NUMBERS]
    left = [name for name in with_numbers if name not in products]
    if len(with_numbers) - len(left) != len(products):
        raise LayersError(
            f"{len(products)} linear layers are to be quantised, and OpenVINO names {len(with_numbers) - len(left)} of "
            "them: this version reads ONNX in another way; export in float16, or with the versions of constraints.txt"
        )
    return nncf.compress_weights(
        model, mode=nncf.CompressWeightsMode.INT8_SYM, ignored_scope=nncf.IgnoredScope(names=left, validate=False)
    )
