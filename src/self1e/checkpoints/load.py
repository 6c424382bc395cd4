"""From a checkpoint of any layout to the network: `load_network`.

Importing this module lets `SELF1EForSegmentation.from_pretrained` read releases of SELF1E and InternVL base
models, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from self1e.checkpoints.check import LM_HEAD, check_weights, match_names, network_config
from self1e.checkpoints.convert import plan_conversion
from self1e.checkpoints.errors import ModelError
from self1e.checkpoints.hub import Checkpoint, HubOptions, open_checkpoint
from self1e.checkpoints.weights import LOOKED_AT, refuse_not_finite
from self1e.model.config import SELF1EConfig
from self1e.model.network import SELF1EForSegmentation

__all__ = ["SELF1EForSegmentation", "load_network", "read_checkpoint"]

LOCATION = ("subfolder", "revision", *HubOptions.__annotations__)
CONVERSION = ("seg_token_id", "image_token_id", "refilling", "seed")


def load_network(
    checkpoint: Checkpoint, dtype: torch.dtype | Literal["auto"] = "auto", **options: Any
) -> SELF1EForSegmentation:
    """The network of a checkpoint, of whichever layout, in memory.

    Args:
        checkpoint: What `open_checkpoint` gives.
        dtype: Of the weights. "auto": as they are stored.
        options: Others of `SELF1EForSegmentation.from_pretrained`; see `read_checkpoint`, too.

    Raises:
        ModelError: When settings and weights do not fit each other, or ask for what is not installed.
    """
    try:
        return SELF1EForSegmentation.from_pretrained(checkpoint, dtype=dtype, **options)
    except ImportError as error:  # of an attention implementation that config.json names
        raise ModelError(f"{checkpoint.folder / 'config.json'} cannot be followed here ({error})") from error


def read_checkpoint(source: Any, options: dict[str, Any]) -> tuple[Path | None, dict[str, Any]]:
    """The `checkpoint_reader` of `SELF1EForSegmentation`.

    Args:
        source: A `Checkpoint`, or a name as `open_checkpoint` takes it.
        options: Of `from_pretrained`: those of `open_checkpoint`, settings of `SELF1EConfig` to change, and for a
            conversion `seg_token_id`, `image_token_id`, `refilling` and `seed` of `convert_checkpoint`.

    Returns:
        The folder of a model of this package, or None and all weights among the options; and the other options.

    Raises:
        ModelError: When the checkpoint cannot be found, is incomplete or damaged, or does not fit.
    """
    options = dict(options)
    location = {key: options.pop(key) for key in LOCATION if key in options}
    checkpoint = source if isinstance(source, Checkpoint) else open_checkpoint(source, **location)
    config: SELF1EConfig | None = options.pop("config", None)
    if checkpoint.layout == "self1e" and checkpoint.base is None:
        changes = {key: options.pop(key) for key in SELF1EConfig.__annotations__ if key in options}
        config = config or network_config(checkpoint, **changes)
        stored, unexpected = match_names(checkpoint)
        if config.tie_word_embeddings:
            stored.pop(LM_HEAD, None)
        # Before transformers builds the model, whose errors would not say what is wrong with the checkpoint.
        check_weights(checkpoint, config, stored, unexpected)
        refuse_not_finite(checkpoint.weights.not_finite(LOOKED_AT), checkpoint.folder)
        return checkpoint.folder, {**options, "config": config}
    if config is not None:
        raise ValueError(f"{source} is converted while it is loaded: give single settings instead of a config")
    if checkpoint.base is not None:
        config, weights = _merged(checkpoint, options.get("dtype"))
    else:
        plan = plan_conversion(checkpoint, **{key: options.pop(key) for key in CONVERSION if key in options})
        config, weights = plan.config, {tensor.name: tensor.make() for tensor in plan.tensors}
    for key in SELF1EConfig.__annotations__:
        if key in options:
            setattr(config, key, options.pop(key))
    return None, {**options, "config": config, "state_dict": weights}


def _merged(checkpoint: Checkpoint, dtype: Any) -> tuple[SELF1EConfig, dict[str, Tensor]]:
    """Settings and weights of the model that adapters make of their base."""
    try:
        from self1e.checkpoints.adapters import merge
    except ImportError as error:
        raise ModelError(f"{checkpoint.folder} holds adapters, which need peft: pip install 'self1e[train]'") from error
    model = merge(checkpoint.folder, dtype=dtype if isinstance(dtype, torch.dtype) else "auto")
    return model.config, model.state_dict()


SELF1EForSegmentation.checkpoint_reader = staticmethod(read_checkpoint)
