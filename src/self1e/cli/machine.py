"""The machine as far as this process may use it: CPU, cores and memory, inside of a container, too. Without torch."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "neon")
"""What decides how fast a CPU multiplies matrices."""

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
"""Where Linux tells of itself, and of the limits that groups of processes have."""


def cpu_name() -> str:
    """As its maker calls it, as far as the system tells."""
    if sys.platform == "darwin":
        asked = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        return asked.stdout.strip() or platform.machine()
    return _told("cpuinfo").get("model name") or platform.processor() or platform.machine()


def instructions() -> list[str]:
    """Those of `INSTRUCTIONS` that the CPU has; of an x86 CPU, they are known on Linux only."""
    flags = _told("cpuinfo").get("flags", "").split()
    if platform.machine() in ("aarch64", "arm64"):  # all of which have it; Linux calls it asimd
        flags.append("neon")
    return [name for name in INSTRUCTIONS if name in flags]


def cores() -> int:
    """How many (of the system's count) this process can keep busy: those it may run on, as far as its quota goes."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _groups("cpu"):
        limit = _read(group / "cpu.max") or f"{_read(group / 'cpu.cfs_quota_us')} {_read(group / 'cpu.cfs_period_us')}"
        quota, _, period = limit.partition(" ")
        if quota.isdigit():  # not "max", or -1
            allowed = min(allowed, max(1, math.ceil(int(quota) / int(period))))
    return allowed


def memory() -> int | None:
    """Bytes that this process can take, were it alone: those of the machine, or of its container. None: not told."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    allowed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for group in _groups("memory"):
        limit = _read(group / "memory.max") or _read(group / "memory.limit_in_bytes")
        if limit.isdigit():
            allowed = min(allowed, int(limit))
    return allowed


def free_memory() -> int | None:
    """Bytes that the machine has left for new processes; None where it does not say."""
    told = _told("meminfo").get("MemAvailable")
    return int(told.split()[0]) * 1024 if told else None


def _groups(controller: str) -> Iterator[Path]:
    """Folders with the limits of groups that this process is in, the innermost first; of cgroups v2, and of v1."""
    for line in _read(PROC / "self" / "cgroup").splitlines():
        _, controllers, name = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            group = PurePosixPath(name)
            for each in (group, *group.parents):
                yield CGROUPS / (controller if controllers else "") / each.relative_to("/")


def _told(name: str) -> dict[str, str]:
    """What a file of `PROC` says in lines `name: value`, of several of a name the last; nothing where there is none."""
    pairs = (line.partition(":") for line in _read(PROC / name).splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return ""
