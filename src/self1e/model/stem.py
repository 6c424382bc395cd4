"""A convolutional stem in place of the patch embedding of the vision tower (hybrid ViT).

A small transformer that starts from raw patches needs millions of pictures to learn what edges and textures are. A
convolutional network that was trained on ImageNet knows them: its features of strides 8, 16 and 32 are brought to the
grid of patches, joined, normalised and projected, and the transformer goes on from there (Dosovitskiy et al. 2021,
section 3.1; Xiao et al. 2021).

The network is EfficientNet-Lite2 (Tan and Le 2019; "Lite": ReLU6, no squeeze-and-excitation) without its head. Batch
normalisation is folded into the convolutions. `vision_config.stem` names it; a model without that setting has the patch
embedding of InternVL.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import InternVLVisionConfig
from transformers.models.internvl.modeling_internvl import InternVLVisionModel

#: By which `pixel_values` are normalised, as those of InternVL are: the same as in `self1e.processing.tiles`.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

EFFICIENTNET_LITE2 = "efficientnet-lite2"
STEMS = (EFFICIENTNET_LITE2,)

FIRST_WIDTH = 32
#: Kernel, stride, expansion, width and number of blocks of each stage.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 3),
    (5, 2, 6, 48, 3),
    (3, 2, 6, 88, 4),
    (5, 1, 6, 120, 4),
    (5, 2, 6, 208, 5),
    (3, 1, 6, 352, 1),
)
#: The last stages of strides 8, 16 and 32.
READ = (2, 4, 6)


class Conv(nn.Conv2d):
    """A convolution that gives ceil(size / stride) outputs, padded as TensorFlow's "same": an odd zero goes behind."""

    def __init__(self, width: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(width, out, kernel, stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """float[T, width, H, W] -> float[T, out, ceil(H / stride), ceil(W / stride)]."""
        (top, bottom), (left, right) = (self._padding(size) for size in x.shape[-2:])
        if top == bottom == left == right:
            return F.conv2d(x, self.weight, self.bias, self.stride, top, groups=self.groups)
        return super().forward(F.pad(x, (left, right, top, bottom)))

    def _padding(self, size: int) -> tuple[int, int]:
        stride, kernel = self.stride[0], self.kernel_size[0]
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2


class Block(nn.Module):
    """An inverted residual (Sandler et al. 2018): expand, filter each channel, project."""

    def __init__(self, width: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = width * expansion
        self.expand = Conv(width, inner, 1) if expansion > 1 else None
        self.filter = Conv(inner, inner, kernel, stride, groups=inner)
        self.project = Conv(inner, out, 1)
        self.residual = stride == 1 and width == out

    def forward(self, x: Tensor) -> Tensor:
        """float[T, width, H, W] -> float[T, out, H / stride, W / stride]."""
        inner = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        found = self.project(F.relu6(self.filter(inner), inplace=True))
        return x + found if self.residual else found


class EfficientNetLite2(nn.Module):
    """EfficientNet-Lite2 up to its last stage."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Conv(3, FIRST_WIDTH, 3, 2)
        self.stages = nn.ModuleList()
        width = FIRST_WIDTH
        for kernel, stride, expansion, out, blocks in STAGES:
            stage = nn.Sequential()
            for block in range(blocks):
                stage.append(Block(width, out, kernel, 1 if block else stride, expansion))
                width = out
            self.stages.append(stage)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the features."""
        return tuple(STAGES[number][3] for number in READ)

    def forward(self, pixel_values: Tensor) -> list[Tensor]:
        """Features of strides 8, 16 and 32.

        Args:
            pixel_values: float[T, 3, H, W], normalised by mean and deviation of ImageNet, as InternVL's are.

        Returns:
            float[T, C, H / stride, W / stride] of each stride.
        """
        # The network was trained on (255 x - 127) / 128 for colours x of 0 to 1.
        mean, std = (pixel_values.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        x = (pixel_values * std + mean) * (255 / 128) - 127 / 128
        x = F.relu6(self.first(x.contiguous(memory_format=torch.channels_last)), inplace=True)
        found = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in READ:
                found.append(x)
        return found


class StemEmbeddings(nn.Module):
    """Patch embeddings from the features of a stem; stands where InternVL's `patch_embeddings` does."""

    def __init__(self, config: InternVLVisionConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.num_patches = math.prod(
            size // patch for size, patch in zip(config.image_size, config.patch_size, strict=True)
        )
        self.stem = EfficientNetLite2()
        width = sum(self.stem.widths)
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, config.hidden_size)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """float[T, 3, H, W] -> float[T, patches, width], row by row."""
        height, width = (size // patch for size, patch in zip(pixel_values.shape[-2:], self.patch_size, strict=True))
        features = self.stem(pixel_values.to(self.stem.first.weight.dtype))
        joined = torch.cat([on_grid(each, (height, width)) for each in features], dim=1)
        return self.projection(self.norm(joined.flatten(2).transpose(1, 2)))


def on_grid(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """float[T, C, h, w] -> float[T, C, *grid]: the mean of those in a cell, or bilinear between those around it."""
    if features.shape[-2:] == torch.Size(grid):
        return features
    if features.shape[-1] > grid[-1]:
        return F.adaptive_avg_pool2d(features, grid)
    return F.interpolate(features, size=grid, mode="bilinear", align_corners=False)


def fit_stem(tower: InternVLVisionModel) -> None:
    """Gives a vision tower the stem that its configuration asks for, if it asks for one.

    Raises:
        ValueError: When there is no stem of that name.
    """
    name = getattr(tower.config, "stem", None)
    if name is None:
        return
    if name not in STEMS:
        raise ValueError(f"vision_config.stem is {name!r}: known are {', '.join(STEMS)}")
    tower.embeddings.patch_embeddings = StemEmbeddings(tower.config)
