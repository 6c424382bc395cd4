"""What `self1e segment` says of a run while it goes on, and what it writes of all pictures together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from rich.text import Text

from self1e.cli.segment_plan import Kept, Plan
from self1e.cli.terminal import complain, notice, show

if TYPE_CHECKING:
    from self1e.segment.files import Done
    from self1e.segment.journal import Journal

FAILED_NAME = "failed.csv"


@dataclass(frozen=True)
class _Kept:
    """What a form needs of all pictures, read from the journal each time that it is gone through: it may be many GB."""

    journal: Journal
    names: list[str]
    form: str

    def __iter__(self) -> Iterator[Any]:
        return (whole[self.form] for whole in self.journal.whole(self.names))


class Report:
    """Prints what becomes of the pictures, counts, and writes it down.

    Args:
        plan: What to do.
        journal: Where it is written down; None if there are no files.
    """

    def __init__(self, plan: Plan, journal: Journal | None) -> None:
        self.plan = plan
        self.journal = journal
        self.failures = self.results = self.found = 0
        self.model_name = ""
        self._headed = False
        if journal is None:
            return
        before = [journal.done[each.name] for number, each in enumerate(plan.pictures) if number not in plan.todo]
        for entry in before:
            self._count(entry["model"], entry["found"])
        if before:
            notice(f"{len(before):,} of {len(plan.pictures):,} pictures were done before")
        if plan.spared:
            first, *others = sorted(plan.spared)
            more = f" (and {len(others):,} more)" if others else ""
            notice(f"{first}{more} was changed after it was written, and is left as it is")

    def add(self, done: Done[Kept]) -> None:
        """Prints the results of one picture, or why it was passed over."""
        picture, kept = self.plan.pictures[done.index], done.value
        if kept is None:
            self.failures += 1
            complain(str(done.error))
            if self.journal is not None:
                self.journal.add_failed(picture.name, str(done.error))
            return
        self._count(kept.model, kept.found)
        if self.journal is None:
            for (line,) in kept.lines:
                print(line, flush=True)
            return
        about = {"found": kept.found, "model": kept.model, "whole": kept.whole, "stem": picture.stem}
        self.journal.add_done(picture.name, picture.stamp(), kept.files, about)
        if not self._headed:
            show(Text(self.plan.row("picture", "prompt", "", "score", "area", ""), "dim"))
            self._headed = True
        for cells, found in zip(kept.lines, kept.found, strict=True):
            show(Text(self.plan.row(*cells), "" if found else "dim"))

    def _count(self, model: str, found: list[bool]) -> None:
        self.model_name = model
        self.results += len(found)
        self.found += sum(found)

    def write_whole(self) -> None:
        """Writes the files of the whole set, with all that was done so far: before, now, and by runs side by side."""
        if self.journal is None or not self.journal.exists:
            return
        with self.journal.alone():
            self.journal.read()
            names = self._in_order(self.journal.done)
            if names:
                info = {"model": self.model_name, "images": str(self.plan.folder)}
                for form, writer in self.plan.writers.items():
                    writer.finish(_Kept(self.journal, names, form), info)
                self.journal.add_whole(self.plan.whole_files)
            self._write_failed()
        for file in self.plan.whole_files if names else ():
            show(f"{file.name}: {file}")

    def _in_order(self, done: Iterable[str]) -> list[str]:
        """Names of what is done of the plan, and of other pictures, of earlier runs, that are still there."""
        planned = {picture.name for picture in self.plan.pictures}
        names = [name for name in done if name in planned or (self.plan.folder / name).exists()]
        return sorted(names, key=PurePosixPath)

    def _write_failed(self) -> None:
        """Lists what failed, of all runs into the folder; there is no list when nothing did."""
        assert self.journal is not None and self.plan.out is not None
        from self1e.data.forms.table import write_table

        file = self.plan.out / FAILED_NAME
        rows = [
            (name, "; ".join(self.journal.prompts.get(run, [])), reason)
            for (run, name), reason in self.journal.failed.items()
        ]
        if rows:
            write_table(file, ("picture", "prompts", "reason"), rows)
        else:
            file.unlink(missing_ok=True)

    def finish(self) -> int:
        """Writes the last line, and returns the exit code of the command."""
        if self.results and self.plan.out is not None:
            failed = f"; {self.failures} failed, see {self.plan.out / FAILED_NAME}" if self.failures else ""
            show(f"{self.found} of {self.results} found by {self.model_name}{failed}")
        if self.failures:
            return 2
        return 0 if self.found else 1
