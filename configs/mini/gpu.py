"""What gpu.sh has to know and to write: how many photographs fit into memory, how many steps into the time, and files
small enough to be carried.

    python configs/mini/gpu.py fit CONFIG [--set KEY=VALUE ...]     prints photographs at a time, and times for a step
    python configs/mini/gpu.py steps RUN SECONDS                    prints how many steps the run can have in all
    python configs/mini/gpu.py carry RUN OUT NAME                   writes the last checkpoint's average
"""

from __future__ import annotations

import argparse
import csv
import gc
import io
import shutil
import sys
import tarfile
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import torch

from self1e.checkpoints.hub import open_checkpoint
from self1e.checkpoints.load import load_network
from self1e.cli.train import parse_override
from self1e.processing.processor import SELF1EProcessor
from self1e.segment.devices import choose_device
from self1e.training.checkpoints import AVERAGE, last_checkpoint
from self1e.training.config import TrainConfig, load_config
from self1e.training.curve import TABLE
from self1e.training.dry_run import dry_run
from self1e.training.losses import EXTRA_LOSSES, weights_of_losses

TRIED = 4, 16
"""Photographs at a time of two trials, from which memory is extrapolated."""

FILLED = 0.85
"""Share of the memory to be filled: photographs have more or fewer questions than those of the trials."""

SETTLED = 20
"""Steps after which those before do not count for the speed: they wait for workers and kernels."""

SPARED = 0.93
"""Share of the time that is planned with; checkpoints, and slower photographs, take the rest."""

PIECE = 15 * 2**20
"""Bytes of the largest file to carry."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True, metavar="fit | steps | carry")
    command = commands.add_parser("fit")
    command.add_argument("config", type=Path)
    command.add_argument("--set", dest="overrides", action="append", default=[])
    command.add_argument("--device", default="auto")
    command = commands.add_parser("steps")
    command.add_argument("run", type=Path)
    command.add_argument("seconds", type=float)
    command = commands.add_parser("carry")
    command.add_argument("run", type=Path)
    command.add_argument("out", type=Path)
    command.add_argument("name")
    options = parser.parse_args()
    try:
        if options.what == "fit":
            settings = load_config(options.config, dict(map(parse_override, options.overrides)))
            with redirect_stdout(sys.stderr):  # where the trials may log
                found = fit(settings, options.device)
            print(*found)
        elif options.what == "steps":
            print(steps_in(options.run / TABLE, options.seconds))
        else:
            for file in carry(options.run, options.out, options.name):
                print(f"{file}: {file.stat().st_size / 2**20:.1f} MiB")
    except ValueError as error:
        parser.exit(1, f"{error}\n")


def fit(settings: TrainConfig, device: str) -> tuple[int, int]:
    """How many of a step's photographs to take at a time, and how often. On a CPU, all at once.

    Raises:
        ValueError: When not even one fits into the GPU's memory.
    """
    whole = settings.optimisation.pictures_per_step
    if choose_device(device).type != "cuda":
        return whole, 1
    peaks = [_peak(settings, pictures, device) for pictures in TRIED]
    at_a_time = most_at_a_time(whole, peaks, torch.cuda.get_device_properties(0).total_memory)
    return at_a_time, whole // at_a_time


def _peak(settings: TrainConfig, pictures: int, device: str) -> int:
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    optimisation = settings.optimisation.model_copy(update={"pictures_per_step": pictures})
    return dry_run(settings.model_copy(update={"optimisation": optimisation}), device=device).peak


def most_at_a_time(whole: int, peaks: list[int], memory: int) -> int:
    """The largest divisor of `whole` that fits.

    Args:
        whole: Photographs of a step.
        peaks: Bytes that as many as `TRIED` took.
        memory: Bytes of the GPU.

    Raises:
        ValueError: When not even one fits.

    >>> most_at_a_time(96, [2 * 2**30, 5 * 2**30], 16 * 2**30)  # a quarter GiB each, beside 1 GiB
    48
    """
    few, many = TRIED
    each = max(1.0, (peaks[1] - peaks[0]) / (many - few))
    room = FILLED * memory - (peaks[0] - few * each)
    fitting = [count for count in range(1, whole + 1) if whole % count == 0 and count * each <= room]
    if not fitting:
        raise ValueError(f"there is no room for one photograph, of {each / 2**30:.1f} GiB: give a smaller SIZE")
    return fitting[-1]


def steps_in(curve: Path, seconds: float) -> int:
    """The steps that a run can have in all, if it goes on for some seconds at the speed of its curve.

    Raises:
        ValueError: When it came to too few steps for a speed.
    """
    with curve.open(encoding="utf-8") as file:
        times = {int(row["step"]): float(row["seconds"]) for row in csv.DictReader(file)}
    settled = [step for step in times if step >= SETTLED]
    if len(settled) < 2:
        raise ValueError(f"{max(times, default=0)} steps are too few for a speed: give more minutes, or a smaller SIZE")
    first, last = min(settled), max(settled)
    each = max(0.001, (times[last] - times[first]) / (last - first))
    return last + int(max(0.0, seconds) / each * SPARED)


def carry(run: Path, out: Path, name: str) -> list[Path]:
    """Writes the averaged weights of a run's last checkpoint, and those of its losses, in half precision.

    Args:
        run: Folder of the run.
        out: Folder to write to.
        name: Of the model's folder. It is in `NAME.tar.0`, `NAME.tar.1` ..., and the run's curve in `NAME.csv`.

    Raises:
        ValueError: When there is no checkpoint yet.
    """
    checkpoint = last_checkpoint(run)
    if checkpoint is None:
        raise ValueError(f"{run} has no checkpoint yet: give more minutes")
    average = checkpoint / AVERAGE
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        load_network(open_checkpoint(average), torch.float16).save_pretrained(folder)
        SELF1EProcessor.from_pretrained(average).save_pretrained(folder)
        if (probes := weights_of_losses(average)) is not None:
            shutil.copyfile(probes, Path(folder) / EXTRA_LOSSES)
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(folder, arcname=name)
    out.mkdir(parents=True, exist_ok=True)
    for file in out.glob(f"{name}.tar.*"):  # of an earlier call
        file.unlink()
    contents = packed.getvalue()
    files = []
    for place, start in enumerate(range(0, len(contents), PIECE)):
        files.append(out / f"{name}.tar.{place}")
        files[-1].write_bytes(contents[start : start + PIECE])
    return [*files, Path(shutil.copyfile(run / TABLE, out / f"{name}.csv"))]


if __name__ == "__main__":
    main()
