"""Two processes on one machine (gloo): the same losses, gradients, figures and weights as one process has."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_runs import history, own_data, own_file, write_config
from torch import distributed

LAYERS = "Qwen2DecoderLayer,InternVLVisionLayer"
FSDP = {  # what `accelerate launch --config_file configs/launch/fsdp2.yaml` sets
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": LAYERS,
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
}
ONE = [sys.executable, "-m", "self1e"]
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
TWO_DDP = [*TWO, "-m", "self1e"]
TWO_FSDP = [*TWO, str(Path(__file__).with_name("fsdp_on_cpu.py"))]
LORA = {"rank": 4, "alpha": 8, "dropout": 0.0}
FIGURES = {"loss", "ce", "bce", "dice", "grad_norm", "seg_produced", "blank", "eval_loss", "eval_ciou", "eval_giou"}


def started(command: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    environment = {**environment, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)


def run(folder: Path, command: list[str], processes: int, init: Path, **changes: Any) -> Path:
    """A run of 4 steps of 4 pictures; the folder that it leaves."""
    folder.mkdir(exist_ok=True)
    data = changes.pop("data", None) or own_data(folder)
    optimisation = {"steps": 4, "pictures_per_step": 2 // processes, "accumulate": 2}
    settings = write_config(
        folder,
        data,
        init=str(init),
        optimisation=optimisation | changes.pop("optimisation", {}),
        validation={"data": data, "examples": 5, "shown": 1},
        save_every=2,
        **changes,
    )
    environment = os.environ | (FSDP if command is TWO_FSDP else {})
    done = subprocess.run(
        [*command, "train", str(settings), "--device", "cpu"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("the trained model") + done.stdout.count("the trained model") == 1
    return folder / "run"


def assert_same(first: Path, second: Path) -> None:
    lines, others = (history(folder / "checkpoint-4") for folder in (first, second))
    for line, other in zip(lines, others, strict=True):
        assert line.keys() == other.keys()
        for name in line.keys() & FIGURES:
            assert line[name] == pytest.approx(other[name], rel=2e-4, abs=1e-5), (name, line["step"])
    weights, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (first, second))
    assert weights.keys() == theirs.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, theirs[name], atol=2e-5, rtol=1e-4, msg=name)


pytestmark = pytest.mark.skipif(not distributed.is_gloo_available(), reason="needs gloo")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Path:
    return run(tmp_path_factory.mktemp("alone"), ONE, 1, tiny_model_folder)


@pytest.mark.parametrize("command", [TWO_DDP, TWO_FSDP], ids=["ddp", "fsdp"])
def test_two_processes_do_what_one_does(
    tmp_path: Path, tiny_model_folder: Path, alone: Path, command: list[str]
) -> None:
    there = run(tmp_path, command, 2, tiny_model_folder)
    assert_same(alone, there)
    # And a resumed run as well.
    for name in ("checkpoint-4", "model", "best"):
        (there / name).rename(tmp_path / name)
    run(tmp_path, command, 2, tiny_model_folder)
    assert_same(alone, there)


@pytest.mark.slow
def test_adapters_under_fsdp(tmp_path: Path, tiny_model_folder: Path) -> None:
    first = run(tmp_path / "one", ONE, 1, tiny_model_folder, lora=LORA)
    second = run(tmp_path / "two", TWO_FSDP, 2, tiny_model_folder, lora=LORA)
    assert_same(first, second)


def test_recipe_under_fsdp(tmp_path: Path, tiny_model_folder: Path) -> None:
    """In half precision, with activations computed again: losses are close, and of float32 as they are logged."""
    optimisation = {"precision": "bfloat16", "gradient_checkpointing": True}
    first = run(tmp_path / "one", ONE, 1, tiny_model_folder, lora=LORA, optimisation=optimisation)
    second = run(tmp_path / "two", TWO_FSDP, 2, tiny_model_folder, lora=LORA, optimisation=optimisation)
    for line, other in zip(*(history(folder / "checkpoint-4") for folder in (first, second)), strict=True):
        for name in line.keys() & {"loss", "ce", "bce", "dice", "eval_loss"}:
            assert line[name] == pytest.approx(other[name], rel=0.02), (name, line["step"])


@pytest.mark.slow
def test_processes_may_have_words_alone(tmp_path: Path, tiny_model_folder: Path) -> None:
    """One of two processes has no mask to learn from in some steps, and neither waits for the other for ever."""
    for name, command, processes in (("one", ONE, 1), ("two", TWO_FSDP, 2)):
        folder = tmp_path / name
        folder.mkdir()
        file = own_file(folder)
        lines = file.read_text().splitlines()
        file.write_text("\n".join(line for line in lines if "A box." in line or '"0.png"' in line))
        data = {"parts": {"mine": {"rate": 1, "own": [{"jsonl": str(file)}]}}, "at_most": 1}
        run(folder, command, processes, tiny_model_folder, data=data, optimisation={"accumulate": 1})
    assert_same(tmp_path / "one" / "run", tmp_path / "two" / "run")


def test_what_engines_cannot_do_is_refused(tmp_path: Path, tiny_model_folder: Path) -> None:
    data = own_data(tmp_path)
    settings = write_config(tmp_path, data, init=str(tiny_model_folder), optimisation={"ema": 0.9})
    command = [*TWO_FSDP, "train", str(settings), "--device", "cpu"]
    done = subprocess.run(
        command, env=os.environ | FSDP | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240
    )
    assert done.returncode != 0
    assert "error: ema averages whole weights" in done.stderr
