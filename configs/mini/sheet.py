"""Draws questions that mini is trained on, with their masks or answers, on one sheet to look at.

python configs/mini/sheet.py data/photos data/coco --out questions.png
python configs/mini/sheet.py data/photos --kinds use absent --first 1000 --out uses.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from self1e.photos.dataset import PhotoData
from self1e.photos.language import KINDS
from self1e.photos.sheet import MOST_EXAMPLES, sheet


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws questions that mini is trained on.")
    parser.add_argument("folders", nargs="+", help="folders of photographs")
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    parser.add_argument("--count", type=int, default=40, help="questions on the sheet")
    parser.add_argument("--first", type=int, default=0, help="number of the first example")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=[], help="of questions; default: all")
    parser.add_argument("--validation", action="store_true", help="of photographs for validation, whole and unchanged")
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"{options.out} exists: choose another file, or delete it first")
    data = PhotoData(folders=options.folders, textual_share=1.0)
    examples = data.examples(options.first + MOST_EXAMPLES, training=not options.validation)
    sheet(examples, options.count, options.first, options.kinds).save(options.out)


if __name__ == "__main__":
    main()
