"""Checkpoints of a run: written aside and moved to their place when they are whole, so that none is ever half there.

output/
  unfinished/           being written; thrown away by the next start
  checkpoint-500/       a model folder (or adapter folder) with the state of optimiser, schedule and random numbers
    average/            the same with averaged weights, where the settings ask for them
  model/  best/         the results: the last weights, and those with the best gIoU
  adapter/              the last adapters alone
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from transformers.trainer_utils import get_last_checkpoint

UNFINISHED = "unfinished"
AVERAGE = "average"
OPTIMISER, SCHEDULE = "optimizer.pt", "scheduler.pt"  # as Trainer calls them
PROBE_WEIGHTS = "dense_probe.safetensors"

#: Files of a checkpoint that are of use to the run alone.
STATE_OF_RUN = ("optimizer*", "scheduler.pt", "scaler.pt", "rng_state*", "trainer_state.json", PROBE_WEIGHTS, AVERAGE)
STATE_OF_ENGINES = ("pytorch_model_fsdp*", "global_step*", "latest", "zero_to_fp32.py")


def last_checkpoint(output: Path) -> Path | None:
    """The checkpoint to go on from."""
    found = get_last_checkpoint(str(output)) if output.is_dir() else None
    return Path(found) if found else None


def publish(staged: Path, place: Path) -> None:
    """Moves a checkpoint that is whole to its place, in one step of the file system."""
    if hasattr(os, "sync"):
        os.sync()  # or its files could be empty after a power failure, though it is in its place
    shutil.rmtree(place, ignore_errors=True)
    staged.rename(place)
    shutil.rmtree(staged.parent, ignore_errors=True)


def copy_model(checkpoint: Path, folder: Path) -> None:
    """The model, or adapters, of a checkpoint without the state of its run."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns(*STATE_OF_RUN, *STATE_OF_ENGINES))
