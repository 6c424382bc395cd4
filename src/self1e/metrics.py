"""The figures that segmentation by text is measured with, in plain numpy.

`intersection_and_union` looks at one mask; `MaskScores` gathers whole pixel counts of many samples and turns them into
figures at the end, so that splitting the samples among processes and merging changes nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: gRefCOCO's published convention: a prediction of fewer pixels counts as "nothing is there".
GREFCOCO_MIN_AREA = 50

PRECISION_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)

EDGE_TOLERANCE = 0.008
"""How far an edge may be off, in diagonals of the picture, as DAVIS has it (Perazzi et al. 2016)."""


def intersection_and_union(pred: Any, target: Any, ignore: int | None = 255) -> tuple[int, int]:
    """Pixels that two masks share, and pixels that either has.

    Args:
        pred: bool or integer[H, W], array or CPU tensor: the predicted mask, non-zero inside.
        target: bool or integer[H, W]: the true mask, non-zero inside.
        ignore: Value of `target` whose pixels are left out altogether; None: there is none.

    Returns:
        (intersection, union) in pixels.

    Raises:
        ValueError: The shapes differ.
        TypeError: `pred` or `target` has a floating type; logits must be compared with 0 first.

    >>> intersection_and_union([[1, 1, 0, 1]], [[0, 1, 1, 255]])
    (1, 3)
    """
    inside, true = _masks(pred, target, ignore)
    return int(np.count_nonzero(inside & true)), int(np.count_nonzero(inside | true))


def mean_class_iou(classes: Iterable[Hashable], intersections: Iterable[float], unions: Iterable[float]) -> float:
    """mIoU: for each class the sum of intersections over the sum of unions in all pictures, and the mean over classes.

    Args:
        classes: The class of each mask.
        intersections: Pixels of each mask, see `intersection_and_union`.
        unions: Pixels of each mask.

    Returns:
        A share from 0 to 1 over the classes whose union has pixels; NaN when there are none.

    Raises:
        ValueError: The three are not equally many.

    >>> mean_class_iou(["cat", "dog", "cat", "owl"], [1, 3, 2, 0], [4, 4, 2, 0])
    0.625
    """
    sums: dict[Hashable, tuple[float, float]] = {}
    for name, intersection, union in zip(classes, intersections, unions, strict=True):
        before = sums.get(name, (0, 0))
        sums[name] = (before[0] + intersection, before[1] + union)
    ious = [both / either for both, either in sums.values() if either]
    return sum(ious) / len(ious) if ious else float("nan")


def warn_of_ignored_targets(ignored: float, present: bool, ignore: int | None) -> None:
    """Warns when all targets look like masks that are drawn with the value to ignore: predictions would not count.

    Args:
        ignored: How many targets have pixels to ignore, and none inside.
        present: Whether any has pixels inside.
        ignore: The value.
    """
    if ignored and not present:
        warnings.warn(
            f"no target has a pixel inside, and {ignored:.0f} have pixels of {ignore}, which are ignored. If masks are "
            f"drawn with {ignore} here, give `target != 0`, or set ignore=None",
            stacklevel=3,
        )


def _masks(pred: Any, target: Any, ignore: int | None) -> tuple[np.ndarray, np.ndarray]:
    """(pred, target) as bool arrays that are False where the target is to be ignored."""
    pred, target = np.asarray(pred), np.asarray(target)
    if pred.shape != target.shape:
        raise ValueError(f"prediction has shape {pred.shape}, target {target.shape}")
    for name, mask in (("prediction", pred), ("target", target)):
        if mask.dtype.kind not in "biu":
            raise TypeError(f"{name} must be bool or integer, got {mask.dtype}; compare logits with 0 first")
    inside, true = pred != 0, target != 0
    if ignore is not None and target.dtype != bool:
        counted = target != ignore
        inside, true = inside & counted, true & counted
    return inside, true


@dataclass
class MaskScores:
    """Gathers samples (one predicted mask, one true mask) and computes the published figures.

    Args:
        min_area: A prediction with fewer pixels (ignored ones left out) is treated as empty throughout. 1 leaves every
            prediction as it is, which is the protocol of RefCOCO and ReasonSeg; gRefCOCO's is `GREFCOCO_MIN_AREA`.
        ignore: Value of a target that marks pixels to leave out; None: there is none.

    >>> scores = MaskScores()
    >>> scores.update([[1, 1, 0, 0]], [[1, 1, 1, 0]])
    0.6666666666666666
    >>> scores.update([[0, 0, 0, 0]], [[0, 0, 0, 0]])
    1.0
    >>> scores.update([[0, 0, 0, 1]], [[0, 0, 0, 0]])
    0.0
    >>> figures = scores.compute()
    >>> figures["ciou"], figures["n_acc"], figures["t_acc"], figures["pr@0.6"], figures["pr@0.7"]
    (0.5, 0.5, 1.0, 1.0, 0.0)
    >>> round(figures["giou"], 4)
    0.5556
    """

    min_area: int = 1
    ignore: int | None = 255
    #: Pixels of each sample, in order of arrival.
    intersections: list[int] = field(default_factory=list, repr=False)
    unions: list[int] = field(default_factory=list, repr=False)
    predicted: list[int] = field(default_factory=list, repr=False)
    targets: list[int] = field(default_factory=list, repr=False)
    absent: list[bool] = field(default_factory=list, repr=False)
    #: How many targets have pixels to ignore, and none inside.
    only_ignored: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        if self.min_area < 1:
            raise ValueError(f"min_area must be at least 1 pixel, got {self.min_area}")

    def __len__(self) -> int:
        return len(self.unions)

    def update(self, pred: Any, target: Any, *, absent: bool | None = None) -> float:
        """Adds a sample.

        Args:
            pred: See `intersection_and_union`.
            target: See `intersection_and_union`.
            absent: Whether the label says that there is no target; a tiny one may have no pixel. None: there is none
                when it has no pixel.

        Returns:
            The sample's IoU, 1 when neither mask has a pixel.
        """
        inside, true = _masks(pred, target, self.ignore)
        predicted, intersection = int(np.count_nonzero(inside)), int(np.count_nonzero(inside & true))
        target_area = int(np.count_nonzero(true))
        self.only_ignored += absent is None and target_area == 0 and bool(np.asarray(target).any())
        return self.count(predicted, target_area, intersection, absent=absent)

    def count(self, predicted: int, target: int, intersection: int, *, absent: bool | None = None) -> float:
        """Adds a sample whose pixels have been counted: of the prediction, of the target, and those they share.

        `absent` and what is returned are those of `update`.
        """
        if predicted < self.min_area:
            predicted = intersection = 0
        union = predicted + target - intersection
        self.intersections.append(intersection)
        self.unions.append(union)
        self.predicted.append(predicted)
        self.targets.append(target)
        self.absent.append(target == 0 if absent is None else absent)
        return intersection / union if union else 1.0

    def merge(self, other: MaskScores) -> MaskScores:
        """Adds all samples of another accumulator (of another process, say) to this one, and returns this one.

        Raises:
            ValueError: The two follow different conventions.
        """
        if (self.min_area, self.ignore) != (other.min_area, other.ignore):
            raise ValueError(f"cannot merge {other} into {self}")
        for name in ("intersections", "unions", "predicted", "targets", "absent"):
            getattr(self, name).extend(getattr(other, name))
        self.only_ignored += other.only_ignored
        return self

    @property
    def ious(self) -> np.ndarray:
        """float64[N]: the IoU of each sample, 1 where the union is empty."""
        intersections, unions = np.array(self.intersections, np.float64), np.array(self.unions, np.float64)
        return np.where(unions > 0, intersections / np.maximum(unions, 1), 1.0)

    def compute(self) -> dict[str, float]:
        """The figures, as shares from 0 to 1. A figure that no sample bears on is left out.

        Warns when no target has a pixel inside and some hold `ignore`, as masks drawn with 0 and 255 do.

        Returns:
            `samples`: their number.
            `ciou`: sum of intersections / sum of unions ("cumulative", also called overall IoU).
            `giou`: mean IoU of the samples, where an empty union counts 1.
            `n_acc`: of the samples without a target, the share predicted empty.
            `t_acc`: of the samples with a target, the share predicted not empty.
            `pr@0.5` ... `pr@0.9`: of the samples with a target, the share whose IoU is at least that.
        """
        warn_of_ignored_targets(self.only_ignored, any(self.targets), self.ignore)
        figures = {"samples": float(len(self))}
        if sum(self.unions):
            figures["ciou"] = sum(self.intersections) / sum(self.unions)
        if len(self):
            figures["giou"] = float(self.ious.mean())
        has_target, answered = ~np.array(self.absent, bool), np.array(self.predicted) > 0
        if not has_target.all():
            figures["n_acc"] = float(np.mean(~answered[~has_target]))
        if has_target.any():
            figures["t_acc"] = float(np.mean(answered[has_target]))
            for threshold in PRECISION_THRESHOLDS:
                figures[f"pr@{threshold}"] = float(np.mean(self.ious[has_target] >= threshold))
        return figures


def boundary_f(pred: Any, target: Any, ignore: int | None = 255) -> float | None:
    """How well edges agree (DAVIS's F): the harmonic mean of the shares of either edge that lie near the other.

    Args:
        pred: See `intersection_and_union`.
        target: See `intersection_and_union`. Edges within reach of ignored pixels, or beside them, do not count.
        ignore: See `intersection_and_union`.

    Returns:
        0 to 1; None where no edge of the target counts.

    >>> mask = np.zeros((100, 100), bool)
    >>> mask[20:60, 20:60] = True
    >>> boundary_f(mask, mask), boundary_f(np.roll(mask, 30, 1), mask) < 0.3
    (1.0, True)
    """
    _, true = _masks(pred, target, ignore)
    target = np.asarray(target)
    reach = int(np.ceil(EDGE_TOLERANCE * np.hypot(*true.shape)))
    unknown = target == ignore if ignore is not None and target.dtype != bool else np.zeros_like(true)
    beside = max(reach, 2)  # an edge lies up to a diagonal from a pixel
    counted = ~_grown(unknown, beside) if unknown.any() else ~unknown
    ours, theirs = _edge(np.asarray(pred) != 0), _edge(true)  # ignored pixels make no edges of ours
    if not (theirs & counted).any():
        return None
    if not (ours & counted).any():
        return 0.0
    precision = np.count_nonzero(_grown(theirs, reach) & ours & counted) / np.count_nonzero(ours & counted)
    recall = np.count_nonzero(_grown(ours, reach) & theirs & counted) / np.count_nonzero(theirs & counted)
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def _grown(mask: np.ndarray, reach: int) -> np.ndarray:
    """All pixels that are not farther than `reach` from the mask: bool[H, W]."""
    height, width = mask.shape
    sums = np.pad(mask, ((0, 0), (reach + 1, reach))).cumsum(axis=1, dtype=np.int32)
    grown = np.zeros_like(mask)
    for down in range(min(reach, height - 1) + 1):
        across = int((reach**2 - down**2) ** 0.5)
        row = sums[:, reach + 1 + across :][:, :width] > sums[:, reach - across :][:, :width]
        grown[down:] |= row[: height - down]
        grown[: height - down] |= row[down:]
    return grown


def _edge(mask: np.ndarray) -> np.ndarray:
    """Pixels that differ from the one on the right, below, or between both, as DAVIS's code has it.

    Of an edge on the left or above these are the last ones outside. Where the picture ends is no edge.
    """
    beyond = np.pad(mask, (0, 1), mode="edge")
    return (mask != beyond[:-1, 1:]) | (mask != beyond[1:, :-1]) | (mask != beyond[1:, 1:])
