"""Runs the commands that a Markdown file shows, as a reader would: `python tests/readme_commands.py README.md`.

Fenced blocks marked `bash` or `python` are run, in the order of the text; all others (`text`, `console`, ...) are not.
A block is left out when the line before it is the comment `<!-- not run: REASON -->`, which readers do not see.

Everything happens in one temporary copy of the repository, so that a block finds the files of those before it and the
checkout stays clean. The environment of this Python comes first on the PATH, standard input is empty, and a bash block
stops at its first failing command. The first block that fails ends the run, with exit status 1.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEFT_BEHIND = (".git", ".venv", "__pycache__", ".*_cache", ".cache", ".hypothesis", "*.egg-info", "build", "dist")
OUTPUTS = ("runs", "outputs", "demo-output")

FENCE = re.compile(
    r"^(?P<indent>[ \t]*)(?P<fence>`{3,})(?P<language>[\w-]*)[^\n`]*\n(?P<body>.*?)^[ \t]*(?P=fence)[ \t]*$",
    re.M | re.S,
)
NOT_RUN = re.compile(r"<!--\s*not run:\s*(?P<reason>.*?)\s*-->\s*\Z", re.S)


@dataclass(frozen=True)
class Block:
    """One fenced block. `line` is that of its fence, from 1; `skip` is why it is not to be run ("" when it is)."""

    language: str
    body: str
    line: int
    skip: str


def find_blocks(markdown: str) -> list[Block]:
    """The `bash` and `python` blocks of a text, in order.

    Raises:
        ValueError: A comment says `not run` without a reason.
    """
    blocks = []
    for match in FENCE.finditer(markdown):
        language = match["language"]
        if language not in ("bash", "python"):
            continue
        line = markdown.count("\n", 0, match.start()) + 1
        above = markdown[: match.start()].rstrip(" \t").removesuffix("\n").rpartition("\n")[2]
        comment = NOT_RUN.search(above)
        if comment and not comment["reason"]:
            raise ValueError(f"line {line - 1}: `not run` needs a reason")
        blocks.append(Block(language, textwrap.dedent(match["body"]), line, comment["reason"] if comment else ""))
    return blocks


def run_block(block: Block, folder: Path, timeout: float) -> int:
    """Runs a block in a folder. Returns its exit status, 124 when it took longer than `timeout` seconds."""
    if block.language == "bash":
        command = ["bash", "-euo", "pipefail", "-c", block.body]
    else:
        command = [sys.executable, "-c", block.body]
    binaries = Path(sys.executable).parent
    # VENV keeps `make` in the copy from building an environment of its own.
    environment = {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(binaries.parent),
        "VENV": str(binaries.parent),
    }
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return 124
    finally:
        # A session of its own, so that what the block started ends with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="Markdown files")
    parser.add_argument("--timeout", type=float, default=600, help="seconds that a block may take (default 600)")
    parser.add_argument("--list", action="store_true", help="show the blocks without running them")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="readme-") as temporary:
        folder = Path(temporary) / ROOT.name
        if not arguments.list:
            top_level_outputs = {str(ROOT): set(OUTPUTS)}
            ignore = shutil.ignore_patterns(*LEFT_BEHIND)
            shutil.copytree(
                ROOT, folder, ignore=lambda path, names: ignore(path, names) | top_level_outputs.get(path, set())
            )
        for file in arguments.files:
            blocks = find_blocks(file.read_text(encoding="utf-8"))
            print(f"{file}: {len(blocks)} blocks, {sum(not block.skip for block in blocks)} to run", flush=True)
            for block in blocks:
                print(f"\n=== {file}:{block.line} ({block.language})" + f", not run: {block.skip}" * bool(block.skip))
                print(textwrap.indent(block.body.rstrip(), "    "), flush=True)
                if block.skip or arguments.list:
                    continue
                start = time.monotonic()
                status = run_block(block, folder, arguments.timeout)
                print(f"=== exit status {status} after {time.monotonic() - start:.0f} s", flush=True)
                if status:
                    return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
