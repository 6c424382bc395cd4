"""A model for FiftyOne: detections with instance masks for prompts. Needs self1e and fiftyone.

    python fiftyone_model.py FOLDER "the cat" "the dog"

makes a data set of a folder of pictures, and prints how often each prompt was found. In a program of your own:

    dataset.apply_model(Prompted(["the cat", "the dog"]), label_field="self1e")
"""

from __future__ import annotations

import sys
from typing import Any

import fiftyone as fo
import numpy as np
from PIL import Image

from self1e import Segmentation, Segmenter


class Prompted(fo.Model):
    """Finds what prompts name.

    Args:
        prompts: What to find. They are the labels.
        model: As `Segmenter.from_pretrained` takes it.
        instances: Whether each connected part of a mask is a detection of its own.
        options: Others of `Segmenter.from_pretrained`: device="cuda".
    """

    def __init__(self, prompts: list[str], model: str = "mini", *, instances: bool = False, **options: Any) -> None:
        self.prompts, self.instances = prompts, instances
        self.segmenter = Segmenter.from_pretrained(model, **options)

    @property
    def media_type(self) -> str:
        """What it is for."""
        return "image"

    def predict(self, arg: np.ndarray) -> fo.Detections:
        """The detections of one picture, uint8[H, W, 3]."""
        results = self.segmenter.segment(Image.fromarray(arg), self.prompts)
        if self.instances:
            results = [result.instances() for result in results]
        found = [mask for result in results if result.found for mask in result]
        return fo.Detections(detections=[detection_of(mask) for mask in found if mask.box is not None])


def detection_of(result: Segmentation) -> fo.Detection:
    """Of one mask: a box in shares of the picture's sides, and what of the box is inside."""
    width, height = result.size
    left, top, right, bottom = result.box
    return fo.Detection(
        label=result.prompt,
        bounding_box=[left / width, top / height, (right - left) / width, (bottom - top) / height],
        mask=result.mask[top:bottom, left:right],
        confidence=result.score,
    )


if __name__ == "__main__":
    folder, *prompts = sys.argv[1:]
    dataset = fo.Dataset.from_images_dir(folder)
    dataset.apply_model(Prompted(prompts), label_field="self1e")
    print(dataset.count_values("self1e.detections.label"))
