"""From the `data` of a run's settings to its examples."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from self1e.data.mixture import Mixture, Part
from self1e.data.own_entries import open_own
from self1e.data.records import Source
from self1e.data.registry import open_set, without_held_out
from self1e.toyland.training import ToylandDataset
from self1e.training.config import MixtureData, PartSettings, ToylandData, TrainConfig, Validation


class Datasets(NamedTuple):
    """What a run learns from, and what it is judged by."""

    training: ToylandDataset | Mixture
    validation: ToylandDataset | Mixture | None


def datasets(settings: TrainConfig, processes: int) -> Datasets:
    """All data of a run. Per-pixel labels get their size with the model.

    Raises:
        DataError: When a data set is missing or unreadable.
    """
    chosen = settings.optimisation
    examples = chosen.steps * chosen.pictures_per_step * chosen.accumulate * processes
    return Datasets(
        training_set(settings.data, examples),
        validation_set(settings.validation) if settings.validation else None,
    )


def training_set(data: ToylandData | MixtureData, length: int) -> ToylandDataset | Mixture:
    """The examples of a run.

    Raises:
        DataError: When a data set is missing or unreadable.
    """
    if isinstance(data, ToylandData):
        return ToylandDataset(data, length)
    return _mixture(data, length, training=True, hold_out=data.hold_out)


def validation_set(settings: Validation) -> ToylandDataset | Mixture:
    """Examples to look at, in the words of the evaluation protocol. Nothing is held out of them.

    Raises:
        DataError: When a data set is missing or unreadable.
    """
    if isinstance(settings.data, ToylandData):
        return ToylandDataset(settings.data, settings.examples, training=False)
    return _mixture(settings.data, settings.examples, training=False, hold_out=False)


def open_part(part: PartSettings, root: Path | None) -> list[Source]:
    """The sources of a part; none when its rate is 0.

    Raises:
        DataError: When one is missing or unreadable.
    """
    if not part.rate:
        return []
    own = (open_own(entry.model_dump(exclude_none=True)) for entry in part.own)
    return [*(open_set(name, root or Path()) for name in part.sets), *own]


def _mixture(data: MixtureData, length: int, *, training: bool, hold_out: bool) -> Mixture:
    root = Path(data.root) if data.root is not None else None
    parts = {}
    for name, part in data.parts.items():
        sources = open_part(part, root)
        if hold_out and root is not None:
            sources = without_held_out(sources, root)
        parts[name] = Part(part.rate, tuple(sources))
    return Mixture(parts, length, data.seed, data.at_most, training=training)
