"""Figures on photographs, the same for our model and its rivals: whole, by size, and on edges."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from self1e.data.records import Query, Record
from self1e.metrics import GREFCOCO_MIN_AREA, MaskScores, boundary_f, mean_class_iou
from self1e.photos.dataset import companions
from self1e.photos.index import photographs
from self1e.photos.language import View
from self1e.photos.language.absent import Companions, expected
from self1e.photos.nouns import nouns
from self1e.photos.scene import PhotoScene, read_scene

Masks = Callable[[Record], Sequence[np.ndarray]]
"""bool[H, W] for each query of a record."""

SIZES = {"small": (0.0, 0.02), "middle": (0.02, 0.1), "large": (0.1, 1.0)}
"""Share of the picture that all of what is asked for fills."""

TEACHER_ALONE = "cocopeople"
ENOUGH = 10
"""Pictures with a noun that make it count for mIoU."""

ABSENT = 3
"""Nouns that are not there, asked for of each picture at most."""


def records_of_test(folder: Path, count: int) -> Iterator[Record]:
    """Test photographs, evenly spread over a folder: each noun that people marked, and some that are not there."""
    known = photographs(folder, ("train", "test"))
    together = companions([photo for photo in known if photo.split == "train"])
    photos = [photo for photo in known if photo.split == "test" and photo.set != TEACHER_ALONE]
    for place in np.linspace(0, len(photos) - 1, min(count, len(photos))).astype(int):
        scene = read_scene(photos[place])
        if queries := tuple(_queries(scene, together)):
            yield Record(scene.photo.id, scene.photo.picture, queries)


def _queries(scene: PhotoScene, together: Companions) -> Iterator[Query]:
    rng = np.random.default_rng(zlib.crc32(scene.photo.id.encode()))
    for noun in sorted(scene.photo.present - set(scene.photo.rules.guessed)):
        yield Query(nouns()[noun].phrase, "phrase", partial(scene.mask, noun), kind="noun")
    for noun in expected(View(scene), rng, together, ABSENT):
        yield Query(nouns()[noun].phrase, "phrase", scene.mask, kind="absent", absent=True)


def photo_figures(masks: Masks, folder: Path, count: int) -> dict[str, Any]:
    """cIoU, gIoU, mIoU, gIoU by size and the mean boundary F of what is there; T-acc, N-acc.

    A figure that no question bears on is left out. See `records_of_test` for what is asked.
    """
    everything, by_size = MaskScores(GREFCOCO_MIN_AREA), {name: MaskScores(GREFCOCO_MIN_AREA) for name in SIZES}
    named: list[tuple[str, int, int]] = []
    edges: list[float] = []
    for record in records_of_test(folder, count):
        for query, found in zip(record.queries, masks(record), strict=True):
            truth = query.mask()
            everything.update(found, truth, absent=query.absent)
            if query.absent or not (truth == 1).any():
                continue
            named.append((query.text, everything.intersections[-1], everything.unions[-1]))
            if (edge := boundary_f(found, truth)) is not None:
                edges.append(edge)
            share = (truth == 1).mean()
            by_size[next(name for name, (least, most) in SIZES.items() if least <= share <= most)].update(found, truth)
    asked = Counter(name for name, _, _ in named)
    often = [each for each in named if asked[each[0]] >= ENOUGH]
    whole = everything.compute()
    figures: dict[str, Any] = {name: whole[name] for name in ("n_acc", "t_acc") if name in whole}
    if named:
        figures["ciou"] = sum(both for _, both, _ in named) / sum(either for _, _, either in named)
        figures["giou"] = float(np.mean([both / either for _, both, either in named]))
    if often:
        figures["miou"] = mean_class_iou(*zip(*often, strict=True))
    if edges:
        figures["boundary"] = float(np.mean(edges))
    figures |= {name: scores.compute()["giou"] for name, scores in by_size.items() if len(scores)}
    return figures | {"questions": len(everything)}
