"""What `self1e doctor` needs torch for. It is looked for in a process of its own, which a broken library may end.

Before each step, `main` prints what is known by then as a line of JSON: what was found before stays found.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from self1e.cli import machine
from self1e.cli.doctor_packages import TORCHVISION, WITHOUT
from self1e.cli.doctor_report import Report, gib

PICTURE, PROMPT = "toyland-7000003", "the sky"
"""Of the self-test: PICTURE.jpg in `assets/check`, and beside it PICTURE-mask.png, where the sky is."""

LEAST_IOU = 0.8
"""Of a mask with the right one. The bundled models have 0.97 and 0.98."""


def look_at_torch(report: Report) -> None:
    """What torch finds on this machine and uses of it."""
    import torch

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        on_gpus = torch.cuda.is_available()
    runtimes = {"CUDA": torch.version.cuda, "ROCm": torch.version.hip, "MPS": torch.backends.mps.is_built() or None}
    threads = torch.get_num_threads()
    report.tell("torch", {"GPU code": [f"{name} {version}" for name, version in runtimes.items() if version]})
    report.tell("torch", {"CPU code": torch.backends.cpu.get_cpu_capability(), "threads": threads})
    for number in range(torch.cuda.device_count() if on_gpus else 0):
        gpu, (free, total) = torch.cuda.get_device_properties(number), torch.cuda.mem_get_info(number)
        capability = f"capability {gpu.major}.{gpu.minor}"
        report.tell("torch", {f"cuda:{number}": f"{gpu.name}, {gib(total)}, {gib(free)} free, {capability}"})
    if torch.backends.mps.is_available():
        report.tell("torch", {"mps": f"Apple GPU, up to {gib(torch.mps.recommended_max_memory())}"})

    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if not on_gpus and not hidden and (Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")):
        said = "; ".join(dict.fromkeys(" ".join(str(each.message).split()) for each in warned))
        report.complain(
            f"There is an NVIDIA driver, but torch {torch.__version__} finds no GPU. {said}".strip(),
            "Install the torch for your driver, which https://pytorch.org/get-started/locally names (nvidia-smi shows "
            "the driver and its CUDA).",
        )
    asked, cores = os.environ.get("OMP_NUM_THREADS"), machine.cores()
    # By itself, torch takes one thread for two cores that are the two halves of one.
    if threads > cores or (threads == 1 and cores > (1 if asked else 2)):
        report.complain(
            f"torch computes in {threads} thread(s), and this process may use {cores} core(s): that is slow.",
            f"Set OMP_NUM_THREADS={cores} (it is {asked})." if asked else f"Set OMP_NUM_THREADS={cores}.",
        )


def look_at_torchvision(report: Report) -> None:
    """Whether it fits torch, where there is one: transformers imports it."""
    if find_spec(TORCHVISION) is not None:
        import_module(TORCHVISION)


def look_at_transformers(report: Report) -> None:
    """What "auto" stands for on this machine, and whether the smallest published model fits into its memory."""
    import torch

    from self1e.checkpoints.presets import full_config, random_model
    from self1e.cli.info import memory_need
    from self1e.engines.programs import EXTRAS
    from self1e.segment.devices import automatic_device, automatic_dtype

    device, why = automatic_device()
    report.tell("choices", {"device=auto": f"{device}: {why}"})
    if engines := [engine for engine in EXTRAS if find_spec(engine) is not None]:
        faster = f"self1e export MODEL DIR --to fastest measures whether {' or '.join(engines)} is faster here"
        report.tell("choices", {"engine": f"torch; {faster}"})
    config = full_config("2B", seg_token_id=0, image_token_id=1)
    with torch.device("meta"):
        size = random_model(config, torch.bfloat16).num_parameters()
    dtype, why = automatic_dtype(device, torch.bfloat16, size)
    report.tell("choices", {"dtype=auto, 2B": f"{_name(dtype)}: {why}"})
    there = machine.memory()
    if device.type == "cuda":
        there = torch.cuda.mem_get_info(device)[1]
    elif device.type == "mps":
        there = torch.mps.recommended_max_memory()
    need = memory_need(config, size, dtype.itemsize)
    report.tell("choices", {"memory for 2B": f"about {gib(need)} of {gib(there)}"})
    if there is not None and need > there:
        report.complain(
            f"The published 2B model needs about {gib(need)}, and there are {gib(there)} for {device}.",
            "Stay with mini and models of its size, or go to a machine with more memory.",
        )


def self_test(report: Report, model: str) -> None:
    """Whether a bundled model marks what it should."""
    import numpy as np
    from PIL import Image

    from self1e.checkpoints.hub import open_checkpoint
    from self1e.cli.terminal import quiet_libraries
    from self1e.metrics import intersection_and_union
    from self1e.segment.devices import automatic_dtype
    from self1e.segment.options import LoadOptions
    from self1e.segment.quantise import CHECK_PICTURES
    from self1e.segment.segmenter import Segmenter

    quiet_libraries()
    checkpoint = open_checkpoint(model)
    segmenter = Segmenter.load(checkpoint, LoadOptions())
    device, numbers = segmenter.model.device, checkpoint.numbers()
    dtype, why = automatic_dtype(device, numbers.most_common(1)[0][0], numbers.total())
    how = f"on {device} in {_name(dtype)}"
    mask = segmenter.segment(CHECK_PICTURES / f"{PICTURE}.jpg", PROMPT).mask
    right = np.asarray(Image.open(CHECK_PICTURES / f"{PICTURE}-mask.png"))
    intersection, union = intersection_and_union(mask, right)
    iou = intersection / union
    report.tell("self-test", {model: f"IoU {iou:.3f} of {PROMPT!r} with the right mask, {how}, as {why}"})
    if iou < LEAST_IOU:
        report.complain(
            f"{model} marks {PROMPT!r} wrongly {how}: the IoU with the right mask is {iou:.2f}, less than {LEAST_IOU}.",
            "Report it. Until then try --device cpu, or --dtype float32.",
        )


def _name(dtype: object) -> str:
    return str(dtype).removeprefix("torch.")


class Step(NamedTuple):
    """Something to look at.

    Attributes:
        name: Of the package or model.
        look: Adds to a report. What it raises is a problem,
        advice: and this is what to do then.
        vital: Whether all that follow fail with it.
    """

    name: str
    look: Callable[[Report], None]
    advice: str
    vital: bool = False


STEPS = (
    Step(
        "torch",
        look_at_torch,
        "Install it again: pip install --force-reinstall torch, or as https://pytorch.org/get-started/locally says.",
        vital=True,
    ),
    Step(TORCHVISION, look_at_torchvision, WITHOUT, vital=True),
    Step(
        "transformers",
        look_at_transformers,
        "Install it again: pip install --force-reinstall transformers.",
        vital=True,
    ),
    *(
        Step(
            model, partial(self_test, model=model), "Install self1e again; in a clone: git checkout src/self1e/assets."
        )
        for model in ("mini", "nano")
    ),
)


def main() -> None:
    """Takes all steps. A line has the number of the next one, and what is known by then."""
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print, too
    report, seconds = Report(), {}
    for number, step in enumerate(STEPS):
        print(json.dumps([number, report.tree()]), file=lines, flush=True)
        begin = time.perf_counter()
        if not taken(step, report) and step.vital:
            break
        seconds[step.name] = round(time.perf_counter() - begin, 1)
    report.tell("self-test", {"seconds": seconds})
    print(json.dumps([len(STEPS), report.tree()]), file=lines, flush=True)


def taken(step: Step, report: Report) -> bool:
    """Takes a step, and says whether it succeeded; if not, the report says why."""
    try:
        step.look(report)
    except Exception as error:
        cause: BaseException = error
        while isinstance(cause, ImportError) and cause.__cause__ is not None:  # transformers hides what it tripped over
            cause = cause.__cause__
        where = traceback.extract_tb(cause.__traceback__)[-1]
        reason = f"{type(cause).__name__}: {' '.join(str(cause).split())} ({where.filename}:{where.lineno})"
        report.complain(fault(step, reason), step.advice)
        return False
    return True


def fault(step: Step, reason: str) -> str:
    """That something cannot be used, and why."""
    return f"{step.name} cannot be used here: {reason}."
