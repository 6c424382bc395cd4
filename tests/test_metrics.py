"""Figures against naive loops over pixels, against pycocotools, and on degenerate masks."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from self1e.evaluation.samples import Sample, mask_figures
from self1e.metrics import GREFCOCO_MIN_AREA, MaskScores, boundary_f, intersection_and_union, mean_class_iou


def naive(pred: np.ndarray, target: np.ndarray, ignore: int | None = 255) -> tuple[int, int]:
    intersection = union = 0
    for row in range(pred.shape[0]):
        for column in range(pred.shape[1]):
            if target[row, column] == ignore:
                continue
            intersection += bool(pred[row, column]) and bool(target[row, column])
            union += bool(pred[row, column]) or bool(target[row, column])
    return intersection, union


def samples(count: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        height, width = rng.integers(1, 12, size=2)
        pred = rng.random((height, width)) < rng.choice([0.0, 0.3, 0.9, 1.0])
        target = rng.choice([0, 1, 255], size=(height, width), p=rng.choice([[1, 0, 0], [0.5, 0.3, 0.2], [0, 1, 0]]))
        made.append((pred, target.astype(np.uint8)))
    return made


def gather(pairs: Sequence[tuple[np.ndarray, np.ndarray]], min_area: int = 1) -> MaskScores:
    scores = MaskScores(min_area=min_area)
    for pred, target in pairs:
        scores.update(pred, target)
    return scores


def test_intersection_and_union_is_a_loop_over_pixels() -> None:
    for pred, target in samples(200):
        assert intersection_and_union(pred, target) == naive(pred, target)
        assert intersection_and_union(pred, target, ignore=None) == naive(pred, target, ignore=None)


def test_iou_is_that_of_pycocotools() -> None:
    rng = np.random.default_rng(1)
    scores = MaskScores()
    for _ in range(20):
        pred, target = rng.random((2, 30, 40)) < 0.4
        rles = [coco_mask.encode(np.asfortranarray(mask, np.uint8)) for mask in (pred, target)]
        assert scores.update(pred, target) == pytest.approx(coco_mask.iou(rles[:1], rles[1:], [0])[0, 0], abs=1e-12)


@pytest.mark.parametrize("min_area", [1, 10])
def test_figures_are_those_of_a_naive_evaluation(min_area: int) -> None:
    pairs = samples(300, seed=2)
    inter = union = 0
    ious, on_target, empty_hits, answered = [], [], [], []
    for pred, target in pairs:
        pred = pred & (target != 255)
        if pred.sum() < min_area:
            pred = np.zeros_like(pred)
        i, u = naive(pred, target)
        inter, union = inter + i, union + u
        ious.append(i / u if u else 1.0)
        if (target == 1).any():
            on_target.append(ious[-1])
            answered.append(bool(pred.any()))
        else:
            empty_hits.append(not pred.any())
    figures = gather(pairs, min_area).compute()
    assert figures["samples"] == 300
    assert figures["ciou"] == pytest.approx(inter / union)
    assert figures["giou"] == pytest.approx(np.mean(ious))
    assert figures["n_acc"] == pytest.approx(np.mean(empty_hits))
    assert figures["t_acc"] == pytest.approx(np.mean(answered))
    for threshold in (0.5, 0.6, 0.7, 0.8, 0.9):
        assert figures[f"pr@{threshold}"] == pytest.approx(np.mean([iou >= threshold for iou in on_target]))


def davis_f(pred: np.ndarray, target: np.ndarray) -> float:
    """F as DAVIS's code has it, pixel by pixel."""

    def edge(mask: np.ndarray) -> np.ndarray:
        height, width = mask.shape
        return np.array(
            [
                (y, x)
                for y in range(height)
                for x in range(width)
                for below, right in [(min(y + 1, height - 1), min(x + 1, width - 1))]
                if {mask[y, right], mask[below, x], mask[below, right]} != {mask[y, x]}
            ]
        )

    def near(some: np.ndarray, others: np.ndarray) -> float:
        reach = np.ceil(0.008 * np.hypot(*target.shape))
        return float(np.mean([np.hypot(*(others - place).T).min() <= reach for place in some]))

    ours, theirs = edge(pred), edge(target)
    precision, recall = near(ours, theirs), near(theirs, ours)
    return 2 * precision * recall / (precision + recall)


def test_boundary_f_is_that_of_davis() -> None:
    rng = np.random.default_rng(4)
    for _ in range(5):
        pred, target = np.zeros((2, 100, 140), bool)
        for y, x in rng.integers(0, 100, (4, 2)):
            target[y : y + 30, x : x + 40] = True
            y, x = rng.integers((max(y - 4, 0), max(x - 4, 0)), (y + 4, x + 4))
            pred[y : y + 30, x : x + 40] = True
        assert boundary_f(pred, target) == pytest.approx(davis_f(pred, target))


def test_no_edge_is_seen_where_pixels_are_ignored() -> None:
    target = np.ones((20, 20), np.uint8)
    target[:10, :10] = 255  # its corner touches the pixel at (10, 10) alone
    assert boundary_f(target == 1, target) is None


