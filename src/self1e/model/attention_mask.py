"""The dual perception pathways: one boolean mask that says which token may look at which (method, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor


def dual_perception_mask(
    attention_mask: Tensor,
    image_tokens: Tensor,
    segmentation_tokens: Tensor,
    *,
    image_to_image: bool = True,
    image_to_segmentation: bool = True,
    conversation_ids: Tensor | None = None,
    bidirectional: Tensor | None = None,
) -> Tensor:
    """Builds the attention mask of every layer of the language model.

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

    Returns:
        bool[B, 1, N, N], True where the query (third axis) may attend to the key (fourth axis). Every query sees at
        least itself, so no softmax is ever taken over nothing.
    """
    real = attention_mask.bool()
    image = image_tokens & real
    segmentation = segmentation_tokens & real
    if bidirectional is None:
        bidirectional = segmentation.any(dim=1)
    length = real.shape[1]
    image = image & bidirectional[:, None]

    visible = torch.ones(length, length, dtype=torch.bool, device=real.device).tril()[None]
    if image_to_image:
        visible = visible | (image[:, :, None] & image[:, None, :])
    if image_to_segmentation:
        visible = visible | (image[:, :, None] & segmentation[:, None, :])
    if conversation_ids is not None:
        same = conversation_ids[:, :, None] == conversation_ids[:, None, :]
        visible = visible & (same | (conversation_ids == 0)[:, None, :])
    visible = visible & real[:, None, :]
    itself = torch.eye(length, dtype=torch.bool, device=real.device)
    return (visible | itself)[:, None]


def as_attention_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """bool[...] -> float[...]: 0 where visible and the lowest number of `dtype` where not, for eager attention."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, torch.finfo(dtype).min)
