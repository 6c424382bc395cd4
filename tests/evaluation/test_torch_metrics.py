"""The torchmetrics say what the functions say, on degenerate masks, and over two processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from metric_process import figures

from self1e.evaluation.metrics import MaskScores
from self1e.evaluation.torch_metrics import AnswerAccuracy, MaskFigures, MeanClassIoU

EMPTY, FULL = np.zeros((3, 4), np.uint8), np.ones((3, 4), np.uint8)
ONE = np.eye(3, 4, dtype=np.uint8) * (np.arange(4) == 0)
DEGENERATE = [
    (pred.astype(bool), target.astype(np.uint8))
    for pred in (EMPTY, FULL, ONE)
    for target in (EMPTY, FULL, ONE, FULL * 255)
]


@pytest.mark.parametrize("min_area", [1, 2])
def test_mask_figures_are_those_of_mask_scores(min_area: int) -> None:
    metric, scores = MaskFigures(min_area=min_area), MaskScores(min_area)
    for pred, target in DEGENERATE:
        metric.update(torch.from_numpy(pred), torch.from_numpy(target))
        scores.update(pred, target)
    expected = {name: value for name, value in scores.compute().items() if name != "samples"}
    assert {name: float(value) for name, value in metric.compute().items()} == pytest.approx(expected)


def test_figures_without_samples_are_left_out() -> None:
    assert MaskFigures().compute() == {}
    assert torch.isnan(MeanClassIoU(2).compute()) and torch.isnan(AnswerAccuracy().compute())


def test_miou_is_a_mean_over_classes_of_sums_over_pictures() -> None:
    metric = MeanClassIoU(4)
    for class_number, pred, target in ((0, FULL, ONE), (0, ONE, ONE), (1, EMPTY, FULL), (3, EMPTY, EMPTY)):
        metric.update(torch.from_numpy(pred.astype(bool)), torch.from_numpy(target), [class_number])
    assert float(metric.compute()) == pytest.approx(((1 + 1) / (12 + 1) + 0) / 2)  # classes 2 and 3 were not seen


def test_exact_answers() -> None:
    metric = AnswerAccuracy(exact=True)
    metric.update(["Yes.", "a dog"], ["yes", "dog"])
    assert float(metric.compute()) == 0.5


def test_two_processes_measure_what_one_does(tmp_path: Path) -> None:
    script = Path(__file__).with_name("metric_process.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*command, str(script), str(tmp_path / "out")], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "out").read_text()) == pytest.approx(figures(0, 1), abs=1e-12)
