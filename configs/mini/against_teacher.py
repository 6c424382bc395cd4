"""mini beside DeepLabv3-MobileNetV2, which labelled a part of its photographs, on COCO photographs new to both.

    python configs/mini/against_teacher.py mini data/coco data/photos

The published network (21 classes of PASCAL VOC, int8) does not run here; what it says is in the maps of the sets
`cocoperson` and `cocopeople`, so it is compared on the test photographs that COCO's own masks are at hand for, too. IoU
of each noun: the sum of intersections over that of unions in all photographs, whether it is there or not. Where the
teacher was unsure, neither counts; people of `cocoperson` are left out, of whom one is COCO's own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from self1e.data.masks import IGNORE
from self1e.photos.index import Photo, photo_sets, photographs
from self1e.photos.nouns import UNKNOWN, nouns
from self1e.photos.scene import PhotoScene, read_scene
from self1e.processing.images import load_image
from self1e.segment.segmenter import Segmenter

TEACHER_SETS = ("cocoperson", "cocopeople")
PEOPLE = ("person", "cocoperson")


def main() -> None:
    parser = argparse.ArgumentParser(description="mini beside the network that labelled a part of its photographs.")
    parser.add_argument("model", help="model folder, or mini")
    parser.add_argument("coco", type=Path, help="folder of COCO photographs with their own masks")
    parser.add_argument("photos", type=Path, help="folder with the teacher's maps")
    options = parser.parse_args()
    segmenter = Segmenter.from_pretrained(options.model, device="cpu", dtype="float32")
    taught = {
        photo.picture.stem: photo for photo in photographs(options.photos, ("test",)) if photo.set in TEACHER_SETS
    }
    test = photographs(options.coco, ("test",))
    sums: dict[str, dict[str, np.ndarray]] = {"mini, all": {}, "mini, same": {}, "teacher, same": {}}
    for photo in test:
        scene, names = read_scene(photo), known(photo)
        found = segmenter.segment(load_image(photo.picture), [nouns()[name].phrase for name in names])
        ours = {name: each.mask for name, each in zip(names, found, strict=True)}
        add(sums["mini, all"], scene, ours, np.ones(scene.labels.shape, bool))
        if photo.picture.stem in taught:
            labels = said_by_teacher(taught[photo.picture.stem], scene)
            both = {name: mask for name, mask in ours.items() if (name, taught[photo.picture.stem].set) != PEOPLE}
            add(sums["mini, same"], scene, both, labels != UNKNOWN)
            theirs = {name: labels == nouns()[name].number for name in both}
            add(sums["teacher, same"], scene, theirs, labels != UNKNOWN)
    same = sum(photo.picture.stem in taught for photo in test)
    print(
        f"{len(test)} photographs, of which the teacher's maps are at hand for {same}. Behind nouns: IoU (photographs)"
    )
    for who, of_nouns in sums.items():
        ious = {name: pair[0] / pair[1] for name, pair in of_nouns.items() if pair[2]}
        ranked = ", ".join(
            f"{name} {100 * iou:.0f} ({of_nouns[name][3]:.0f})"
            for name, iou in sorted(ious.items(), key=lambda each: -each[1])
        )
        print(f"{who}: mIoU {100 * np.mean(list(ious.values())):.1f} over {len(ious)} nouns: {ranked}")


def known(photo: Photo) -> list[str]:
    """The teacher's nouns that are marked in a photograph wherever they are."""
    return [name for name in photo_sets()[TEACHER_SETS[0]].guessed if name in photo.annotated]


def said_by_teacher(photo: Photo, scene: PhotoScene) -> np.ndarray:
    """int16[H, W]: the teacher's labels at the size of the other map."""
    labels = read_scene(photo).labels
    places = [
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip(scene.labels.shape, labels.shape, strict=True)
    ]
    return labels[np.ix_(*places)]


def add(sums: dict[str, np.ndarray], scene: PhotoScene, masks: dict[str, np.ndarray], counted: np.ndarray) -> None:
    """Intersections, unions, pixels that are there, and photographs with some, of each noun."""
    for name, mask in masks.items():
        truth = scene.mask(name)
        known = counted & (truth != IGNORE)
        inside, there = mask & known, (truth == 1) & known
        counts = np.array([(inside & there).sum(), (inside | there).sum(), there.sum(), there.any()], float)
        sums[name] = sums.get(name, np.zeros(4)) + counts


if __name__ == "__main__":
    main()
