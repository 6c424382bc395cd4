"""Lists of pictures with what to segment in each: a CSV file, or lines of JSON."""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from self1e.cli.terminal import CliError
from self1e.files import as_listed, text_of

LISTS = (".csv", ".jsonl")
"""How names of such files end; no picture is called so."""


def read_list(file: Path) -> dict[str, list[str]]:
    """Pictures as they stand in a list, each once, with their prompts. Paths are relative to the list.

    A CSV file has columns `image` and `prompt`; a line of JSON has `image`, and `prompt` or `prompts`, so that data for
    training (`self1e.data.own`) are a list, too: a warning says how many of their lines are conversations, which are
    passed over. What else is there is left aside.

    Raises:
        CliError: When it cannot be read, is empty, or lacks something.
    """
    found: dict[str, list[str]] = {}
    try:
        lines = io.StringIO(text_of(file.read_bytes()), newline="")
        rows = _of_table(lines, file) if file.suffix.lower() == ".csv" else _of_json(lines, file)
        for number, image, prompts in rows:
            if not isinstance(image, str) or not image.strip() or not all(isinstance(each, str) for each in prompts):
                raise CliError(f"{file}, line {number}: needs an `image` and its `prompt`, both text")
            found.setdefault(as_listed(image.strip(), file.parent), []).extend(prompts)
    except (OSError, ValueError, csv.Error) as error:
        raise CliError(f"cannot read the list {file}: {error}") from None
    if not found:
        raise CliError(f"the list {file} is empty")
    return found


def _of_table(lines: Any, file: Path) -> Iterator[tuple[int, Any, list[Any]]]:
    rows = csv.DictReader(lines)
    missing = {"image", "prompt"} - {*(rows.fieldnames or ())}
    if missing:
        there = ", ".join(rows.fieldnames or ()) or "nothing"
        raise CliError(f"{file} needs columns called image and prompt in its first line; there is {there}")
    for row in rows:
        yield rows.line_num, row["image"], [row["prompt"]]


def _of_json(lines: Any, file: Path) -> Iterator[tuple[int, Any, list[Any]]]:
    conversations = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            tree = json.loads(line)
            if "conversations" in tree and "prompt" not in tree:
                conversations += 1
                continue
            given = tree["prompts"] if "prompts" in tree else tree["prompt"]
            several = given if isinstance(given, list) else [given]
            yield number, tree["image"], [each["prompt"] if isinstance(each, dict) else each for each in several]
        except (ValueError, TypeError, KeyError) as error:
            raise CliError(f"{file}, line {number}: is no object with `image` and `prompt` ({error!r})") from None
    if conversations:
        warnings.warn(f"{file}: passed over {conversations:,} lines of conversations", stacklevel=2)
