"""Data sets of the field in their true formats, with pictures drawn here; COCO picture 9 is one that is tested on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.data import test_refer, test_semantic

TESTED_ON = 9
REFERRED = "refer_seg/images/mscoco/images/train2014"
PICTURES = (5, 7, TESTED_ON)
THING = [[2, 3, 14, 3, 14, 12, 2, 12]]


def draw_sets(root: Path) -> Path:
    """Two pictures of ADE20K, three of COCO-Stuff, and three of each RefCOCO set, with a validation sentence."""
    halves = np.repeat(np.array([1, 2], np.uint8), 10)[:, None].repeat(30, axis=1)
    for number in (1, 2):
        test_semantic.ade(root, f"ADE_train_0000000{number}", halves)
    for number in PICTURES:
        test_semantic.stuff(root, f"{number:012}", halves)
        noise = Image.fromarray(np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8))
        for name in (f"coco/train2017/{number:012}.jpg", f"{REFERRED}/COCO_train2014_{number:012}.jpg"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            noise.save(root / name)
    for dataset, split_by in (("refcoco", "unc"), ("refcocog", "umd"), ("grefcoco", "unc")):
        several = dataset == "grefcoco"
        refs = [
            test_refer.ref(number, number, [number] if several else number, "train", f"thing {number}")
            for number in PICTURES
        ]
        refs.append(test_refer.ref(100, TESTED_ON, [TESTED_ON] if several else TESTED_ON, "val", "thing in a test"))
        annotations = [test_refer.annotation(number, number, THING) for number in PICTURES]
        pictures = [test_refer.picture(number) for number in PICTURES]
        test_refer.write(root, dataset, split_by, refs, pictures, annotations)
    return root
