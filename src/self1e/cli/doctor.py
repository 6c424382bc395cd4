"""`self1e doctor`: what is wrong with this installation, and what a bug report needs to say.

It is called when something does not work, so each part of it works without the others, and torch, transformers and
the models are tried in another process (`doctor_torch`).
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from self1e.cli import machine
from self1e.cli.doctor_packages import look_at_packages
from self1e.cli.doctor_report import Report, as_text, gib, without_home
from self1e.cli.doctor_torch import STEPS, fault
from self1e.cli.terminal import busy, notice, show
from self1e.files import expand_user

NAME = "doctor"
EXAMPLES = """[dim]Examples:[/]

  self1e doctor

  self1e doctor --json"""

VARIABLES = (
    *("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "XDG_CACHE_HOME", "TMPDIR"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_PROC_BIND", "KMP_AFFINITY"),
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "TORCHDYNAMO_DISABLE", "CXX"),
    *("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_LAUNCH_BLOCKING", "PYTORCH_ALLOC_CONF"),
    *("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ENABLE_MPS_FALLBACK", "PYTORCH_MPS_HIGH_WATERMARK_RATIO"),
    *("WORLD_SIZE", "RANK", "LOCAL_RANK", "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "WANDB_MODE"),
    *("PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONIOENCODING", "LD_LIBRARY_PATH", "LD_PRELOAD"),
)
"""Of the environment: what changes the behaviour of self1e, and holds no secret."""

SECRETS = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "SELF1E_API_KEYS", "LABEL_STUDIO_API_KEY", "HF_ENDPOINT"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"),
)
"""Likewise, with values that are keys, or addresses with passwords: that they are set is all that is told."""

PATIENCE = 600
"""Seconds for what needs torch: its first import from a slow disk takes minutes."""


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Tell it as JSON.")] = False,
) -> int:
    """Find what is wrong with this installation, and tell what a bug report needs.

    Takes about ten seconds, as the bundled models have to find the sky in a picture. Each problem comes with what to do
    about it, and the exit code is 1 where there is one. Keys and the name of the home folder are not told.
    """
    report = Report()
    with busy("looking at this installation, and trying the bundled models"):
        for look in (look_at_packages, look_at_machine, look_at_disks, look_at_environment, look_with_torch):
            try:
                look(report)
            except Exception as error:  # of what is broken, which is no reason to say nothing of the rest
                report.complain(
                    f"{look.__name__} failed: {type(error).__name__}: {error}.",
                    "Install self1e again. If that does not help, report it.",
                )
    tree = report.tree()
    for home in (expand_user("~"), expand_user("~").resolve()):
        tree = without_home(tree, home)
    show(json.dumps(tree, indent=1) if as_json else as_text(tree))
    if not as_json:
        notice("this is what belongs into a bug report")
    return 1 if report.problems else 0


def look_at_machine(report: Report) -> None:
    """What this process can use of it."""
    used = f"{machine.cores()} of {os.cpu_count()} cores"
    memory = f"{gib(machine.memory())}; the machine has {gib(machine.free_memory())} free"
    report.tell("machine", {"system": platform.platform(), "cpu": f"{machine.cpu_name()}, {used}"})
    report.tell("machine", {"instructions": machine.instructions(), "memory": memory})


def look_at_disks(report: Report) -> None:
    """Room for models, where they are downloaded to, and for results; and whether models can be written."""
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = there = Path(HF_HUB_CACHE)
    while not there.exists():  # it is made with the first download
        there = there.parent
    report.tell("disk", {"models": f"{cache}, {gib(shutil.disk_usage(there).free)} free"})
    report.tell("disk", {"current folder": f"{gib(shutil.disk_usage(Path.cwd()).free)} free"})
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"self1e")
    except OSError as error:
        report.complain(
            f"Models cannot be downloaded to {cache}: {there} cannot be written ({error.strerror}).",
            "Set HF_HOME to a folder of yours on a disk with room.",
        )


def look_at_environment(report: Report) -> None:
    """Variables that change what happens."""
    told = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    report.tell("environment", told | {name: "set" for name in SECRETS if name in os.environ})


def look_with_torch(report: Report) -> None:
    """See `STEPS`."""
    command = [sys.executable, "-P", "-X", "faulthandler", "-c", "from self1e.cli.doctor_torch import main; main()"]
    same_path = {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    try:
        done = subprocess.run(command, env=os.environ | same_path, capture_output=True, timeout=PATIENCE, check=False)
        lines, end = done.stdout, _end(done)
    except subprocess.TimeoutExpired as error:
        lines, end = error.stdout or b"", f"it did not end in {PATIENCE} s"
    number, tree = json.loads(lines.splitlines()[-1]) if lines else (0, Report().tree())
    report.take(tree)
    if number < len(STEPS):
        report.complain(fault(STEPS[number], end), STEPS[number].advice)


def _end(done: subprocess.CompletedProcess[bytes]) -> str:
    """How a process ended that was not to end, and where."""
    said = [line.strip() for line in done.stderr.decode(errors="replace").splitlines()]
    where = [line for line in said if line.startswith(("Fatal", "File"))][:2]  # Python's faulthandler
    if done.returncode == -signal.SIGKILL:
        where = ["perhaps for want of memory"]
    how = f"signal {signal.Signals(-done.returncode).name}" if done.returncode < 0 else f"exit code {done.returncode}"
    return f"the process ended with {how}{''.join(f', {each}' for each in where)}"
