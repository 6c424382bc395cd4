"""Clothing Co-Parsing, from MATLAB files to what self1e trains on.

    pip install scipy
    python examples/clothing_co_parsing.py CCP OUT

Reads `CCP/photos`, `CCP/annotations/pixel-level/*.mat` and `CCP/label_list.mat` of
https://github.com/bearpaw/clothing-co-parsing, and writes `OUT/train` and `OUT/test` with `images/NAME.jpg` (links to
the photographs), `masks/NAME.png` (class numbers) and `classes.txt` ("the dress", ...). Of every five photographs with
pixel masks the fifth is for testing: 804 and 200.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import loadmat

TEST_EVERY = 5
NOTHING = "null"  # how Clothing Co-Parsing calls the background


def convert(source: Path, out: Path) -> dict[str, int]:
    """Writes both splits and returns how many photographs each has."""
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
            (folder / part).mkdir(parents=True)
        for file in files:
            labels = loadmat(file)["groundtruth"].astype(np.uint8)
            Image.fromarray(labels).save(folder / "masks" / f"{file.stem}.png")
            photo = source / "photos" / f"{file.stem}.jpg"
            (folder / "images" / photo.name).symlink_to(photo.resolve())
        (folder / "classes.txt").write_text("\n".join(spoken) + "\n", "utf-8")
        counts[split] = len(files)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="CCP")
    parser.add_argument("out", type=Path, metavar="OUT")
    chosen = parser.parse_args()
    if chosen.out.exists():
        parser.error(f"{chosen.out} exists: choose another folder, or delete it first")
    for split, photographs in convert(chosen.source, chosen.out).items():
        print(f"{chosen.out / split}: {photographs} photographs")


if __name__ == "__main__":
    main()
