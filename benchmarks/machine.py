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

ROOT = Path(__file__).parents[1]
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""What decides how fast matrix products are, of the flags of an x86 CPU."""


def machine_facts() -> dict[str, object]:
    """What a reader needs to judge a figure; "load" is the number of busy processes just before."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = cpu.get("flags", "").split()
    return {
        "cpu": cpu.get("model name") or platform.processor() or platform.machine(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "self1e": self1e.__version__,
        "date": date.today().isoformat(),
    }


def peak_gib() -> float:
    """Largest resident memory of this process so far, GiB."""
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
