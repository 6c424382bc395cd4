"""Paths as people type them, and files of which a reader never sees half."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def expand_user(path: str | os.PathLike[str]) -> Path:
    """The path with `~` and `~user` replaced by home folders; as it is where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


@contextmanager
def write_atomically(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[BinaryIO]:
    """Opens a file for writing that takes its name only when the block ends well.

    The bytes go to a hidden neighbour first, which is then renamed: after an error or a crash the old file, if any, is
    as it was.

    Args:
        path: Where the file is to be. Its folder must exist.
        overwrite: Whether a file of that name may be replaced.

    Yields:
        The open binary file.

    Raises:
        FileExistsError: The file exists and `overwrite` is False.
        OSError: The place cannot be written, for instance because the folder does not exist; the message names it.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    _refuse_existing(path, overwrite)
    temporary = path.with_name(f".{os.urandom(8).hex()}.tmp")
    try:
        # Not tempfile: its files are readable by their owner only, and would stay so under the final name.
        file = temporary.open("xb")
    except OSError as error:
        raise type(error)(f"cannot write {path}: {error.strerror or error}") from error
    try:
        with file:
            yield file
        _refuse_existing(path, overwrite)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if not overwrite and path.exists():
        raise FileExistsError(
            f"{path} exists already; pass overwrite=True (on the command line --overwrite) to replace it"
        )
