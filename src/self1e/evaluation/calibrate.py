"""Fits the calibration of a model's scores on toyland scenes it has not been trained on."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from self1e.evaluation.metrics import intersection_and_union
from self1e.segment.calibration import Calibration
from self1e.segment.segmenter import Segmenter
from self1e.toyland import generate_scene
from self1e.toyland.benchmark import scene_seeds, scene_talks
from self1e.toyland.language import query_mask


def calibrate_on_toyland(
    segmenter: Segmenter, seed: int, n: int, on_scene: Callable[[int], None] | None = None
) -> Calibration:
    """Compares raw scores with the IoU that each mask reaches.

    Args:
        segmenter: Any calibration it has is left aside.
        seed: Which scenes, as in `evaluate_toyland`; not those that figures are taken on.
        n: How many scenes.
        on_scene: Called after each scene with the number of scenes done.

    Raises:
        ValueError: When there are no such scenes for evaluation.
    """
    raw = Segmenter(segmenter.model, segmenter.processor)
    scores: list[float] = []
    ious: list[float] = []
    empty: list[bool] = []
    for done, scene_seed in enumerate(scene_seeds(seed, n), start=1):
        scene = generate_scene(scene_seed)
        talks = [(query, talk) for query, talk in scene_talks(scene) if talk.segmenting]
        questions = [talk.turns[0].question for _, talk in talks]
        results = raw.segment(Image.fromarray(scene.picture), questions, template="none")
        for (query, _), result in zip(talks, results, strict=True):
            intersection, union = intersection_and_union(result.mask, query_mask(query, scene))
            scores.append(result.score)
            ious.append(intersection / union if union else 1.0)
            empty.append(not result.mask.any())
        if on_scene is not None:
            on_scene(done)
    return Calibration.fit(scores, ious, empty)
