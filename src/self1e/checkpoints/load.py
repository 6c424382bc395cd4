"""From a checkpoint of any layout to the network: `load_network`.

Importing this module lets `SELF1EForSegmentation.from_pretrained` read releases of SELF1E and InternVL base
models, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from self1e.checkpoints.check import check_own_layout
from self1e.checkpoints.convert import plan_conversion
from self1e.checkpoints.hub import HUB_OPTIONS, read_config, resolve_folder
from self1e.checkpoints.names import layout_of
from self1e.checkpoints.weights import WeightFiles
from self1e.model.config import SELF1EConfig
from self1e.model.network import SELF1EForSegmentation

__all__ = ["SELF1EForSegmentation", "read_checkpoint"]


def read_checkpoint(name: Any, kwargs: dict[str, Any]) -> tuple[Path | None, dict[str, Any]]:
    """The `checkpoint_reader` of `SELF1EForSegmentation`.

    Args:
        name: Folder or Hub id, of any layout.
        kwargs: Of `from_pretrained`. For a conversion also `seg_token_id`, `image_token_id`, `refilling` and `seed`,
            see `convert_checkpoint`.

    Returns:
        The folder of a model of this package, or None and all weights as arguments; and the other arguments.

    Raises:
        CheckpointError: When the checkpoint cannot be found, is incomplete or damaged, or does not fit.
    """
    kwargs = dict(kwargs)
    location = {key: kwargs.pop(key) for key in HUB_OPTIONS if key in kwargs}
    raw_config = read_config(str(name), **location)
    if raw_config.get("model_type") != SELF1EConfig.model_type:
        layout_of(raw_config)  # before gigabytes are downloaded
        return None, _converted(resolve_folder(str(name), **location), **kwargs)
    folder = resolve_folder(str(name), **location)
    given = kwargs.get("config")
    settings = raw_config if given is None else given.to_dict()
    settings |= {key: kwargs[key] for key in SELF1EConfig.__annotations__ if key in kwargs}
    # Before transformers builds the model, whose errors would not say what is wrong with the checkpoint.
    check_own_layout(folder, WeightFiles(folder), settings)
    return folder, kwargs


def _converted(folder: Path, **kwargs: Any) -> dict[str, Any]:
    """Arguments for transformers' `from_pretrained` that hold the converted checkpoint of `folder`."""
    if "config" in kwargs:
        raise ValueError(f"{folder} is converted while it is loaded: give single settings instead of a config")
    planning = ("seg_token_id", "image_token_id", "refilling", "seed")
    plan = plan_conversion(folder, **{key: kwargs.pop(key) for key in planning if key in kwargs})
    for key in SELF1EConfig.__annotations__:
        if key in kwargs:
            setattr(plan.config, key, kwargs.pop(key))
    weights = {tensor.name: tensor.make() for tensor in plan.tensors}
    return {**kwargs, "config": plan.config, "state_dict": weights}


SELF1EForSegmentation.checkpoint_reader = staticmethod(read_checkpoint)
