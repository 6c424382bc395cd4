"""One of several processes that measure together; see test_torch_metrics."""

import json
import sys

import numpy as np
import torch
from torch import distributed

from self1e.evaluation.torch_metrics import AnswerAccuracy, MaskFigures, MeanClassIoU


def figures(process: int, processes: int) -> dict[str, float]:
    """Over this process's share of the samples; after `compute`, over all."""
    rng = np.random.default_rng(1)
    masks, classes, words = MaskFigures(min_area=3), MeanClassIoU(3), AnswerAccuracy()
    for number in range(11):
        predicted = torch.from_numpy(rng.random((2, 6, 7)) < rng.choice([0, 0.05, 0.5, 1]))
        target = torch.from_numpy(rng.choice([0, 1, 255], (2, 6, 7), p=[[1, 0, 0], [0.4, 0.5, 0.1]][number % 2]))
        chosen = rng.integers(0, 3, 2).tolist()
        if number % processes == process:
            masks.update(predicted, target)
            classes.update(predicted, target, chosen)
            words.update(["dog"], [["dog"] * (number % 4) + ["cat"] * 6])
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
