"""Does it pay to lay out weights as (inputs, outputs)? Times the linear layers of InternVL3-2B in both layouts.

    python -m benchmarks.layouts --dtype bfloat16 --tokens 345 1380

`torch.nn.Linear` keeps a weight as (outputs, inputs). Transposed in memory it is the same matrix in the other order,
and on some CPUs the product is faster. Prints one Markdown row for each shape: milliseconds, and the ratio of the two.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F

from benchmarks.machine import machine_facts
from benchmarks.subjects import DTYPES
from benchmarks.timing import interleaved, medians, ratio
from self1e.modeling.shapes import TEXT_SHAPES, VISION_SHAPE

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
    rivals = {"rows": lambda: F.linear(values, weight), "columns": lambda: F.linear(values, transposed)}
    for product in rivals.values():
        product()
    seconds, _ = interleaved(rivals, passes)
    middle = {way: 1000 * value for way, value in medians(seconds).items()}
    return (
        f"| {name}, {inputs} to {outputs} | {tokens} | {middle['rows']:.2f} | {middle['columns']:.2f} "
        f"| {ratio(seconds['rows'], seconds['columns']):.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--tokens", type=int, nargs="+", default=[345, 1380])
    parser.add_argument("--passes", type=int, default=15)
    chosen = parser.parse_args()
    print(machine_facts())
    print("| layer | tokens | (outputs, inputs), ms | (inputs, outputs), ms | ratio |\n|---|---|---|---|---|")
    for tokens in chosen.tokens:
        for name in SHAPES:
            print(row(name, tokens, getattr(torch, chosen.dtype), chosen.passes), flush=True)


if __name__ == "__main__":
    main()
