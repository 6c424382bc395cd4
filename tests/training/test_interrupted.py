"""A run that is killed at any moment, and started again, ends as one that was left alone: bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_runs import own_data, write_config


def started(settings: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "self1e", "train", str(settings), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def killed_when(settings: Path, ready: Callable[[], bool]) -> None:
    """Starts the run and kills it, workers and all, as soon as `ready`."""
    run = started(settings)
    deadline = time.monotonic() + 300
    while not ready():
        assert run.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_killed_runs_end_as_one_left_alone(tmp_path: Path, tiny_model_folder: Path) -> None:
    """Killed right after a checkpoint, and while one is being written; with dropout, an average of the
    weights and workers, so that every random number and every order counts."""
    ends = {}
    for name in ("whole", "killed"):
        folder = tmp_path / name
        folder.mkdir()
        settings = write_config(
            folder,
            own_data(folder),
            init=str(tiny_model_folder),
            lora={"rank": 2, "alpha": 4, "dropout": 0.3},
            optimisation={"steps": 6, "accumulate": 2, "ema": 0.5, "learning_rate": 1e-2},
            workers=1,
            save_every=2,
            keep=1,
        )
        run = folder / "run"
        if name == "killed":
            killed_when(settings, (run / "checkpoint-2").is_dir)
            killed_when(settings, lambda run=run: any(run.glob("unfinished/checkpoint-4/*")))
            assert not (run / "checkpoint-4").is_dir()
        assert started(settings).wait() == 0
        ends[name] = load_file(run / "model" / "model.safetensors")
        assert not (run / "unfinished").exists()
    assert ends["whole"].keys() == ends["killed"].keys()
    assert all(torch.equal(ends["whole"][each], ends["killed"][each]) for each in ends["whole"])
