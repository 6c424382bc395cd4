"""Places to write to, checked before any work is done."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from self1e.cli.terminal import CliError


def check_writable(paths: Sequence[Path], overwrite: bool) -> None:
    """Makes sure that these files can be written.

    Raises:
        CliError: When one exists and may not be replaced, or its folder is missing or closed.
    """
    for folder in {path.parent for path in paths}:
        if not folder.is_dir():
            raise CliError(f"cannot write into {folder}: there is no such folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise CliError(f"cannot write into {folder}: permission denied")
    existing = [path for path in paths if path.exists()]
    for path in existing:
        if path.is_dir():
            raise CliError(f"cannot write {path}: it is a folder")
    if existing and not overwrite:
        more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise CliError(f"{existing[0]} exists already{more}: give --overwrite to replace it, or write elsewhere")


def make_folder(folder: Path) -> None:
    """Makes a folder for outputs, if it is not there yet.

    Raises:
        CliError: When that cannot be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise CliError(f"cannot write into {folder}: it is a file, not a folder") from None
    except OSError as error:
        raise CliError(f"cannot make the folder {folder}: {error.strerror}") from None
