"""Evaluation sets of open vocabulary, each with a fixed list of classes: ADE20K-150, PASCAL Context-59, VOC-20.

Each has `classes` in the order of the pixel values 1, 2, ...; a record asks for the classes that are in its picture. As
in the published protocols of these sets, pixels of no class (value 0) are ignored.
"""

from __future__ import annotations

from pathlib import Path

from self1e.data.masks import IGNORE
from self1e.data.records import DataError
from self1e.data.semantic import Ade20kSource, IndexMaps, phrases_of_values, require
from self1e.processing.classes import ClassList, class_names


class Ade20k150Source(Ade20kSource):
    """ADE20K's validation split."""

    def __init__(self, root: Path) -> None:
        """Lists the maps. `root` is the folder that holds `ade20k`.

        Raises:
            DataError: When a folder is missing or empty.
        """
        super().__init__(root, "validation", name="ade20k-150")


class _PascalMaps(IndexMaps):
    """Index maps of a VOCdevkit, listed in a file of the names of pictures."""

    def __init__(
        self, name: str, classes: ClassList, devkit: Path, maps: str, split: str, tree: str, ignore_background: bool
    ) -> None:
        self.classes = class_names(classes)
        images = require(devkit / "JPEGImages", tree)
        masks = require(devkit / maps, tree)
        listed = require(devkit / "ImageSets" / split, tree, folder=False)
        try:
            stems = sorted({line.split()[0] for line in listed.read_text("utf-8").splitlines() if line.strip()})
        except (OSError, ValueError) as error:
            raise DataError(f"{name}: cannot read {listed}: {error}") from error
        super().__init__(
            name,
            images,
            masks,
            [f"{stem}.jpg" for stem in stems],
            phrases_of_values(dict(enumerate(self.classes, 1))),
            values=range(len(self.classes) + 1),
            ignored=(0, IGNORE) if ignore_background else (IGNORE,),
        )


PASCAL_CONTEXT_TREE = """    ROOT/pascal_context/VOCdevkit/VOC2010/JPEGImages/*.jpg
    ROOT/pascal_context/VOCdevkit/VOC2010/SegmentationClassContext/*.png    (values 0 to 59)
    ROOT/pascal_context/VOCdevkit/VOC2010/ImageSets/SegmentationContext/val.txt
from http://host.robots.ox.ac.uk/pascal/VOC/voc2010 and https://cs.stanford.edu/~roozbeh/pascal-context, converted as
https://mmsegmentation.readthedocs.io describes for Pascal Context"""


class PascalContext59Source(_PascalMaps):
    """The validation split of PASCAL Context with its 59 most frequent classes; value 0 is everything else."""

    def __init__(self, root: Path, *, ignore_background: bool = True) -> None:
        """Lists the maps.

        Args:
            root: The folder that holds `pascal_context`.
            ignore_background: Whether pixels of value 0 are ignored, as in the published figures, or are outside.

        Raises:
            DataError: When something is missing.
        """
        devkit = root / "pascal_context" / "VOCdevkit" / "VOC2010"
        super().__init__(
            "pascal-context-59",
            "pascal_context_59",
            devkit,
            "SegmentationClassContext",
            "SegmentationContext/val.txt",
            PASCAL_CONTEXT_TREE,
            ignore_background,
        )


PASCAL_VOC_TREE = """    ROOT/pascal_voc/VOCdevkit/VOC2012/JPEGImages/*.jpg
    ROOT/pascal_voc/VOCdevkit/VOC2012/SegmentationClass/*.png    (values 0 to 20, and 255)
    ROOT/pascal_voc/VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt
from http://host.robots.ox.ac.uk/pascal/VOC/voc2012"""


class PascalVoc20Source(_PascalMaps):
    """The validation split of PASCAL VOC 2012. Value 0 is the background, 255 the line along the outlines."""

    def __init__(self, root: Path, *, ignore_background: bool = True) -> None:
        """Lists the maps.

        Args:
            root: The folder that holds `pascal_voc`.
            ignore_background: Whether the background is ignored, as in published figures for 20 classes, or is outside.

        Raises:
            DataError: When something is missing.
        """
        devkit = root / "pascal_voc" / "VOCdevkit" / "VOC2012"
        super().__init__(
            "pascal-voc-20",
            "pascal_voc_20",
            devkit,
            "SegmentationClass",
            "Segmentation/val.txt",
            PASCAL_VOC_TREE,
            ignore_background,
        )
