"""Paths as people type them, and files and folders of which a reader never sees half."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

PICTURE_SUFFIXES = frozenset(
    f".{kind}"
    for kind in ("avif", "bmp", "gif", "jfif", "jp2", "jpeg", "jpg", "pgm", "png", "ppm", "tga", "tif", "tiff", "webp")
)
"""Of files in a folder that are taken for pictures."""


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


def write_json(path: str | os.PathLike[str], tree: Any, *, overwrite: bool = False, indent: int | None = None) -> None:
    """Writes JSON in UTF-8; otherwise as `write_atomically`.

    File names and arguments that are no UTF-8 reach Python as halves of surrogate pairs, which UTF-8 cannot hold: those
    are escaped, as JSON allows.
    """
    text = json.dumps(tree, ensure_ascii=False, indent=indent)
    with write_atomically(path, overwrite) as file:
        file.write(text.encode("utf-8", "backslashreplace") + b"\n")


@contextmanager
def folder_when_complete(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A new folder, which takes its name and the place of an older one when the block ends well, or else vanishes.

    Its parents are made. What lies in it can be read by all whom the user lets read new files, even if the program that
    wrote it (safetensors) wanted otherwise.

    Args:
        path: Where the folder is to be.

    Yields:
        The folder to fill, a hidden neighbour of `path`.

    Raises:
        OSError: The place cannot be written.
    """
    path = Path(path).resolve()  # "." has no name to put the new folder beside
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.urandom(4).hex()}.partial")
    replaced = staging.with_suffix(".old")
    staging.mkdir()
    try:
        yield staging
        ordinary = staging / f".{os.urandom(8).hex()}.tmp"
        ordinary.touch()
        mode = ordinary.stat().st_mode
        ordinary.unlink()
        for file in filter(Path.is_file, staging.rglob("*")):
            file.chmod(mode)
        if path.exists():
            path.rename(replaced)
        staging.rename(path)
        shutil.rmtree(replaced, ignore_errors=True)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        if replaced.exists() and not path.exists():
            replaced.rename(path)
        raise


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if not overwrite and path.exists():
        raise FileExistsError(
            f"{path} exists already; pass overwrite=True (on the command line --overwrite) to replace it"
        )
