"""Which attention is fastest for masks on this machine? Times the shapes of InternVL3-2B.

    python -m benchmarks.attention --dtype bfloat16                  # on a CPU: torch's own, and ours by head
    python -m benchmarks.attention --dtype bfloat16 --device cuda    # on a GPU: torch's own, and FlexAttention

Prints one Markdown row for each shape: milliseconds of torch's fused kernel, of `by_head` of `self1e.fast.attention` or
FlexAttention with the rule as a block mask, which is made anew in each pass like the other's mask, and the ratio of the
two. The answers of both are compared.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.machine import machine_facts
from benchmarks.subjects import DTYPES
from benchmarks.timing import interleaved, medians, ratio
from self1e.checkpoints.presets import TEXT_SHAPES, VISION_SHAPE
from self1e.fast.attention import by_head
from self1e.model.attention_mask import DualPerception, as_attention_bias

WIDTH, _, _, HEADS, KEY_VALUE_HEADS = TEXT_SHAPES["2B"]
VISION_WIDTH, _, _, VISION_HEADS = VISION_SHAPE
PICTURE, WORDS, TILE = 256, 44, 1025
"""Tokens of a tile in the text model, of an expression, and of a tile in the vision tower."""


@dataclass(frozen=True)
class Shape:
    """What attention is taken over.

    Attributes:
        rows: Sequences.
        heads: Of queries.
        key_heads: Of keys and values.
        width: Of a head.
        tokens: In a row.
        rule: Who sees whom; None: all.
    """

    rows: int
    heads: int
    key_heads: int
    width: int
    tokens: int
    rule: DualPerception | None = None


def of_text(rows: int, tiles: int, expressions: int, device: str) -> Shape:
    """Rows of a picture with expressions behind it, each with a `[SEG]` at its end."""
    picture = tiles * PICTURE
    tokens = picture + expressions * WORDS
    place = torch.arange(tokens, device=device).expand(rows, tokens)
    asked = (place - picture).div(WORDS, rounding_mode="floor") + 1
    rule = DualPerception(
        torch.ones_like(place, dtype=torch.bool),
        place < picture,
        (place >= picture) & ((place - picture) % WORDS == WORDS - 1),
        image_to_segmentation=expressions == 1,
        conversation_ids=asked.clamp(min=0) if expressions > 1 else None,
    )
    return Shape(rows, HEADS, KEY_VALUE_HEADS, WIDTH // HEADS, tokens, rule)


def shapes(device: str) -> dict[str, Shape]:
    """All that are timed."""
    width = VISION_WIDTH // VISION_HEADS
    return {
        "vision, 1 tile": Shape(1, VISION_HEADS, VISION_HEADS, width, TILE),
        "vision, 4 tiles": Shape(4, VISION_HEADS, VISION_HEADS, width, TILE),
        "LLM, 1 row": of_text(1, 1, 1, device),
        "LLM, 4 rows": of_text(4, 1, 1, device),
        "LLM, 1 row of 4 tiles": of_text(1, 4, 1, device),
        "LLM, 32 expressions behind 1 tile": of_text(1, 1, 32, device),
    }


def ways(shape: Shape, dtype: torch.dtype, device: str) -> dict[str, Callable[[], Tensor]]:
    """torch's kernel, and its rival on such a device: each float[B, N, H, d]."""
    query, key, value = (
        torch.randn(shape.rows, shape.tokens, each, shape.width, device=device).to(dtype).transpose(1, 2)
        for each in (shape.heads, shape.key_heads, shape.key_heads)
    )
    shared = shape.heads // shape.key_heads
    layer: Any = SimpleNamespace(num_key_value_groups=shared)

    def fused() -> Tensor:
        """As transformers calls it."""
        keys, values = (each.repeat_interleave(shared, dim=1) for each in (key, value))
        visible = None if shape.rule is None else shape.rule.mask()
        return scaled_dot_product_attention(query, keys, values, attn_mask=visible).transpose(1, 2).contiguous()

    def one_by_one() -> Tensor:
        bias = None if shape.rule is None else as_attention_bias(shape.rule.mask(), dtype)
        return by_head(layer, query, key, value, bias, shape.width**-0.5)[0]

    def flex() -> Tensor:
        blocks = None if shape.rule is None else shape.rule.block_mask()
        found = compiled(query, key, value, block_mask=blocks, enable_gqa=shared > 1)
        return found.transpose(1, 2).contiguous()

    compiled: Any = torch.compile(flex_attention)
    return {"fused": fused} | ({"by head": one_by_one} if device == "cpu" else {"flex": flex})


@torch.inference_mode()
def row(name: str, shape: Shape, dtype: torch.dtype, device: str, passes: int) -> str:
    """Times one shape.

    Raises:
        AssertionError: When the answers differ.
    """
    rivals = ways(shape, dtype, device)
    of_ours, ours = list(rivals.items())[1]
    torch.testing.assert_close(ours(), rivals["fused"](), rtol=2e-2, atol=2e-2)
    waited = {way: _waited(run, device) for way, run in rivals.items()}
    seconds, _ = interleaved(waited, passes)
    middle = {way: 1000 * value for way, value in medians(seconds).items()}
    times = ratio(seconds["fused"], seconds[of_ours])
    return (
        f"| {name}: {shape.rows} x {shape.heads} heads x {shape.tokens} | {middle['fused']:.2f} | "
        f"{middle[of_ours]:.2f} | {times:.2f} |"
    )


def _waited(run: Callable[[], Tensor], device: str) -> Callable[[], Tensor]:
    def waited() -> Tensor:
        found = run()
        if device != "cpu":
            torch.cuda.synchronize(device)
        return found

    return waited


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--passes", type=int, default=15)
    chosen = parser.parse_args()
    print(machine_facts())
    rival = "by head" if chosen.device == "cpu" else "flex"
    print(f"| attention | fused, ms | {rival}, ms | ratio |\n|---|---|---|---|")
    for name, shape in shapes(chosen.device).items():
        print(row(name, shape, getattr(torch, chosen.dtype), chosen.device, chosen.passes), flush=True)


if __name__ == "__main__":
    main()
