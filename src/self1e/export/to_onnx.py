"""Programs as ONNX files, for ONNX Runtime on any machine and in a browser.

A program is one file, and two where it has more than `MOST_BYTES`, as 2 GB is the most. Halves are for storage:
numbers are stored in float16, and made float32 again when the program is loaded, so that it computes as ever.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from self1e.export.quantised import products_to_quantise
from self1e.export.trace import Traced

MOST_BYTES = 1_900_000_000
"""Of a single file: protobuf's limit is 2^31."""

BLOCK = 32
"""Weights of one scale."""

WHOLE_NUMBERS = 4
"""ONNX Runtime's level of accuracy at which products are made of whole numbers of 8 bits."""

SMALL = 1024
"""Numbers of a tensor that is not worth to be stored in fewer bits."""


def write_onnx(traced: Traced, path: Path, precision: str) -> None:
    """Writes a program.

    Args:
        traced: From `self1e.export.trace.trace`.
        path: Of the file to make.
        precision: "float32", "float16" (of what is stored), or "int8".
    """
    model = traced.in_onnx.model_proto
    if precision == "int8":
        model = in_8_bits(model, products_to_quantise(model, traced.layers))
    if precision != "float32":
        store_in_halves(model)
    save(model, path)


def save(model: onnx.ModelProto, path: Path) -> None:
    """Writes a model into one file, its numbers into another beside it if they are too many; without what torch writes
    down of where each operator comes from."""
    for entry in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        del entry.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
    del model.metadata_props[:], model.graph.value_info[:]
    external = sum(len(each.raw_data) for each in model.graph.initializer) > MOST_BYTES
    onnx.save_model(
        model, path, save_as_external_data=external, all_tensors_to_one_file=True, location=f"{path.name}.data"
    )


def in_8_bits(model: onnx.ModelProto, products: list[str]) -> onnx.ModelProto:
    """Products with weights in 8 bits, a scale for each block of them; what they are multiplied with is brought to 8
    bits as well, block by block, while they run.

    Args:
        model: In float32.
        products: Names of those that are meant.
    """
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    logging.getLogger("onnxruntime.quantization").setLevel(logging.WARNING)  # or it tells of each node

    others = [node.name for node in model.graph.node if node.name not in set(products)]
    quantizer = MatMulNBitsQuantizer(
        model, bits=8, block_size=BLOCK, is_symmetric=True, accuracy_level=WHOLE_NUMBERS, nodes_to_exclude=others
    )
    quantizer.process()
    return quantizer.model.model


def store_in_halves(model: onnx.ModelProto, but_of: Collection[str] = ()) -> None:
    """Stores the numbers of a model in float16; a cast in front of those who read them gives float32.

    Args:
        model: In float32.
        but_of: Names of operators whose weights are left as they are.
    """
    graph = model.graph
    left = {node.input[1] for node in graph.node if node.name in but_of}
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALL or tensor.name in left:
            continue
        name = tensor.name
        halves = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(halves, f"{name}.half"))
        cast: Any = helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT)
        graph.node.insert(0, cast)
