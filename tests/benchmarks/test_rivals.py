"""The three benchmarks on the smallest model: who takes part, what is counted, and that a wrong mask is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import inference, training
from benchmarks.performance import inference_table, scaling_pictures, training_table
from benchmarks.records import record
from benchmarks.scaling import PICTURES, along, draw_all, over_processes
from benchmarks.scaling import measure as measure_scaling
from benchmarks.subjects import THINGS, pathway, picture, prompts
from self1e import SELF1EProcessor
from self1e.checkpoints.hub import BUNDLED
from self1e.model.network import SELF1EForSegmentation

Subject = tuple[SELF1EForSegmentation, SELF1EProcessor]


@pytest.fixture
def subject(tiny_model_folder: Path) -> Subject:
    model = SELF1EForSegmentation.from_pretrained(tiny_model_folder).eval()
    return model, SELF1EProcessor.from_pretrained(tiny_model_folder)


def test_inference(subject: Subject, tmp_path: Path) -> None:
    ways = inference.Ways(*subject)
    found = inference.measure(ways, expressions=3, tiles=4, passes=1)
    assert found["seconds"].keys() == {"reference", "exact", "shared", "products", "activations"}
    assert all(inference.is_close(each, "nano", "float32") for each in found["agreement"].values())
    tokens, tflop = found["tokens"], found["tflop"]
    assert tokens["shared"] < tokens["exact"] <= tokens["reference"]
    assert tokens["exact"] - tokens["shared"] >= 2 * 4 * ways.processor.tokens_per_tile  # the picture, two times
    assert tflop["products"] <= tflop["exact"] <= tflop["reference"]
    settings = {"size": "nano", "dtype": "float32", "expressions": 3, "tiles": 4}
    record(tmp_path / "inference.json", settings, timing=found)
    assert f"| {tokens['reference']}, {tokens['exact']}, {tokens['shared']} |" in inference_table(tmp_path)


def test_a_wrong_mask_is_noticed(subject: Subject) -> None:
    ways = inference.Ways(*subject)
    with torch.no_grad():
        ways.segmenter.fast.head.amplify_llm.linear_2.bias += 0.5
    found = inference.measure(ways, expressions=1, tiles=1, passes=1)["agreement"]
    assert not inference.is_close(found["exact"], "nano", "float32")


def test_agreement() -> None:
    reference = np.linspace(-1, 1, 100, dtype=np.float32).reshape(1, 10, 10)
    same = inference.agreement([reference], [reference])
    assert same == {"max_difference": 0.0, "relative_difference": 0.0, "iou": 1.0, "iou_decided": 1.0}
    near = inference.agreement([reference + 0.03], [reference])  # the pixel next to 0 changes sides
    assert near["max_difference"] == pytest.approx(0.03, rel=1e-3)
    assert near["iou"] == pytest.approx(50 / 51, abs=1e-4)
    assert near["iou_decided"] == 1.0
    one_sided = inference.agreement([reference - 5], [reference - 5.5])  # nothing is above 0
    assert one_sided["iou"] == 1.0 and one_sided["iou_decided"] < 0.9
    assert inference.is_close(near, "2B", "bfloat16") and not inference.is_close(near, "nano", "bfloat16")
    assert not inference.is_close(near, "2B", "float32")


@pytest.mark.slow
def test_memory_and_times_come_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--size", "nano", "--dtype", "float32", "--expressions", "1", "--tiles", "1"]
    inference.main([*arguments, "--peak-of", "exact", "--folder", str(BUNDLED["nano"])])
    assert 0.1 < float(capsys.readouterr().out) < 8
    inference.main([*arguments, "--passes", "1", "--results", str(tmp_path / "inference.json")])
    assert "| nano, float32 | 1 | 1 |" in inference_table(tmp_path)


def test_training(subject: Subject, tmp_path: Path) -> None:
    steps = training.Steps(*subject, expressions=2, optimiser=True)
    before = {name: weight.clone() for name, weight in steps.model.named_parameters()}
    found = training.measure(steps, passes=1)
    assert found["seconds"].keys() == {"reference", "exact", "packed", "products", "activations"}
    for way in ("exact", "packed"):
        assert found["agreement"][way]["loss"] < 1e-5
        assert found["agreement"][way]["gradient_norms"] < 1e-4
    assert all(torch.equal(before[name], weight) for name, weight in steps.model.named_parameters())
    settings = {"size": "1B", "dtype": "float32", "expressions": 2, "optimiser": True}
    record(tmp_path / "training.json", settings, timing=found, memory={"gib": {"reference": 3.0, "exact": 2.0}})
    assert "| 1B, float32 | 2 | forward, backward, AdamW |" in training_table(tmp_path)
    assert "| 3.00, 2.00 |" in training_table(tmp_path)


def test_wrong_gradients_are_noticed() -> None:
    ours = {"loss": 2.0, "one": 3.0, "two": 4.0}
    assert training.difference(ours, ours) == {"loss": 0.0, "gradient_norms": 0.0}
    assert training.difference(ours | {"two": 9.0}, ours) == {"loss": 0.0, "gradient_norms": 1.0}


@pytest.mark.parametrize("axis", ["expressions", pytest.param("tiles", marks=pytest.mark.slow), "words", "rows"])
def test_scaling(axis: str, subject: Subject, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    costs = measure_scaling(axis, along(axis, inference.Ways(*subject), (1, 2)), passes=1)
    assert [value for value, _ in costs] == [1, 2]
    assert costs[0][1]["exact"] == 1.0
    for value, cost in costs:
        settings = {"size": "nano", "dtype": "float32", "axis": axis, "value": value}
        machine = {"cpu": "some", "instructions": [], "threads": 1, "load": 0.0, "date": "today"}
        machine |= dict.fromkeys(("torch", "transformers", "self1e"), "1")
        record(tmp_path / "scaling.json", settings, cost=cost, machine=machine)
    (drawn,) = draw_all(tmp_path / "scaling.json", tmp_path / "pictures")
    text = drawn.read_text()
    draw_all(tmp_path / "scaling.json", tmp_path / "pictures")
    assert text.startswith("<?xml") and drawn.read_text() == text
    assert f"(pictures/{drawn.name})" in scaling_pictures(tmp_path)


@pytest.mark.parametrize("grid", inference.GRIDS.items())
def test_pictures_have_the_tiles_they_are_for(grid: tuple[int, tuple[int, int]], subject: Subject) -> None:
    tiles, (columns, rows) = grid
    cut, found = subject[1].tiles(picture(subject[1], columns, rows))
    assert len(cut) == tiles and found == (columns, rows)


def test_prompts() -> None:
    assert len(set(prompts(32))) == 32 and prompts(1) == [f"the {THINGS[0]}"]
    with pytest.raises(ValueError, match="not 33"):
        prompts(33)


def test_pathway_is_put_back(subject: Subject) -> None:
    config = subject[0].config
    with pathway(subject[0], False):
        assert config.image_to_segmentation is False
    assert config.image_to_segmentation is True


def test_processes_share_the_pictures() -> None:
    """One thread to each process, and beside them one process with as many."""
    sent: list[tuple[int, tuple[int, int]]] = []
    answers: list[int] = []

    class Pipe:
        def __init__(self, number: int) -> None:
            self.number = number

        def send(self, task: tuple[int, int]) -> None:
            sent.append((self.number, task))

        def recv(self) -> None:
            answers.append(self.number)

    pipes: list[Any] = [Pipe(0), Pipe(1)]
    rivals = over_processes((1, 2), pipes)
    assert list(rivals) == [(1, "exact"), (2, "exact"), (2, "one process")]
    for run in rivals.values():
        run()
    assert sent == [(0, (1, PICTURES)), (0, (1, PICTURES // 2)), (1, (1, PICTURES // 2)), (0, (2, PICTURES))]
    assert answers == [0, 0, 1, 0]
    assert list(over_processes((1, 2), pipes, torch.device("cuda"))) == [(1, "exact"), (2, "exact")]
