"""A prefix cache: the tokens before the picture, which see nothing but each other, read once.

They are the same for every question and picture (the system prompt and the head of the user's turn), and causal in
every layer. So their keys and values are kept, and the tokens themselves are left out of the rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class PrefixCache:
    """The keys and values of P tokens, which stand before all rows of a batch.

    Is given to a text model in place of transformers' cache. Nothing is ever added to it, so that one serves any number
    of passes.

    Args:
        keys: float[1, h, P, d] of each layer.
        values: float[1, h, P, d] of each layer.
    """

    def __init__(self, keys: list[Tensor], values: list[Tensor]) -> None:
        self.keys, self.values = keys, values

    @classmethod
    @torch.no_grad()
    def read(cls, text_model: Any, embeddings: Tensor) -> PrefixCache:
        """Has a text model read the tokens before the picture, float[P, D]."""
        layers = text_model(inputs_embeds=embeddings[None], use_cache=True).past_key_values.layers
        return cls([layer.keys for layer in layers], [layer.values for layer in layers])

    def __len__(self) -> int:
        """P."""
        return self.keys[0].shape[2]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """P, for transformers; where torch traces, a number that may be any."""
        return self.keys[0].shape[2]

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keys and values of B rows, float[B, h, N, d], behind those of the prefix: float[B, h, P + N, d]."""
        rows = keys.shape[0]
        return (
            torch.cat([self.keys[layer_idx].expand(rows, -1, -1, -1), keys], dim=2),
            torch.cat([self.values[layer_idx].expand(rows, -1, -1, -1), values], dim=2),
        )