def test_mean_class_iou_is_a_loop_over_classes_and_pixels() -> None:
    pairs, names = samples(60, seed=3), ["cat", "dog", "owl"] * 20
    pairs += [(EMPTY > 0, EMPTY), (FULL > 0, IGNORED)]
    names += ["nowhere", "ignored"]
    ious = []
    for name in sorted(set(names)):
        inter = union = 0
        for (pred, target), other in zip(pairs, names, strict=True):
            i, u = naive(pred, target) if other == name else (0, 0)
            inter, union = inter + i, union + u
        if union:
            ious.append(inter / union)
    assert len(ious) == 3
    counts = [intersection_and_union(*pair) for pair in pairs]
    assert mean_class_iou(names, *zip(*counts, strict=True)) == pytest.approx(sum(ious) / 3)
    spelled = [name if number % 2 else f" {name.upper()}" for number, name in enumerate(names)]  # the same classes
    asked = [Sample(0, 0, "a.jpg", name, "", "", 0.0, *each) for name, each in zip(spelled, counts, strict=True)]
    assert mask_figures(asked, classes=True, min_area=1)["miou"] == pytest.approx(sum(ious) / 3)
    assert "miou" not in mask_figures(asked[60:], classes=True, min_area=1)
    assert np.isnan(mean_class_iou(names[60:], [0, 0], [0, 0])) and np.isnan(mean_class_iou([], [], []))
    with pytest.raises(ValueError, match="longer"):
        mean_class_iou(["cat"], [1, 1], [1])


def test_merging_shares_equals_gathering_all() -> None:
    pairs = samples(30)
    first, second = gather(pairs[:11]), pickle.loads(pickle.dumps(gather(pairs[11:])))
    assert first.merge(second) is first
    assert first == gather(pairs)
    assert first.compute() == gather(pairs).compute()
    assert gather([(FULL, IGNORED)]).merge(gather([(FULL, IGNORED)])).only_ignored == 2
    with pytest.raises(ValueError, match="merge"):
        first.merge(MaskScores(min_area=50))


FULL, EMPTY, IGNORED = np.ones((4, 5), np.uint8), np.zeros((4, 5), np.uint8), np.full((4, 5), 255, np.uint8)


@pytest.mark.filterwarnings("ignore:no target has a pixel inside")
@pytest.mark.parametrize(
    ("pred", "target", "expected"),
    [
        (FULL, FULL, {"ciou": 1.0, "giou": 1.0, "t_acc": 1.0, "pr@0.9": 1.0}),
        (EMPTY, FULL, {"ciou": 0.0, "giou": 0.0, "t_acc": 0.0, "pr@0.5": 0.0}),
        (FULL, EMPTY, {"ciou": 0.0, "giou": 0.0, "n_acc": 0.0}),
        (EMPTY, EMPTY, {"giou": 1.0, "n_acc": 1.0}),
        (FULL, IGNORED, {"giou": 1.0, "n_acc": 1.0}),
        (EMPTY, IGNORED, {"giou": 1.0, "n_acc": 1.0}),
        (np.array([[1]]), np.array([[True]]), {"ciou": 1.0, "giou": 1.0, "t_acc": 1.0}),
        (np.zeros((0, 0), bool), np.zeros((0, 0), bool), {"giou": 1.0, "n_acc": 1.0}),
    ],
)
def test_degenerate_masks(pred: np.ndarray, target: np.ndarray, expected: dict[str, float]) -> None:
    figures = gather([(pred, target)]).compute()
    assert {name: figures[name] for name in expected} == expected
    assert ("n_acc" in figures) != ("t_acc" in figures)


def test_no_samples_no_figures() -> None:
    assert MaskScores().compute() == {"samples": 0.0}


def test_small_predictions_count_as_empty_in_grefcoco() -> None:
    speck, blob = np.zeros((2, 20, 20), np.uint8)
    speck.flat[:49] = 1
    blob.flat[:50] = 1
    nothing = np.zeros_like(speck)
    strict = gather([(speck, nothing), (blob, nothing), (speck, speck), (blob, blob)], GREFCOCO_MIN_AREA)
    assert strict.ious.tolist() == [1, 0, 0, 1]
    assert {name: strict.compute()[name] for name in ("n_acc", "t_acc", "ciou")} == {
        "n_acc": 0.5,
        "t_acc": 0.5,
        "ciou": 50 / 149,
    }
    assert gather([(speck, nothing), (speck, speck)]).ious.tolist() == [0, 1]


def test_tensors_are_taken_and_logits_refused() -> None:
    assert intersection_and_union(torch.tensor([[True, False]]), torch.tensor([[1, 255]], dtype=torch.uint8)) == (1, 1)
    with pytest.raises(TypeError, match="compare logits"):
        intersection_and_union(np.array([[0.3]]), np.array([[1]]))
    with pytest.raises(ValueError, match="shape"):
        intersection_and_union(np.ones((2, 3), bool), np.ones((3, 2), bool))
    with pytest.raises(ValueError, match="min_area"):
        MaskScores(min_area=0)
