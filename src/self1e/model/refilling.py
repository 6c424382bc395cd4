"""The refilling head: from features to mask logits, without a mask decoder (method, section 2).

    R = PUS(amplify_llm(F_IMG)) - PUS(amplify_vit(F_V1))        amplified residual: what the LLM added
    P = fuse(PUS(amplify_vit(F_V1_HQ)) + upsample_x2(R))        refilled pixels
    s = fuse(mean of the 4 chunks of amplify_llm(F_SEG))        segmentation embedding
    mask logits = P . s / sqrt(D)

F_IMG are the LLM's states at the image tokens, F_V1 the compressed and F_V1_HQ the uncompressed (self-replicated)
features of the vision tower behind the projector. The lower rungs of the ladder leave out the amplifiers and the
unshuffle (`rfr`), the residual (`uncompressed`), or everything but F_IMG (`baseline`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from self1e.model.config import SELF1EConfig


def self_replicate(patch_features: Tensor) -> Tensor:
    """F_V0^r: each patch vector four times along its channels, so that the projector, which reads 2 x 2 patches at
    once, takes each of them alone and uncompressed. float[T, 4n, Cv] -> float[T, 4n, 4 Cv]."""
    return patch_features.repeat(1, 1, 4)


def pixel_unshuffle(features: Tensor) -> Tensor:
    """PUS: float[..., H, W, 4 D] -> float[..., 2 H, 2 W, D], the exact inverse of InternVL's pixel shuffle (v2)."""
    *batch, height, width, channels = features.shape
    features = features.unflatten(-1, (2, 2, channels // 4))  # ..., H, W, row, column, D
    features = features.movedim(-3, -4)  # ..., H, row, W, column, D
    return features.reshape(*batch, 2 * height, 2 * width, channels // 4)


def stitch(tiles: Tensor, columns: int, rows: int) -> Tensor:
    """float[..., rows * columns, h, w, D] (row-major tiles) -> float[..., rows h, columns w, D]."""
    *batch, _, height, width, channels = tiles.shape
    tiles = tiles.unflatten(-4, (rows, columns))  # ..., rows, columns, h, w, D
    tiles = tiles.movedim(-3, -4)  # ..., rows, h, columns, w, D
    return tiles.reshape(*batch, rows * height, columns * width, channels)


def upsample_x2(features: Tensor) -> Tensor:
    """Bilinear, float[B, H, W, D] -> float[B, 2 H, 2 W, D]."""
    upsampled = F.interpolate(features.movedim(-1, 1), scale_factor=2, mode="bilinear", align_corners=False)
    return upsampled.movedim(1, -1)


def as_map(features: Tensor) -> Tensor:
    """Tokens of square tiles, float[..., n * n, D] -> float[..., n, n, D]."""
    side = round(features.shape[-2] ** 0.5)
    return features.unflatten(-2, (side, side))


class MLP(nn.Module):
    """Linear-GELU-Linear."""

    def __init__(self, linear_1: nn.Linear, linear_2: nn.Linear) -> None:
        super().__init__()
        self.linear_1 = linear_1
        self.act = nn.GELU()
        self.linear_2 = linear_2

    @classmethod
    def of_width(cls, width: int, out: int) -> MLP:
        """`width` -> `width` -> `out`."""
        return cls(nn.Linear(width, width), nn.Linear(width, out))

    def forward(self, features: Tensor) -> Tensor:
        """float[..., width] -> float[..., out]."""
        return self.linear_2(self.act(self.linear_1(features)))


@dataclass
class VisionSide:
    """What the head needs of a picture before any question is asked; one entry per tile.

    `compressed` is float[T, m, m, D] and `uncompressed` float[T, 2 m, 2 m, D], amplified and unshuffled in `rfa`
    (m = 32 for InternVL3), plain otherwise (m = 16). None where the rung of the ladder does not use it.
    """

    compressed: Tensor | None
    uncompressed: Tensor | None

    def split(self, tiles: list[int]) -> list[VisionSide]:
        """The entries of each picture, in one cut: gradients of single slices would each fill the whole tensor."""
        sides = (self.compressed, self.uncompressed)
        cut = [[None] * len(tiles) if side is None else side.split(tiles) for side in sides]
        return [VisionSide(*pair) for pair in zip(*cut, strict=True)]


class MaskHead(Protocol):
    """What makes masks of states and features: `RefillingHead`, or another that computes the same in another order."""

    def vision_side(self, compressed: Tensor, uncompressed: Tensor | None) -> VisionSide: ...

    def segmentation_embedding(self, seg_states: Tensor) -> Tensor: ...

    def llm_map(self, llm_image_features: Tensor, columns: int, rows: int) -> Tensor: ...

    def refilled_pixels(self, llm_map: Tensor, vision: VisionSide, columns: int, rows: int) -> Tensor: ...

    def mask_logits(self, pixels: Tensor, embedding: Tensor) -> Tensor: ...

    def __call__(
        self, llm_image_features: Tensor, vision: VisionSide, embeddings: Sequence[Tensor], columns: int, rows: int
    ) -> list[tuple[Tensor, ...]]: ...


class RefillingHead(nn.Module):
    """RFR and RFA. Holds only the MLPs which its rung of the ladder uses."""

    def __init__(self, config: SELF1EConfig) -> None:
        super().__init__()
        width = config.text_config.hidden_size
        self.rung = config.rung
        self.scale = width**-0.5
        if self.rung.amplified:
            self.amplify_llm = MLP.of_width(width, 4 * width)
            self.amplify_vit = MLP.of_width(width, 4 * width)
        self.fuse = MLP.of_width(width, width)

    def vision_side(self, compressed: Tensor, uncompressed: Tensor | None) -> VisionSide:
        """The part of the head that depends on the picture alone.

        Args:
            compressed: F_V1, float[T, n, D].
            uncompressed: F_V1^HQ, float[T, 4 n, D]; None where the rung uses none.
        """
        used = [compressed if self.rung.residual else None, uncompressed if self.rung.uncompressed else None]
        maps = [None if features is None else as_map(features) for features in used]
        if self.rung.amplified:
            maps = [None if each is None else pixel_unshuffle(self.amplify_vit(each)) for each in maps]
        return VisionSide(*maps)

    def llm_map(self, llm_image_features: Tensor, columns: int, rows: int) -> Tensor:
        """F_IMG of whole pictures, float[B, rows * columns, n, D] -> float[B, H, W, D], amplified or not."""
        features = as_map(llm_image_features)
        if self.rung.amplified:
            features = pixel_unshuffle(self.amplify_llm(features))
        return stitch(features, columns, rows)

    def refilled_pixels(self, llm_map: Tensor, vision: VisionSide, columns: int, rows: int) -> Tensor:
        """P: float[B, H, W, D] of `llm_map`, all about the picture with this vision side -> float[B, H', W', D]."""
        if vision.uncompressed is None:
            return self.fuse(llm_map)
        pixels = stitch(vision.uncompressed, columns, rows)
        if vision.compressed is None:
            return self.fuse(pixels).expand(llm_map.shape[0], *pixels.shape)  # `len` would be fixed in an export
        residual = llm_map - stitch(vision.compressed, columns, rows)
        return self.fuse(pixels + upsample_x2(residual))

    def segmentation_embedding(self, seg_states: Tensor) -> Tensor:
        """s: F_SEG, float[K, D] -> float[K, D]."""
        if self.rung.amplified:
            seg_states = self.amplify_llm(seg_states).unflatten(-1, (4, -1)).mean(dim=-2)
        return self.fuse(seg_states)

    def mask_logits(self, pixels: Tensor, embedding: Tensor) -> Tensor:
        """float[H, W, D] and float[K, D] -> float[K, H, W]."""
        return (embedding @ pixels.flatten(0, 1).T).unflatten(-1, pixels.shape[:2]) * self.scale

    def forward(
        self, llm_image_features: Tensor, vision: VisionSide, embeddings: Sequence[Tensor], columns: int, rows: int
    ) -> list[tuple[Tensor, ...]]:
        """Masks of B rows that are about one picture.

        Args:
            llm_image_features: F_IMG of each row, float[B, rows * columns, n, D].
            vision: Of the picture's tiles, from `vision_side`.
            embeddings: float[K, D] of each row, from `segmentation_embedding`.
            columns: Of the picture's grid of tiles, as `rows`.

        Returns:
            For each row the mask logits float[K, H', W'], and the low-resolution ones float[K, H, W].
        """
        llm_map = self.llm_map(llm_image_features, columns, rows)
        pixels = self.refilled_pixels(llm_map, vision, columns, rows)
        return [
            (self.mask_logits(fine, embedding), self.mask_logits(coarse, embedding))
            for fine, coarse, embedding in zip(pixels, llm_map, embeddings, strict=True)
        ]
