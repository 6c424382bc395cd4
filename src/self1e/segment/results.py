"""What a practitioner gets for one picture and one prompt: masks with scores, and the forms they are needed in.

>>> import numpy as np
>>> logits = np.full((1, 4, 6), -8.0)
>>> logits[0, 1:3, 2:5] = 2.0
>>> result = Segmentation.from_logits(logits, prompt="the red boat", text="[SEG].")
>>> result
Segmentation('the red boat', found, 1 mask, 6x4, area=6, box=(2, 1, 5, 3), score=0.88)
>>> result.to_polygons()
[[[2, 1, 5, 1, 5, 3, 2, 3]]]
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from self1e.files import expand_user, write_atomically, write_json
from self1e.segment.calibration import Calibration, mask_scores
from self1e.segment.contours import mask_to_polygons
from self1e.segment.overlay import Colour, colours_for, draw_masks

#: Version of the layout of `Segmentation.to_dict`; a change that old readers would misread raises it.
FORMAT = 1

SUFFIXES = (".png", ".npz", ".json")

Box = tuple[int, int, int, int]


def default_min_area(height: int, width: int) -> int:
    """The least number of pixels that counts as something found in a picture of this size.

    50 pixels is the published convention (gRefCOCO), and about one cell of the model's 64 x 64 map on a picture of
    448 x 448. Smaller pictures have smaller cells: there it is one pixel in 4000, but at least 1.

    >>> default_min_area(480, 640), default_min_area(224, 224), default_min_area(10, 10)
    (50, 12, 1)
    """
    return max(1, min(50, height * width // 4000))


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation:
    """The answer to one prompt about one picture.

    Arrays are read-only. `result[k]` is the result with mask k only; a slice, a list or a bool array choose several:
    `result[result.scores > 0.8]`. Iterating gives one `Segmentation` a mask.

    Attributes:
        masks: bool[K, H, W], one mask for each `[SEG]` of the answer, at the picture's own size. K is 0 when the answer
            points at nothing.
        scores: float32[K] in [0, 1], the confidence of each mask: the mean foreground probability (sigmoid of the
            logits) inside it. For an empty mask, the confidence that nothing is there: 1 - the largest probability.
            When the model has a `Calibration`, the score has passed through it and reads as the IoU to expect.
        prompt: What was asked.
        text: What the model answered, with its `[SEG]` marks.
        image: The picture, RGB, or None when it was not kept. `overlay` and `cutout` need it.
        model: Name of the model.
        logits: float32[K, H, W] behind the masks, or None when they were not kept.
        min_area: With fewer pixels than this in all masks together, nothing counts as found. None: `default_min_area`.
        withheld: bool[K], which masks are empty because the calibration does not trust them; `logits` has them still.

    Raises:
        ValueError: Shapes or sizes disagree, or a score is outside [0, 1].
    """

    masks: np.ndarray
    scores: np.ndarray
    prompt: str = ""
    text: str = ""
    image: Image.Image | None = None
    model: str = ""
    logits: np.ndarray | None = None
    min_area: int | None = None
    withheld: np.ndarray | None = None

    def __post_init__(self) -> None:
        masks = np.asarray(self.masks)
        if masks.ndim != 3:
            raise ValueError(f"masks must be bool[K, H, W], got shape {masks.shape}")
        scores = np.asarray(self.scores, np.float32)
        if scores.shape != masks.shape[:1]:
            raise ValueError(f"{len(masks)} masks need scores of shape {masks.shape[:1]}, got {scores.shape}")
        if not np.all((scores >= 0) & (scores <= 1)):
            raise ValueError(f"scores must be in [0, 1], got {scores}")
        self._set("masks", _read_only(masks.astype(bool, copy=False)))
        self._set("scores", _read_only(scores))
        if self.logits is not None:
            logits = np.asarray(self.logits, np.float32)
            if logits.shape != masks.shape:
                raise ValueError(f"masks have shape {masks.shape}, logits {logits.shape}")
            self._set("logits", _read_only(logits))
        if self.image is not None:
            if self.image.size != self.size:
                raise ValueError("masks are {}x{} pixels, the picture is {}x{}".format(*self.size, *self.image.size))
            if self.image.mode != "RGB":
                self._set("image", self.image.convert("RGB"))
        withheld = np.zeros(scores.shape, bool) if self.withheld is None else np.asarray(self.withheld, bool)
        if withheld.shape != scores.shape:
            raise ValueError(f"{len(masks)} masks need `withheld` of shape {scores.shape}, got {withheld.shape}")
        self._set("withheld", _read_only(withheld))
        if self.min_area is None:
            self._set("min_area", default_min_area(*masks.shape[1:]))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @classmethod
    def from_logits(
        cls,
        logits: Any,
        *,
        prompt: str = "",
        text: str = "",
        image: Image.Image | None = None,
        model: str = "",
        calibration: Calibration | None = None,
        keep_logits: bool = False,
        min_area: int | None = None,
    ) -> Segmentation:
        """Makes the result from mask logits float[K, H, W] (array or CPU tensor) at the picture's own size.

        A pixel is in the mask where its logit is above 0, unless the calibration withholds the mask. See the class for
        the rest.
        """
        logits = np.asarray(logits, np.float32)
        if logits.ndim != 3:
            raise ValueError(f"logits must be float[K, H, W], got shape {logits.shape}")
        masks = logits > 0
        scores, withheld = mask_scores(logits), None
        if calibration is not None:
            empty = ~masks.any(axis=(1, 2))
            withheld = calibration.withholds(scores, empty)
            scores = calibration(scores, empty)
            masks[withheld] = False
        return cls(masks, scores, prompt, text, image, model, logits if keep_logits else None, min_area, withheld)

    # ------------------------------------------------------------------------------------------------ looking at it

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture in pixels, as Pillow has it."""
        return self.masks.shape[2], self.masks.shape[1]

    @cached_property
    def mask(self) -> np.ndarray:
        """bool[H, W], read-only: all masks together."""
        return _read_only(np.asarray(self.masks.any(axis=0)))

    @cached_property
    def area(self) -> int:
        """Pixels in `mask`."""
        return int(np.count_nonzero(self.mask))

    @property
    def found(self) -> bool:
        """Whether `mask` has at least `min_area` pixels. The masks themselves are left as they are either way."""
        assert self.min_area is not None  # set in __post_init__
        return self.area >= max(1, self.min_area)

    @property
    def score(self) -> float:
        """The mean of `scores` over the masks that have pixels, or over all if none has; 0 when there is no mask."""
        marked = self.masks.any(axis=(1, 2))
        scores = self.scores[marked] if marked.any() else self.scores
        return float(scores.mean()) if len(scores) else 0.0

    @cached_property
    def box(self) -> Box | None:
        """(x0, y0, x1, y1) around `mask` in pixels, x1 and y1 exclusive; None when it is empty."""
        return _box(self.mask)

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray) -> Segmentation:
        if isinstance(index, (int, np.integer)):
            if not -len(self) <= index < len(self):
                raise IndexError(f"no mask {index} among {len(self)}")
            index = [int(index)]
        logits = None if self.logits is None else self.logits[index]
        return replace(
            self,
            masks=self.masks[index],
            scores=self.scores[index],
            logits=logits,
            withheld=np.asarray(self.withheld)[index],
        )

    def __iter__(self) -> Iterator[Segmentation]:
        return (self[index] for index in range(len(self)))

    def __bool__(self) -> bool:
        # With only __len__, an answer that found nothing would be true and one without a mask false.
        raise TypeError("the truth of a Segmentation is ambiguous; use `.found` or `len()`")

    def __repr__(self) -> str:
        count = f"{len(self)} mask" + ("" if len(self) == 1 else "s")
        parts = [repr(self.prompt), "found" if self.found else "not found", count, f"{self.size[0]}x{self.size[1]}"]
        if self.found:
            parts += [f"area={self.area}", f"box={self.box}"]
        return f"Segmentation({', '.join(parts)}, score={self.score:.2f})"

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows: the overlay."""
        if self.image is None:
            return None
        buffer = io.BytesIO()
        self.overlay().save(buffer, "PNG")
        return buffer.getvalue()

    # ---------------------------------------------------------------------------------------------------- pictures

    def overlay(
        self,
        colour: Colour | Sequence[Colour] | None = None,
        alpha: float = 0.35,
        outline: bool = True,
        dim: float = 0.35,
    ) -> Image.Image:
        """The picture with the masks drawn on it.

        Args:
            colour: A colour name, hex code or RGB tuple for all masks, or a list of such used in turn. None: a palette
                that can be told apart with any common colour vision.
            alpha: Opacity of the fill, 0 to 1.
            outline: Whether to draw a line around each mask; its width follows the size of the picture.
            dim: How much to darken what no mask covers, 0 (not at all) to 1 (black).

        Returns:
            An RGB picture of the same size.

        Raises:
            ValueError: The result holds no picture, a colour is unknown, or `alpha` or `dim` is outside [0, 1].
        """
        colours = colours_for(len(self), colour)
        return draw_masks(self._picture("overlay"), self.masks, colours, alpha=alpha, outline=outline, dim=dim)

    def cutout(self, crop: bool = False) -> Image.Image:
        """What was found, on a transparent background.

        Args:
            crop: Whether to cut the picture down to `box` (when there is one).

        Returns:
            An RGBA picture. Pixels outside the mask are fully transparent and carry no colour.

        Raises:
            ValueError: The result holds no picture.
        """
        rgba = np.zeros((*self.mask.shape, 4), np.uint8)
        rgba[self.mask, :3] = np.asarray(self._picture("cutout"))[self.mask]
        rgba[self.mask, 3] = 255
        picture = Image.fromarray(rgba)
        return picture.crop(self.box) if crop and self.box else picture

    def mask_image(self) -> Image.Image:
        """`mask` as a grey picture: 255 inside, 0 outside."""
        return Image.fromarray(self.mask.astype(np.uint8) * 255)

    def _picture(self, method: str) -> Image.Image:
        if self.image is None:
            raise ValueError(f"{method}() needs the picture, and this result was made or loaded without one")
        return self.image

    # ------------------------------------------------------------------------------------------------- other thresholds

    def at(self, threshold: float) -> Segmentation:
        """The result with the pixels whose probability, the sigmoid of the logit, is above `threshold`; 0.5 is as ever.

        Scores stay: they are the model's confidence in what it found, whose rim this moves. Only where something comes
        out of nothing, or nothing is left, the score is a raw one: the mean probability of the pixels in the mask, or 1
        - the largest there is. A mask that is withheld stays empty.

        Args:
            threshold: In (0, 1). Lower takes in more.

        Raises:
            ValueError: `threshold` is outside, or the result has no `logits` (`segment(..., logits=True)`).
        """
        if not 0 < threshold < 1:
            raise ValueError(f"a threshold is a probability between 0 and 1, not {threshold!r}")
        if threshold == 0.5:
            return self
        if self.logits is None:
            raise ValueError("another threshold needs the logits: segment(..., logits=True)")
        masks, scores = self.logits > math.log(threshold / (1 - threshold)), self.scores.copy()
        masks[self.withheld] = False
        for number, (old, new, logits) in enumerate(zip(self.masks, masks, self.logits, strict=True)):
            if new.any() and not old.any():
                scores[number] = _mean_probability(logits, new)
            elif old.any() and not new.any():
                scores[number] = 1 - 1 / (1 + math.exp(-logits.max()))
        return replace(self, masks=masks, scores=scores)

    # ----------------------------------------------------------------------------------------------------- instances

    def instances(self, min_area: int | None = None) -> Segmentation:
        """The connected parts of each mask, a mask each: `for boat in result.instances(): boat.area, boat.box`.

        These are components (4-connected), not things that were recognised: boats that touch are one, and a boat behind
        a mast is two. In this form every export has one annotation a part.

        The score of a part is that of its mask, times how much surer the model is of the part's pixels than of all of
        the mask's; for that the result must have its `logits` (`segment(..., logits=True)`), else it is the mask's.

        Args:
            min_area: Parts with fewer pixels are left out. None: those that would not count as found, see `min_area` of
                the class. 1 keeps every pixel.

        Returns:
            The parts, in the order of their masks, from top to bottom; without `logits`. None for empty masks.
        """
        least = self.min_area if min_area is None else min_area
        parts, scores = [np.zeros((0, *self.masks.shape[1:]), bool)], []
        for number, mask in enumerate(self.masks):
            polygons = mask_to_polygons(mask)
            codes = coco_mask.frPyObjects(polygons, *mask.shape) if polygons else []
            for code in codes:
                if coco_mask.area(code) < least:
                    continue
                part = coco_mask.decode(code).astype(bool)
                parts.append(part[None])
                share = 1.0
                if self.logits is not None:
                    share = _mean_probability(self.logits[number], part) / _mean_probability(self.logits[number], mask)
                scores.append(min(1.0, float(self.scores[number]) * share))
        return replace(
            self, masks=np.concatenate(parts), scores=np.array(scores, np.float32), logits=None, withheld=None
        )

    # ------------------------------------------------------------------------------------------------ other formats

    def to_coco_rle(self) -> list[dict[str, Any]]:
        """Each mask as compressed COCO run lengths, `{"size": [H, W], "counts": str}`, ready for JSON."""
        return [_encode(mask) for mask in self.masks]

    def to_polygons(self, tolerance: float = 0.0) -> list[list[list[int]]]:
        """Each mask as a list of polygons [x0, y0, x1, y1, ...] along pixel edges, one for each 4-connected region.

        Filling them (pycocotools, even-odd or non-zero) gives the mask back exactly. A hole is part of the polygon
        around it, joined by a cut of zero width; see `self1e.segment.contours`. An empty mask has no polygons.

        Args:
            tolerance: How far, in pixels, the outline may move to spare corners. 0 is exact.

        Raises:
            ValueError: `tolerance` is negative.
        """
        return [mask_to_polygons(mask, tolerance) for mask in self.masks]

    def to_coco_annotation(
        self,
        image_id: int,
        category_id: int,
        id: int,
        masks: Literal["rle", "polygons"] = "rle",
        tolerance: float = 0.0,
    ) -> dict[str, Any]:
        """One COCO annotation for `mask`, with its score. For one annotation a mask, iterate over the result.

        The segmentation is given as run lengths, which pycocotools reads in ground truth and detections alike, or as
        polygons of `tolerance`, see `to_polygons`, but never as an empty list of them, at which pycocotools fails.
        `iscrowd` is 0, `bbox` is [x, y, width, height], all 0 for an empty mask.

        Raises:
            ValueError: `masks` is neither, or `tolerance` is negative.
        """
        if masks not in ("rle", "polygons"):
            raise ValueError(f"masks must be 'rle' or 'polygons', not {masks!r}")
        as_polygons = masks == "polygons" and self.area
        x0, y0, x1, y1 = self.box or (0, 0, 0, 0)
        return {
            "id": id,
            "image_id": image_id,
            "category_id": category_id,
            "segmentation": mask_to_polygons(self.mask, tolerance) if as_polygons else _encode(self.mask),
            "area": self.area,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "iscrowd": 0,
            "score": self.score,
        }

    def to_supervision(self) -> Any:
        """The non-empty masks as `supervision.Detections`.

        `class_id` is 0 throughout, `data["class_name"]` is the prompt, `confidence` the score.

        Raises:
            ImportError: The package supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise ImportError("to_supervision() needs another package: pip install supervision") from error
        boxes = [_box(mask) for mask in self.masks]
        chosen = np.array([box is not None for box in boxes], bool)
        count = int(chosen.sum())
        return supervision.Detections(
            xyxy=np.array([box for box in boxes if box], np.float32).reshape(count, 4),
            mask=self.masks[chosen],
            confidence=self.scores[chosen],
            class_id=np.zeros(count, int),
            data={"class_name": np.array([self.prompt] * count)},
        )

    def to_dict(self, masks: str = "rle") -> dict[str, Any]:
        """Everything but the picture and the logits, ready for JSON.

        Args:
            masks: How to give each mask: "rle" (which `from_dict` can read), "polygons", or "none".

        Raises:
            ValueError: `masks` is none of these.
        """
        forms: dict[str, Callable[[np.ndarray], dict[str, Any]]] = {
            "rle": lambda mask: {"rle": _encode(mask)},
            "polygons": lambda mask: {"polygons": mask_to_polygons(mask)},
            "none": lambda mask: {},
        }
        if masks not in forms:
            raise ValueError(f"masks must be one of {', '.join(forms)}, got {masks!r}")
        return {
            "format": FORMAT,
            "prompt": self.prompt,
            "text": self.text,
            "model": self.model,
            "width": self.size[0],
            "height": self.size[1],
            "found": self.found,
            "min_area": self.min_area,
            "score": _plain(self.score),
            "area": self.area,
            "box": _as_list(self.box),
            "masks": [
                {
                    "score": _plain(score),
                    "area": int(np.count_nonzero(mask)),
                    "box": _as_list(_box(mask)),
                    "withheld": bool(withheld),
                    **forms[masks](mask),
                }
                for mask, score, withheld in zip(self.masks, self.scores, np.asarray(self.withheld), strict=True)
            ],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any], image: Image.Image | None = None) -> Segmentation:
        """The inverse of `to_dict(masks="rle")`.

        Args:
            data: What `to_dict` gave, also after a trip through JSON.
            image: The picture, if overlays are wanted.

        Raises:
            ValueError: The layout is not known, masks are not given as run lengths, or sizes disagree.
        """
        if data.get("format") != FORMAT:
            raise ValueError(f"expected a result in format {FORMAT}, got {data.get('format')!r}")
        size = (int(data["height"]), int(data["width"]))
        masks = np.zeros((len(data["masks"]), *size), bool)
        for mask, entry in zip(masks, data["masks"], strict=True):
            if "rle" not in entry:
                raise ValueError('only results saved with masks="rle" can be read back')
            if tuple(entry["rle"]["size"]) != size:
                raise ValueError(f"a mask has size {entry['rle']['size']}, the picture {list(size)}")
            mask[:] = coco_mask.decode(entry["rle"])
        scores = np.array([entry["score"] for entry in data["masks"]], np.float32)
        withheld = np.array([entry.get("withheld", False) for entry in data["masks"]], bool)
        return cls(masks, scores, data["prompt"], data["text"], image, data["model"], None, data["min_area"], withheld)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Writes the result in the form that the suffix asks for.

        `.png`: `mask`, 255 inside and 0 outside. `.npz`: `masks`, `scores`, `withheld`, `prompt`, `text`, `model`, and
        `logits` when they were kept. `.json`: `to_dict()`. The file appears whole or not at all.

        Args:
            path: The file. Its folder must exist.
            overwrite: Whether it may replace a file.

        Returns:
            The path.

        Raises:
            ValueError: The suffix is none of these.
            FileExistsError: The file exists and `overwrite` is False.
            OSError: It cannot be written there.
        """
        path = expand_user(path)
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise ValueError(f"cannot tell what to write from the name {path.name!r}: use one of {', '.join(SUFFIXES)}")
        if suffix == ".json":
            write_json(path, self.to_dict(), overwrite=overwrite)
            return path
        with write_atomically(path, overwrite) as file:
            if suffix == ".png":
                self.mask_image().save(file, "PNG")
            else:
                names = ["masks", "scores", "withheld", "prompt", "text", "model"]
                names += ["logits"] * (self.logits is not None)
                arrays: dict[str, Any] = {name: np.asarray(getattr(self, name)) for name in names}
                np.savez_compressed(file, **arrays)
        return path


def _read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written to; the caller's own array stays as it was."""
    view = array.view()
    view.flags.writeable = False
    return view


def _box(mask: np.ndarray) -> Box | None:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _mean_probability(logits: np.ndarray, mask: np.ndarray) -> float:
    return float(np.mean(1 / (1 + np.exp(-logits[mask])), dtype=np.float64))


def _encode(mask: np.ndarray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(value) for value in rle["size"]], "counts": rle["counts"].decode("ascii")}


def _plain(score: float) -> float:
    """A float that prints the digits a float32 has, and no more."""
    return float(f"{float(score):.7g}")


def _as_list(box: Box | None) -> list[int] | None:
    return list(box) if box else None
