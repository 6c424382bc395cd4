"""Runs the commands that Markdown files show, as a reader would: `python tests/readme_commands.py README.md`.

Fenced blocks marked `bash` or `python` are run, in the order of the text, and `yaml` whose first line is a comment
with the name of a file (`# mine.yaml`) is written into that; all others (`text`, `console`, ...) are not run. Comments
on the lines right before a block, which readers do not see, say what else has to be known:

    <!-- not run: REASON -->     the block is left out
    <!-- first: COMMANDS -->     bash, which makes what the block needs and readers have of their own: photographs, say
    <!-- beside: COMMAND -->     a server, which runs while the block does; it and the block have a free port in place
                                 of 8000

Everything of a page happens in one temporary copy of the repository, so that a block finds the files of those before
it and the checkout stays clean. The environment of this Python comes first on the PATH, standard input is empty, and a
bash block stops at its first failing command. The first block that fails ends the run, with exit status 1.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEFT_BEHIND = (".git", ".venv", "__pycache__", ".*_cache", ".cache", ".hypothesis", "*.egg-info", "build", "dist")
OUTPUTS = ("runs", "outputs", "demo-output", "site")
PORT = "8000"
"""Where a server of the docs listens."""
STARTS_IN = 120
"""Seconds in which a server has to be ready."""

FENCE = re.compile(
    r"^(?P<indent>[ \t]*)(?P<fence>`{3,})(?P<language>[\w-]*)[^\n`]*\n(?P<body>.*?)^[ \t]*(?P=fence)[ \t]*$",
    re.M | re.S,
)
NOTE = re.compile(r"<!--\s*(?P<kind>not run|first|beside):\s*(?P<text>(?:(?!-->).)*?)\s*-->[ \t]*\n?[ \t]*\Z", re.S)
FILE_NAME = re.compile(r"# (?P<name>[\w.-]+\.ya?ml)\n")


@dataclass(frozen=True)
class Block:
    """One fenced block. `line` is that of its fence, from 1; `skip` is why it is not to be run ("" when it is)."""

    language: str
    body: str
    line: int
    skip: str = ""
    first: str = ""
    beside: str = ""

    @property
    def file(self) -> str:
        """The name of the file that a block of settings is; "" for other blocks."""
        name = FILE_NAME.match(self.body) if self.language == "yaml" else None
        return name["name"] if name else ""


def all_blocks(markdown: str) -> list[Block]:
    """Every fenced block of a text, in order; those in others are part of these.

    Raises:
        ValueError: A comment before a block does not say what it is about.
    """
    blocks = []
    for match in FENCE.finditer(markdown):
        line = markdown.count("\n", 0, match.start()) + 1
        above, notes = markdown[: match.start()], dict[str, str]()
        while note := NOTE.search(above):
            if not note["text"]:
                raise ValueError(f"line {line - 1}: `{note['kind']}` needs a text")
            notes[note["kind"]] = textwrap.dedent(note["text"])
            above = above[: note.start()]
        skip, first, beside = (notes.get(kind, "") for kind in ("not run", "first", "beside"))
        blocks.append(Block(match["language"], textwrap.dedent(match["body"]), line, skip, first, beside))
    return blocks


def find_blocks(markdown: str) -> list[Block]:
    """The blocks of a text that are to be run or written, in order, with those left out for a reason."""
    return [block for block in all_blocks(markdown) if block.language in ("bash", "python") or block.file]


def copy_of_repository(folder: Path) -> Path:
    """Copies what belongs to the repository into a new folder of `folder`, and returns that."""
    left_behind = shutil.ignore_patterns(*LEFT_BEHIND)

    def ignore(path: str, names: list[str]) -> set[str]:
        return left_behind(path, names) | (set(OUTPUTS) if Path(path) == ROOT else set())

    return Path(shutil.copytree(ROOT, folder / ROOT.name, ignore=ignore))


def run_block(block: Block, folder: Path, timeout: float) -> int:
    """Runs a block in a folder. Returns its exit status, 124 when it took longer than `timeout` seconds."""
    if block.file:
        (folder / block.file).write_text(block.body, "utf-8")
        return 0
    binaries = Path(sys.executable).parent
    # VENV keeps `make` in the copy from building an environment of its own.
    environment = {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(binaries.parent),
        "VENV": str(binaries.parent),
    }
    port = str(free_port()) if block.beside else PORT
    environment["BLOCK"] = block.body.replace(PORT, port)
    run = 'exec "$PYTHON" -c "$BLOCK"' if block.language == "python" else 'eval "$BLOCK"'
    environment["PYTHON"] = sys.executable
    command = ["bash", "-euo", "pipefail", "-c", f"{block.first}\n{run}"]
    with serving(block.beside, port, folder, environment):
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            return 124
        finally:
            end(process)


@contextlib.contextmanager
def serving(command: str, port: str, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Has a server run on a port, from when it is ready on; nothing for an empty command.

    Raises:
        RuntimeError: It ended, or was not ready in time.
    """
    if not command:
        yield
        return
    process = subprocess.Popen(
        f"exec {command} --port {port}", shell=True, cwd=folder, env=environment, start_new_session=True
    )
    try:
        deadline = time.monotonic() + STARTS_IN
        while not is_ready(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"`{command}` was not ready after {STARTS_IN} s, or ended")
            time.sleep(0.2)
        yield
    finally:
        end(process)


def is_ready(port: str) -> bool:
    with contextlib.suppress(OSError):
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).status == 200
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and what it started: it has a session of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_page(page: Path, folder: Path, timeout: float) -> bool:
    """Runs the blocks of a page, and prints them. Returns whether all went well."""
    blocks = find_blocks(page.read_text("utf-8"))
    print(f"{page}: {len(blocks)} blocks, {sum(not block.skip for block in blocks)} to run", flush=True)
    for block in blocks:
        show(page, block)
        if block.skip:
            continue
        start = time.monotonic()
        status = run_block(block, folder, timeout)
        print(f"=== exit status {status} after {time.monotonic() - start:.0f} s", flush=True)
        if status:
            return False
    return True


def show(page: Path, block: Block) -> None:
    print(f"\n=== {page}:{block.line} ({block.language})" + f", not run: {block.skip}" * bool(block.skip))
    print(textwrap.indent(block.body.rstrip(), "    "), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="Markdown files")
    parser.add_argument("--timeout", type=float, default=600, help="seconds that a block may take (default 600)")
    parser.add_argument("--list", action="store_true", help="show the blocks without running them")
    arguments = parser.parse_args()
    for page in arguments.files:
        if arguments.list:
            for block in find_blocks(page.read_text("utf-8")):
                show(page, block)
            continue
        with tempfile.TemporaryDirectory(prefix="readme-") as temporary:
            if not run_page(page, copy_of_repository(Path(temporary)), arguments.timeout):
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
