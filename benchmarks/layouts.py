"""Does it pay to lay out weights otherwise? Times the linear layers of InternVL3-2B in three layouts.

    python -m benchmarks.layouts --dtype bfloat16 --tokens 1 280 1120

`torch.nn.Linear` keeps a weight as (outputs, inputs). Transposed in memory it is the same matrix in the other order,
and on some CPUs the product is faster. Prepacked (`self1e.modeling.cpu_linear`) it need not be packed in every call.
Prints one Markdown row for each shape: milliseconds, how many times as fast prepacked weights are, and after how many
products the time is made up that it takes to pack them.
"""

from __future__ import annotations

import argparse
from statistics import median

import torch
import torch.nn.functional as F

from benchmarks.machine import machine_facts
from benchmarks.subjects import DTYPES
from benchmarks.timing import interleaved, ratio
from self1e.checkpoints.presets import TEXT_SHAPES, VISION_SHAPE

WIDTH, MLP_WIDTH, _, HEADS, KEY_VALUE_HEADS = TEXT_SHAPES["2B"]
SHAPES = {
    "LLM, query and output": (WIDTH, WIDTH),
    "LLM, key and value": (WIDTH, WIDTH * KEY_VALUE_HEADS // HEADS),
    "LLM, gate and up": (WIDTH, MLP_WIDTH),
    "LLM, down": (MLP_WIDTH, WIDTH),
    "vision, attention": (VISION_SHAPE[0], VISION_SHAPE[0]),
    "vision, MLP in": (VISION_SHAPE[0], VISION_SHAPE[1]),
    "vision, MLP out": (VISION_SHAPE[1], VISION_SHAPE[0]),
}
"""(inputs, outputs)."""


@torch.inference_mode()
def row(name: str, tokens: int, dtype: torch.dtype, passes: int) -> str:
    """Times one shape."""
    inputs, outputs = SHAPES[name]
    values, weight = torch.randn(tokens, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
    transposed = weight.t().contiguous().t()
    packed = torch.ops.mkldnn._reorder_linear_weight(weight)
    rivals = {
        "rows": lambda: F.linear(values, weight),
        "columns": lambda: F.linear(values, transposed),
        "prepacked": lambda: torch.ops.mkldnn._linear_pointwise(values, packed, None, "none", [], ""),
        "packing": lambda: torch.ops.mkldnn._reorder_linear_weight(weight),
    }
    for product in rivals.values():
        product()
    seconds, _ = interleaved(rivals, passes)
    middle = {way: 1000 * median(each) for way, each in seconds.items()}
    gained = middle["rows"] - middle["prepacked"]
    products = f"{middle['packing'] / gained:.0f}" if gained > 0 else "never"
    return (
        f"| {name}, {inputs} to {outputs} | {tokens} | {middle['rows']:.2f} | {middle['columns']:.2f} "
        f"| {middle['prepacked']:.2f} | {ratio(seconds['rows'], seconds['prepacked']):.2f} | {products} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--tokens", type=int, nargs="+", default=[1, 280, 1120])
    parser.add_argument("--passes", type=int, default=15)
    chosen = parser.parse_args()
    print(machine_facts())
    print("| layer | tokens | (outputs, inputs), ms | (inputs, outputs), ms | prepacked, ms | ratio | made up after |")
    print("|---|---|---|---|---|---|---|")
    for tokens in chosen.tokens:
        for name in SHAPES:
            print(row(name, tokens, getattr(torch, chosen.dtype), chosen.passes), flush=True)


if __name__ == "__main__":
    main()
