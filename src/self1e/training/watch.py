"""Ways in which training goes wrong: `[SEG]` is no longer said, masks go blank, figures are no numbers any more."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

logger = logging.getLogger(__name__)

FEWEST_PRODUCED = 0.5
MOST_BLANK = 0.9
SILENCE = 10
"""Looks between two warnings of one kind."""


class DivergedError(ValueError):
    """Training that came to numbers which are not finite. The message says at which step, and what to change."""


class Watch:
    """Warns early, and not all the time.

    Args:
        patience: Steps before the first warning: a model starts without either skill.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.looks = 0
        self.warned: dict[str, int] = {}

    def look(self, step: int, figures: Mapping[str, float]) -> list[str]:
        """Looks at figures of a stretch of training, and logs and returns what is wrong.

        Args:
            step: Where training is.
            figures: "seg_produced": share of `[SEG]`s that the model would say where they are due; "blank": of the
                masks that should have pixels, the share predicted without any. All have to be finite.
        """
        self.looks += 1
        warnings = []
        lost = {name: value for name, value in figures.items() if isinstance(value, float) and not math.isfinite(value)}
        if lost:
            named = ", ".join(f"{name} is {value}" for name, value in lost.items())
            warnings.append(("finite", f"{named}: go back to an earlier checkpoint and lower learning_rate"))
        if step <= self.patience:
            figures = {}
        produced, blank = figures.get("seg_produced"), figures.get("blank")
        if produced is not None and produced < FEWEST_PRODUCED:
            warnings.append(
                (
                    "produced",
                    f"the model says only {produced:.0%} of the [SEG]s it should: lower learning_rate, or "
                    "raise ce_weight",
                )
            )
        if blank is not None and blank > MOST_BLANK:
            warnings.append(
                (
                    "blank",
                    f"{blank:.0%} of the masks that should show something are blank: lower learning_rate, or "
                    "raise dice_weight",
                )
            )
        said = []
        for kind, text in warnings:
            if self.looks - self.warned.get(kind, -SILENCE) >= SILENCE:
                self.warned[kind] = self.looks
                logger.warning("step %d: %s", step, text)
                said.append(text)
        return said
