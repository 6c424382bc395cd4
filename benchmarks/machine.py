"""Where a measurement was made, and how much memory it took."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import torch
import transformers

import self1e
from self1e.cli import machine

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")


def device_name(device: torch.device) -> str:
    """What results are filed under: "cpu", "mps", or the name that a GPU has by its driver."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def machine_facts(device: torch.device = CPU) -> dict[str, object]:
    """What a reader needs to judge a figure; "load" is the number of busy processes just before."""
    gpu: dict[str, object] = {}
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        runtime = f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}"
        gpu = {"gpu": device_name(device), "gpu_gib": round(memory / 2**30, 1), "gpu_runtime": runtime}
    elif device.type == "mps":
        memory = torch.mps.recommended_max_memory()  # it shares the memory of the CPU
        gpu = {"gpu": "Apple GPU", "gpu_gib": round(memory / 2**30, 1), "gpu_runtime": "MPS"}
    return gpu | {
        "cpu": machine.cpu_name(),
        "instructions": machine.instructions(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "self1e": self1e.__version__,
        "date": date.today().isoformat(),
    }


def peak_gib(device: torch.device = CPU) -> float:
    """Most memory that this process has taken so far, GiB: resident, or on a CUDA GPU what its tensors took there.

    Raises:
        ValueError: On MPS, where torch does not know it.
    """
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**30, 3)
    if device.type != "cpu":
        raise ValueError(f"torch keeps no peak of memory on {device.type!r}: measure it on cuda or cpu")
    status = Path("/proc/self/status")
    if status.exists():  # `getrusage` begins with the memory of the process that started this one
        kilobytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return round(int(kilobytes) / 2**20, 3)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(largest / (2**30 if sys.platform == "darwin" else 2**20), 3)


def peak_of_child(module: str, arguments: Sequence[object]) -> float:
    """Peak memory, GiB, that `python -m MODULE ARGUMENTS` prints as its last line.

    Raises:
        RuntimeError: If the process fails.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with status {done.returncode}:\n{done.stderr[-2000:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))
