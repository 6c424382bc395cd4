"""What the sub-commands print with: results on stdout; notices, errors and progress on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

#: Longest line of an error message; a list of a thousand weights helps nobody.
LONGEST_LINE = 400

#: Characters in a column of names or prompts: a long prompt must not push the figures off the terminal.
WIDEST_CELL = 40


class CliError(Exception):
    """Bad usage or input. The message is what the user reads."""


class PlainConsole(Console):
    """A console that prints text as it is, and leaves a reader that went away to the caller; rich would exit."""

    def on_broken_pipe(self) -> None:
        """Called while the error is handled."""
        raise BrokenPipeError


def out() -> Console:
    """The console for results. Made anew each time, as tests replace stdout."""
    return PlainConsole(file=sys.stdout, highlight=False)


def err() -> Console:
    """The console for everything that is not a result."""
    return PlainConsole(file=sys.stderr, highlight=False)


def show(what: RenderableType) -> None:
    """Prints a result. A string is taken literally, and is wrapped by the terminal only."""
    text = Text(printable(what)) if isinstance(what, str) else what
    out().print(text, soft_wrap=isinstance(text, Text))


def printable(text: str) -> str:
    """A text without control characters: what a model or a file name says must not steer the terminal.

    >>> printable("red\x1b[31m" + chr(10) + "boat")
    'red?[31m\\nboat'
    """
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)


def in_a_cell(text: str) -> str:
    """A text on one line, cut to the width of a table's column.

    >>> in_a_cell("the red boat"), len(in_a_cell("the red boat behind the house " * 9))
    ('the red boat', 40)
    """
    line = " ".join(text.split())
    return line if len(line) <= WIDEST_CELL else line[: WIDEST_CELL - 3] + "..."


def counted(number: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "picture"), counted(2000, "thing")
    ('1 picture', '2,000 things')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def notice(message: str) -> None:
    """Prints a notice on stderr."""
    err().print(Text.assemble(("note: ", "yellow"), printable(message)), soft_wrap=True)


def complain(message: str) -> None:
    """Prints an error on stderr."""
    lines = [line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE] + " ..." for line in message.splitlines()]
    err().print(Text.assemble(("error: ", "bold red"), printable("\n".join(lines))), soft_wrap=True)


def show_own_warnings(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Prints this package's own warnings as notices; those of other libraries mean nothing to who runs a command."""
    if Path(filename).is_relative_to(Path(__file__).parents[1]):
        notice(str(message))


class RateColumn(ProgressColumn):
    """How many are done a second, or how many seconds one takes."""

    def render(self, task: Task) -> Text:
        """See the class; nothing as long as it is not known."""
        rate = task.finished_speed or task.speed
        if not rate:
            return Text("")
        return Text(f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each")


def progress_bar() -> Progress:
    """A progress bar on stderr, which shows on a terminal only and leaves nothing behind; see `above`."""
    console = err()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,  # or results would go to stderr
        disable=not console.is_terminal,
    )


@contextmanager
def above(progress: Progress) -> Iterator[None]:
    """Takes the progress bar off the terminal while something else is printed."""
    if progress.disable:
        yield
        return
    progress.stop()
    try:
        yield
    finally:
        progress.start()


@contextmanager
def busy(what: str) -> Iterator[None]:
    """A spinner on stderr, on a terminal only, while something takes its time."""
    console = err()
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        console=console,
        transient=True,
        redirect_stdout=False,
        disable=not console.is_terminal,
    ) as progress:
        progress.add_task(what)
        yield


def quiet_libraries() -> None:
    """Stops transformers from talking while it loads a model. Downloads keep their progress bars."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def bars_for_terminals_only() -> None:
    """Stops transformers from drawing bars of progress into files, where its warnings are still wanted."""
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
