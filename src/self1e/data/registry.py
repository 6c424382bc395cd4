"""The field's training sets by name, each from its folder in LISA's tree, and the mixtures that are made of them.

root/
  ade20k/  cocostuff/  coco/  vlpart/paco/  vlpart/pascal_part/        semantic and part segmentation
  refer_seg/                                                           referring segmentation
  reason_seg/ReasonSeg/                                                reasoning segmentation
  llava_dataset/  vqav2/  okvqa/  textvqa/  vizwiz/  gqa/              questions answered in words
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from self1e.data.mixture import without_pictures
from self1e.data.parts import PacoSource, PascalPartSource
from self1e.data.reason import REASON_SPLITS, ReasonSource
from self1e.data.records import DataError, Source
from self1e.data.refer import ReferSource, check_split, held_out_images
from self1e.data.semantic import Ade20kSource, CocoStuffSource
from self1e.data.vqa import VQA_SETS, vqa_source
from self1e.data.words import LlavaSource

logger = logging.getLogger(__name__)


def _refer(dataset: str, split_by: str, root: Path) -> Source:
    return ReferSource(root, dataset, split_by, "train")


def _vqa(name: str, root: Path) -> Source:
    return vqa_source(root, name)


#: Name -> what opens the training split below a root folder.
TRAINING_SETS: dict[str, Callable[[Path], Source]] = {
    "ade20k": Ade20kSource,
    "cocostuff": CocoStuffSource,
    "paco": PacoSource,
    "pascal-part": PascalPartSource,
    "refclef": partial(_refer, "refclef", "unc"),
    "refcoco": partial(_refer, "refcoco", "unc"),
    "refcoco+": partial(_refer, "refcoco+", "unc"),
    "refcocog": partial(_refer, "refcocog", "umd"),
    "grefcoco": partial(_refer, "grefcoco", "unc"),
    "reasonseg": ReasonSource,
    "llava": LlavaSource,
    **{name: partial(_vqa, name) for name in VQA_SETS},
}


def open_set(name: str, root: Path) -> Source:
    """One of `TRAINING_SETS`, or a split of a set that is asked for by masks: "refcoco|unc|val", "reasonseg|val".

    Raises:
        DataError: When there is no set of this name, or it is not below `root`.
    """
    check_name(name)
    match name.split("|"):
        case ["reasonseg", split]:
            return ReasonSource(root, split, explained=False)
        case [dataset, split_by, split]:
            return ReferSource(root, dataset, split_by, split)
    return TRAINING_SETS[name](root)


def check_name(name: str) -> None:
    """Raises DataError if there is no set of this name, of those that `open_set` opens."""
    match name.split("|"):
        case [whole] if whole in TRAINING_SETS:
            return
        case ["reasonseg", split] if split in REASON_SPLITS:
            return
        case [dataset, split_by, split]:
            check_split(dataset, split_by, split)
            return
    raise DataError(
        f"unknown data set {name!r}: known are {', '.join(TRAINING_SETS)}, and splits such as refcoco|unc|val and "
        f"reasonseg|val (reasonseg has {', '.join(REASON_SPLITS)})"
    )


def without_held_out(sources: Iterable[Source], root: Path) -> list[Source]:
    """The sources without pictures that a validation or test split of the RefCOCO family has; counts are logged.

    Args:
        sources: Of any kind; only COCO pictures can be held out.
        root: Where `refer_seg` lies.
    """
    held_out = held_out_images(root)
    kept: list[Source] = []
    for source in sources:
        rest = without_pictures(source, held_out)
        logger.info(
            "%s: %s of %s pictures left out, which validation or test splits of the RefCOCO family hold",
            source.name,
            f"{rest.left_out:,}",
            f"{len(source):,}",
        )
        kept.append(rest)
    return kept
