"""From low-rank adapters, as training leaves them, to the model that they make of their base: `merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from peft import PeftModel
from torch import nn

from self1e.checkpoints.errors import ModelError
from self1e.checkpoints.hub import BASE_SHA256, open_checkpoint
from self1e.checkpoints.load import SELF1EForSegmentation, load_network
from self1e.checkpoints.weights import ADAPTERS, TRAINED, load_finite
from self1e.model.config import SELF1EConfig


def merge(
    folder: Path, base: str | None = None, dtype: torch.dtype | Literal["auto"] = "auto"
) -> SELF1EForSegmentation:
    """The model that adapters make of the one they were trained on, without adapters.

    Args:
        folder: Adapter folder.
        base: The model it was trained on, where that is not where it was.
        dtype: Of the result. "auto": that of the base. Merged in float32 whatever it is.

    Raises:
        ModelError: When the folder is no adapter folder, there is no such base, they do not fit, or the weights where
            the base was are not those that it had any more.
    """
    adapters = open_checkpoint(folder)
    if adapters.base is None:
        raise ModelError(f"{folder} is no adapter folder: it lacks {ADAPTERS}")
    checkpoint = open_checkpoint(base) if base else adapters.open_base()
    if not base and adapters.settings.get(BASE_SHA256) not in (None, checkpoint.sha256()):
        raise ModelError(
            f"{adapters.base} has other weights than the model that {folder} adapts: if that is elsewhere, or this one "
            f"will do: self1e merge {folder} DST --base MODEL"
        )
    trained_as = SELF1EConfig.from_pretrained(folder)
    # The head of a base that has none came with the run.
    options = {} if checkpoint.can_segment else {"refilling": trained_as.refilling}
    model = load_network(checkpoint, **options)
    if dtype == "auto":
        dtype = model.dtype
    model = model.float()
    if trained_as.refilling != model.config.refilling:
        raise ModelError(
            f"{folder} was trained with refilling: {trained_as.refilling}, {checkpoint.name} has "
            f"{model.config.refilling}: name the model that it was trained on"
        )
    model.config.update({name: getattr(trained_as, name) for name in SELF1EConfig.__annotations__})
    _load_trained(model, folder)
    load_finite(folder / ADAPTERS)  # peft reads it for itself, whatever is in it
    return PeftModel.from_pretrained(model, str(folder)).merge_and_unload().to(dtype)


def _load_trained(model: nn.Module, folder: Path) -> None:
    """Weights that were trained in full."""
    weights = load_finite(folder / TRAINED)
    own = model.state_dict()
    wrong = [name for name, value in weights.items() if name not in own or own[name].shape != value.shape]
    if wrong:
        raise ModelError(
            f"weights of {folder / TRAINED} do not fit the model: {', '.join(wrong)}; name the one it was trained on"
        )
    model.load_state_dict(weights, strict=False)
