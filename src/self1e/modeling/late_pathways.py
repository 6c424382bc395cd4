"""Image-to-segmentation from one layer of the language model on (`SELF1EConfig.image_to_segmentation_from`).

Before that layer no state of a picture depends on a question, and conversations about one picture share a row. There,
each gets a row of its own, with a copy of the picture's states that from now on sees its `[SEG]`:

    layers before        prefix | first conversation | second conversation
    layers from it on    prefix | first conversation
                         prefix | second conversation
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from self1e.modeling.opening import Opening
from self1e.transfers import to_device_together

T = TypeVar("T")


@dataclass(frozen=True)
class Unpacked:
    """R rows of one conversation each, made of B packed rows of N tokens.

    Attributes:
        index: long[R, L], which of the B N tokens each one is; 0 at padding.
        lengths: long[R], tokens of each row, without padding.
        own: long[O], which of the R L tokens are in one row alone.
        of_row: long[R], the packed row that each row was part of.
        packed_row: The same for the host.
    """

    index: Tensor
    lengths: Tensor
    own: Tensor
    of_row: Tensor
    packed_row: list[int]

    def to(self, device: torch.device) -> Unpacked:
        """The same on a device; the host does not wait."""
        places = [self.index, self.lengths, self.own, self.of_row]
        index, lengths, own, of_row = to_device_together(places, device)
        return Unpacked(index, lengths, own, of_row, self.packed_row)

    @property
    def real(self) -> Tensor:
        """bool[R, L], False at padding."""
        return torch.arange(self.index.shape[1], device=self.index.device) < self.lengths[:, None]

    def take(self, values: Tensor) -> Tensor:
        """[B, N, ...] of packed rows -> [R, L, ...]; what stands at padding is not meant."""
        return values.flatten(0, 1)[self.index]

    def where(self, marks: Tensor) -> Tensor:
        """bool[B, N] -> bool[R, L], False at padding."""
        return self.take(marks) & self.real

    def of(self, values: Sequence[T]) -> list[T]:
        """What each of the R rows has of its packed row."""
        return [values[row] for row in self.packed_row]

    def put_back(self, values: Tensor, shape: torch.Size) -> Tensor:
        """[R, L, D] -> [B, N, D]; 0 at tokens that several rows share, and at padding."""
        flat = values.new_zeros(shape.numel(), values.shape[-1])
        own = values.flatten(0, 1)[self.own]
        return flat.index_put((self.index.flatten()[self.own],), own).unflatten(0, shape)

    def joined(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """[K, h, w] of each of the R rows -> those of each packed row in one."""
        of_rows: dict[int, list[Tensor]] = {}
        for row, given in zip(self.packed_row, maps, strict=True):
            of_rows.setdefault(row, []).append(given)
        return tuple(torch.cat([one for one in each if len(one)] or each[:1]) for each in of_rows.values())


def unpack(real: Tensor, conversation_ids: Tensor | None) -> Unpacked:
    """Finds the rows that the conversations of a batch have by themselves, on the CPU.

    Args:
        real: bool[B, N], False at padding.
        conversation_ids: int[B, N], see `dual_perception_mask`. None: each row is one conversation.
    """
    ids = torch.zeros_like(real, dtype=torch.long) if conversation_ids is None else conversation_ids
    index, own, packed_row = [], [], []
    for row, conversations in enumerate((ids * real).amax(dim=1).tolist()):
        for conversation in range(1, conversations + 1) if conversations else (0,):
            mine = ids[row] == conversation
            here = (real[row] & (mine | (ids[row] == 0))).nonzero().flatten()
            index.append(here + row * real.shape[1])
            own.append(mine[here])
            packed_row.append(row)
    return Unpacked(
        pad_sequence(index, batch_first=True),
        torch.tensor([len(tokens) for tokens in index]),
        pad_sequence(own, batch_first=True).flatten().nonzero().flatten(),
        torch.tensor(packed_row),
        packed_row,
    )


def run_layers(
    text_model: Any,
    states: Tensor,
    position_ids: Tensor,
    attention_mask: Tensor,
    layers: slice,
    opening: Opening | None = None,
) -> Tensor:
    """Some layers of a Qwen2 or Qwen3 text model, without its final norm: float[B, N, D] -> float[B, N, D].

    Args:
        text_model: transformers' `Qwen2Model` or one built alike.
        states: The states before these layers.
        position_ids: int[B, N].
        attention_mask: [B, 1, N, N], as the attention implementation takes it; [B, 1, N, P + N] with an opening.
        layers: Which of them.
        opening: P tokens that stand before all rows.
    """
    rotation = text_model.rotary_emb(states, position_ids)
    for layer in text_model.layers[layers]:
        states = layer(
            states,
            attention_mask=attention_mask,
            position_ids=position_ids,
            position_embeddings=rotation,
            past_key_values=opening,
            use_cache=False,
        )
    return states
