"""Is attention by head faster than torch's own for masks on this CPU? Times the shapes of InternVL3-2B.

    python -m benchmarks.attention --dtype bfloat16

Prints one Markdown row for each shape: milliseconds of torch's fused kernel, of `by_head` of
`self1e.fast.attention`, and the ratio of the two.
"""

from __future__ import annotations

import argparse
from types import SimpleNamespace

import torch
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.machine import machine_facts
from benchmarks.subjects import DTYPES
from benchmarks.timing import interleaved, medians, ratio
from self1e.checkpoints.presets import TEXT_SHAPES, VISION_SHAPE
from self1e.fast.attention import by_head
from self1e.model.attention_mask import as_attention_bias

WIDTH, _, _, HEADS, KEY_VALUE_HEADS = TEXT_SHAPES["2B"]
VISION_WIDTH, _, _, VISION_HEADS = VISION_SHAPE
TOKENS, TILE = 300, 1025

SHAPES = {
    "vision, 1 tile": (1, VISION_HEADS, VISION_HEADS, TILE, VISION_WIDTH // VISION_HEADS, False),
    "vision, 4 tiles": (4, VISION_HEADS, VISION_HEADS, TILE, VISION_WIDTH // VISION_HEADS, False),
    "LLM, 1 row": (1, HEADS, KEY_VALUE_HEADS, TOKENS, WIDTH // HEADS, True),
    "LLM, 4 rows": (4, HEADS, KEY_VALUE_HEADS, TOKENS, WIDTH // HEADS, True),
    "LLM, 1 row of 4 tiles": (1, HEADS, KEY_VALUE_HEADS, 4 * TOKENS, WIDTH // HEADS, True),
}
"""(rows, query heads, key heads, tokens, width of a head, masked)."""


@torch.inference_mode()
def row(name: str, dtype: torch.dtype, passes: int) -> str:
    """Times one shape."""
    rows, heads, key_heads, tokens, width, masked = SHAPES[name]
    query, key, value = (
        torch.randn(rows, tokens, each, width).to(dtype).transpose(1, 2) for each in (heads, key_heads, key_heads)
    )
    visible = torch.ones(rows, 1, tokens, tokens, dtype=torch.bool).tril() if masked else None
    bias = None if visible is None else as_attention_bias(visible, dtype)
    layer = SimpleNamespace(num_key_value_groups=heads // key_heads)

    def fused() -> torch.Tensor:
        """As transformers calls it."""
        keys, values = (each.repeat_interleave(heads // key_heads, dim=1) for each in (key, value))
        found = scaled_dot_product_attention(query, keys, values, attn_mask=visible)
        return found.transpose(1, 2).contiguous()

    rivals = {"fused": fused, "by head": lambda: by_head(layer, query, key, value, bias, width**-0.5)[0]}  # type: ignore[arg-type]
    for attention in rivals.values():
        attention()
    seconds, _ = interleaved(rivals, passes)
    middle = {way: 1000 * value for way, value in medians(seconds).items()}
    times = ratio(seconds["fused"], seconds["by head"])
    return (
        f"| {name}: {rows} x {heads} heads x {tokens} | {middle['fused']:.1f} | {middle['by head']:.1f} | {times:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--passes", type=int, default=15)
    chosen = parser.parse_args()
    print(machine_facts())
    print("| attention | fused, ms | by head, ms | ratio |\n|---|---|---|---|")
    for name in SHAPES:
        print(row(name, getattr(torch, chosen.dtype), chosen.passes), flush=True)


if __name__ == "__main__":
    main()
