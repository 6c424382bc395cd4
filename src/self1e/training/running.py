"""What a run gathers between two lines of its log: parts of the loss, shares, padding, and records that are broken."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import Tensor

from self1e.data.records import DataError
from self1e.data.settings import DataSettings
from self1e.model.network import SELF1EOutput
from self1e.training.collate import Counts

logger = logging.getLogger(__name__)

BROKEN_COUNTED_FROM = 100
"""Records seen before a share of broken ones means anything."""


class RunningFigures:
    """Figures of all processes together, since they were taken last.

    Args:
        accelerator: Of the trainer.
        data: Says how many records may be broken.

    Attributes:
        totals: What the batches of the step hold, on all processes.
    """

    def __init__(self, accelerator: Accelerator, data: DataSettings) -> None:
        self.accelerator = accelerator
        self.data = data
        self.totals: Counts = {}
        self.seen = 0
        self.broken: list[tuple[str, str]] = []
        self._start()

    def _start(self) -> None:
        self.steps = self.read = self.padded = 0
        self.sums: dict[str, Tensor] = {}
        self.shares: dict[str, tuple[Tensor, Tensor]] = {}

    def begin_step(self, batches: Sequence[Counts]) -> None:
        """A step begins, and its batches in this process hold this."""
        self.steps += 1
        names = ("tokens", "conversations", "pictures", "padded")
        held = torch.tensor([sum(batch[name] for batch in batches) for name in names], device=self.accelerator.device)
        self.totals = dict(zip(names, self.accelerator.reduce(held, "sum").tolist(), strict=True))

    def share(self, counts: Counts, name: str) -> float:
        """What turns the mean over a batch into its part of the mean over the step; Trainer averages over processes."""
        return counts[name] * self.accelerator.num_processes / max(self.totals[name], 1)

    def add_batch(self, counts: Counts, skipped: Sequence[tuple[str, str]]) -> None:
        """Counts padding, and tells of broken records that were skipped: (id, reason).

        Raises:
            DataError: When they are too many.
        """
        self.read += counts["read"]
        self.padded += counts["padded"]
        self.seen += counts["pictures"] + len(skipped)
        for name, reason in skipped:
            logger.warning("skipped %s: %s", name, reason)
        self.broken += skipped
        most = self.data.tolerated
        if self.seen >= BROKEN_COUNTED_FROM and len(self.broken) > most * self.seen:
            settable = "broken_share" in type(self.data).model_fields
            limit = "data.broken_share" if settable else f"{self.data.name} tolerates"
            remedy = "mend them, or raise it" if settable else "mend them"
            report = "\n".join(f"  {name}: {reason}" for name, reason in self.broken[:20])
            raise DataError(
                f"{len(self.broken)} of {self.seen} records are broken, more than {limit}, {most:.2%}: {remedy}; "
                f"the first of them:\n{report}"
            )

    def add(self, **parts: Tensor) -> None:
        """Adds to parts of the loss of a step."""
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach().float()

    def add_share(self, name: str, part: Tensor, whole: Tensor) -> None:
        """Adds to how many of how many. Every process has to add to the same shares, be it nothing."""
        before, whole_before = self.shares.get(name, (torch.zeros(()), torch.zeros(())))
        # Each stays on its device: the host would have to wait for a copy.
        self.shares[name] = before.to(part.device) + part.detach(), whole_before.to(whole.device) + whole.detach()

    @torch.no_grad()
    def add_pointing(self, outputs: SELF1EOutput, masks: Sequence[Tensor], seg_token_id: int) -> None:
        """Whether the model says `[SEG]` where it should, and shows something where something is.

        Args:
            outputs: With the logits of the places where a `[SEG]` is due.
            masks: Ground truth of the rows.
            seg_token_id: Of the model.
        """
        assert outputs.logits is not None and outputs.mask_logits is not None
        said = outputs.logits.argmax(dim=-1) == seg_token_id
        self.add_share("seg_produced", said.sum(), torch.as_tensor(said.numel()))
        self.add_share("blank", said.new_zeros(()), said.new_zeros(()))
        for maps, truths in zip(outputs.mask_logits, masks, strict=True):
            if len(truths):
                there = (truths == 1).flatten(1).any(dim=1)
                blank = (~(maps > 0)).flatten(1).all(dim=1).to(there.device)  # NaN shows nothing
                self.add_share("blank", (blank & there).sum(), there.sum())

    def take(self) -> dict[str, float]:
        """The figures, and starts anew: parts of the loss, mean over steps; shares; and the share of padding."""
        sums = self._over_processes(list(self.sums.values()), "mean")
        figures = {name: value / max(self.steps, 1) for name, value in zip(self.sums, sums, strict=True)}
        pairs = self._over_processes([value for pair in self.shares.values() for value in pair], "sum")
        for name, part, whole in zip(self.shares, pairs[::2], pairs[1::2], strict=True):
            if whole:
                figures[name] = part / whole
        read, padded = self._over_processes([torch.tensor(self.read), torch.tensor(self.padded)], "sum")
        if padded:
            figures["padding"] = 1 - read / padded
        self._start()
        return figures

    def _over_processes(self, values: Sequence[Tensor], how: str) -> list[float]:
        """Sum or mean over processes; every process has the same values to give."""
        if not values:
            return []
        device = self.accelerator.device
        dtype = torch.float32 if device.type == "mps" else torch.float64
        together = torch.stack([value.detach().to(device, dtype) for value in values])
        numbers: list[float] = self.accelerator.reduce(together, how).tolist()
        return numbers
