"""The figures of `self1e.evaluation.metrics` and `vqa` as torchmetrics, for training loops of one's own.

They keep sums only, which torchmetrics adds up over processes: any way to share the samples gives the same figures.
Sums are float64, which Apple's MPS does not have: keep them on the CPU there. Needs the extra `eval`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from self1e.evaluation.metrics import PRECISION_THRESHOLDS, MaskScores
from self1e.evaluation.vqa import exact_score, vqa_score


class MaskFigures(Metric):
    """cIoU, gIoU, N-acc, T-acc and Pr@0.5 ... Pr@0.9 of masks, see `MaskScores`.

        figures = MaskFigures()
        figures.update(predicted, target)       # bool[K, H, W] and integer[K, H, W], any number of times
        figures.compute()                       # {"ciou": ..., "giou": ..., ...}

    Args:
        min_area: See `MaskScores`; `GREFCOCO_MIN_AREA` is gRefCOCO's convention.
        ignore: See `MaskScores`.
        kwargs: Of `torchmetrics.Metric`.
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
    precise: Tensor

    def __init__(self, min_area: int = 1, ignore: int | None = 255, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.min_area, self.ignore = min_area, ignore
        for name in ("intersection", "union", "iou", "samples", "absent", "said_absent", "present", "found"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("precise", torch.zeros(len(PRECISION_THRESHOLDS), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, target: Tensor) -> None:
        """Adds samples: [K, H, W] or [H, W] each."""
        scores = MaskScores(self.min_area, self.ignore)
        for one, true in zip(_stacked(predicted), _stacked(target), strict=True):
            iou = scores.update(one.cpu().numpy(), true.cpu().numpy())
            there = scores.targets[-1] > 0
            self.iou += iou
            self.present += there
            self.absent += not there
            self.found += there and scores.predicted[-1] > 0
            self.said_absent += not there and scores.predicted[-1] == 0
            if there:
                self.precise += torch.tensor([iou >= each for each in PRECISION_THRESHOLDS], device=self.precise.device)
        self.samples += len(scores)
        self.intersection += sum(scores.intersections)
        self.union += sum(scores.unions)

    def compute(self) -> dict[str, Tensor]:
        """Shares from 0 to 1; a figure that no sample bears on is left out, as in `MaskScores.compute`."""
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
    """mIoU: for each class the sum of intersections over the sum of unions in all pictures, and the mean over classes.

    Args:
        classes: How many there are.
        ignore: Value of a target that marks pixels to leave out.
        kwargs: Of `torchmetrics.Metric`.
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
        """Adds masks: [K, H, W] each, and the class of each."""
        scores = MaskScores(1, self.ignore)
        for one, true, number in zip(_stacked(predicted), _stacked(target), classes, strict=True):
            scores.update(one.cpu().numpy(), true.cpu().numpy())
            self.intersection[number] += scores.intersections[-1]
            self.union[number] += scores.unions[-1]

    def compute(self) -> Tensor:
        """Mean over the classes that were seen or predicted; NaN when none was."""
        seen = self.union > 0
        return (self.intersection[seen] / self.union[seen]).mean()


class AnswerAccuracy(Metric):
    """Mean score of answers in words: `vqa_score`, or `exact_score` with `exact=True`."""

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
        """Adds answers; `given` has for each the answers of people, or with `exact` the one answer."""
        for answer, theirs in zip(answers, given, strict=True):
            self.total += self.score(answer, theirs)
        self.answers += len(answers)

    def compute(self) -> Tensor:
        """A share from 0 to 1; NaN when there were no answers."""
        return self.total / self.answers


def _stacked(masks: Tensor) -> Tensor:
    return masks[None] if masks.ndim == 2 else masks
