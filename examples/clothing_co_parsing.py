"""Clothing Co-Parsing, from MATLAB files to what self1e trains on.

    pip install scipy
    python examples/clothing_co_parsing.py CCP OUT

Reads `CCP/photos`, `CCP/annotations/pixel-level/*.mat` and `CCP/label_list.mat` of
https://github.com/bearpaw/clothing-co-parsing, and writes `OUT/train` and `OUT/test` with `images/NAME.jpg` (links to
the photographs), `masks/NAME.png` (class numbers), `classes.txt` ("the dress", ...) and `pairs.jsonl`. Of every five
photographs with pixel masks the fifth is for testing: 804 and 200.

`pairs.jsonl` asks for one of two: "the left shoe", "the right shoe", where left and right are those of the picture. The
files mark classes, not single things, but shoes, gloves and the like come in twos and often lie apart. See `two_of`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask
from scipy.io import loadmat
from scipy.ndimage import find_objects, label

TEST_EVERY = 5
NOTHING = "null"  # how Clothing Co-Parsing calls the background
SIDES = ("left", "right")
WORN_IN_PAIRS = (
    *("boots", "clogs", "flats", "heels", "loafers", "pumps", "sandals", "shoes", "sneakers", "wedges"),
    *("earrings", "gloves", "socks"),
)


def prompts_of(name: str) -> list[str]:
    """What asks for either of a pair.

    >>> prompts_of("shoes")
    ['the left shoe', 'the right shoe']
    """
    return [f"the {side} {name.removesuffix('s')}" for side in SIDES]


def two_of(mask: np.ndarray) -> list[np.ndarray]:
    """The left and the right one of a pair, bool[H, W] each; [] where a person might not see two.

    Two there are when the mask's two largest connected parts have at least 98 % of its pixels, the smaller one half as
    many as the larger, and no column of the picture holds both.
    """
    parts, count = label(mask, structure=np.ones((3, 3)))
    if count < 2:
        return []
    areas = np.bincount(parts.ravel())[1:]
    larger, smaller = np.argsort(areas)[::-1][:2]
    if areas[larger] + areas[smaller] < 0.98 * areas.sum() or areas[smaller] < 0.5 * areas[larger]:
        return []
    columns = {part: find_objects(parts)[part][1] for part in (larger, smaller)}
    left, right = sorted(columns, key=lambda part: columns[part].start)
    if columns[left].stop > columns[right].start:
        return []
    return [parts == left + 1, parts == right + 1]


def pairs(image: str, labels: np.ndarray, names: list[str]) -> Iterator[dict[str, Any]]:
    """Lines of `pairs.jsonl` about a photograph whose pixels are the class numbers `labels`."""
    for name in WORN_IN_PAIRS:
        for prompt, mask in zip(prompts_of(name), two_of(labels == names.index(name)), strict=False):
            code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
            code["counts"] = code["counts"].decode()
            yield {"image": image, "prompt": prompt, "kind": "one of a pair", "masks": [code]}


def convert(source: Path, out: Path) -> dict[str, tuple[int, int]]:
    """Writes both splits and returns how many photographs and prompts for one of a pair each has."""
    names = [str(name[0]) for name in loadmat(source / "label_list.mat")["label_list"][0]]
    spoken = ["background" if name == NOTHING else f"the {name}" for name in names]
    annotated = sorted((source / "annotations" / "pixel-level").glob("*.mat"))
    splits = {
        "test": annotated[TEST_EVERY - 1 :: TEST_EVERY],
        "train": [file for place, file in enumerate(annotated, start=1) if place % TEST_EVERY],
    }
    counts = {}
    for split, files in splits.items():
        folder = out / split
        for part in ("images", "masks"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        lines = []
        for file in files:
            labels = loadmat(file)["groundtruth"].astype(np.uint8)
            Image.fromarray(labels).save(folder / "masks" / f"{file.stem}.png")
            photo = folder / "images" / f"{file.stem}.jpg"
            if not photo.exists():
                photo.symlink_to((source / "photos" / f"{file.stem}.jpg").resolve())
            lines += [json.dumps(line) for line in pairs(f"images/{photo.name}", labels, names)]
        (folder / "pairs.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
        (folder / "classes.txt").write_text("\n".join(spoken) + "\n", "utf-8")
        counts[split] = len(files), len(lines)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="CCP")
    parser.add_argument("out", type=Path, metavar="OUT")
    chosen = parser.parse_args()
    for split, (photographs, prompts) in convert(chosen.source, chosen.out).items():
        print(f"{chosen.out / split}: {photographs} photographs, {prompts} prompts for one of a pair")


if __name__ == "__main__":
    main()
