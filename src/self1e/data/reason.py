"""ReasonSeg: sentences that need reasoning, with polygons drawn by hand.

    root/reason_seg/ReasonSeg/
      train/ val/ test/          picture.jpg beside picture.json: text, is_sentence, shapes
      explanatory/train.json     answers in words for some training pictures: image, query, outputs

Masks are drawn here as the published figures' OpenCV draws them, without OpenCV: see `masks.polygon_pixels`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from self1e.conversation import SEG
from self1e.data.json_records import read_json
from self1e.data.masks import IGNORE, polygon_pixels
from self1e.data.records import DataError, Query, Record
from self1e.files import files_of_user
from self1e.processing.images import read_head

REASON_SPLITS = ("train", "val", "test")

_PAGE = "https://github.com/dvlab-research/LISA#dataset"


class ReasonSource:
    """The pictures of one split with their sentences, in the order of the file names.

    All sentences of a picture say the same in other words: they share one mask, in which 255 is ignored, and one
    explanation. Kinds of queries: "reason-short" (a phrase) and "reason-long" (a sentence).
    """

    def __init__(
        self, root: Path, split: str = "train", explained: bool = True, *, first_text_only: bool = False
    ) -> None:
        """Lists the pictures.

        Args:
            root: The folder that holds `reason_seg`.
            split: Name of the folder: "train", "val" or "test".
            explained: Whether the explanatory answers are read, which are there for "train" only.
            first_text_only: Whether only the first sentence of a picture counts, as in the published evaluation.

        Raises:
            DataError: When folders or the explanatory answers are missing.
        """
        self.name = f"reason_seg_{split}"
        base = Path(root) / "reason_seg" / "ReasonSeg"
        self._first_text_only = first_text_only
        self._folder = base / split
        self._names = [path.name for path in files_of_user(self._folder, "*.jpg")]
        if not self._names:
            missing = "are no pictures (*.jpg) in" if self._folder.is_dir() else "is no folder"
            raise DataError(
                f"there {missing} {self._folder}: ReasonSeg is expected as\n"
                f"  {base}/\n    train/*.jpg, *.json\n    val/*.jpg, *.json\n    explanatory/train.json\n"
                f"Get it from {_PAGE}"
            )
        self._explanations: dict[str, Any] = {}
        if explained and split == "train":
            file = base / "explanatory" / "train.json"
            if not file.exists():
                raise DataError(f"there is no {file}: get it from {_PAGE}, or pass explained=False")
            self._explanations = _explanations(file)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Record:
        image = self.image_path(index)
        file = image.with_suffix(".json")
        record_id = f"{self.name}/{image.stem}"
        if not file.exists():
            raise DataError(f"{record_id}: there is no {file}, which should describe the picture beside it")
        annotation = read_json(file)
        if not isinstance(annotation, dict):
            raise DataError(f"{record_id}: {file} should hold text, is_sentence and shapes")
        texts = _texts(annotation, record_id)[: 1 if self._first_text_only else None]
        form, kind = _form(annotation, record_id)
        shapes = _shapes(annotation, record_id)
        mask = partial(_mask, shapes, image)
        absent = all(_is_ignored(label) for label, _ in shapes)
        answer = self._explanations.get(image.name, "")
        if not isinstance(answer, str) or SEG in answer:
            raise DataError(f"{record_id}: its explanation should be text without {SEG}, not {str(answer)[:60]!r}")
        queries = (Query(text, form, mask, answer.strip(), kind, absent) for text in texts)
        return Record(record_id, image, tuple(queries))

    def image_path(self, index: int) -> Path:
        return self._folder / self._names[index]


def rasterise(shapes: Sequence[tuple[str, np.ndarray]], height: int, width: int) -> np.ndarray:
    """Labelled polygons as the published masks have them: large ones first, each painting over those before it.

    Args:
        shapes: (label, int[N, 2] of x and y); a label that contains "ignore" paints 255, any other 1.
        height: Of the picture, pixels.
        width: Of the picture, pixels.

    Returns:
        uint8[height, width], 0, 1 or 255.
    """
    mask = np.zeros((height, width), np.uint8)
    painted = [(label, polygon_pixels(points, height, width)) for label, points in reversed(shapes)]
    # Of two of the same size, the one that stands first in the file is painted last.
    for label, pixels in sorted(painted, key=lambda each: -int(each[1].sum())):
        mask[pixels] = IGNORE if _is_ignored(label) else 1
    return mask


def _is_ignored(label: str) -> bool:
    return "ignore" in label.lower()


def _mask(shapes: Sequence[tuple[str, np.ndarray]], image: Path) -> np.ndarray:
    return rasterise(shapes, *read_head(image).upright)


def _texts(annotation: Mapping[str, Any], record_id: str) -> list[str]:
    texts = annotation.get("text")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{record_id}: `text` should be a list of sentences, not {str(texts)[:60]!r}")
    texts = [text.strip() for text in texts if text.strip()]
    if not texts:
        raise DataError(f"{record_id}: `text` holds no sentence")
    return texts


def _form(annotation: Mapping[str, Any], record_id: str) -> tuple[Literal["phrase", "sentence"], str]:
    """Form and kind of the queries."""
    value = annotation.get("is_sentence")
    word = str(value).strip().lower()
    if not isinstance(value, bool | str) or word not in ("true", "false"):
        raise DataError(f"{record_id}: `is_sentence` should be true or false, not {str(value)[:60]!r}")
    return ("sentence", "reason-long") if word == "true" else ("phrase", "reason-short")


def _shapes(annotation: Mapping[str, Any], record_id: str) -> tuple[tuple[str, np.ndarray], ...]:
    shapes = annotation.get("shapes")
    if not isinstance(shapes, list):
        raise DataError(f"{record_id}: `shapes` should be a list of polygons, not {str(shapes)[:60]!r}")
    found = []
    for number, shape in enumerate(shapes):
        if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
            raise DataError(f"{record_id}: shape {number} has no `label`")
        if shape["label"].lower() == "flag":
            continue
        found.append((shape["label"], _points(shape.get("points"), f"{record_id}: shape {number}")))
    return tuple(found)


def _points(points: Any, where: str) -> np.ndarray:
    """int[N, 2], cut off after the point as the published masks are."""
    try:
        corners = np.array(points, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        corners = np.empty(0)
    if corners.ndim != 2 or corners.shape[1] != 2 or not len(corners) or not (np.abs(corners) < 1e6).all():
        raise DataError(f"{where}: `points` should be a list of [x, y] in pixels, not {str(points)[:60]}")
    return corners.astype(np.int64)


def _explanations(file: Path) -> dict[str, Any]:
    """File name of a picture -> its answer in words."""
    entries = read_json(file)
    if not isinstance(entries, list) or not all(isinstance(each, dict) and "image" in each for each in entries):
        raise DataError(f"{file} should hold a list of entries with `image` and `outputs`: get it from {_PAGE}")
    return {str(each["image"]): each.get("outputs") for each in entries}
