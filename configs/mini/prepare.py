"""Makes the folders of photographs that mini is trained on, each from a data set as it is published.

    pip install scipy
    python configs/mini/prepare.py things PHOTOS data/photos
    python configs/mini/prepare.py coco COCO data/coco
    python configs/mini/prepare.py clothing CCP data/clothing
    python configs/mini/prepare.py ade20k ADE data/ade20k --names objectInfo150.txt

COCO has `train2017`, `val2017`, and in `annotations` the four files `{instances,panoptic}_{train,val}2017.json` with
the folders of the panoptic maps; each may be of a part of the photographs. CCP is a copy of
https://github.com/bearpaw/clothing-co-parsing. ADE has `images/training` and `annotations/training` of SceneParsing;
its names are in https://github.com/CSAILVision/sceneparsing.

PHOTOS was put together by hand from the sets that docs/mini.md names. It cannot be published, and nothing here makes it
of their files; whoever has some of these sets can write a folder of the same form:

    classes.txt             nouns by their names in src/self1e/photos/nouns.toml, one a line; the first line is "none"
    photos/SET/NAME.webp    a photograph, in any form that Pillow reads; mini's have a short side of at most 320 pixels
    masks/SET/NAME.png      its labels, a byte a pixel, at the same size: the number of a line of classes.txt, from 0,
                            so that 0 is none of the nouns that are marked; 255 where it is not known
    instances/SET/NAME.png  where single things are told apart: 1, 2, ... for each of them, 0 elsewhere
    pictures.jsonl          a line for each photograph, in which `instances` may be missing:

    {"photo": "photos/voc/2007_000063.webp", "mask": "masks/voc/2007_000063.png", "set": "voc", "split": "train",
     "annotated": ["airplane", "bicycle", "and all others that the set marks"], "present": ["chair", "dog"]}

SET is one of src/self1e/photos/sets.toml, or a new one there. `split` is "train" or "test"; a part of what is to be
trained on is kept for validation by the names of pictures. `annotated` are the nouns that are marked wherever they are,
so that others can be called absent; `present`, those that the mask has. The maps in PASCAL VOC's `SegmentationClass`
are of this form already when the 20 lines behind "none" are VOC's classes in their order, by the names of nouns.toml:
airplane for aeroplane, dining table, motorcycle for motorbike, potted plant, television for tvmonitor.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from self1e.data.records import DataError
from self1e.files import folder_when_complete
from self1e.photos.prepare import prepare_ade20k, prepare_clothing, prepare_coco, prepare_things

SOURCES = {
    "things": (prepare_things, "a folder of the form above; single things are told apart where a person has looked"),
    "coco": (prepare_coco, "COCO, or a part of it"),
    "clothing": (prepare_clothing, "Clothing Co-Parsing"),
    "ade20k": (prepare_ade20k, "ADE20K's 150 classes"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind, (_, what) in SOURCES.items():
        command = commands.add_parser(kind, help=what, description=what)
        command.add_argument("source", type=Path, help="folder of the data set")
        command.add_argument("out", type=Path, help="folder to write")
        if kind == "ade20k":
            command.add_argument("--names", type=Path, required=True, help="objectInfo150.txt")
    options = vars(parser.parse_args())
    (prepare, _), out = SOURCES[options.pop("kind")], options.pop("out")
    if out.exists():
        parser.error(f"{out} exists: choose another folder, or delete it first")
    try:
        with folder_when_complete(out, replace=False) as staging:
            count = prepare(out=staging, **options)
    except (DataError, OSError) as error:
        parser.exit(1, f"{error}\n")
    print(f"{out}: {count} photographs")


if __name__ == "__main__":
    main()
