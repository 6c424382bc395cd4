"""Losses beside the method's own: what a plugin's entry point in `self1e.losses` names, and what it is given.

    settings.targets(config) -> makes the targets of an example, in the processes that prepare examples
    settings.build(config)   -> the loss: a module, with weights of its own or without

Weights of a loss train with the model, are kept in the checkpoints of the run beside it (`extra_losses.safetensors`),
and are left out of the model that the run makes. The next stage takes them up again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from self1e.conversation import Example
from self1e.data.settings import Settings
from self1e.model.batch import Batch
from self1e.model.config import SELF1EConfig
from self1e.model.network import ImageFeatures, SELF1EOutput

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


class ExtraLoss(nn.Module):
    """Computes a loss."""

    def forward(self, inputs: LossInputs) -> LossValue:
        """The loss of a batch."""
        raise NotImplementedError

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
