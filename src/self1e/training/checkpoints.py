"""Checkpoints of a run: written aside and moved to their place when they are whole, so that none is ever half there.

output/
  config.yaml           the settings, run.json: what else the order of examples depends on
  unfinished/           being written; thrown away by the next start
  checkpoint-500/       a model folder (or adapter folder) with the state of optimiser, schedule and random numbers
    average/            the same with averaged weights, where the settings ask for them
  model/  best/         the results: the last weights, and those with the best gIoU; with those of losses, if any
  adapter/              the last adapters alone
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import yaml
from transformers.trainer_utils import get_last_checkpoint

from self1e.checkpoints.hub import BUNDLED
from self1e.files import expand_user, folder_when_complete, write_atomically, write_json
from self1e.training.config import ConfigError, TrainConfig

logger = logging.getLogger(__name__)

UNFINISHED = "unfinished"
AVERAGE = "average"
OPTIMISER, SCHEDULE, STATE = "optimizer.pt", "scheduler.pt", "trainer_state.json"  # as Trainer calls them

#: Files of a checkpoint that are of use to the run alone.
STATE_OF_RUN = ("optimizer*", SCHEDULE, "scaler.pt", "rng_state*", STATE, AVERAGE)
STATE_OF_ENGINES = ("pytorch_model_fsdp*", "global_step*", "latest", "zero_to_*.py")

SETTINGS, RUN = "config.yaml", "run.json"
RESULTS = ("model", "best", "adapter", "best-adapter")
#: Settings that may change on the way, as they decide nothing of what is learnt.
FREE = ("output", "workers", "log_every", "keep")


def claim(settings: TrainConfig, processes: int) -> None:
    """Makes the output folder this run's own: writes its settings there, or sees that they are the same as before.

    Only `steps` may become more: then the run goes on, finished or not. Settings of a start that came to no checkpoint
    bind nobody, and are written afresh.

    Args:
        settings: Of the run.
        processes: That take part.

    Raises:
        ConfigError: When the folder belongs to a run with other settings, or to none and holds what a run would
            overwrite; or when the run would overwrite what it starts from.
    """
    output = Path(settings.output)
    for name in ("init", "vision"):
        start = local_folder(getattr(settings, name))
        if start is not None and start.resolve().is_relative_to(output.resolve()):
            raise ConfigError(f"{name}: {start} lies in {output}, where this run writes: choose another output")
    path = output / SETTINGS
    ours = path.exists() and (output / RUN).exists()
    taken = [name for name in (*RESULTS, UNFINISHED) if (output / name).exists()]
    taken += [found.name for found in output.glob("checkpoint-*")]
    if not ours and (taken or path.exists()):
        held = ", ".join([*taken, *([SETTINGS] if path.exists() else [])])
        raise ConfigError(f"{output} holds {held}, but not of a run of ours: choose another output")
    if not taken:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / RUN, _run(settings, processes), overwrite=True)
        _write_settings(settings, path, overwrite=ours)  # whose presence makes the claim
        return
    earlier, now = yaml.safe_load(path.read_text("utf-8")), settings.model_dump(mode="json")
    before, steps = earlier["optimisation"]["steps"], settings.optimisation.steps
    if steps > before:
        earlier["optimisation"]["steps"] = steps
    changed = _differences(_deciding(earlier), _deciding(now))
    if changed:
        raise ConfigError(
            f"{output} belongs to a run with other settings ({'; '.join(changed)}): choose another output"
        )
    there, here = json.loads((output / RUN).read_text("utf-8")), _run(settings, processes)
    if there["engine"] != here["engine"]:
        raise ConfigError(
            f"the run in {output} was started with {there['engine']}, and cannot go on with {here['engine']}, "
            "whose checkpoints differ: start it as before, or choose another output"
        )
    name = "pictures_of_a_step"
    if there[name] != here[name]:
        raise ConfigError(
            f"a step of the run in {output} has {there[name]} pictures, and would have {here[name]} with {processes} "
            "processes: change optimisation.accumulate, or start as many as before"
        )
    if steps > before:
        logger.info(
            "the run of %s steps in %s goes on to step %s, at the rates of so long a run", before, output, steps
        )
        _write_settings(settings, path, overwrite=True)


def _write_settings(settings: TrainConfig, path: Path, overwrite: bool) -> None:
    with write_atomically(path, overwrite) as file:
        file.write(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False).encode())


def _run(settings: TrainConfig, processes: int) -> dict[str, Any]:
    """What has to stay as it is beside the settings: the pictures of a step, and who writes the optimiser's state."""
    engine = "no sharding"
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        engine = "FSDP"
    elif os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        engine = f"DeepSpeed on {processes} processes"
    return {"pictures_of_a_step": settings.optimisation.pictures_of_a_step(processes), "engine": engine}


def _deciding(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide a run; how a step is dealt out does not."""
    dealing = ("accumulate", "pictures_per_step")
    optimisation = {name: value for name, value in settings["optimisation"].items() if name not in dealing}
    return {name: value for name, value in settings.items() if name not in FREE} | {"optimisation": optimisation}


def _differences(earlier: dict[str, Any], now: dict[str, Any], above: str = "") -> list[str]:
    """Each setting that is not the same, by its dotted name, with both values."""
    found = []
    for name in dict.fromkeys([*earlier, *now]):
        before, here = earlier.get(name), now.get(name)
        if isinstance(before, dict) and isinstance(here, dict):
            found += _differences(before, here, f"{above}{name}.")
        elif before != here:
            found.append(f"{above}{name}: {before} there, {here} now")
    return found


def local_folder(name: str | None) -> Path | None:
    """The folder of a model of one's own that settings name; None for bundled models, and those on the Hub."""
    if name is None or name in BUNDLED:
        return None
    folder = expand_user(name)
    return folder if folder.is_dir() else None


def last_checkpoint(output: Path) -> Path | None:
    """The checkpoint to go on from."""
    found = get_last_checkpoint(str(output)) if output.is_dir() else None
    return Path(found) if found else None


def clean(output: Path) -> None:
    """Takes away what an earlier start was writing when it was killed, and puts back what it was about to replace."""
    shutil.rmtree(output / UNFINISHED, ignore_errors=True)
    for name in RESULTS:
        for left in output.glob(f".{name}.*.old"):
            if not (output / name).exists():
                left.rename(output / name)
        for left in (*output.glob(f".{name}.*.old"), *output.glob(f".{name}.*.partial")):
            shutil.rmtree(left, ignore_errors=True)


def publish(staged: Path, place: Path) -> None:
    """Moves a checkpoint that is whole to its place, in one step of the file system."""
    if hasattr(os, "sync"):
        os.sync()  # or its files could be empty after a power failure, though it is in its place
    staged.rename(place)
    shutil.rmtree(staged.parent, ignore_errors=True)


def copy_model(checkpoint: Path, folder: Path) -> None:
    """The model, or adapters, of a checkpoint without the state of its run, but with the weights of its losses."""
    without_state = shutil.ignore_patterns(*STATE_OF_RUN, *STATE_OF_ENGINES)
    with folder_when_complete(folder, replace=True) as staging:
        shutil.copytree(checkpoint, staging, ignore=without_state, dirs_exist_ok=True)
