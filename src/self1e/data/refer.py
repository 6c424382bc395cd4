"""Referring expressions: refCLEF, RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO, all in one layout and one table.

    root/refer_seg/
      refclef/   refcoco/   refcoco+/   refcocog/     refs(<split_by>).p, instances.json
      grefcoco/                                       grefs(unc).json, instances.json
      images/mscoco/images/train2014/                 COCO_train2014_000000000009.jpg, ...
      images/saiapr_tc-12/                            the pictures of refCLEF

A reference points at one annotation (gRefCOCO: at any number of them, none too) and has some sentences. Each sentence
is a query of its own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from self1e.data.json_records import read_json
from self1e.data.masks import union_of_segmentations, without_stubs
from self1e.data.records import DataError, Query, Record
from self1e.data.unpickle import check_refs, load_refs

#: (dataset, whose split) -> splits. "test" may be asked for everywhere and is all of the test splits together.
REFER_SETS: dict[tuple[str, str], tuple[str, ...]] = {
    ("refclef", "unc"): ("train", "val", "testA", "testB", "testC"),
    ("refclef", "berkeley"): ("train", "val", "test"),
    ("refcoco", "unc"): ("train", "val", "testA", "testB"),
    ("refcoco", "google"): ("train", "val", "test"),
    ("refcoco+", "unc"): ("train", "val", "testA", "testB"),
    ("refcocog", "umd"): ("train", "val", "test"),
    ("refcocog", "google"): ("train", "val"),
    ("grefcoco", "unc"): ("train", "val", "testA", "testB"),
}

_NO_TARGET = -1

_TRAIN2014 = "images/mscoco/images/train2014"
_COCO_PICTURES = (f"refer_seg/{_TRAIN2014}/COCO_train2014_{{:012d}}.jpg", "coco/train2017/{:012d}.jpg")

_PAGES = {"grefcoco": "https://github.com/henghuiding/gRefCOCO"}
_PAGE = "https://github.com/lichengunc/refer"


@dataclass(frozen=True)
class _Ref:
    """What is kept of a reference, as it stands in the file: broken ones are told of when they are asked for."""

    id: Any
    annotations: Any
    no_target: bool
    sentences: Any


@dataclass(frozen=True)
class _Annotation:
    image_id: Any
    segmentation: bytes  # JSON: a tenth of the memory of lists of floats, and shared among worker processes


class ReferSource:
    """The pictures of one split with all their expressions, as phrases, in the order of the picture ids.

    Kinds of queries: "refer" (one target), "multi-target" (their union) and "no-target" (an empty mask), both of
    gRefCOCO.
    """

    def __init__(self, root: Path, dataset: str, split_by: str, split: str) -> None:
        """Reads the whole annotation file; masks stay undecoded.

        Args:
            root: The folder that holds `refer_seg`.
            dataset: Of `REFER_SETS`.
            split_by: Of `REFER_SETS`.
            split: "train", "val", "testA", ... as in `REFER_SETS`, or "test".

        Raises:
            DataError: When there is no such split, a file or folder is missing, or a file as a whole unreadable.
        """
        check_split(dataset, split_by, split)
        self.name = f"{dataset}_{split_by}_{split}"
        base = Path(root) / "refer_seg"
        self._refers_to_coco = dataset != "refclef"
        pictures = _TRAIN2014 if self._refers_to_coco else "images/saiapr_tc-12"
        self._pictures = base / pictures
        refs_file, instances_file = _refs_file(Path(root), dataset, split_by), base / dataset / "instances.json"
        for path in (refs_file, instances_file, self._pictures):
            if not path.exists():
                raise DataError(
                    f"there is no {path}: {dataset} is expected as\n"
                    f"  {base}/\n    {dataset}/{refs_file.name}\n    {dataset}/instances.json\n    {pictures}/\n"
                    f"Get it from {_PAGES.get(dataset, _PAGE)}"
                )
        everything = _read_refs(refs_file)
        self._refs: dict[int, list[_Ref]] = {}
        for ref in everything:
            if _belongs_to(ref["split"], split):
                self._refs.setdefault(ref["image_id"], []).append(_kept(ref))
        if not self._refs:
            found = ", ".join(f"{name} ({n})" for name, n in sorted(Counter(r["split"] for r in everything).items()))
            raise DataError(f"{refs_file} has no references of split {split!r}, only of {found or 'none'}")
        self._image_ids = sorted(self._refs)
        self._read_instances(instances_file)

    def _read_instances(self, path: Path) -> None:
        instances = read_json(path)
        if not isinstance(instances, dict):
            raise DataError(f"{path} should hold `images` and `annotations`, not {type(instances).__name__}")
        wanted = {each for refs in self._refs.values() for ref in refs for each in _annotation_ids(ref.annotations)}
        annotations, self._doubtful_annotations = _by_id(instances.get("annotations"), wanted, path, "annotations")
        self._annotations = {
            key: _Annotation(each.get("image_id"), json.dumps(each.get("segmentation")).encode())
            for key, each in annotations.items()
        }
        images, self._doubtful_images = _by_id(instances.get("images"), self._refs, path, "images")
        self._images = {
            key: (each.get("height"), each.get("width"), each.get("file_name")) for key, each in images.items()
        }

    def __len__(self) -> int:
        return len(self._image_ids)

    def __getitem__(self, index: int) -> Record:
        image_id = self._image_ids[index]
        record_id = f"{self.name}/{image_id}"
        height, width = self._size(image_id, record_id)
        queries: list[Query] = []
        dropped: list[str] = []
        for ref in self._refs[image_id]:
            where = f"{record_id}, reference {ref.id}"
            segmentations = []
            for each in _targets(ref, where):
                whole = self._segmentation(each, image_id, where)
                rest, stubs = without_stubs(whole)
                segmentations.append(rest or whole)  # of which nothing remains is an error when it is drawn
                dropped += [f"reference {ref.id}: {stub}" for stub in stubs]
            kind = ("no-target", "refer", "multi-target")[min(len(segmentations), 2)]
            mask = partial(union_of_segmentations, segmentations, height, width)
            queries += [Query(text, "phrase", mask, kind=kind, absent=not segmentations) for text in _texts(ref, where)]
        return Record(record_id, self.image_path(index), tuple(queries), dropped=tuple(dropped))

    def image_path(self, index: int) -> Path:
        image_id = self._image_ids[index]
        if self._refers_to_coco:  # not the file name in the references, which has a number added
            return self._pictures / f"COCO_train2014_{image_id:012d}.jpg"
        name = self._images.get(image_id, (None, None, None))[2]
        if not isinstance(name, str) or not name:
            raise DataError(f"{self.name}/{image_id}: instances.json has no `file_name` for this picture")
        return self._pictures / name

    def _size(self, image_id: int, record_id: str) -> tuple[int, int]:
        if image_id in self._doubtful_images:
            raise DataError(f"{record_id}: instances.json has several different pictures with id {image_id}")
        if image_id not in self._images:
            raise DataError(f"{record_id}: instances.json has no picture with id {image_id}")
        height, width, _ = self._images[image_id]
        if not (isinstance(height, int) and isinstance(width, int) and min(height, width) > 0):
            raise DataError(f"{record_id}: `height` and `width` of the picture are {height!r} and {width!r}")
        return height, width

    def _segmentation(self, annotation_id: int, image_id: int, where: str) -> Any:
        if annotation_id in self._doubtful_annotations:
            raise DataError(f"{where}: instances.json has several different annotations with id {annotation_id}")
        if annotation_id not in self._annotations:
            raise DataError(f"{where}: instances.json has no annotation with id {annotation_id}")
        annotation = self._annotations[annotation_id]
        if annotation.image_id != image_id:
            raise DataError(f"{where}: annotation {annotation_id} belongs to picture {annotation.image_id!r}")
        return json.loads(annotation.segmentation)


def check_split(dataset: str, split_by: str, split: str) -> None:
    """Raises DataError if `ReferSource` knows no such split."""
    splits = REFER_SETS.get((dataset, split_by))
    if splits is None:
        known = ", ".join(f"{name}({by})" for name, by in REFER_SETS)
        raise DataError(f"there is no {dataset}({split_by}): known are {known}")
    if split not in (*splits, "test"):
        raise DataError(f"{dataset}({split_by}) has no split {split!r}: it has {', '.join(splits)}")


def held_out_images(root: Path) -> frozenset[int]:
    """Ids of the COCO pictures that are in a validation or test split of any RefCOCO-family file under `root`.

    They are to be kept out of training on COCO pictures. refCLEF has other pictures. Files that are not there are
    passed over: none at all give an empty set.

    Raises:
        DataError: When a file that is there cannot be read.
    """
    held_out: set[int] = set()
    for dataset, split_by in REFER_SETS:
        path = _refs_file(Path(root), dataset, split_by)
        if dataset != "refclef" and path.exists():
            held_out.update(ref["image_id"] for ref in _read_refs(path) if ref["split"] != "train")
    return frozenset(held_out)


def held_out_pictures(root: Path, image_ids: Iterable[int]) -> list[Path]:
    """Files of these COCO pictures, of those that are below `root`."""
    return [
        path
        for image_id in image_ids
        for path in (Path(root) / each.format(image_id) for each in _COCO_PICTURES)
        if path.is_file()
    ]


def _refs_file(root: Path, dataset: str, split_by: str) -> Path:
    name = f"grefs({split_by}).json" if dataset == "grefcoco" else f"refs({split_by}).p"
    return root / "refer_seg" / dataset / name


def _read_refs(path: Path) -> list[dict[str, Any]]:
    return load_refs(path) if path.suffix == ".p" else check_refs(read_json(path), path)


def _belongs_to(of_ref: str, split: str) -> bool:
    """A reference of refCLEF may be in several test splits at once ("testAB")."""
    if split.startswith("test"):
        return of_ref.startswith("test") and split[4:] in of_ref[4:]
    return of_ref == split


def _kept(ref: Mapping[str, Any]) -> _Ref:
    sentences = ref.get("sentences")
    if isinstance(sentences, list):
        sentences = [each.get("sent") if isinstance(each, dict) else each for each in sentences]
    return _Ref(ref.get("ref_id"), ref.get("ann_id"), bool(ref.get("no_target")), sentences)


def _annotation_ids(annotations: Any) -> list[int]:
    several = annotations if isinstance(annotations, list) else [annotations]
    return [each for each in several if isinstance(each, int)]


def _targets(ref: _Ref, where: str) -> list[int]:
    """The annotations that a reference points at, each once; none for one without a target."""
    ids = _annotation_ids(ref.annotations)
    if not ids or (isinstance(ref.annotations, list) and len(ids) < len(ref.annotations)):
        if ref.no_target and not ref.annotations:
            return []
        raise DataError(f"{where}: `ann_id` should be a number or a list of numbers, not {str(ref.annotations)[:60]}")
    targets = [each for each in dict.fromkeys(ids) if each != _NO_TARGET]
    if targets and (ref.no_target or len(targets) < len(set(ids))):
        raise DataError(f"{where}: is said to have no target, but has annotations {targets}")
    return targets


def _texts(ref: _Ref, where: str) -> list[str]:
    if not isinstance(ref.sentences, list) or not ref.sentences:
        raise DataError(f"{where}: has no list of `sentences`")
    for text in ref.sentences:
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{where}: a sentence needs a text `sent`, not {str(text)[:60]!r}")
    return [text.strip() for text in ref.sentences]


def _by_id(
    items: Any, wanted: Iterable[int], path: Path, what: str
) -> tuple[dict[int, Mapping[str, Any]], frozenset[int]]:
    """The wanted items by their id, and the ids of which there are several that differ."""
    if not isinstance(items, list):
        raise DataError(f"{path} has no list of `{what}`: download it again")
    wanted = set(wanted)
    found: dict[int, Mapping[str, Any]] = {}
    doubtful: set[int] = set()
    for item in items:
        key = item.get("id") if isinstance(item, dict) else None
        if isinstance(key, int) and key in wanted and found.setdefault(key, item) != item:
            doubtful.add(key)
    return found, frozenset(doubtful)
