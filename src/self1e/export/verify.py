"""Whether an exported model gives the masks of the model that it was made of: asked about pictures, never assumed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from self1e.engines.artefact import Verified
from self1e.processing.images import load_image
from self1e.segment.agreement import LEAST_IOU, MaskMap, PromptedPicture, agreement, mask_maps, turned_blank
from self1e.segment.quantise import bundled_samples
from self1e.segment.runner import Runner

MOST_DIFFERENCE = 1e-3
"""Of logits, between a model and what it was exported to in float32."""

TILES = 2
"""Tiles of pictures that are twice as wide or high as others, where the model can read so many."""


class ExportError(ValueError):
    """An exported model whose masks are not those of the model. The message has the figures."""


def samples_to_check() -> list[PromptedPicture]:
    """20 pictures with a prompt each, made of the bundled scenes: as they are, mirrored, cut, and two side by side."""
    scenes = [(load_image(image), prompts) for image, prompts in bundled_samples()]
    samples: list[PromptedPicture] = []
    for number, (image, prompts) in enumerate(scenes):
        width, height = image.size
        cut = image.crop((width // 4, 0, width, 2 * height // 3 + number))
        samples += [(each, [prompts[way]]) for way, each in enumerate((image, ImageOps.mirror(image), cut))]
    (one, asked), (other, _) = scenes[:2]
    wide, high = Image.new("RGB", (2 * one.width, one.height)), Image.new("RGB", (one.width, 2 * one.height))
    for joined, corner in ((wide, (one.width, 0)), (high, (0, one.height))):
        joined.paste(one, (0, 0))
        joined.paste(other, corner)
        samples.append((joined, [asked[0]]))
    return samples


def verify(model: Runner, exported: Runner, precision: str, samples: Sequence[PromptedPicture]) -> Verified:
    """Compares the masks of an exported model with those of the model.

    Args:
        model: In float32.
        exported: Of the same tiles.
        precision: Of the exported model's weights.
        samples: Pictures with prompts.

    Raises:
        ExportError: If they differ by `MOST_DIFFERENCE` in float32, or agree to less than `LEAST_IOU` otherwise.
    """
    before, after = (_maps(runner, samples) for runner in (model, exported))
    found = compared(before, after, pictures=len(samples))
    if precision == "float32" and not found.largest_difference < MOST_DIFFERENCE:
        raise ExportError(f"the exported model differs from the model: {found}, and {MOST_DIFFERENCE} is the most")
    if precision != "float32" and not found.iou >= LEAST_IOU:
        raise ExportError(
            f"{precision} changes the masks of this model: {found}, and an IoU of {LEAST_IOU} is the least; use "
            "another --precision"
        )
    if blank := turned_blank(before, after):
        raise ExportError(
            f"{precision} loses what this model finds: {blank} of {found.masks} masks turn empty; {found}"
        )
    return found


def compared(before: Sequence[MaskMap], after: Sequence[MaskMap], pictures: int) -> Verified:
    """The figures of a comparison, whatever they are."""
    differences = [np.abs(one - other) for (one, _), (other, _) in zip(before, after, strict=True)]
    changed = sum(int(((one > 0) != (other > 0)).sum()) for (one, _), (other, _) in zip(before, after, strict=True))
    return Verified(
        pictures=pictures,
        masks=len(before),
        largest_difference=float(f"{max(float(each.max()) for each in differences):.3g}"),
        largest_logit=float(f"{max(float(np.abs(one).max()) for one, _ in before):.4g}"),
        iou=round(agreement(before, after), 5),
        changed=changed,
    )


def _maps(runner: Runner, samples: Sequence[PromptedPicture]) -> list[MaskMap]:
    """As `mask_maps`; those that are twice as wide or high as others in `TILES` tiles, if the model can read them."""
    processor, maps = runner.processor, []
    for image, prompts in samples:
        image = load_image(image)
        usual = processor.max_tiles
        long = max(image.size) >= 2 * min(image.size)
        if long and len(processor.prefix((TILES, 1))) <= runner.context // 2:
            processor.max_tiles = max(usual, TILES)
        try:
            maps += mask_maps(runner, [(image, prompts)])
        finally:
            processor.max_tiles = usual
    return maps
