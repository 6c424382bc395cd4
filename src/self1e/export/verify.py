"""Whether an exported model gives the masks of the model that it was made of: asked about pictures, never assumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from self1e.engines.artefact import Artefact, Verified
from self1e.engines.programs import ENGINES
from self1e.processing.images import PICTURES, load_image
from self1e.segment.agreement import (
    LEAST_IOU,
    MaskMap,
    PromptedPicture,
    agreement_and_telling,
    mask_maps,
    turned_blank,
)
from self1e.segment.on_engine import EngineRunner
from self1e.segment.quantise import bundled_samples
from self1e.segment.runner import Runner

MOST_DIFFERENCE = 1e-3
"""Of logits, between a model and what it was exported to in float32."""

PHOTOGRAPHS = {
    "cat.jpg": ("the cat", "the wall"),
    "astronaut.jpg": ("the person", "the face"),
    "coffee.jpg": ("the cup", "the table"),
}
"""Of `PICTURES`, and what is asked about each as it is, and mirrored. In drawn scenes alone a model of photographs
would find next to nothing that could be compared."""

TILES = 2
"""Tiles of pictures that are twice as wide or high as others, where the model can read so many."""

BESIDE = ("the background", "What is the largest thing in this picture?")
"""What is asked together with the prompts of a picture, and before them. Lengths differ, so that there is padding, or
one conversation begins behind another."""


class MapsToCheck(NamedTuple):
    """What a model makes of pictures.

    Attributes:
        alone: Maps of their prompts, asked one by one.
        together: Of the same, asked in one pass with `BESIDE`.
        beside: Of `BESIDE`, in these passes.
    """

    alone: list[MaskMap]
    together: list[MaskMap]
    beside: list[MaskMap]


class ExportError(ValueError):
    """An exported model whose masks are not those of the model. The message has the figures."""


def samples_to_check() -> list[PromptedPicture]:
    """20 pictures with a prompt each, two of them made of two: the bundled scenes, as they are and cut, and the
    bundled photographs, as they are and mirrored."""
    scenes = [(load_image(image), prompts) for image, prompts in bundled_samples()]
    photographs = [(load_image(PICTURES / name), prompts) for name, prompts in PHOTOGRAPHS.items()]
    samples: list[PromptedPicture] = []
    for number, (image, prompts) in enumerate(scenes):
        width, height = image.size
        cut = image.crop((width // 4, 0, width, 2 * height // 3 + number))
        samples += [(image, [prompts[0]]), (cut, [prompts[2]])]
    for image, (prompt, of_mirrored) in photographs:
        samples += [(image, [prompt]), (ImageOps.mirror(image), [of_mirrored])]
    for kind, down in ((photographs, False), (scenes, True)):
        (one, asked), (other, _) = kind[:2]
        samples.append((_joined(one, other, down), [asked[0]]))
    return samples


def _joined(one: Image.Image, other: Image.Image, down: bool) -> Image.Image:
    """Two pictures side by side, or the second one below the first, whose size it gets."""
    width, height = one.size
    joined = Image.new("RGB", (width, 2 * height) if down else (2 * width, height))
    joined.paste(one, (0, 0))
    joined.paste(other.resize(one.size), (0, height) if down else (width, 0))
    return joined


def verify_exported(artefact: Artefact, before: MapsToCheck, samples: Sequence[PromptedPicture]) -> Verified:
    """Compares the masks of an exported model with those of the model, in every engine that is installed and runs it.

    Args:
        artefact: The exported model.
        before: Maps of the model in float32; see `maps_to_check`.
        samples: What they are of.

    Raises:
        ExportError: As `verify`, with the name of the engine.
        ModelError: If an engine cannot load it.
        NumbersError: If numbers overflow.
    """
    engines = [name for name, kinds in ENGINES.items() if artefact.kind in kinds and find_spec(name)]
    found = [_verify_in(engine, artefact, before, samples) for engine in engines]
    return replace(
        found[0],
        largest_difference=max(each.largest_difference for each in found),
        iou=min(each.iou for each in found),
        changed=max(each.changed for each in found),
        engines=engines,
    )


def _verify_in(engine: str, artefact: Artefact, before: MapsToCheck, samples: Sequence[PromptedPicture]) -> Verified:
    """The figures of one engine, whose memory is free again when they are there."""
    after = maps_to_check(EngineRunner(artefact, engine), samples)
    exact = artefact.precision == "float32"
    found = []
    for asked, one, other in zip(("alone", "together", "beside"), before, after, strict=True):
        if asked == "beside" and not exact:
            continue  # small models do not know what is asked there, and in fewer bits such masks come and go
        try:
            found.append(verify(one, other, artefact.precision, len(samples)))
        except ExportError as error:
            several = "" if asked == "alone" else ", several prompts asked together"
            raise ExportError(f"in {engine}{several}: {error}") from None
    return replace(found[0], largest_difference=max(each.largest_difference for each in found))


def verify(before: Sequence[MaskMap], after: Sequence[MaskMap], precision: str, pictures: int) -> Verified:
    """Compares the masks of an exported model with those of the model.

    Args:
        before: Maps of the model in float32; see `sample_maps`.
        after: Of the exported model, in the same order.
        precision: Of its weights.
        pictures: How many they are of.

    Raises:
        ExportError: If they differ by `MOST_DIFFERENCE` in float32, or agree to less than `LEAST_IOU` otherwise; or if
            one turns empty.
    """
    found = compared(before, after, pictures)
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
    iou, telling = agreement_and_telling(before, after)
    changed = sum(int(((one > 0) != (other > 0)).sum()) for (one, _), (other, _) in zip(before, after, strict=True))
    return Verified(
        pictures=pictures,
        masks=len(before),
        largest_difference=float(f"{max(float(each.max()) for each in differences):.3g}"),
        largest_logit=float(f"{max(float(np.abs(one).max()) for one, _ in before):.4g}"),
        iou=round(iou, 5),
        changed=changed,
        telling=telling,
    )


def maps_to_check(runner: Runner, samples: Sequence[PromptedPicture]) -> MapsToCheck:
    """See there, and `sample_maps`."""
    found = MapsToCheck(sample_maps(runner, samples), [], [])
    for image, prompts in samples:
        maps = sample_maps(runner, [(image, [*BESIDE, *prompts])], together=True)
        found.beside.extend(maps[: len(BESIDE)])
        found.together.extend(maps[len(BESIDE) :])
    return found


def sample_maps(runner: Runner, samples: Sequence[PromptedPicture], together: bool = False) -> list[MaskMap]:
    """As `mask_maps`; those that are twice as wide or high as others in `TILES` tiles, if the model can read them."""
    processor, maps = runner.processor, []
    for image, prompts in samples:
        image = load_image(image)
        usual = processor.max_tiles
        long = max(image.size) >= 2 * min(image.size)
        if long and len(processor.prefix((TILES, 1))) <= runner.context // 2:
            processor.max_tiles = max(usual, TILES)
        try:
            maps += mask_maps(runner, [(image, prompts)], together)
        finally:
            processor.max_tiles = usual
    return maps
