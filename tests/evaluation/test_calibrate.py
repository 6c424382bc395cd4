"""Scores that read as the IoU to expect, fitted on a benchmark of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import self1e.evaluation.calibrate as calibration_of
from self1e.evaluation import record_benchmarks
from self1e.evaluation.benchmarks import open_benchmark
from self1e.evaluation.calibrate import CalibrationError, calibrate
from self1e.evaluation.samples import RecordDone, Sample, measured_mask
from self1e.segment.calibration import Calibration
from self1e.segment.results import Segmentation
from self1e.segment.segmenter import Segmenter

PICTURES = 10


def own_benchmark(folder: Path) -> str:
    """Ten pictures; in each the left half is asked for, and something that is not there."""
    lines = []
    for number in range(PICTURES):
        Image.new("RGB", (20, 20), (20 * number, 0, 0)).save(folder / f"{number}.png")
        half = [[0, 0, 10, 0, 10, 20, 0, 20]]
        prompts = [{"prompt": "the left half", "masks": half}, {"prompt": "the unicorn", "masks": []}]
        lines.append({"image": f"{number}.png", "prompts": prompts})
    (folder / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return str(folder / "own.jsonl")


def test_scores_become_the_iou_they_stand_for(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that is twice as sure as it is right: half of its mask is right, and half of what is nothing is found."""
    whole, nothing = np.ones((1, 20, 20), bool), np.zeros((1, 20, 20), bool)
    asked: list[Segmenter] = []

    def found(segmenter: Segmenter, *_: object) -> list[Segmentation]:
        asked.append(segmenter)
        absent = nothing if len(asked) % 2 else whole
        return [Segmentation(whole, np.array([0.9])), Segmentation(absent, np.array([0.6]))]

    monkeypatch.setattr(record_benchmarks, "predicted_masks", found)
    segmenter = Segmenter.from_pretrained(str(tiny_model_folder), device="cpu")
    segmenter.calibration = Calibration(present=((0.0, 0.0), (1.0, 0.1)))
    told: list[tuple[int, int]] = []
    fitted = calibrate(
        segmenter, open_benchmark(own_benchmark(tmp_path), tmp_path), on_record=lambda *at: told.append(at)
    )
    assert told[-1] == (PICTURES, PICTURES)
    assert fitted([0.9], [False]) == pytest.approx(0.5)
    assert fitted([0.6], [False]) == pytest.approx(1.0)  # a mask of what is not there is withheld
    assert fitted([0.6], [True]) == pytest.approx(1.0)  # and none of it
    assert fitted.withholds([0.6, 0.9], [False, False]).tolist() == [True, False]
    assert all(each.calibration is None for each in asked)


def test_what_is_too_small_for_a_pixel_is_there(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its masks have the lowest scores, and are not withheld: they are not masks of nothing."""
    path = own_benchmark(tmp_path)
    speck = [[5.1, 5.1, 5.2, 5.1, 5.2, 5.2]]
    Path(path).write_text(Path(path).read_text().replace('"masks": []', f'"masks": {speck}'))
    whole = np.ones((1, 20, 20), bool)
    found = [Segmentation(whole, np.array([0.9])), Segmentation(whole, np.array([0.6]))]
    monkeypatch.setattr(record_benchmarks, "predicted_masks", lambda *_: found)
    segmenter = Segmenter.from_pretrained(str(tiny_model_folder), device="cpu")
    assert calibrate(segmenter, open_benchmark(path, tmp_path)).least == 0


def test_masks_where_nothing_is_known_say_nothing(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not empty, nor right or wrong."""
    unknown, mask = np.full((20, 20), 255, np.uint8), np.zeros((20, 20), bool)
    mask[:5] = True
    measured = measured_mask(mask, unknown, 1)
    assert (measured["drawn"], measured["predicted"], measured["union"]) == (100, 0, 0)
    known = Sample(0, 0, "a", "b", "", "", confidence=0.8, intersection=50, union=100, predicted=100, drawn=100)
    other = Sample(0, 1, "a", "c", "", "", confidence=0.8, **measured)
    monkeypatch.setattr(calibration_of, "ask_record", lambda *_: RecordDone(0, (known, other)))
    segmenter = Segmenter.from_pretrained(str(tiny_model_folder), device="cpu")
    fitted = calibrate(segmenter, open_benchmark(own_benchmark(tmp_path), tmp_path))
    assert fitted([0.8, 0.8], [False, True]) == pytest.approx([0.5, 0.8])


def test_a_benchmark_without_masks_is_refused(tmp_path: Path, tiny_model_folder: Path) -> None:
    (tmp_path / "own.jsonl").write_text(json.dumps({"image": "missing.png", "prompt": "the thing", "masks": []}))
    segmenter = Segmenter.from_pretrained(str(tiny_model_folder), device="cpu")
    with pytest.raises(CalibrationError, match=r"asks for no mask .*missing\.png"):
        calibrate(segmenter, open_benchmark(str(tmp_path / "own.jsonl"), tmp_path))
