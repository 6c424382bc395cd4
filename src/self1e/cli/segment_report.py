"""What `self1e segment` says of a run while it goes on, and what it writes of all pictures together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from self1e.cli.segment_plan import Kept, Plan
from self1e.cli.terminal import complain, show

if TYPE_CHECKING:
    from self1e.segment.files import Done


class Report:
    """Prints what becomes of the pictures, and counts.

    Args:
        plan: What to do.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.failures = self.results = self.found = 0
        self.model_name = ""
        self.whole: list[dict[str, Any]] = []

    def add(self, done: Done[Kept]) -> None:
        """Prints the results of one picture, or why it was passed over."""
        if done.value is None:
            self.failures += 1
            complain(str(done.error))
            return
        if not self.results and self.plan.out is not None:
            show(Text(self.plan.row("picture", "prompt", "", "score", "area", ""), "dim"))
        self.model_name = done.value.model
        self.results += len(done.value.found)
        self.found += sum(done.value.found)
        self.whole.append(done.value.whole)
        for line, found in zip(done.value.lines, done.value.found, strict=True):
            if self.plan.out is None:
                print(line, flush=True)
            else:
                show(Text(line, "" if found else "dim"))

    def write_whole(self) -> None:
        """Writes the files of the whole set, with all results so far."""
        if not self.results or self.plan.out is None:
            return
        info = {"model": self.model_name, "images": str(self.plan.folder)}
        for form, writer in self.plan.writers.items():
            writer.finish([whole[form] for whole in self.whole], info)
        for file in self.plan.whole_files:
            show(f"{file.name}: {file}")

    def finish(self) -> int:
        """Writes the last line, and returns the exit code of the command."""
        if self.results and self.plan.out is not None:
            show(f"{self.found} of {self.results} found by {self.model_name}")
        if self.failures:
            return 2
        return 0 if self.found else 1
