"""The loss of the per-pixel labels, as a plugin of training: `losses: {toyland: {weight: 0.3}}`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor

from self1e.conversation import Example
from self1e.data.records import DataError
from self1e.model.config import SELF1EConfig
from self1e.toyland.dataset import SCENE
from self1e.toyland.dense_probe import DenseProbe, dense_targets, label_accuracy
from self1e.toyland.scene import Scene
from self1e.training.losses import ExtraLoss, LossInputs, LossSettings, LossValue, MakeTargets, Share
from self1e.training.probes import pointings

Label = Literal["kind", "part", "colour", "thing_colour", "texture", "pose", "size", "geometry", "place"]


class DenseLabels(LossSettings):
    """What every pixel of a scene belongs to, and what each `[SEG]` points at; see `self1e.toyland.dense_probe`."""

    formerly: ClassVar[Mapping[str, str]] = {
        "dense_weight": "losses.toyland.weight",
        "dense_labels": "losses.toyland.labels",
        "pointed_weight": "losses.toyland.pointed_weight",
        "objective": "pictures_only: true for `dense`, nothing for `full`",
    }

    weight: float = Field(1.0, ge=0, description="of the per-pixel labels, beside the other losses")
    labels: list[Label] = Field(list(get_args(Label)), min_length=1, description="which labels are taught")
    pointed_weight: float = Field(0.0, ge=0, description="of the labels of what a [SEG] points at")

    def targets(self, config: SELF1EConfig) -> MakeTargets:
        """Labels at twice the grid of patches."""
        vision = config.vision_config
        return partial(targets_of, side=2 * vision.image_size[0] // vision.patch_size[0])

    def build(self, config: SELF1EConfig) -> DenseLabelLoss:
        """The loss, with linear probes that read the labels."""
        return DenseLabelLoss(self, config.text_config.hidden_size)


def targets_of(example: Example, side: int) -> dict[str, Tensor]:
    """See `dense_targets`.

    Raises:
        DataError: When the example is not made of a scene.
    """
    scene = example.extras.get(SCENE)
    if not isinstance(scene, Scene):
        raise DataError(f"{example.id} is no toyland scene: losses.toyland knows the labels of these only")
    return dense_targets(scene, side)


class DenseLabelLoss(ExtraLoss):
    """Args:
    settings: Labels and weights.
    width: D of the features.
    """

    def __init__(self, settings: DenseLabels, width: int) -> None:
        super().__init__()
        self.settings = settings
        self.probe = DenseProbe(width, settings.labels)

    def forward(self, inputs: LossInputs) -> LossValue:
        """Labels of all pixels, and where there are outputs of what each `[SEG]` points at."""
        targets = dict(inputs.targets)
        parts = self.probe(inputs.features.compressed, inputs.features.uncompressed, targets)
        total = self.settings.weight * torch.stack(list(parts.values())).sum()
        if inputs.outputs is not None and self.settings.pointed_weight:
            parts["pointed"] = self._pointed(inputs)
            total = total + self.settings.pointed_weight * parts["pointed"]
        return LossValue(total, parts)

    def figures(self, inputs: LossInputs) -> dict[str, Share]:
        """The accuracy of each label that is a class."""
        accuracy = label_accuracy(self.probe, inputs.features.compressed, dict(inputs.targets))
        return {f"accuracy_{name}": value for name, value in accuracy.items()}

    def _pointed(self, inputs: LossInputs) -> Tensor:
        """Of each picture the mean over its masks, 0 without any, and the mean of these; see `pointed_loss`."""
        total = inputs.features.compressed.new_zeros((), dtype=torch.float32)
        for each in pointings(inputs):
            labels = {name: of_all[each.picture] for name, of_all in inputs.targets.items()}
            total = total + each.share * self.probe.pointed_loss(each.states, each.masks, labels)
        return total
