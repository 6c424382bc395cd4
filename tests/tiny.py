"""The smallest model that has everything: 64 px tiles, 16 image tokens each, masks of 32 x 32."""

from self1e.training.config import Architecture

TINY = Architecture(
    image_size=64,
    patch_size=8,
    vision_width=32,
    vision_layers=1,
    vision_heads=2,
    text_width=32,
    text_layers=2,
    text_heads=2,
    text_mlp_width=64,
    vocabulary=500,
)
