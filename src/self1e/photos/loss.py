"""The loss of the labels of pixels, as a plugin of training: `losses: {photos: {weight: 0.3, pointed_weight: 0.5}}`.

Each cell of the grid of patches has a noun, or none of those that its photograph has marks of; where single things are
told apart, also where and how large its thing is. See `self1e.training.probes`.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from self1e.conversation import Example
from self1e.data.records import DataError
from self1e.model.config import SELF1EConfig
from self1e.model.refilling import as_map, pixel_unshuffle
from self1e.photos.dataset import VIEW
from self1e.photos.language import View
from self1e.photos.nouns import NOTHING, UNKNOWN, nouns
from self1e.photos.scene import under_cells
from self1e.training.losses import ExtraLoss, LossInputs, LossSettings, LossValue, MakeTargets, Share
from self1e.training.probes import (
    GEOMETRY,
    PLACE,
    at_cell_centres,
    centre_and_spread,
    geometry_error,
    picture_mean,
    place_error,
    place_waves,
    pointings,
    presence_error,
    shares_of_classes,
)

OUTPUTS = len(nouns()) + 1, GEOMETRY, PLACE
"""Of a probe: logits of nouns, by number (0: none of them), and geometry and place of the thing that owns a cell."""

IMPOSSIBLE = -1e4
"""Logit of a noun that does not compete, as it may be true as well."""


class PixelLabels(LossSettings):
    """What every cell of a photograph is and what thing owns it, and where what each `[SEG]` points at lies."""

    weight: float = Field(1.0, ge=0, description="of the labels of cells, beside the other losses")
    pointed_weight: float = Field(0.0, ge=0, description="of the labels of what a [SEG] points at")

    def targets(self, config: SELF1EConfig) -> MakeTargets:
        """Labels on the grid of patches."""
        vision = config.vision_config
        return partial(targets_of, side=vision.image_size[0] // vision.patch_size[0])

    def build(self, config: SELF1EConfig) -> PixelLabelLoss:
        """The loss, with linear probes that read the labels."""
        return PixelLabelLoss(self, config.text_config.hidden_size)


def targets_of(example: Example, side: int) -> dict[str, Tensor]:
    """Labels of `side` x `side` evenly spaced pixels.

    Returns:
        "noun": int64[side, side], `NOTHING` or number of a noun; -1 where it is not known.
        "rivals": bool[nouns + 1, nouns + 1]: for each noun that a cell can be, itself and which others it is not then.
            A window of a house is the building, too, and where nobody looked for cups a table may be one.
        "geometry", "place": float[side, side, n] of the thing that owns the pixel; 0 where none is told apart.

    Raises:
        DataError: When the example is not made of a photograph of ours.
    """
    view = example.extras.get(VIEW)
    if not isinstance(view, View):
        raise DataError(
            f"{example.id} is no photograph of `self1e.photos`: losses.photos knows the labels of these only"
        )
    scene = view.scene
    at = np.ix_(*(under_cells(0, length, side) for length in scene.labels.shape))
    possible = np.zeros(OUTPUTS[0], bool)
    possible[[NOTHING, *(noun.number for noun in (*view.present, *view.absent))]] = True
    noun = scene.labels[at].astype(np.int64)
    noun[(noun == UNKNOWN) | ~possible[noun]] = -1
    rivals = np.tile(possible, (len(possible), 1))
    for name in (each.name for each in nouns() if possible[each.number]):
        unsure = [nouns()[other].number for other in scene.photo.rules.unsure.get(name, ())]
        rivals[[*scene.members(name), *unsure], nouns()[name].number] = False
    rivals[np.diag_indices_from(rivals)] = possible
    steps = (np.arange(side, dtype=np.float32) + 0.5) / side
    geometry, places = np.zeros((side, side, GEOMETRY), np.float32), np.zeros((side, side, 2), np.float32)
    numbers = scene.things[at]
    for thing in (thing for row in view.things.values() for thing in row):
        inside = numbers == thing.number
        geometry[inside] = 0, 0, thing.width, thing.height
        places[inside] = thing.x, thing.y
    on_thing = geometry[..., 2:3] > 0
    geometry[..., :2] = (places - np.stack(np.meshgrid(steps, steps), axis=-1)) * on_thing
    return {
        "noun": torch.from_numpy(noun),
        "rivals": torch.from_numpy(rivals),
        "geometry": torch.from_numpy(geometry),
        "place": place_waves(torch.from_numpy(places)) * torch.from_numpy(on_thing),
    }


class PixelLabelLoss(ExtraLoss):
    """Args:
    settings: Weights.
    width: D of the features.
    """

    def __init__(self, settings: PixelLabels, width: int) -> None:
        super().__init__()
        self.settings = settings
        self.uncompressed = nn.Linear(width, sum(OUTPUTS))
        self.compressed = nn.Linear(width, 4 * sum(OUTPUTS))
        self.pointed = nn.Linear(width, sum(OUTPUTS) + 1)

    def forward(self, inputs: LossInputs) -> LossValue:
        """Labels of all cells, and where there are outputs of what each `[SEG]` points at."""
        features, targets = inputs.features, dict(inputs.targets)
        read = [pixel_unshuffle(self.compressed(as_map(features.compressed)))]
        if features.uncompressed is not None:
            read.append(self.uncompressed(as_map(features.uncompressed)))
        losses = [_of_cells(each.float(), targets) for each in read]
        parts = {name: torch.stack([each[name] for each in losses]).mean() for name in losses[0]}
        total = self.settings.weight * torch.stack(list(parts.values())).sum()
        if inputs.outputs is not None and self.settings.pointed_weight:
            parts["pointed"] = total.new_zeros(())
            for each in pointings(inputs):
                of_row = self._of_masks(each.states, each.masks, targets, each.picture)
                parts["pointed"] = parts["pointed"] + each.share * of_row
            total = total + self.settings.pointed_weight * parts["pointed"]
        return LossValue(total, parts)

    def figures(self, inputs: LossInputs) -> dict[str, Share]:
        """How many cells that are something have the right noun, by the compressed features."""
        targets = dict(inputs.targets)
        with torch.no_grad():
            read = pixel_unshuffle(self.compressed(as_map(inputs.features.compressed)))
            logits = _competing(read[..., : OUTPUTS[0]].float(), targets)
        counted = targets["noun"] > 0
        right = (logits.argmax(-1) == targets["noun"]) & counted
        return {"accuracy_noun": Share(int(right.sum()), int(counted.sum()))}

    def _of_masks(self, states: Tensor, masks: Tensor, targets: dict[str, Tensor], picture: int) -> Tensor:
        """How badly the states of one row tell what is inside their masks, or that nothing is; summed over masks."""
        chances, geometry, place, presence = self.pointed(states).float().split([*OUTPUTS, 1], dim=-1)
        inside = (at_cell_centres(masks, targets["noun"].shape[-1]) == 1).flatten(1).float()  # K, cells
        label, rivals = targets["noun"][picture].flatten(), targets["rivals"][picture]
        share = shares_of_classes(inside, label, label >= 0, OUTPUTS[0])
        excluded = (share > 0).float() @ (~rivals).float() > 0
        chances = chances.masked_fill(excluded & (share == 0), IMPOSSIBLE).log_softmax(dim=-1)
        # Where the things are that are told apart; what is not says nothing about places.
        on_thing = inside * (targets["geometry"][picture, ..., 2] > 0).flatten()
        things = on_thing.sum(dim=1)
        mean_place = on_thing @ targets["place"][picture].flatten(0, 1) / things[:, None].clamp(min=1)
        errors = (
            presence_error(presence[:, 0], masks),
            -(share * chances).sum(),
            (geometry_error(geometry, centre_and_spread(inside)) * (inside.sum(dim=1) > 0)).sum(),
            (place_error(place, mean_place) * (things > 0)).sum(),
        )
        return torch.stack(errors).sum()


def _of_cells(read: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
    """By label, of float[T, side, side, outputs]. In a photograph a noun, or none, weighs as the root of its cells."""
    chances, geometry, place = read.split(list(OUTPUTS), dim=-1)
    label = targets["noun"]
    each = F.cross_entropy(_competing(chances, targets).movedim(-1, 1), label.clamp(min=0), reduction="none")
    places = label.flatten(1) + 1  # what is not known is 0
    counts = torch.zeros(len(label), OUTPUTS[0] + 1, device=label.device)
    counts.scatter_add_(1, places, torch.ones_like(places, dtype=counts.dtype))
    weights = counts.gather(1, places).rsqrt().view_as(label) * (label >= 0)
    things = targets["geometry"][..., 2:].prod(dim=-1)
    things = torch.where(things > 0, things.clamp(min=1e-6).rsqrt(), 0)
    return {
        "noun": picture_mean(each, weights),
        "geometry": picture_mean(geometry_error(geometry, targets["geometry"]), things),
        "place": picture_mean(place_error(place, targets["place"]), things),
    }


def _competing(logits: Tensor, targets: dict[str, Tensor]) -> Tensor:
    """Logits float[T, side, side, nouns + 1] without those that may be true as well as the label of the cell."""
    pictures = torch.arange(len(logits), device=logits.device)[:, None, None]
    return logits.masked_fill(~targets["rivals"][pictures, targets["noun"].clamp(min=0)], IMPOSSIBLE)
