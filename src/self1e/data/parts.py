"""Objects and their parts: PACO-LVIS and PASCAL-Part, each a COCO-style JSON."""

from __future__ import annotations

from pathlib import Path

from self1e.data.coco import CategoryMasks
from self1e.data.semantic import require


def spoken_part(name: str) -> tuple[str, str]:
    """A name of PACO or PASCAL-Part as a phrase, and its kind of query.

    >>> [spoken_part(name) for name in ("trash_can:handle", "car_(automobile)", "bus:license plate")]
    [('handle of the trash can', 'part'), ('car', 'semantic'), ('license plate of the bus', 'part')]
    """
    whole, _, part = (_plain(piece) for piece in name.partition(":"))
    return (f"{part} of the {whole}", "part") if part else (whole, "semantic")


PACO_TREE = """    ROOT/vlpart/paco/annotations/paco_lvis_v1_train.json
    ROOT/coco/{train2017,val2017}/000000000000.jpg
from https://github.com/facebookresearch/paco and https://cocodataset.org/#download"""


class PacoSource(CategoryMasks):
    """The training pictures of PACO-LVIS: 75 kinds of objects ("trash can") and their parts."""

    def __init__(self, root: Path) -> None:
        """Reads the annotations.

        Args:
            root: The folder that holds `vlpart` and `coco`.

        Raises:
            DataError: When something is missing.
        """
        annotations = root / "vlpart" / "paco" / "annotations" / "paco_lvis_v1_train.json"
        require(annotations, PACO_TREE, folder=False)
        super().__init__("paco", annotations, require(root / "coco", PACO_TREE), spoken_part)


PASCAL_PART_TREE = """    ROOT/vlpart/pascal_part/train.json
    ROOT/vlpart/pascal_part/VOCdevkit/VOC2010/JPEGImages/*.jpg
from https://github.com/facebookresearch/VLPart/tree/main/datasets and
http://host.robots.ox.ac.uk/pascal/VOC/voc2010"""


class PascalPartSource(CategoryMasks):
    """PASCAL-Part's training pictures: 93 parts of objects."""

    def __init__(self, root: Path) -> None:
        """Reads the annotations.

        Args:
            root: The folder that holds `vlpart`.

        Raises:
            DataError: When something is missing.
        """
        folder = root / "vlpart" / "pascal_part"
        annotations = require(folder / "train.json", PASCAL_PART_TREE, folder=False)
        images = require(folder / "VOCdevkit" / "VOC2010" / "JPEGImages", PASCAL_PART_TREE)
        super().__init__("pascal-part", annotations, images, spoken_part)


#: PACO's spellings of some parts.
_SPELLINGS = {
    "colied tube": "coiled tube",
    "runningboard": "running board",
    "steeringwheel": "steering wheel",
    "turnsignal": "turn signal",
}


def _plain(name: str) -> str:
    """Without underscores, and without what tells homonyms apart for a machine: "mouse_(computer_equipment)"."""
    words = " ".join(name.split("_(")[0].replace("_", " ").split())
    return _SPELLINGS.get(words, words)
