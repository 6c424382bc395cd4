"""The benchmarks on a GPU, as far as one can be simulated: no tensor is left on the CPU, and masks are the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import inference, scaling, training
from benchmarks.machine import device_name, machine_facts, peak_gib
from benchmarks.simulated_gpu import NAME, register, waits_of
from benchmarks.subjects import picture, prompts
from self1e import SELF1EProcessor
from self1e.conversation import Turn
from self1e.fast.transfers import moved
from self1e.model.network import SELF1EForSegmentation
from self1e.processing.prompts import SEG_ANSWERS, question_for


@pytest.fixture(scope="module")
def on_a_gpu() -> Iterator[Callable[..., Any]]:
    """Calls a function in a process that has the device: once known to torch, it would be to all tests."""
    with ProcessPoolExecutor(1, get_context("spawn"), register) as pool:
        yield lambda run, *arguments: pool.submit(run, *arguments).result()


def _subject(folder: Path) -> tuple[SELF1EForSegmentation, SELF1EProcessor]:
    model = SELF1EForSegmentation.from_pretrained(folder).eval()
    return model.to(NAME), SELF1EProcessor.from_pretrained(folder)


def _refusals() -> list[str]:
    refused = []
    number, there = torch.ones(()), torch.ones(3, device=NAME)
    assert (there * number + 1).tolist() == [2, 2, 2]
    assert there[torch.tensor([0, 2])].tolist() == [1, 1]  # CUDA takes indices of the CPU
    for forbidden in (lambda: there + torch.ones(3), lambda: torch.cat([there, torch.ones(3)]), there.numpy):
        with pytest.raises(RuntimeError) as error:
            forbidden()
        refused.append(str(error.value))
    return refused


@pytest.mark.slow
def test_the_device_refuses_what_cuda_does(on_a_gpu: Callable[..., Any]) -> None:
    added, joined, read = on_a_gpu(_refusals)
    assert "aten.add.Tensor is given" in added and "aten.cat.default is given" in joined and ".numpy()" in read


def _counts() -> tuple[list[int], list[int]]:
    there, marks = torch.arange(4, device=NAME), torch.tensor([True, False, True, True])
    on_device = marks.to(NAME)
    runs: list[Callable[[], Any]] = [
        lambda: (there * 2 + 1).float().softmax(0)[1:].sum(),
        lambda: bool(there.sum() > 3),
        lambda: there.tolist(),
        lambda: there[on_device],
        lambda: marks.to(NAME),
        lambda: marks.to(NAME, non_blocking=True),
        lambda: torch.tensor([1, 2], device=NAME),
    ]
    with torch.inference_mode():
        inferring = [waits_of(run).total() for run in runs]
    return inferring, [waits_of(run).total() for run in runs]


def test_waits_are_counted(on_a_gpu: Callable[..., Any]) -> None:
    assert on_a_gpu(_counts) == ([0, 1, 1, 1, 1, 0, 1],) * 2


def _inference(folder: Path) -> tuple[dict[str, Any], dict[str, Counter[tuple[str, str]]]]:
    model, processor = _subject(folder)
    rope = model.model.language_model.rotary_emb
    rope.rope_type = "dynamic"  # as InternVL3's
    ways = inference.Ways(model, processor)
    found = inference.measure(ways, expressions=3, tiles=2, passes=1)
    image, asked = picture(processor, 2, 1), prompts(4)
    waits = {"exact": waits_of(lambda: ways.exact(image, asked)), "shared": waits_of(lambda: ways.shared(image, asked))}
    return found, waits


def test_inference(on_a_gpu: Callable[..., Any], tiny_model_folder: Path) -> None:
    found, waits = on_a_gpu(_inference, tiny_model_folder)
    assert all(inference.is_close(each, "nano", "float32") for each in found["agreement"].values())
    for way, places in waits.items():
        assert places.total() == 1, f"{way} waits for more than its results: {places}"


def _training_waits(folder: Path, packed: bool) -> Counter[tuple[str, str]]:
    model, processor = _subject(folder)
    model.config.image_to_segmentation = not packed
    image = picture(processor, 1, 1)
    talks = [[Turn(question_for(each), SEG_ANSWERS[0])] for each in prompts(3)]
    targets = torch.zeros(3, 1, image.height, image.width, dtype=torch.uint8)
    targets[:, :, :20] = 1
    batch = processor([image], [talks], masks=[targets[:, 0]] if packed else list(targets), pack_rows=packed)

    def step() -> None:
        there = moved(batch, torch.device(NAME))
        model.train()(there, logits_at=there.before_seg).loss.backward()

    return waits_of(step)


@pytest.mark.parametrize("packed", [False, True])
def test_a_training_step_does_not_wait(on_a_gpu: Callable[..., Any], tiny_model_folder: Path, packed: bool) -> None:
    assert on_a_gpu(_training_waits, tiny_model_folder, packed) == Counter()


def _training(folder: Path) -> dict[str, Any]:
    return training.measure(training.Steps(*_subject(folder), expressions=2, optimiser=True), passes=1)["agreement"]


def test_training(on_a_gpu: Callable[..., Any], tiny_model_folder: Path) -> None:
    for found in on_a_gpu(_training, tiny_model_folder).values():
        assert found["loss"] < 1e-5 and found["gradient_norms"] < 1e-4


def _scaling(folder: Path) -> list[tuple[int, dict[str, float]]]:
    rivals = scaling.along("rows", inference.Ways(*_subject(folder)), (1, 2))
    return scaling.measure("rows", rivals, 1, torch.device(NAME))


@pytest.mark.slow
def test_scaling(on_a_gpu: Callable[..., Any], tiny_model_folder: Path) -> None:
    assert [value for value, _ in on_a_gpu(_scaling, tiny_model_folder)] == [1, 2]


def _facts() -> tuple[str, dict[str, object]]:
    device = torch.device(NAME)
    with pytest.raises(ValueError, match="no peak of memory"):
        peak_gib(device)
    return device_name(device), machine_facts(device)


def test_other_devices_go_by_their_type(on_a_gpu: Callable[..., Any]) -> None:
    name, facts = on_a_gpu(_facts)
    assert name == NAME and "gpu" not in facts
