"""Folding: the same masks with fewer products, for inference.

Weights that meet only each other are multiplied once, before the first picture, instead of with every picture:

- The projector on self-replicated features. Its first linear reads the same Cv numbers four times, so that its four
  blocks of columns add up to one, and the affine part of the normalisation before it goes in as well: a quarter of the
  products.
- `fuse` after `amplify`. Between the second linear of an amplifier and the first of `fuse` stand only a rearrangement,
  sums and a bilinear upsampling, all linear and the same for every channel: both linears become one, which is applied
  at the amplifier's few tokens instead of at every refilled pixel.
- `fuse` before the mask. Its second linear meets the segmentation embedding in an inner product: folded into that one
  vector, it too is spared at every pixel.

What is left to do at a pixel is a sum, a GELU and one inner product. Products are made in float32 and rounded to the
model's type once; the masks are those of equations 1 to 5 of the method (section 2), whose linear steps are only done
in another order. There are no low-resolution masks, which only losses want. Rungs of the ladder below `rfa` have no
amplifiers: their head stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.internvl.modeling_internvl import InternVLMultiModalProjector

from self1e.model.refilling import MLP, RefillingHead, VisionSide, as_map, pixel_unshuffle, stitch, upsample_x2


class FoldedProjector(nn.Module):
    """The projector of self-replicated features, from the features before replication: float[..., Cv] -> float[..., D].

    Args:
        projector: InternVL's, from 4 Cv to D.
    """

    def __init__(self, projector: InternVLMultiModalProjector) -> None:
        super().__init__()
        norm, wide = projector.layer_norm, projector.linear_1
        columns = wide.in_features // 4
        scaled = wide.weight.float() * norm.weight.float()
        self.eps = norm.eps
        self.linear_1 = _linear(
            scaled.unflatten(1, (4, columns)).sum(dim=1),
            wide.bias.float() + wide.weight.float() @ norm.bias.float(),
            like=wide.weight,
        )
        self.act = projector.act
        self.linear_2 = projector.linear_2

    def forward(self, patch_features: Tensor) -> Tensor:
        """float[T, 4n, Cv] -> float[T, 4n, D]."""
        # Mean and variance of four copies are those of one.
        normal = F.layer_norm(patch_features, patch_features.shape[-1:], eps=self.eps)
        return self.linear_2(self.act(self.linear_1(normal)))


class FoldedHead(nn.Module):
    """The refilling head of `rfa` with `fuse` folded away; the interface is that of `RefillingHead`.

    Args:
        head: Whose first linears are taken over.
    """

    def __init__(self, head: RefillingHead) -> None:
        super().__init__()
        fuse = head.fuse
        bias = fuse.linear_1.bias.float()
        # The bias of `fuse` goes to one of the two: the sum of both branches has it once.
        self.amplify_llm = _fold_second(head.amplify_llm, fuse.linear_1, bias)
        self.amplify_vit = _fold_second(head.amplify_vit, fuse.linear_1, torch.zeros_like(bias))
        self.act = fuse.act
        self.fuse_weight, self.fuse_bias = fuse.linear_2.weight, fuse.linear_2.bias
        self.scale = head.scale

    def vision_side(self, compressed: Tensor, uncompressed: Tensor | None) -> VisionSide:
        """As `RefillingHead.vision_side`; what it returns stands before the activation of `fuse`."""
        assert uncompressed is not None  # `rfa` has them
        return VisionSide(
            pixel_unshuffle(self.amplify_vit(as_map(compressed))),
            pixel_unshuffle(self.amplify_vit(as_map(uncompressed))),
        )

    def segmentation_embedding(self, seg_states: Tensor) -> Tensor:
        """F_SEG, float[K, D] -> float[K, D + 1]: s times the second linear of `fuse`, and times its bias."""
        hidden = self.amplify_llm(seg_states).unflatten(-1, (4, -1)).mean(dim=-2)
        embedding = F.linear(self.act(hidden), self.fuse_weight, self.fuse_bias) * self.scale
        return torch.cat([embedding @ self.fuse_weight, (embedding @ self.fuse_bias)[:, None]], dim=-1)

    def llm_map(self, llm_image_features: Tensor, columns: int, rows: int) -> Tensor:
        """As `RefillingHead.llm_map`."""
        return stitch(pixel_unshuffle(self.amplify_llm(as_map(llm_image_features))), columns, rows)

    def refilled_pixels(self, llm_map: Tensor, vision: VisionSide, columns: int, rows: int) -> Tensor:
        """As `RefillingHead.refilled_pixels`; what it returns stands before the second linear of `fuse`."""
        assert vision.compressed is not None and vision.uncompressed is not None
        residual = llm_map - stitch(vision.compressed, columns, rows)
        return self.act(stitch(vision.uncompressed, columns, rows) + upsample_x2(residual))

    def mask_logits(self, pixels: Tensor, embedding: Tensor) -> Tensor:
        """float[H, W, D] and float[K, D + 1] -> float[K, H, W]."""
        weights, bias = embedding[:, :-1], embedding[:, -1:]
        return (weights @ pixels.flatten(0, 1).T + bias).unflatten(-1, pixels.shape[:2])

    def forward(
        self, llm_image_features: Tensor, vision: VisionSide, embeddings: Sequence[Tensor], columns: int, rows: int
    ) -> list[tuple[Tensor, ...]]:
        """As `RefillingHead.forward`, without the low-resolution maps."""
        assert vision.compressed is not None and vision.uncompressed is not None
        sides = (vision.compressed, vision.uncompressed)
        whole = VisionSide(*(stitch(side, columns, rows)[None] for side in sides))  # once for all rows, as one tile
        maps: list[tuple[Tensor, ...]] = []
        # One row at a time: the pixels are the largest maps.
        for llm_map, embedding in zip(self.llm_map(llm_image_features, columns, rows), embeddings, strict=True):
            pixels = self.refilled_pixels(llm_map[None], whole, 1, 1)[0]
            maps.append((self.mask_logits(pixels, embedding),))
        return maps


def _fold_second(amplifier: MLP, then: nn.Linear, bias: Tensor) -> MLP:
    """An amplifier with the linear `then` behind each of its 4 chunks: its own second linear, multiplied by that."""
    second = amplifier.linear_2
    weight = torch.matmul(then.weight.float(), second.weight.float().unflatten(0, (4, -1)))
    biases = second.bias.float().unflatten(0, (4, -1)) @ then.weight.float().T + bias
    return MLP(amplifier.linear_1, _linear(weight.flatten(0, 1), biases.flatten(), like=second.weight))


def _linear(weight: Tensor, bias: Tensor, like: Tensor) -> nn.Linear:
    """A linear layer with these weights, of the type of `like`, frozen."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight = nn.Parameter(weight.to(like.dtype), requires_grad=False)
    layer.bias = nn.Parameter(bias.to(like.dtype), requires_grad=False)
    return layer
