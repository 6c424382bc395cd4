"""The figures of `self1e.metrics` and `vqa` as torchmetrics, for training loops of one's own.

They keep sums only, which torchmetrics adds up over processes: any way to share the samples gives the same figures.
Sums are float64, which Apple's MPS does not have: keep them on the CPU there. Needs the extra `eval`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from self1e.evaluation.vqa import exact_score, vqa_score
from self1e.metrics import PRECISION_THRESHOLDS, MaskScores, mean_class_iou, warn_of_ignored_targets


class MaskFigures(Metric):
    """cIoU, gIoU, N-acc, T-acc and Pr@0.5 ... Pr@0.9 of masks, see `MaskScores`.

    Args:
        min_area: See `MaskScores`; `GREFCOCO_MIN_AREA` is gRefCOCO's convention.
        ignore: See `MaskScores`.
        kwargs: Of `torchmetrics.Metric`.

    >>> figures = MaskFigures()
    >>> figures.update(torch.tensor([[True, True, False]]), torch.tensor([[1, 1, 1]]))  # one mask
    >>> figures.update(torch.zeros(2, 1, 3, dtype=torch.bool), torch.tensor([[[0, 0, 255]], [[0, 1, 1]]]))  # two
    >>> {name: round(float(value), 3) for name, value in figures.compute().items() if name in ("ciou", "giou", "t_acc")}
    {'ciou': 0.4, 'giou': 0.556, 't_acc': 0.5}
    >>> figures.update(torch.tensor([[True]]), torch.tensor([[0]]), absent=[False])  # there, but of no pixel
    >>> round(float(figures.compute()["t_acc"]), 3)
    0.667
    """

    full_state_update = False
    higher_is_better = True
    intersection: Tensor
    union: Tensor
    iou: Tensor
    samples: Tensor
    absent: Tensor
    said_absent: Tensor
    present: Tensor
    found: Tensor
    drawn: Tensor
    only_ignored: Tensor
    precise: Tensor

    def __init__(self, min_area: int = 1, ignore: int | None = 255, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.min_area, self.ignore = min_area, ignore
        samples = ("samples", "absent", "said_absent", "present", "found", "drawn", "only_ignored")
        for name in ("intersection", "union", "iou", *samples):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("precise", torch.zeros(len(PRECISION_THRESHOLDS), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, target: Tensor, *, absent: Tensor | Sequence[bool] | None = None) -> None:
        """Adds samples, all of them or none.

        Args:
            predicted: bool or integer[K, H, W] or [H, W]: non-zero inside.
            target: bool or integer of the same shape: non-zero inside, `ignore` where pixels are left out.
            absent: bool[K] (of one mask [H, W] too): whether the annotation says that there is no target; see
                `MaskScores.update`.

        Raises:
            ValueError: The shapes differ, or `absent` is not of as many masks.
            TypeError: One has a floating type.
        """
        scores = _scores(predicted, target, self.min_area, self.ignore, absent)
        present, answered = ~np.array(scores.absent, bool), np.array(scores.predicted) > 0
        self.intersection += sum(scores.intersections)
        self.union += sum(scores.unions)
        self.iou += float(scores.ious.sum())
        self.samples += len(scores)
        self.present += int(present.sum())
        self.absent += int((~present).sum())
        self.found += int((present & answered).sum())
        self.said_absent += int((~present & ~answered).sum())
        self.drawn += int(np.count_nonzero(scores.targets))
        self.only_ignored += scores.only_ignored
        precise = scores.ious[present, None] >= np.array(PRECISION_THRESHOLDS)
        self.precise += torch.from_numpy(precise.sum(axis=0)).to(self.precise.device)

    def compute(self) -> dict[str, Tensor]:
        """Shares from 0 to 1. A figure that no sample bears on is left out; warns as `MaskScores.compute` does."""
        warn_of_ignored_targets(float(self.only_ignored), bool(self.drawn), self.ignore)
        figures = {}
        if self.union > 0:
            figures["ciou"] = self.intersection / self.union
        if self.samples > 0:
            figures["giou"] = self.iou / self.samples
        if self.absent > 0:
            figures["n_acc"] = self.said_absent / self.absent
        if self.present > 0:
            figures["t_acc"] = self.found / self.present
            shares = self.precise / self.present
            figures |= {f"pr@{each}": share for each, share in zip(PRECISION_THRESHOLDS, shares, strict=True)}
        return figures


class MeanClassIoU(Metric):
    """mIoU, see `mean_class_iou`.

    Args:
        classes: How many there are.
        ignore: Value of a target that marks pixels to leave out.
        kwargs: Of `torchmetrics.Metric`.

    >>> miou = MeanClassIoU(classes=3)
    >>> predicted, target = torch.tensor([[[1, 1, 0]], [[0, 0, 1]]]), torch.tensor([[[1, 0, 0]], [[0, 255, 1]]])
    >>> miou.update(predicted, target, classes=[0, 2])
    >>> miou.compute()
    tensor(0.7500, dtype=torch.float64)
    """

    full_state_update = False
    higher_is_better = True
    intersection: Tensor
    union: Tensor

    def __init__(self, classes: int, ignore: int | None = 255, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore = ignore
        for name in ("intersection", "union"):
            self.add_state(name, torch.zeros(classes, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, target: Tensor, classes: Sequence[int]) -> None:
        """Adds masks, all of them or none.

        Args:
            predicted: bool or integer[K, H, W] or [H, W]: non-zero inside.
            target: bool or integer of the same shape: non-zero inside, `ignore` where pixels are left out.
            classes: K numbers from 0: the class of each mask.

        Raises:
            ValueError: The shapes differ, there are not K classes, or one is not among those there are.
            TypeError: A mask has a floating type, or a class is no integer.
        """
        numbers, known = [index(each) for each in classes], range(len(self.union))
        if unknown := [number for number in numbers if number not in known]:
            raise ValueError(f"class {unknown[0]} is not one of the {len(known)}, which are numbered from 0")
        scores = _scores(predicted, target, 1, self.ignore)
        if len(numbers) != len(scores):
            raise ValueError(f"{len(scores)} masks need a class each, got {len(numbers)}")
        for number, intersection, union in zip(numbers, scores.intersections, scores.unions, strict=True):
            self.intersection[number] += intersection
            self.union[number] += union

    def compute(self) -> Tensor:
        """Mean over the classes that were seen or predicted; NaN when none was."""
        miou = mean_class_iou(range(len(self.union)), self.intersection.tolist(), self.union.tolist())
        return self.union.new_tensor(miou)


class AnswerAccuracy(Metric):
    """Mean score of answers in words: `vqa_score`, or `exact_score` with `exact=True`.

    >>> accuracy = AnswerAccuracy()
    >>> accuracy.update(["Two.", "a dog"], [["2"] * 9 + ["3"], ["cat"] * 7 + ["dog"] * 3])
    >>> accuracy.compute()
    tensor(0.9500, dtype=torch.float64)
    """

    full_state_update = False
    higher_is_better = True
    total: Tensor
    answers: Tensor

    def __init__(self, exact: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.score: Callable[[str, Any], float] = exact_score if exact else vqa_score
        for name in ("total", "answers"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, answers: Sequence[str], given: Sequence[Any]) -> None:
        """Adds answers, all of them or none.

        Args:
            answers: The model's.
            given: For each the answers of people, or with `exact` the one answer.

        Raises:
            ValueError: The two are not equally many, or nobody answered one of the questions.
        """
        scores = [self.score(answer, theirs) for answer, theirs in zip(answers, given, strict=True)]
        self.total += sum(scores)
        self.answers += len(scores)

    def compute(self) -> Tensor:
        """A share from 0 to 1; NaN when there were no answers."""
        return self.total / self.answers


def _scores(
    predicted: Tensor,
    target: Tensor,
    min_area: int,
    ignore: int | None,
    absent: Tensor | Sequence[bool] | None = None,
) -> MaskScores:
    """Of masks [K, H, W], or one of [H, W]; `absent`: see `MaskFigures.update`.

    Raises:
        ValueError: The shapes differ, or `absent` is not of as many masks.
        TypeError: One has a floating type.
    """
    if predicted.shape != target.shape or predicted.ndim not in (2, 3):
        raise ValueError(
            f"masks must be [K, H, W] or [H, W], both alike, got {tuple(predicted.shape)} predicted and "
            f"{tuple(target.shape)} of targets"
        )
    if predicted.ndim == 2:
        predicted, target = predicted[None], target[None]
    if absent is not None and len(absent) != len(target):
        raise ValueError(f"`absent` must say of each of the {len(target)} masks whether it is, got {len(absent)}")
    said = [None] * len(target) if absent is None else [bool(each) for each in absent]
    scores = MaskScores(min_area, ignore)
    for one, true, none in zip(predicted, target, said, strict=True):
        scores.update(one.cpu().numpy(), true.cpu().numpy(), absent=none)
    return scores
