"""From mask logits to the confidence a model shows, and from that to the quality it delivers."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np

#: Corners (raw score, expected IoU) of a piecewise-linear map.
Knots = tuple[tuple[float, float], ...]

IDENTITY: Knots = ((0.0, 0.0), (1.0, 1.0))

LEAST_FOUND = 0.95
"""Share of the things that are there for which there has to be a mask, whatever is withheld."""

FEWEST = 5
"""Samples that a knot stands for, at least, and that it takes to withhold masks: fewer prove nothing."""


def mask_scores(logits: np.ndarray) -> np.ndarray:
    """Raw confidence of each mask, float32[K], for mask logits float[K, H, W].

    For a mask (`logits > 0`) with pixels, the mean probability sigmoid(logit) over them. For an empty mask, the
    confidence that nothing is there: 1 - the largest probability. Both are at least 0.5.

    >>> mask_scores(np.array([[[0.4, -9.0], [0.8, -2.0]], [[-1.0, -2.0], [-3.0, -4.0]]])).round(3)
    array([0.644, 0.731], dtype=float32)
    """
    return np.array([_mask_score(np.asarray(one, np.float32)) for one in logits], np.float32)


def _mask_score(logits: np.ndarray) -> float:
    inside = logits[logits > 0]
    if inside.size:
        return float(np.mean(1 / (1 + np.exp(-inside)), dtype=np.float64))
    return float(1 / (1 + np.exp(logits.max()))) if logits.size else 1.0


@dataclass(frozen=True)
class Calibration:
    """A monotone piecewise-linear map from raw scores to the IoU to expect, fitted on held-out data of one model.

    Raw scores of masks and raw scores of empty masks (the confidence that nothing is there) are different quantities,
    so each has a map of its own; the IoU of an empty mask is 1 when nothing was to be found and 0 otherwise. Beyond the
    outermost knots the map is constant. Masks of the lowest scores are withheld: an empty one takes their place.

    Attributes:
        present: Knots for masks with at least one pixel, in [0, 1] x [0, 1], rising.
        absent: Knots for empty masks.
        least: The raw score below which a mask is withheld; 0 for none.
        withheld: The IoU to expect of the empty mask in its place: how often nothing was to be found.

    >>> calibration = Calibration(present=((0.5, 0.2), (1.0, 0.9)), least=0.6, withheld=0.8)
    >>> calibration([0.75, 0.5], [False, False]).round(3)
    array([0.55, 0.8 ], dtype=float32)
    >>> calibration.withholds([0.75, 0.5], [False, False])
    array([False,  True])
    """

    present: Knots = IDENTITY
    absent: Knots = IDENTITY
    least: float = 0.0
    withheld: float = 1.0

    def __post_init__(self) -> None:
        for name in ("least", "withheld"):
            value = float(getattr(self, name))
            object.__setattr__(self, name, value)
            if not 0 <= value <= 1:
                raise ValueError(f"calibration `{name}` is outside [0, 1]: {value}")
        for name in ("present", "absent"):
            knots = tuple((float(x), float(y)) for x, y in getattr(self, name))
            object.__setattr__(self, name, knots)
            if not knots:
                raise ValueError(f"calibration `{name}` has no knots")
            if not all(0 <= value <= 1 for knot in knots for value in knot):
                raise ValueError(f"calibration `{name}` has knots outside [0, 1]: {knots}")
            if any(b[0] <= a[0] or b[1] < a[1] for a, b in pairwise(knots)):
                raise ValueError(f"calibration `{name}` does not rise: {knots}")

    def __call__(self, scores: Any, empty: Any) -> np.ndarray:
        """float32[K] of expected IoUs, for raw scores float[K] and bool[K] that tells which masks are empty.

        Of a mask that is withheld, it is the IoU of the empty one in its place.
        """
        present, absent = (_interpolate(np.asarray(scores, np.float64), knots) for knots in (self.present, self.absent))
        shown = np.where(np.asarray(empty, bool), absent, present)
        return np.where(self.withholds(scores, empty), self.withheld, shown).astype(np.float32)

    def withholds(self, scores: Any, empty: Any) -> np.ndarray:
        """bool[K], which masks are withheld. The arguments are those of a call."""
        return ~np.asarray(empty, bool) & (np.asarray(scores, np.float64) < self.least)

    @classmethod
    def fit(
        cls, scores: Any, ious: Any, empty: Any | None = None, there: Any | None = None, bins: int = 12
    ) -> Calibration:
        """Fits the maps: equally filled bins of the raw score, made monotone by pooling adjacent violators.

        Masks are withheld up to the score at which the mean IoU of all is highest, where an empty mask has 1 if nothing
        was to be found; but for `LEAST_FOUND` of what is there, if it had so many, there is one still.

        Args:
            scores: float[N], raw scores of held-out masks.
            ious: float[N], what each of those masks reached.
            empty: bool[N], which of the predicted masks are empty. None: none is.
            there: bool[N], where something was to be found. None: everywhere.
            bins: The most knots either map gets. Each stands for at least `FEWEST` samples.

        Raises:
            ValueError: Shapes differ or `bins` < 1.
        """
        scores, ious = np.asarray(scores, np.float64), np.asarray(ious, np.float64)
        empty = np.zeros(scores.shape, bool) if empty is None else np.asarray(empty, bool)
        there = np.ones(scores.shape, bool) if there is None else np.asarray(there, bool)
        if scores.ndim != 1 or not scores.shape == ious.shape == empty.shape == there.shape:
            raise ValueError(
                f"shapes differ: scores {scores.shape}, ious {ious.shape}, empty {empty.shape}, there {there.shape}"
            )
        if bins < 1:
            raise ValueError(f"bins must be at least 1, got {bins}")
        least, withheld = _least(scores[~empty], ious[~empty], there[~empty], math.ceil(LEAST_FOUND * there.sum()))
        shown = ~empty & (scores >= least)
        present, absent = (_fit(scores[chosen], ious[chosen], bins) for chosen in (shown, empty))
        return cls(present, absent, least, withheld)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` reads it."""
        knots = {"present": [list(knot) for knot in self.present], "absent": [list(knot) for knot in self.absent]}
        return knots | ({"least": self.least, "withheld": self.withheld} if self.least else {})

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Calibration:
        """The inverse of `to_dict`. Raises ValueError on keys it does not know, and that or TypeError on bad values."""
        unknown = set(data) - {each.name for each in fields(cls)}
        if unknown:
            raise ValueError(f"unknown keys in a calibration: {sorted(unknown)}")
        read = dict(data)
        for name in {"present", "absent"} & set(data):
            read[name] = tuple((x, y) for x, y in data[name])
        return cls(**read)


