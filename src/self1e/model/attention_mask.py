"""The dual perception pathways: one rule that says which token may look at which (method, section 3).

It is a function of places; SDPA and eager attention take it written out for all of them, FlexAttention as it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask


class DualPerception:
    """The attention mask of every layer of the language model.

    A row of `t`ext, `I`mage and `S` ([SEG]) tokens; queries go down, keys to the right; `#` causal, `i` image-to-image,
    `s` image-to-segmentation:

            t I I t S t
          t #
          I # # i   s         without a [SEG]:   t #
          I # # #   s                            I # #
          t # # # #                              I # # #
          S # # # # #                            t # # # #
          t # # # # # #

    Several conversations about one picture can share a row: the prefix (system prompt and picture) has conversation
    id 0, the conversations behind it 1, 2, ... . Everyone sees the prefix, nobody sees another conversation:

            t I I a a b b
          t #
          I # # i                 a [SEG] among the a's or b's is seen by the picture only if it stands in the
          I # # #                 picture's own conversation: a shared prefix cannot depend on what is asked later,
          a # # # #               so image-to-segmentation has no effect there.
          a # # # # #
          b # # #     #
          b # # #     # #

    Args:
        attention_mask: bool[B, N] (or 0/1), False at padding. Padding is seen by nobody but itself.
        image_tokens: bool[B, N], True at image tokens.
        segmentation_tokens: bool[B, N], True at `[SEG]` tokens.
        image_to_image: Lets the image tokens of a row that holds a `[SEG]` see each other in both directions.
        image_to_segmentation: Lets them see every `[SEG]` of their own conversation, too.
        conversation_ids: int[B, N], 0 for what is shared. None: each row is one conversation.
        bidirectional: bool[B], the rows in which the two pathways are open. Default: those that hold a `[SEG]`.
            Generation is causal, so training rows that rehearse it switch them off here.
    """

    def __init__(
        self,
        attention_mask: Tensor,
        image_tokens: Tensor,
        segmentation_tokens: Tensor,
        *,
        image_to_image: bool = True,
        image_to_segmentation: bool = True,
        conversation_ids: Tensor | None = None,
        bidirectional: Tensor | None = None,
    ) -> None:
        self.real = attention_mask.bool()
        segmentation = segmentation_tokens & self.real
        if bidirectional is None:
            bidirectional = segmentation.any(dim=1)
        self.image = image_tokens & self.real & bidirectional[:, None]
        self.opened = torch.zeros_like(self.real)  # what the pathways open to image tokens
        if image_to_image:
            self.opened = self.opened | self.image
        if image_to_segmentation:
            self.opened = self.opened | segmentation
        self.conversation_ids = conversation_ids

    def visible(self, row: Tensor, query: Tensor, key: Tensor) -> Tensor:
        """Whether the token at `query` may attend to the one at `key`.

        Every token sees at least itself, so no softmax is ever taken over nothing.

        Args:
            row: long, and so are the places `query` and `key`; they are broadcast.

        Returns:
            bool of the shape that they have together.
        """
        allowed = (query >= key) | (self.image[row, query] & self.opened[row, key])
        if self.conversation_ids is not None:
            asked = self.conversation_ids[row, key]
            allowed = allowed & ((asked == 0) | (asked == self.conversation_ids[row, query]))
        return (allowed & self.real[row, key]) | (query == key)

    def mask(self, before: int = 0) -> Tensor:
        """bool[B, 1, N, before + N], True where the query (third axis) may attend to the key (fourth axis).

        Args:
            before: Tokens that stand before each row, in a cache, and that everyone sees.
        """
        rows, length = self.real.shape
        row = torch.arange(rows, device=self.real.device)
        places = torch.arange(length, device=self.real.device)
        visible = self.visible(row[:, None, None], places[:, None], places[None, :])[:, None]
        return F.pad(visible, (before, 0), value=True) if before else visible

    def block_mask(self, before: int = 0) -> BlockMask:
        """For FlexAttention, which leaves out the blocks of tokens that do not see each other.

        Args:
            before: As for `mask`.
        """
        rows, length = self.real.shape

        def visible(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return (key < before) | self.visible(row, query, (key - before).clamp(min=0))

        return create_block_mask(visible, rows, None, length, before + length, device=self.real.device)


def as_attention_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """bool[...] -> float[...]: 0 where visible and the lowest number of `dtype` where not, for eager attention."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, torch.finfo(dtype).min)
