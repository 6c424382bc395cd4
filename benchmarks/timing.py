"""Rivals measured side by side: on a machine with other work on it only ratios within one run mean something."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import torch

from benchmarks.machine import CPU

Name = TypeVar("Name", bound=Hashable)


def interleaved(
    rivals: Mapping[Name, Callable[[], Any]], passes: int, device: torch.device = CPU
) -> tuple[dict[Name, list[float]], dict[Name, Any]]:
    """Runs all rivals once in every pass, each time in another order, which is the same for everybody.

    What a rival leaves behind, in the caches and in the allocator, so does not always meet the same one.

    Args:
        rivals: What to run, warmed up.
        passes: How often.
        device: Where they compute. A pass is over when the device has nothing left to do.

    Returns:
        The seconds of each rival, pass by pass, and what it returned last.

    Raises:
        ValueError: If there are no passes.
    """
    if passes < 1:
        raise ValueError(f"passes must be at least 1, got {passes}")
    names = list(rivals)
    seconds: dict[Name, list[float]] = {name: [] for name in names}
    results: dict[Name, Any] = {}
    for number in range(passes):
        for name in random.Random(number).sample(names, len(names)):
            results[name] = None  # what the pass before left would add to the memory of this one
            gc.collect()
            _wait_for(device)
            start = time.perf_counter()
            results[name] = rivals[name]()
            _wait_for(device)
            seconds[name].append(time.perf_counter() - start)
    return seconds, results


def _wait_for(device: torch.device) -> None:
    """Until everything that was given to a GPU is done. Calls return before that."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def ratio(seconds: Sequence[float], other: Sequence[float]) -> float:
    """Median over passes of how many times as long as `other` it took."""
    return round(statistics.median(one / two for one, two in zip(seconds, other, strict=True)), 3)


def cost_ratios(seconds: Mapping[str, Sequence[float]], ways: Sequence[str]) -> dict[str, float]:
    """How many times as long the reference takes as each of our ways, and `exact` as the products that it has to do.

    Args:
        seconds: Of `interleaved`, for "reference", "exact", "products", "activations" and `ways`.
        ways: Of ours.
    """
    exact, products = seconds["exact"], seconds["products"]
    all_products = [one + two for one, two in zip(products, seconds["activations"], strict=True)]
    return {
        **{f"reference / {way}": ratio(seconds["reference"], seconds[way]) for way in ways},
        "exact / products": ratio(exact, products),
        "exact / all products": ratio(exact, all_products),
    }


def medians(seconds: Mapping[Any, Sequence[float]]) -> dict[str, float]:
    """Median seconds of each rival."""
    return {str(name): round(statistics.median(values), 4) for name, values in seconds.items()}
