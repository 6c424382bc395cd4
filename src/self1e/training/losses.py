"""Losses beside the method's own: what a plugin's entry point in `self1e.losses` names, and what it is given.

    settings.targets(config) -> makes the targets of an example, in the processes that prepare examples
    settings.build(config)   -> the loss: a module, with weights of its own or without

Weights of a loss train with the model, and are kept in its folder, in checkpoints as in results, in a file of their own
(`extra_losses.safetensors`), which who loads the model does not see. The next stage takes them up again.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from self1e.conversation import Example
from self1e.data.settings import Settings
from self1e.model.batch import Batch
from self1e.model.config import SELF1EConfig
from self1e.model.network import ImageFeatures, SELF1EForSegmentation, SELF1EOutput

logger = logging.getLogger(__name__)

EXTRA_LOSSES = "extra_losses.safetensors"
LOSSES_PREFIX = "extra_losses."
"""What the names of their weights in the model begin with, and those in the file do not."""

MakeTargets = Callable[[Example], Mapping[str, Tensor]]
"""The targets of an example by name; of one shape for all examples, as those of a batch are stacked."""


@dataclass(frozen=True)
class LossInputs:
    """What a loss is computed from.

    Attributes:
        batch: Rows, pictures and masks, on the model's device.
        features: Of the pictures.
        outputs: Of the model; None in a run with `pictures_only`.
        targets: What `LossSettings.targets` made of each picture, stacked: [P, ...].
    """

    batch: Batch
    features: ImageFeatures
    outputs: SELF1EOutput | None
    targets: Mapping[str, Tensor]


class LossValue(NamedTuple):
    """A loss: its weighted sum, and its parts for the log; each a scalar.

    Each has to be a mean over the pictures of the batch: a value of each picture alone, added up and divided by their
    number. Batches of a step then weigh as much as they have pictures, and how these are dealt out changes nothing. A
    mean over the pixels or the masks of a batch would.
    """

    total: Tensor
    parts: dict[str, Tensor]


class Share(NamedTuple):
    """How many of how many; those of all batches are added up before they are divided."""

    part: float
    whole: float


class ExtraLoss(nn.Module, ABC):
    """Computes a loss."""

    @abstractmethod
    def forward(self, inputs: LossInputs) -> LossValue:
        """The loss of a batch."""

    def figures(self, inputs: LossInputs) -> dict[str, Share]:
        """What else to log of a batch now and then, such as an accuracy. A share of nothing is left out."""
        return {}


class LossSettings(Settings):
    """Settings of a loss; a plugin's entry point names its own subclass.

    Attributes:
        formerly: Settings of a run that this loss has taken over -> what to write now.
    """

    formerly: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def build(self, config: SELF1EConfig) -> ExtraLoss:
        """The loss for a model of this configuration. Random weights are seeded by the run."""

    def targets(self, config: SELF1EConfig) -> MakeTargets | None:
        """Makes targets, for a model of this configuration; None if the loss has none. Has to be picklable."""
        return None


def attach_losses(
    model: SELF1EForSegmentation, losses: Mapping[str, LossSettings], seed: int, start: Path | None
) -> None:
    """Gives the model losses, to be trained with it and left out of what is saved.

    Weights that an earlier stage left with the model that training goes on from are taken up, loss by loss, where they
    fit.

    Args:
        model: Gets the attribute `extra_losses`, if there are any.
        losses: Their settings, by their names.
        seed: Of their weights.
        start: Folder of the model that training goes on from; None where no run of one's own has made it.
    """
    if not losses:
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = {name: loss.build(model.config) for name, loss in losses.items()}
    model.extra_losses = nn.ModuleDict(built)
    path = None if start is None else weights_of_losses(start)
    earlier = {} if path is None else load_file(path)
    for name, loss in built.items():
        of_loss = {key.removeprefix(f"{name}."): value for key, value in earlier.items() if key.startswith(f"{name}.")}
        fits = {key: value.shape for key, value in of_loss.items()} == {
            key: value.shape for key, value in loss.state_dict().items()
        }
        if fits:
            loss.load_state_dict(of_loss)
        elif earlier:
            logger.warning("the weights of the loss %s in %s do not fit: it starts anew", name, path)


def weights_of_losses(folder: Path) -> Path | None:
    """The file of them that a run has left in the folder of a model. Earlier versions left it beside `model`."""
    folder = folder.resolve()
    inside, beside = folder / EXTRA_LOSSES, folder.parent / EXTRA_LOSSES
    if inside.is_file():
        return inside
    return beside if folder.name == "model" and beside.is_file() else None
