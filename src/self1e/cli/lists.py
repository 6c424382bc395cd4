"""Lists of pictures with what to segment in each: a CSV file, lines of JSON, or a Parquet table."""

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
from self1e.processing.sources import Row


def read_list(file: Path) -> dict[str | Row, list[str]]:
    """Pictures as they stand in a list, each once, with their prompts. Paths are relative to the list.

    A CSV file has columns `image` and `prompt`; a line of JSON has `image`, and `prompt` or `prompts`, so that data for
    training (`self1e.data.own`) are a list, too: a warning says how many of their lines are conversations, which are
    passed over. A Parquet table has a column `image` of paths, or of pictures (bytes, alone or as in data sets of
    Hugging Face), and may have `prompt`, of text or lists of it. What else is there is left aside.

    Raises:
        CliError: When it cannot be read, is empty, or lacks something.
        MissingPackage: Without pyarrow for a Parquet table.
    """
    found: dict[str | Row, list[str]] = {}
    try:
        for number, image, prompts in _ROWS_OF[file.suffix.lower()](file):
            if isinstance(image, str):
                image = as_listed(image.strip(), file.parent)
            if not isinstance(image, str | Row) or not image or not all(isinstance(each, str) for each in prompts):
                raise CliError(f"{file}, line {number}: needs an `image` and its `prompt`, both text")
            found.setdefault(image, []).extend(prompts)
    except (OSError, ValueError, csv.Error) as error:
        raise CliError(f"cannot read the list {file}: {error}") from None
    if not found:
        raise CliError(f"the list {file} is empty")
    return found


def _lines(file: Path) -> io.StringIO:
    return io.StringIO(text_of(file.read_bytes()), newline="")


def _of_table(file: Path) -> Iterator[tuple[int, Any, list[Any]]]:
    rows = csv.DictReader(_lines(file))
    missing = {"image", "prompt"} - {*(rows.fieldnames or ())}
    if missing:
        there = ", ".join(rows.fieldnames or ()) or "nothing"
        raise CliError(f"{file} needs columns called image and prompt in its first line; there is {there}")
    for row in rows:
        yield rows.line_num, row["image"], [row["prompt"]]


def _of_json(file: Path) -> Iterator[tuple[int, Any, list[Any]]]:
    conversations = 0
    for number, line in enumerate(_lines(file), start=1):
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


def _of_parquet(file: Path) -> Iterator[tuple[int, Any, list[Any]]]:
    """Rows count from 0. Of pictures only the places are read."""
    from self1e.data.forms.needs import package

    package("pyarrow", extra="parquet", what=str(file))
    from pyarrow.parquet import ParquetFile

    with ParquetFile(file) as table:
        columns = {field.name: field.type for field in table.schema_arrow}
        if "image" not in columns:
            raise CliError(f"{file} needs a column called image; there is {', '.join(columns) or 'nothing'}")
        of_pictures = "binary" in str(columns["image"])
        read = [each for each in ("image", "prompt") if each in columns and not (each == "image" and of_pictures)]
        number = 0
        for group in range(table.num_row_groups):
            count = table.metadata.row_group(group).num_rows
            rows = table.read_row_group(group, read).to_pylist() if read else [{}] * count
            for place, row in enumerate(rows):
                prompt = row.get("prompt")
                several = prompt if isinstance(prompt, list) else [] if prompt is None else [prompt]
                yield number, Row(file, number, group, place) if of_pictures else row["image"], several
                number += 1


_ROWS_OF = {".csv": _of_table, ".jsonl": _of_json, ".parquet": _of_parquet}

LISTS = tuple(_ROWS_OF)
"""How names of such files end; no picture is called so."""
