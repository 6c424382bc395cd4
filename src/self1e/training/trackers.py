"""Where a run can be watched: TensorBoard always, Weights & Biases where it is installed and knows its user."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image
from transformers import TrainerCallback


def trackers() -> list[str]:
    """Names as transformers has them."""
    return ["tensorboard", *(["wandb"] if _wandb_is_ready() else [])]


def _wandb_is_ready() -> bool:
    """Without an account wandb would ask for one, or stop the run."""
    if find_spec("wandb") is None or os.environ.get("WANDB_MODE") == "disabled":
        return False
    if os.environ.get("WANDB_MODE") == "offline":
        return True
    import wandb

    return getattr(wandb, "api", None) is not None and bool(wandb.api.api_key)


def show_picture(callbacks: Iterable[TrainerCallback], name: str, picture: Image.Image, step: int) -> None:
    """Hands a picture to those of Trainer's callbacks that track the run."""
    for callback in callbacks:
        writer: Any = getattr(callback, "tb_writer", None)
        if writer is not None:
            writer.add_image(name, np.asarray(picture.convert("RGB")), step, dataformats="HWC")
        if type(callback).__name__ == "WandbCallback":
            wandb: Any = getattr(callback, "_wandb", None)
            if wandb is not None and wandb.run is not None:
                wandb.log({name: wandb.Image(picture)})
