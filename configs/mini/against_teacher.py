"""mini beside DeepLabv3-MobileNetV2, which labelled a part of its photographs, on COCO photographs new to both.

    python configs/mini/against_teacher.py mini data/coco data/photos

The published network (21 classes of PASCAL VOC, int8) does not run here; what it says is in the maps of the sets
`cocoperson` and `cocopeople`, so it is compared on the test photographs that COCO's own masks are at hand for, too. IoU
of each noun: the sum of intersections over that of unions in all photographs, whether it is there or not. Where the
teacher was unsure, neither counts; people of `cocoperson` are left out, of whom one is COCO's own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from self1e.data.masks import IGNORE
from self1e.photos.index import Photo, photo_sets, photographs
from self1e.photos.nouns import UNKNOWN, nouns
from self1e.photos.scene import PhotoScene, read_scene, under_cells
from self1e.processing.images import load_image
from self1e.segment.segmenter import Segmenter

TEACHER_SETS = ("cocoperson", "cocopeople")
PEOPLE = ("person", "cocoperson")

Sums = dict[str, np.ndarray]
"""Noun -> pixels of intersections, of unions, and that are there; photographs with some."""


def main() -> None:
    parser = argparse.ArgumentParser(description="mini beside the network that labelled a part of its photographs.")
    parser.add_argument("model", help="model folder, or mini")
    parser.add_argument("coco", type=Path, help="folder of COCO photographs with their own masks")
    parser.add_argument("photos", type=Path, help="folder with the teacher's maps")
    options = parser.parse_args()
    segmenter = Segmenter.from_pretrained(options.model, device="cpu", dtype="float32")

    def find(picture: Path, names: list[str]) -> list[np.ndarray]:
        found = segmenter.segment(load_image(picture), [nouns()[name].phrase for name in names])
        return [each.mask for each in found]

    test, taught = photographs(options.coco, ("test",)), maps_of_teacher(options.photos)
    same = sum(photo.picture.stem in taught for photo in test)
    print(
        f"{len(test)} photographs, of which the teacher's maps are at hand for {same}. Behind nouns: IoU (photographs)"
    )
    for who, sums in compare(test, taught, find).items():
        figures = ious(sums)
        ranked = ", ".join(
            f"{name} {100 * iou:.0f} ({sums[name][3]:.0f})"
            for name, iou in sorted(figures.items(), key=lambda each: -each[1])
        )
        print(f"{who}: mIoU {100 * np.mean(list(figures.values())):.1f} over {len(figures)} nouns: {ranked}")


def maps_of_teacher(folder: Path) -> dict[str, Photo]:
    """The test photographs of a folder that the teacher labelled, by the names of their files."""
    return {photo.picture.stem: photo for photo in photographs(folder, ("test",)) if photo.set in TEACHER_SETS}


def compare(
    test: Sequence[Photo],
    taught: Mapping[str, Photo],
    find: Callable[[Path, list[str]], list[np.ndarray]],
) -> dict[str, Sums]:
    """Counts of what `find` marks in all photographs, in those with the teacher's maps, and of what these mark.

    Args:
        test: Photographs with masks to judge by.
        taught: See `maps_of_teacher`.
        find: Takes a file and nouns, and gives bool[H, W] for each.
    """
    sums: dict[str, Sums] = {"mini, all": {}, "mini, same": {}, "teacher, same": {}}
    for photo in test:
        scene, names = read_scene(photo), known(photo)
        ours = dict(zip(names, find(photo.picture, names), strict=True))
        add(sums["mini, all"], scene, ours, np.ones(scene.labels.shape, bool))
        if photo.picture.stem in taught:
            teachers = taught[photo.picture.stem]
            labels = said_by_teacher(teachers, scene)
            both = {name: mask for name, mask in ours.items() if (name, teachers.set) != PEOPLE}
            add(sums["mini, same"], scene, both, labels != UNKNOWN)
            theirs = {name: labels == nouns()[name].number for name in both}
            add(sums["teacher, same"], scene, theirs, labels != UNKNOWN)
    return sums


def ious(sums: Sums) -> dict[str, float]:
    """IoU of each noun that is in a photograph."""
    return {name: float(counts[0] / counts[1]) for name, counts in sums.items() if counts[2]}


def known(photo: Photo) -> list[str]:
    """The teacher's nouns that are marked in a photograph wherever they are."""
    return [name for name in photo_sets()[TEACHER_SETS[0]].guessed if name in photo.annotated]


def said_by_teacher(photo: Photo, scene: PhotoScene) -> np.ndarray:
    """int16[H, W]: the teacher's labels at the size of the other map."""
    labels = read_scene(photo).labels
    places = (under_cells(0, old, new) for new, old in zip(scene.labels.shape, labels.shape, strict=True))
    return labels[np.ix_(*places)]


def add(sums: Sums, scene: PhotoScene, masks: dict[str, np.ndarray], counted: np.ndarray) -> None:
    """Adds the counts of a photograph."""
    for name, mask in masks.items():
        truth = scene.mask(name)
        known = counted & (truth != IGNORE)
        inside, there = mask & known, (truth == 1) & known
        counts = np.array([(inside & there).sum(), (inside | there).sum(), there.sum(), there.any()], float)
        sums[name] = sums.get(name, np.zeros(4)) + counts


if __name__ == "__main__":
    main()
