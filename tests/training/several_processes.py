"""Runs in one process and in several, by their launchers, and whether they end alike."""

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
from small_runs import history, own_data, write_config

ROOT = Path(__file__).parents[2]
ONE = [sys.executable, "-m", "self1e"]
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
LORA = {"rank": 4, "alpha": 8, "dropout": 0.0}
FIGURES = {"loss", "ce", "bce", "dice", "grad_norm", "seg_produced", "blank", "eval_loss", "eval_ciou", "eval_giou"}


def launched(
    command: list[str], settings: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`COMMAND train SETTINGS` on the CPU, in one thread a process. Launch files name others from ROOT on."""
    return subprocess.run(
        [*command, "train", str(settings), "--device", "cpu"],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | dict(environment or {}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )


def run(
    folder: Path,
    command: list[str],
    processes: int,
    init: Path,
    environment: Mapping[str, str] | None = None,
    **changes: Any,
) -> Path:
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
    done = launched(command, settings, environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("the trained model") + done.stdout.count("the trained model") == 1
    return folder / "run"


def assert_same(first: Path, second: Path) -> None:
    """Figures and weights are the same but for rounding."""
    lines, others = (history(folder / "checkpoint-4") for folder in (first, second))
    for line, other in zip(lines, others, strict=True):
        assert line.keys() == other.keys()
        for name in line.keys() & FIGURES:
            assert line[name] == pytest.approx(other[name], rel=2e-4, abs=1e-5), (name, line["step"])
    weights, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (first, second))
    assert weights.keys() == theirs.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, theirs[name], atol=2e-5, rtol=1e-4, msg=name)
