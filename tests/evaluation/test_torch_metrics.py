"""The torchmetrics say what loops over pixels say, on degenerate masks, and over one process and two."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from metric_process import CLASSES, MIN_AREA, Sample, figures, samples
from torchmetrics import Metric

from self1e.evaluation.torch_metrics import AnswerAccuracy, MaskFigures, MeanClassIoU
from self1e.evaluation.vqa import normalised
from self1e.metrics import MaskScores


def counted(sample: Sample, min_area: int) -> tuple[int, int, int, int]:
    """(intersection, union, predicted, target) of a loop over pixels."""
    pixels = [(bool(p), t == 1) for p, t in zip(sample.predicted.flat, sample.target.flat, strict=True) if t != 255]
    predicted, target = sum(p for p, _ in pixels), sum(t for _, t in pixels)
    if predicted < min_area:
        return 0, target, 0, target
    return sum(p and t for p, t in pixels), sum(p or t for p, t in pixels), predicted, target


def naive_figures(all_samples: list[Sample]) -> dict[str, float]:
    intersections = unions = 0
    ious, present, answered, silent = [], [], [], []
    for sample in all_samples:
        both, either, predicted, target = counted(sample, MIN_AREA)
        intersections, unions = intersections + both, unions + either
        ious.append(both / either if either else 1.0)
        if target:
            present.append(ious[-1])
            answered.append(predicted > 0)
        else:
            silent.append(predicted == 0)
    of_classes = []
    for number in range(CLASSES):
        pairs = [counted(sample, 1)[:2] for sample in all_samples if sample.number == number]
        if sum(either for _, either in pairs):
            of_classes.append(sum(both for both, _ in pairs) / sum(either for _, either in pairs))
    right = []
    for sample in all_samples:
        people = [normalised(each) for each in sample.people] if len(set(sample.people)) > 1 else sample.people
        answer = normalised(sample.answer) if len(set(sample.people)) > 1 else sample.answer
        others = [people[:left_out] + people[left_out + 1 :] for left_out in range(len(people))]
        right.append(np.mean([min(1, each.count(answer) / 3) for each in others]))
    shares = {
        "giou": ious,
        "n_acc": silent,
        "t_acc": answered,
        "miou": of_classes,
        "accuracy": right,
        **{f"pr@{t}": [iou >= t for iou in present] for t in (0.5, 0.6, 0.7, 0.8, 0.9)},
    }
    return {"ciou": intersections / unions} | {name: float(np.mean(each)) for name, each in shares.items()}


def test_one_process_measures_what_a_loop_does() -> None:
    expected = naive_figures(samples())
    assert figures(0, 1) == pytest.approx(expected, abs=1e-12)
    assert all(0.1 < each < 0.9 for each in expected.values())  # nothing is right by being 0 or 1


@pytest.mark.slow
def test_two_processes_measure_what_a_loop_does(tmp_path: Path) -> None:
    script = Path(__file__).with_name("metric_process.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*command, str(script), str(tmp_path / "out")], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "out").read_text()) == pytest.approx(naive_figures(samples()), abs=1e-12)


@pytest.mark.parametrize("min_area", [1, 2])
def test_mask_figures_are_those_of_mask_scores(min_area: int) -> None:
    metric, scores = MaskFigures(min_area=min_area), MaskScores(min_area)
    for sample in samples():
        scores.update(sample.predicted, sample.target)
    predicted, targets = (torch.from_numpy(np.stack(each)) for each in list(zip(*samples(), strict=True))[:2])
    metric.update(predicted[:5], targets[:5])
    metric.update(predicted[5:], targets[5:])
    expected = {name: value for name, value in scores.compute().items() if name != "samples"}
    assert {name: float(value) for name, value in metric.compute().items()} == pytest.approx(expected)


def test_what_is_absent_is_what_the_annotation_says() -> None:
    """A target of no pixel may be there, as in `MaskScores`; and none that has pixels may be meant."""
    metric, scores = MaskFigures(), MaskScores()
    predicted, targets = (torch.from_numpy(np.stack(each)) for each in list(zip(*samples(), strict=True))[:2])
    absent = torch.arange(len(targets)) % 3 == 0
    assert not torch.equal(absent, (targets == 1).sum((1, 2)) == 0)
    for one, true, none in zip(predicted, targets, absent, strict=True):
        scores.update(one.numpy(), true.numpy(), absent=bool(none))
    metric.update(predicted[:5], targets[:5], absent=absent[:5])
    metric.update(predicted[5:-1], targets[5:-1], absent=absent[5:-1].tolist())
    metric.update(predicted[-1], targets[-1], absent=absent[-1:])
    expected = {name: value for name, value in scores.compute().items() if name != "samples"}
    assert {name: float(value) for name, value in metric.compute().items()} == pytest.approx(expected)


def test_figures_without_samples_are_left_out() -> None:
    metric = MaskFigures()
    assert metric.compute() == {}
    metric.update(torch.zeros(0, 3, 4, dtype=torch.bool), torch.zeros(0, 3, 4, dtype=torch.uint8))
    assert metric.compute() == {}
    assert torch.isnan(MeanClassIoU(2).compute()) and torch.isnan(AnswerAccuracy().compute())


FULL = torch.ones(1, 2, 3, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("metric", "fine", "refused", "error", "message"),
    [
        (
            MaskFigures(),
            (FULL, FULL),
            (FULL.repeat(2, 1, 1), FULL),
            ValueError,
            r"\(2, 2, 3\) predicted and \(1, 2, 3\)",
        ),
        (MaskFigures(), (FULL, FULL), (FULL, FULL[:, :1]), ValueError, "masks must be"),
        (MaskFigures(), (FULL, FULL), (FULL, FULL.float()), TypeError, "compare logits"),
        (MeanClassIoU(2), (FULL, FULL, [0]), (FULL, FULL, [-1]), ValueError, "class -1 is not one of the 2"),
        (MeanClassIoU(2), (FULL, FULL, [0]), (FULL, FULL, [2]), ValueError, "class 2 is not one of the 2"),
        (MeanClassIoU(2), (FULL, FULL, [0]), (FULL, FULL, [1.0]), TypeError, "float"),
        (MeanClassIoU(2), (FULL, FULL, [0]), (FULL, FULL, [1, 1]), ValueError, "1 masks need a class each, got 2"),
        (MeanClassIoU(2), (FULL, FULL, [0]), (FULL.repeat(2, 1, 1), FULL, [1, 1]), ValueError, "masks must be"),
        (AnswerAccuracy(), (["a"], [["a"] * 4]), (["b", "b"], [["c"] * 4, []]), ValueError, "there are none"),
        (AnswerAccuracy(), (["a"], [["a"] * 4]), (["b", "b"], [["c"] * 4]), ValueError, "shorter"),
    ],
)
def test_what_is_refused_leaves_the_sums_as_they_were(
    metric: Metric, fine: tuple, refused: tuple, error: type[Exception], message: str
) -> None:
    metric.update(*fine)
    before = {name: getattr(metric, name).clone() for name in metric._defaults}
    with pytest.raises(error, match=message):
        metric.update(*refused)
    assert all(torch.equal(getattr(metric, name), value) for name, value in before.items())


def test_absent_is_said_of_each_mask_or_of_none() -> None:
    metric = MaskFigures()
    with pytest.raises(ValueError, match="each of the 2 masks whether it is, got 1"):
        metric.update(FULL.repeat(2, 1, 1), FULL.repeat(2, 1, 1), absent=[True])
    assert not metric.samples


@pytest.mark.filterwarnings("error:no target has")
@pytest.mark.parametrize("scores", [MaskFigures, MaskScores])
def test_masks_drawn_with_255_are_warned_of(scores: Callable[..., MaskFigures | MaskScores]) -> None:
    drawn = FULL[0] * 255
    for target, options in ((drawn > 0, {}), (drawn, {"ignore": None}), (FULL[0] * 0, {})):
        metric = scores(**options)
        metric.update(FULL[0], target)
        metric.compute()  # a warning is an error here
    metric = scores()
    metric.update(FULL[0], drawn)
    with pytest.warns(UserWarning, match="no target has a pixel inside, and 1 have pixels of 255, which are ignored"):
        metric.compute()
    metric.update(FULL[0], FULL[0])  # now some are numbered, and the first was to be ignored
    metric.compute()


def test_exact_answers() -> None:
    metric = AnswerAccuracy(exact=True)
    metric.update(["Yes.", "a dog"], ["yes", "dog"])
    assert float(metric.compute()) == 0.5
