"""Fits the calibration of a model's scores on toyland scenes it has not been trained on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from self1e.calibration import Calibration
from self1e.data.toyland import conversation, generate_scene
from self1e.data.toyland.language import query_mask
from self1e.evaluation.metrics import intersection_and_union
from self1e.evaluation.toyland import SCENES_PER_SEED, scene_queries
from self1e.segmenter import Segmenter


def calibrate_on_toyland(
    segmenter: Segmenter, seed: int, n: int, on_scene: Callable[[int], None] | None = None
) -> Calibration:
    """Compares raw scores with the IoU that each mask reaches.

    Args:
        segmenter: Any calibration it has is left aside.
        seed: Which scenes, as in `evaluate_toyland`; not those that figures are taken on.
        n: How many scenes.
        on_scene: Called after each scene with the number of scenes done.
    """
    raw = Segmenter(segmenter.model, segmenter.processor)
    rng = np.random.default_rng(0)  # chooses nothing: the wording of the evaluation protocol is fixed
    scores: list[float] = []
    ious: list[float] = []
    empty: list[bool] = []
    for index in range(n):
        scene = generate_scene(seed * SCENES_PER_SEED + index)
        talks = [(query, conversation(query, scene, rng, training=False)) for query in scene_queries(scene, 12)]
        talks = [(query, talk) for query, talk in talks if talk.segmenting]
        questions = [talk.turns[0].question for _, talk in talks]
        results = raw.segment(Image.fromarray(scene.picture), questions, template="none")
        for (query, _), result in zip(talks, results, strict=True):
            intersection, union = intersection_and_union(result.mask, query_mask(query, scene))
            scores.append(result.score)
            ious.append(intersection / union if union else 1.0)
            empty.append(not result.mask.any())
        if on_scene is not None:
            on_scene(index + 1)
    return Calibration.fit(scores, ious, empty)
