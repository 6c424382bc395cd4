"""What a run logs, as a table that grows with it: `curve.csv`, a row for each step that was logged."""

from __future__ import annotations

import csv
import io
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from transformers import TrainerCallback, TrainerState

from self1e.files import write_atomically

TABLE = "curve.csv"
FIRST = ("step", "seconds")

Line = dict[str, Any]


class Curve(TrainerCallback):
    """Writes a row for each line of the log, for any program that draws tables.

    `seconds` are those that the run has taken so far, without those between an end and the next start. They are added
    to the lines that the state of the run keeps, as these go on with it.

    Args:
        folder: Of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / TABLE
        self.began = 0.0
        self.columns: list[str] = []

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Goes back to what was logged up to the checkpoint; what came after it is done again."""
        self.began = time.monotonic() - max((line.get("seconds", 0.0) for line in state.log_history), default=0.0)
        self._write(state)

    def on_log(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Takes the last line."""
        *before, line = state.log_history[-2:]
        line["seconds"] = round(time.monotonic() - self.began, 1)
        [row] = by_step([line])
        if self.columns and row.keys() <= {*self.columns} and all(each["step"] != row["step"] for each in before):
            if state.is_world_process_zero:
                with self.path.open("a", newline="", encoding="utf-8") as file:
                    self._rows(file).writerow(row)
        else:
            self._write(state)

    def _write(self, state: TrainerState) -> None:
        if not state.is_world_process_zero:
            return
        rows = by_step(state.log_history)
        text = io.StringIO(newline="")
        self.columns = list(dict.fromkeys([*FIRST, *(name for row in rows for name in row)]))
        writer = self._rows(text)
        writer.writeheader()
        writer.writerows(rows)
        with write_atomically(self.path, overwrite=True) as file:
            file.write(text.getvalue().encode("utf-8"))

    def _rows(self, file: TextIO) -> csv.DictWriter[str]:
        return csv.DictWriter(file, self.columns, restval="", lineterminator="\n")


def by_step(lines: Iterable[Line]) -> list[Line]:
    """The numbers of the lines of each step together: figures of validation stand beside those of training."""
    rows: dict[int, Line] = defaultdict(dict)
    for line in lines:
        numbers = {name: value for name, value in line.items() if isinstance(value, int | float)}
        rows[line["step"]] = numbers | rows[line["step"]]
    return list(rows.values())
