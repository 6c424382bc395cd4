"""The command `self1e`: one file per sub-command, and here what they share with the shell.

Only typer and rich are imported at the top of these files; torch and transformers load inside the commands that need
them, so that help and usage errors come at once.

Exit codes: 0 success, 1 an honest "no" (nothing found, a verification that fails), 2 bad usage or input. What is wrong
is said in a sentence on stderr; `--debug` adds the traceback.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from self1e.cli.terminal import CliError, complain, notice, show_own_warnings
from self1e.files import expand_user
from self1e.plugins import COMMANDS, PluginError, installed, load

OWN = ("segment", "chat", "web", "serve", "info", "convert", "train", "merge", "evaluate", "export", "doctor", "data")
"""Modules of the sub-commands. The distribution self1e-runtime, which has no torch, has `segment` and `info` only."""

DEBUG = "--debug"
INTERRUPTED, BROKEN_PIPE = 130, 141  # what a shell reports for these signals
NO_MEMORY = ("out of memory", "can't allocate memory")  # in the words of torch for GPUs, and for CPUs


def paragraphs(docstring: str | None) -> str:
    """A docstring with each paragraph in one line, for the terminal to wrap."""
    return "\n\n".join(" ".join(part.split()) for part in (docstring or "").split("\n\n"))


def expand_paths(commands: typer.Typer) -> typer.Typer:
    """Has `~` begin all paths that commands take at the home folder: shells leave that in `--out=~/x` as it is."""
    for each in commands.registered_commands:
        if each.callback is not None:
            each.callback = _with_expanded_paths(each.callback)
    for group in commands.registered_groups:
        if group.typer_instance is not None:
            expand_paths(group.typer_instance)
    return commands


def _with_expanded_paths(command: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(command)
    def with_expanded_paths(**given: Any) -> Any:
        return command(**{name: _expanded(value) for name, value in given.items()})

    return with_expanded_paths


def _expanded(value: Any) -> Any:
    if isinstance(value, list):
        return [_expanded(each) for each in value]
    return expand_user(value) if isinstance(value, Path) else value


class WithPlugins(TyperGroup):
    """Our own commands, and those of plugins, which are imported when they are asked for.

    Contexts and commands are click's, or, depending on the version, of the copy of click that typer has.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *(name for name in installed(COMMANDS) if name not in self.commands)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in installed(COMMANDS):
            return own
        try:
            plugin = load(COMMANDS, cmd_name)
        except PluginError as error:  # which must not take the other commands away
            notice(str(error))
            return None
        if not isinstance(plugin, typer.Typer):
            notice(f"the command {cmd_name!r} should be a typer.Typer, not {type(plugin).__name__}: it is left out")
            return None
        command = typer.main.get_group(expand_paths(plugin))
        command.name = cmd_name
        return command


app = typer.Typer(
    name="self1e",
    cls=WithPlugins,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name in OWN:
    if find_spec(f"{__name__}.{name}") is None:
        continue
    module = import_module(f"{__name__}.{name}")
    if name == "data":
        app.add_typer(module.app, name=name)
    else:
        app.command(name=module.NAME, help=paragraphs(module.command.__doc__), epilog=module.EXAMPLES)(module.command)
expand_paths(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        from self1e.version import __version__

        print(f"self1e {__version__}")
        raise typer.Exit


@app.callback(
    epilog="[dim]Try it:[/]\n\n  self1e segment examples/pictures/lakeside.png -p 'the red boat'\n\n"
    "  self1e COMMAND --help"
)
def root(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_print_version, is_eager=True),
    debug: bool = typer.Option(False, DEBUG, help="Show the traceback of an error. Works anywhere on the line."),
) -> None:
    """Segment pictures by text: a multimodal language model points at what you name."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and ends the process with its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name in letters that it lacks must not end the work
    sys.exit(run(arguments))


def run(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit code; prints errors, and raises none unless debugging."""
    arguments = list(arguments)
    end_of_options = arguments.index("--") if "--" in arguments else len(arguments)
    debug = DEBUG in arguments[:end_of_options]
    arguments = [each for each in arguments[:end_of_options] if each != DEBUG] + arguments[end_of_options:]
    if not debug:
        warnings.showwarning = show_own_warnings
    try:
        result = typer.main.get_command(app).main(arguments, prog_name="self1e", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit complains
        return BROKEN_PIPE
    except Exception as error:
        if debug:
            raise
        return _report(error)


def _report(error: Exception) -> int:
    """Says in one sentence what is wrong."""
    if isinstance(error, typer.Abort):  # Ctrl-C, in the words of click
        return INTERRUPTED
    if hasattr(error, "format_message"):  # a usage error of click, wherever typer keeps its copy of that
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "self1e"
        if message := error.format_message():
            complain(f"{message}{'' if message.endswith(('.', '?')) else '.'} See: {path} --help")
    elif isinstance(error, (CliError, ValueError, OSError)):
        complain(str(error) or type(error).__name__)
    elif isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("self1e."):
        complain(f"self1e-runtime runs exported models and has no {error.name}: pip install self1e has the rest")
    elif isinstance(error, MemoryError) or any(each in str(error).lower() for each in NO_MEMORY):
        complain("there is not enough memory: try fewer --max-tiles, --dtype bfloat16, another --device or model")
    else:
        complain(f"unexpected {type(error).__name__}: {error} ({DEBUG} shows where; self1e doctor looks for the cause)")
    return 2
