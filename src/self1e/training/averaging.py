"""An exponential moving average of the weights, which often does better than the last ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback


class Averaging(TrainerCallback):
    """Averages the trained weights after every step: average = decay average + (1 - decay) weights.

    The decay grows from 0.18 at the first step to `decay`, so that the weights of the start are soon forgotten.

    Args:
        model: Its trained weights are where the average starts.
        decay: 0.999 averages over about a thousand steps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.average = {name: weight.detach().clone() for name, weight in trained(model).items()}

    @torch.no_grad()
    def on_step_end(self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **_: Any) -> None:
        """Takes the weights of this step in."""
        assert model is not None
        decay = min(self.decay, (1 + state.global_step) / (10 + state.global_step))
        for name, weight in trained(model).items():
            self.average[name].lerp_(weight.detach(), 1 - decay)

    @contextmanager
    def in_place(self, model: nn.Module) -> Iterator[None]:
        """The model has the average for its weights inside this context."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Takes up an average that was saved, by the names of the model's parameters."""
        for name, average in self.average.items():
            average.copy_(weights[name])

    @torch.no_grad()
    def _swap(self, model: nn.Module) -> None:
        for name, weight in trained(model).items():
            kept = weight.detach().clone()
            weight.copy_(self.average[name])
            self.average[name].copy_(kept)


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that need gradients."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
