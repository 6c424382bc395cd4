"""ReasonSeg: sentences that need reasoning, with polygons drawn by hand.

    root/reason_seg/ReasonSeg/
      train/ val/ test/          picture.jpg beside picture.json: text, is_sentence, shapes
      explanatory/train.json     answers in words for some training pictures: image, query, outputs

Masks are drawn here as the published figures' OpenCV draws them, without OpenCV: see `polygon_pixels`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from self1e.conversation import SEG
from self1e.data.masks import IGNORE
from self1e.data.records import DataError, Query, Record

REASON_SPLITS = ("train", "val", "test")

_PAGE = "https://github.com/dvlab-research/LISA#dataset"

_EXIF_ORIENTATION = 0x0112


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
        self._names = sorted(path.name for path in self._folder.glob("*.jpg"))
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


def read_json(path: Path) -> Any:
    """The content of a JSON file in UTF-8 or, as some of the published ones are, in Windows-1252.

    Raises:
        DataError: When it is neither, no JSON, or cannot be read.
    """
    try:
        content = path.read_bytes()
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("cp1252")
        return json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"cannot read {path} ({error}): download it again, it may be cut short") from error


def upright_size(path: Path) -> tuple[int, int]:
    """(height, width) of a picture as `load_image` returns it, from the head of its file.

    Raises:
        OSError: When there is no such picture.
    """
    with Image.open(path) as image:
        width, height = image.size
        try:
            turned = image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
        except Exception:  # a broken EXIF block is left aside when pictures are loaded, too
            turned = False
        if turned and image.format == "TIFF":  # which Pillow turns by itself, some versions when they open it
            image.load()
            (width, height), turned = image.size, False
    return (width, height) if turned else (height, width)


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


def polygon_pixels(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """The pixels that OpenCV's `polylines` (thickness 1) and `fillPoly` together set, from their rules.

    Those are the pixels of the outline, and of every row the pixels on or between its 1st and 2nd crossing with the
    outline, its 3rd and 4th, ... (even-odd). An edge is drawn from its left end, a pixel for each step along its longer
    side, the other coordinate rounded, half down in the direction of the edge; it crosses the rows from its upper end,
    inclusive, to its lower end, exclusive. One or two points are a dot or a line.

    OpenCV computes crossings with 16 binary digits after the point; that cannot show, as the pixel nearest to a
    crossing belongs to the outline. Polygons inside of the picture have the same pixels as in OpenCV 5.0 (tested).
    OpenCV 4.7 to 4.10 also set the pixel right of the outline where a right edge passes exactly half way between two
    pixels (their issue 26130, reasoned). Of edges that leave the picture OpenCV draws the clipped rest, which may be a
    pixel off: here, pixels are those of the same polygon on a larger canvas (tested).

    Args:
        points: int[N, 2], x and y of the corners, N >= 1; may lie outside of the picture.
        height: Of the picture, pixels.
        width: Of the picture, pixels.

    Returns:
        bool[height, width]
    """
    inside = np.zeros((height, width), bool)
    crossings: list[np.ndarray] = []  # each float[n, 4]: row, x, first pixel at or right of x, last at or left of it
    for start, end in zip(np.roll(points, 1, axis=0), points, strict=True):
        xs, ys = _line(start, end)
        seen = (xs >= 0) & (xs < width) & (ys >= 0) & (ys < height)
        inside[ys[seen], xs[seen]] = True
        crossings.append(_crossings(start, end, height))
    rows, xs, firsts, lasts = np.concatenate(crossings).T
    order = np.lexsort((xs, rows))
    rows, firsts, lasts = (column[order].astype(np.int64) for column in (rows, firsts, lasts))
    # A closed outline crosses a row an even number of times.
    for row, first, last in zip(rows[::2], firsts[::2], lasts[1::2], strict=True):
        inside[row, max(first, 0) : max(last + 1, 0)] = True
    return inside


def _line(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the pixels of a line, int[n] each."""
    if end[0] < start[0]:
        start, end = end, start
    reach = np.abs(end - start)
    long = int(reach[1] > reach[0])  # the coordinate that goes on with every step
    steps = np.arange(reach[long] + 1)
    pixels = np.empty((2, len(steps)), np.int64)
    pixels[long] = start[long] + np.sign(end[long] - start[long]) * steps
    # steps * short / long, rounded, half down
    beside = (2 * reach[1 - long] * steps + reach[long] - 1) // max(2 * reach[long], 1)
    pixels[1 - long] = start[1 - long] + np.sign(end[1 - long] - start[1 - long]) * beside
    return pixels[0], pixels[1]


def _crossings(start: np.ndarray, end: np.ndarray, height: int) -> np.ndarray:
    """Where an edge crosses the rows of the picture: float[n, 4], see `polygon_pixels`."""
    if start[1] > end[1]:
        start, end = end, start
    rows = np.arange(max(start[1], 0), min(end[1], height))
    run, rise = end - start
    scaled = start[0] * rise + (rows - start[1]) * run  # x * rise, a whole number: no rounding so far
    rise = max(rise, 1)  # a level edge crosses no row
    return np.stack([rows, scaled / rise, -(-scaled // rise), scaled // rise], axis=1).astype(np.float64)


def _mask(shapes: Sequence[tuple[str, np.ndarray]], image: Path) -> np.ndarray:
    return rasterise(shapes, *upright_size(image))


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
