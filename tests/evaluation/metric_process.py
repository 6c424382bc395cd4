"""One of several processes that measure together; see test_torch_metrics."""

import json
import sys
from typing import NamedTuple

import numpy as np
import torch
from torch import distributed

from self1e.evaluation.torch_metrics import AnswerAccuracy, MaskFigures, MeanClassIoU

MIN_AREA, CLASSES = 3, 4


class Sample(NamedTuple):
    """A mask and an answer in words."""

    predicted: np.ndarray  # bool[H, W]
    target: np.ndarray  # uint8[H, W]
    number: int  # its class
    answer: str
    people: list[str]


def samples() -> list[Sample]:
    """Every pair of empty, full, one-pixel and (as target) ignore-only masks, and random ones. None is of class 3."""
    rng = np.random.default_rng(1)
    empty, full, one = np.zeros((6, 7), np.uint8), np.ones((6, 7), np.uint8), np.zeros((6, 7), np.uint8)
    one[2, 3] = 1
    pairs = [(pred.astype(bool), true) for pred in (empty, full, one) for true in (empty, full, one, full * 255)]
    for number in range(20):
        shares = [[1, 0, 0], [0.4, 0.5, 0.1]][number % 2]
        true = rng.choice([0, 1, 255], (6, 7), p=shares).astype(np.uint8)
        pairs.append((rng.random((6, 7)) < rng.choice([0.05, 0.5]), true))
        pairs.append(((true == 1) ^ (rng.random((6, 7)) < 0.1), true))
    people = [["dog"] * (number % 5) + ["cat"] * 6 for number in range(len(pairs))]
    return [
        Sample(*pair, number % 3, ["dog", "Dog.", "a cat"][number % 3], people[number])
        for number, pair in enumerate(pairs)
    ]


def figures(process: int, processes: int) -> dict[str, float]:
    """Over this process's share of the samples; after `compute`, over all."""
    masks, classes, words = MaskFigures(min_area=MIN_AREA), MeanClassIoU(CLASSES), AnswerAccuracy()
    for sample in samples()[process::processes]:
        predicted, target = torch.from_numpy(sample.predicted), torch.from_numpy(sample.target)
        masks.update(predicted, target)
        classes.update(predicted, target, [sample.number])
        words.update([sample.answer], [sample.people])
    found = {name: float(value) for name, value in masks.compute().items()}
    return found | {"miou": float(classes.compute()), "accuracy": float(words.compute())}


if __name__ == "__main__":
    distributed.init_process_group("gloo")
    result = figures(distributed.get_rank(), distributed.get_world_size())
    if distributed.get_rank() == 0:
        with open(sys.argv[1], "w") as file:  # noqa: PTH123
            json.dump(result, file)
    distributed.barrier()
    distributed.destroy_process_group()
