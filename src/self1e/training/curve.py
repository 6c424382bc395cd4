"""What a run logs, as a table that grows with it: `curve.csv`, a row for each step that was logged."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerState

from self1e.files import write_atomically

TABLE = "curve.csv"
FIRST = ("step", "seconds")

Row = dict[str, Any]


class Curve(TrainerCallback):
    """Writes the table, for any program that draws one. Of a run that goes on, the earlier rows stay.

    `seconds` are those that the run has taken so far, without those between an end and the next start.

    Args:
        folder: Of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / TABLE
        self.rows: dict[int, Row] = {}
        self.columns: list[str] = list(FIRST)
        self.began = 0.0

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Takes over what was logged up to the checkpoint; what came after it is done again."""
        seconds = {step: row["seconds"] for step, row in self._written().items()}
        known = [second for step, second in seconds.items() if step <= state.global_step]
        self.began = time.monotonic() - max(known, default=0.0)
        self.rows = {}
        for line in state.log_history:
            self._add(line, seconds.get(line["step"]))
        if state.is_world_process_zero:
            self._write()

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Adds what was logged: a row of its own, or figures of validation in the row of their step."""
        before, columns = len(self.rows), len(self.columns)
        self._add({**(logs or {}), "step": state.global_step}, round(time.monotonic() - self.began, 1))
        if not state.is_world_process_zero:
            return
        if len(self.rows) > before and len(self.columns) == columns:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                self._writer(file).writerow(self.rows[state.global_step])
        else:
            self._write()

    def _add(self, line: Row, seconds: float | None) -> None:
        row = self.rows.setdefault(line["step"], {"seconds": seconds})
        row |= {name: value for name, value in line.items() if isinstance(value, int | float)}
        self.columns += [name for name in row if name not in self.columns]

    def _written(self) -> dict[int, Row]:
        """Step -> what the table says of it, as far as it can be read."""
        if not self.path.exists():
            return {}
        found = {}
        with self.path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                try:
                    found[int(row["step"])] = {"seconds": float(row["seconds"])}
                except (TypeError, ValueError, KeyError):  # a line that was cut off
                    continue
        return found

    def _write(self) -> None:
        text = io.StringIO(newline="")
        writer = self._writer(text)
        writer.writeheader()
        writer.writerows(self.rows.values())
        with write_atomically(self.path, overwrite=True) as file:
            file.write(text.getvalue().encode("utf-8"))

    def _writer(self, file: Any) -> csv.DictWriter[str]:
        return csv.DictWriter(file, self.columns, restval="", lineterminator="\n")
