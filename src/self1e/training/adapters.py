"""Low-rank adapters, by peft: given to a model, and saved alone. `self1e.checkpoints.adapters` merges them.

An adapter folder holds all that training changed: peft's own two files (`adapter_model.safetensors`, what the adapters
learnt, and `adapter_config.json`, of which model), `trained.safetensors`, the weights that were trained in full, and
`config.json`, the model's own, as a run also decides the perception pathways.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from torch import Tensor, nn

from self1e.checkpoints.load import SELF1EForSegmentation
from self1e.checkpoints.weights import ADAPTERS, TRAINED, load_finite
from self1e.training.config import Lora, Optimisation
from self1e.training.optimisers import group_of

_PREFIX = "base_model.model."  # what peft puts before the names of the model's own weights


def freeze(model: nn.Module, settings: Optimisation, lora: Lora | None) -> None:
    """Lets those weights alone that have a rate of 0, or adapters in their place."""
    adapted = set(lora.targets) if lora else set()
    for name, parameter in model.named_parameters():
        group = group_of(name)
        parameter.requires_grad_(settings.rate(group) > 0 and group not in adapted)


def add_adapters(model: SELF1EForSegmentation, lora: Lora, seed: int, base: str) -> PeftModel:
    """The model with new adapters; whatever needed a gradient before is still trained in full.

    Args:
        model: Its linear layers inside the transformer layers of `lora.targets` are replaced in place.
        lora: Rank, scale, dropout, and groups.
        seed: Of the adapters' weights.
        base: Name of the model, or where it lies, with which it is found again.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=adapted_modules(model, lora),
    )
    model.name_or_path = base  # which peft writes down; a name of the Hub is good on other machines, too
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted = get_peft_model(model, config)
    for parameter in trained:  # peft has frozen them
        parameter.requires_grad_(True)
    return adapted


def adapted_modules(model: nn.Module, lora: Lora) -> list[str]:
    """Names of all linear layers of attention and MLPs in the groups that get adapters (method, section 4)."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and re.search(r"\.layers?\.\d+\.", name) and group_of(name) in lora.targets
    ]


def trained_in_full(model: PeftModel, state: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The weights that are trained beside the adapters, and the head, by their names in the model itself.

    Args:
        model: Says which they are.
        state: All weights, where the model holds only a part of each (FSDP, ZeRO).
    """
    state = model.state_dict() if state is None else state
    wanted = {
        name
        for name, weight in model.named_parameters()
        # The head always: that of a base without one was made for this run.
        if (weight.requires_grad or group_of(name) == "head") and "lora_" not in name
    }
    return {
        name.removeprefix(_PREFIX): weight.detach().contiguous() for name, weight in state.items() if name in wanted
    }


def save_adapter(model: PeftModel, folder: Path, state: Mapping[str, Tensor] | None = None) -> None:
    """Writes an adapter folder. For `state` see `trained_in_full`."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, state_dict=None if state is None else dict(state), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's form to fill in
    save_file(trained_in_full(model, state), folder / TRAINED)
    model.get_base_model().config.save_pretrained(folder)


def adapter_state(folder: Path) -> dict[str, Tensor]:
    """What an adapter folder holds, by the names of a model with adapters, ready for its `load_state_dict`."""
    adapters = {
        re.sub(r"(lora_[AB])\.weight$", r"\1.default.weight", name): weight
        for name, weight in load_finite(folder / ADAPTERS).items()
    }
    return adapters | {_PREFIX + name: weight for name, weight in load_finite(folder / TRAINED).items()}
