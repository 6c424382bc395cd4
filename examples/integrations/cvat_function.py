"""CVAT's auto-annotation with prompts: masks, or polygons with `--conv-mask-to-poly`. Needs self1e and cvat-cli.

    cvat-cli --server-host http://localhost:8080 --auth USER task auto-annotate TASK \
        --function-file cvat_function.py -p labels=str:"cat; dog = the brown dog"

The labels have to be in the task: "cat" is asked for by its name, "dog" by a prompt of its own. `-p model=str:NAME`
takes another model, `-p device=str:cuda` another device; `--conf-threshold` leaves out what is less sure.
"""

from __future__ import annotations

import cvat_sdk.auto_annotation as cvataa
import PIL.Image
from cvat_sdk import masks, models

from self1e import Segmentation, Segmenter

TOLERANCE = 1.0
"""Pixels that outlines may move: a person is to drag their points."""


class Prompted:
    """A detection function of CVAT: one object a label.

    Args:
        labels: Name -> prompt.
        model: As `Segmenter.from_pretrained` takes it.
        device: Where to run.
    """

    def __init__(self, labels: dict[str, str], model: str, device: str) -> None:
        self.prompts = list(labels.values())
        self.segmenter = Segmenter.from_pretrained(model, device=device)
        self.spec = cvataa.DetectionFunctionSpec(
            labels=[cvataa.label_spec(name, number, type="mask") for number, name in enumerate(labels)]
        )

    def detect(
        self, context: cvataa.DetectionFunctionContext, image: PIL.Image.Image
    ) -> list[models.LabeledShapeRequest]:
        """The shapes of one picture."""
        results = self.segmenter.segment(image, self.prompts)
        least = context.conf_threshold or 0.0
        return [
            shape
            for label, result in enumerate(results)
            if result.found and result.score >= least
            for shape in shapes_of(label, result, context.conv_mask_to_poly)
        ]


def shapes_of(label: int, result: Segmentation, as_polygons: bool) -> list[models.LabeledShapeRequest]:
    """A mask, or a polygon for each part of it."""
    if as_polygons:
        return [cvataa.polygon(label, points) for polygons in result.to_polygons(TOLERANCE) for points in polygons]
    return [cvataa.mask(label, masks.encode_mask(result.mask))]


def create(labels: str, model: str = "mini", device: str = "auto") -> Prompted:
    """What cvat-cli calls with its `-p`.

    Args:
        labels: Joined by semicolons; each a name, or "name = prompt".
        model: See `Prompted`.
        device: See `Prompted`.

    Raises:
        ValueError: If there is no label.
    """
    pairs = [part.partition("=") for part in labels.split(";") if part.strip()]
    if not pairs:
        raise ValueError('-p labels has none: give -p labels=str:"cat; dog = the brown dog"')
    return Prompted({name.strip(): prompt.strip() or name.strip() for name, _, prompt in pairs}, model, device)