def _least(scores: np.ndarray, ious: np.ndarray, there: np.ndarray, kept: int) -> tuple[float, float]:
    """`least` and `withheld` of a calibration.

    Args:
        scores: Of masks that are not empty, as the others.
        ious: What these reach.
        there: Where something was to be found.
        kept: Masks of what is there that must be left; if there are less, so must all.
    """
    order = np.argsort(scores, kind="stable")
    scores, ious, there = scores[order], ious[order], there[order]
    gained, lost = np.cumsum(~there - ious), np.cumsum(there)
    allowed = lost <= max(0, there.sum() - kept)
    # Masks of one score stand and fall together.
    allowed[:-1] &= scores[:-1] < scores[1:]
    allowed[: FEWEST - 1] = allowed[-1:] = False
    if not kept or not allowed.any():
        return 0.0, 1.0
    last = int(np.argmax(np.where(allowed, gained, -np.inf)))
    if gained[last] <= 0:
        return 0.0, 1.0
    return math.floor(1e6 * scores[last + 1]) / 1e6, round(float(1 - there[: last + 1].mean()), 6)


def _interpolate(scores: np.ndarray, knots: Knots) -> np.ndarray:
    xs, ys = np.array(knots).T
    return np.interp(scores, xs, ys)


def _fit(scores: np.ndarray, ious: np.ndarray, bins: int) -> Knots:
    count = min(bins, len(scores) // FEWEST)
    if count == 0:
        return IDENTITY
    order = np.argsort(scores, kind="stable")
    # Each pool: (sum of scores, sum of IoUs, samples).
    pools: list[tuple[float, float, int]] = []
    for members in np.array_split(order, count):
        pool = (float(scores[members].sum()), float(ious[members].sum()), len(members))
        # Merge while the newer pool is not above the older one, or not to its right (equal scores).
        while pools and (
            pools[-1][1] * pool[2] >= pool[1] * pools[-1][2] or pools[-1][0] * pool[2] >= pool[0] * pools[-1][2]
        ):
            older = pools.pop()
            pool = (older[0] + pool[0], older[1] + pool[1], older[2] + pool[2])
        pools.append(pool)
    knots: list[tuple[float, float]] = []
    for score, iou, samples in pools:
        knot = (round(min(max(score / samples, 0.0), 1.0), 6), round(min(max(iou / samples, 0.0), 1.0), 6))
        if not knots or knot[0] > knots[-1][0]:
            knots.append(knot)
    return tuple(knots)
