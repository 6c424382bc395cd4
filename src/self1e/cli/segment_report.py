"""What `self1e segment` says of a run while it goes on, and what it writes of all pictures together."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from self1e.cli.segment_plan import Kept, Plan
from self1e.cli.terminal import complain, notice, show
from self1e.segment.journal import is_whole

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
        before: Names of pictures that were done before.
    """

    def __init__(self, plan: Plan, journal: Journal | None, before: Sequence[str]) -> None:
        self.plan = plan
        self.journal = journal
        self._planned = {*before, *(picture.name for picture in plan.pictures)}
        self.failures = self.results = self.found = 0
        self.model_name = ""
        self._headed = self._refused = False
        if journal is None:
            return
        for name in before:
            self._count(journal.done[name]["model"], journal.done[name]["found"])
        if before:
            notice(f"{len(before):,} of {len(self._planned):,} pictures were done before")
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
                about = {"prompts": picture.prompts, "source": picture.origin}
                self.journal.add_failed(picture.name, str(done.error), self.plan.stamps(picture), about)
            return
        self._count(kept.model, kept.found)
        if self.journal is None:
            for (line,) in kept.lines:
                print(line, flush=True)
            return
        of_picture = {"stem": picture.stem, "source": picture.origin}
        of_results = {"found": kept.found, "model": kept.model, "whole": kept.whole}
        self.journal.add_done(picture.name, picture.stamp(), kept.files, of_picture | of_results)
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
        """Writes the files of the whole set, with all that was done so far: before, now, and by runs side by side.

        Those that hold it already, or are somebody else's, stay as they are.
        """
        if self.journal is None or not self.journal.exists:
            return
        files = self.plan.whole_files
        with self.journal.alone():
            self.journal.read()
            names = self.journal.in_order(self._planned)
            holds = self.journal.digest(names)
            if names and (holds != self.journal.holds or not all(map(is_whole, files))) and self._claim(files):
                info = {"model": self.model_name, "images": str(self.plan.folder)}
                for form, writer in self.plan.writers.items():
                    writer.finish(_Kept(self.journal, names, form), info)
                self.journal.add_whole(files, holds)
                for file in files:
                    show(f"{file.name}: {file}")
            self._write_failed()

    def _write_failed(self) -> None:
        """Lists what failed, of all runs into the folder; there is no list when nothing did."""
        assert self.journal is not None and self.plan.out is not None
        file = self.plan.out / FAILED_NAME
        rows = self.journal.failures(self._planned)
        if not rows and self.journal.state(file, of_any=True) == "ours":
            file.unlink()
            self.journal.add_whole([file])
        elif rows != _listed(file) and self._claim([file], of_any=True):
            from self1e.data.forms.table import write_table

            write_table(file, ("picture", "prompts", "reason"), rows)
            self.journal.add_whole([file])

    def _claim(self, files: Sequence[Path], of_any: bool = False) -> bool:
        """Whether files may be written; if so, it is written down that they are going to be."""
        assert self.journal is not None
        theirs = [file for file in files if self.journal.state(file, of_any) not in ("free", "ours")]
        for file in theirs:
            complain(f"{file} was changed by someone else, and is left as it is: give --overwrite to replace it")
        if theirs:
            self._refused = True
        else:
            self.journal.add_plan(files)
        return not theirs

    def finish(self) -> int:
        """Writes the last line, and returns the exit code of the command."""
        if self.results and self.plan.out is not None:
            failed = f"; {self.failures} failed, see {self.plan.out / FAILED_NAME}" if self.failures else ""
            show(f"{self.found} of {self.results} found by {self.model_name}{failed}")
        if self.failures or self._refused:
            return 2
        return 0 if self.found else 1


def _listed(file: Path) -> list[tuple[str, ...]]:
    """The rows of a table, if there is one."""
    with suppress(OSError, ValueError, csv.Error), file.open(encoding="utf-8-sig", newline="") as lines:
        return [tuple(row) for row in csv.reader(lines)][1:]
    return []
