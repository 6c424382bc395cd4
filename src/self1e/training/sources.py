"""From the settings of a run to its examples."""

from __future__ import annotations

from typing import NamedTuple

from self1e.data.broken import Examples
from self1e.training.config import TrainConfig


class Datasets(NamedTuple):
    """What a run learns from, and what it is judged by."""

    training: Examples
    validation: Examples | None


def datasets(settings: TrainConfig, processes: int) -> Datasets:
    """All data of a run.

    Raises:
        DataError: When a data set is missing or unreadable.
    """
    validation = settings.validation
    return Datasets(
        settings.data.tolerant(settings.optimisation.pictures(processes), training=True),
        validation.data.tolerant(validation.examples, training=False) if validation else None,
    )
