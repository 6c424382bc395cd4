"""Paths as people type them, what lies in their folders, and files of which a reader never sees half."""

from __future__ import annotations

import codecs
import json
import os
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, BinaryIO

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

PICTURE_FORMATS = frozenset(
    ("AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP")
)
"""Pillow's names of what files in a folder are taken for pictures, as far as the installed Pillow reads them."""

OTHER_PICTURES = frozenset(
    f".{kind}"
    for kind in (
        *("avif", "heic", "heif", "hif", "jp2", "jxl", "webp"),
        *("exr", "hdr", "psd", "svg"),
        *("arw", "cr2", "cr3", "dng", "nef", "orf", "raf", "rw2"),
    )
)
"""Of files that are told of when they are passed over: a user means them as pictures."""

_LEFT_BY_SYSTEMS = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir"))


def is_of_user(name: str) -> bool:
    """Whether a file or folder of this name is what its user put there: not hidden, and not left by a system.

    >>> [is_of_user(name) for name in ("a.jpg", "._a.jpg", ".DS_Store", "Thumbs.db", "__MACOSX")]
    [True, False, False, False, False]
    """
    return not name.startswith(".") and name.lower() not in _LEFT_BY_SYSTEMS


def files_of_user(folder: Path, pattern: str = "*") -> list[Path]:
    """What matches a pattern in a folder, sorted, as far as it and the folders between are the user's: `is_of_user`.

    With "**/" in front of the pattern also what is in its folders, and in those that links lead to.
    """
    folders = _folders_of_user(folder) if pattern.startswith("**/") else [folder]
    found = (path for each in folders for path in each.glob(pattern.removeprefix("**/")))
    return sorted(path for path in found if is_of_user(path.name))


def _folders_of_user(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """The folder and all in it; a link to one of those that it is in ends there."""
    itself = folder.resolve()
    if itself not in above:
        yield folder
        for path in folder.iterdir() if folder.is_dir() else ():
            if is_of_user(path.name) and path.is_dir():
                yield from _folders_of_user(path, above | {itself})


def pictures_among(paths: Iterable[Path]) -> list[Path]:
    """Those whose names say that they are pictures that can be read; a warning names the kinds that cannot."""
    found = list(paths)
    pictures = [path for path in found if path.suffix.lower() in picture_suffixes()]
    counts = Counter(path.suffix.lower() for path in found)
    others = {suffix: counts[suffix] for suffix in counts.keys() & (OTHER_PICTURES - picture_suffixes())}
    if others:
        kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(others.items()))
        heif = ".heic: pip install 'self1e[heif]'; others: " if others.keys() & {".heic", ".heif", ".hif"} else ""
        warnings.warn(
            f"passed over {kinds}, which cannot be read here ({heif}convert them to PNG or JPEG)", stacklevel=2
        )
    return pictures


@cache
def picture_suffixes() -> frozenset[str]:
    """How files of `PICTURE_FORMATS` end that can be read here, in lower case."""
    from PIL import Image

    register_heif()
    return frozenset(end for end, form in Image.registered_extensions().items() if form in PICTURE_FORMATS)


@cache
def register_heif() -> None:
    """Teaches Pillow HEIC, the format of phones, where the extra `heif` is installed."""
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()


def as_listed(name: str, folder: Path) -> str:
    r"""The path of a file that a list names, relative to a folder; on Windows, lists part folders with backslashes.

    >>> as_listed(r"photos\a.jpg", Path("data"))
    'photos/a.jpg'
    """
    return name.replace("\\", "/") if "\\" in name and not os.path.lexists(folder / name) else name


def text_of(content: bytes) -> str:
    """The text of a file in UTF-8, or in UTF-16 with its mark, as Windows' PowerShell writes it.

    Raises:
        UnicodeDecodeError: When it is neither.
    """
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf16 else "utf-8-sig")


def expand_user(path: str | os.PathLike[str]) -> Path:
    """The path with `~` and `~user` replaced by home folders; as it is where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def expand_name(name: str) -> str:
    """A name that may be a path: `~` at its beginning is the user's home folder; others stay as they are written."""
    return str(expand_user(name)) if name.startswith("~") else name


def address_of(path: str | os.PathLike[str]) -> str | None:
    """The address that somebody gave in place of a path, of which paths keep one slash; None for a path.

    >>> address_of("https://x.org/a.png"), address_of(Path("https://x.org/a.png")), address_of("c:/a.png")
    ('https://x.org/a.png', 'https://x.org/a.png', None)
    """
    found = re.match(r"(https?|ftp|file|s3|gs):/+", os.fspath(path), re.IGNORECASE)
    return f"{found[1]}://{os.fspath(path)[found.end() :]}" if found else None


def distinct(names: Sequence[str]) -> list[str]:
    """These names, numbered from the second of equal ones on. Case makes no difference, as on many file systems.

    >>> distinct(["cat", "dog", "Cat", "cat-2"])
    ['cat', 'dog', 'Cat-3', 'cat-2']
    """
    taken = {name.lower() for name in names}
    seen: set[str] = set()
    result = []
    for name in names:
        unique, number = name, 2
        if name.lower() in seen:
            while (unique := f"{name}-{number}").lower() in taken:
                number += 1
            taken.add(unique.lower())
        seen.add(name.lower())
        result.append(unique)
    return result


@contextmanager
def write_atomically(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[BinaryIO]:
    """Opens a file for writing that takes its name only when the block ends well.

    The bytes go to a hidden neighbour first, which is then renamed: after an error, a crash or a power cut the old
    file, if any, is as it was. A neighbour that was left behind is removed by `remove_leftovers`.

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
            with locked(file):
                yield file
            file.flush()
            os.fsync(file.fileno())  # or after a power cut the new name may stand for nothing
        _refuse_existing(path, overwrite)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(file: IO[bytes], wait: bool = True) -> Iterator[bool]:
    """Holds a file until the block ends, or the process does: others that ask for it wait.

    Args:
        file: Any open one.
        wait: Whether to wait for another process that holds it.

    Yields:
        Whether it is held. Where there are no such locks (on Windows), it never is.
    """
    if fcntl is None:
        yield False
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # another process has it, or the file system has no locks
        yield False
        return
    try:
        yield True
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def remove_leftovers(folder: Path) -> None:
    """Removes what `write_atomically` left in a folder when its process was killed; not what is being written."""
    for path in folder.glob(".*.tmp"):
        if re.fullmatch(r"\.[0-9a-f]{16}\.tmp", path.name):
            with suppress(OSError), path.open("rb") as file, locked(file, wait=False) as held:
                if held:
                    path.unlink()


def write_json(path: str | os.PathLike[str], tree: Any, *, overwrite: bool = False, indent: int | None = None) -> None:
    """Writes JSON in UTF-8; otherwise as `write_atomically`.

    File names and arguments that are no UTF-8 reach Python as halves of surrogate pairs, which UTF-8 cannot hold: those
    are escaped, as JSON allows.
    """
    with write_atomically(path, overwrite) as file:
        file.write(_as_json(tree, indent) + b"\n")


def write_json_as_it_comes(path: str | os.PathLike[str], tree: Mapping[str, Any]) -> None:
    """As `write_json`, in place of what is there; of members that are iterators one value at a time is in memory."""
    with write_atomically(path, overwrite=True) as file:
        before = b"{"
        for key, member in tree.items():
            file.write(before + _as_json(key) + b": ")
            before = b", "
            if not isinstance(member, Iterator):
                file.write(_as_json(member))
                continue
            file.write(b"[")
            for number, value in enumerate(member):
                file.write((b", " if number else b"") + _as_json(value))
            file.write(b"]")
        file.write(b"}\n")


def _as_json(tree: Any, indent: int | None = None) -> bytes:
    return json.dumps(tree, ensure_ascii=False, indent=indent).encode("utf-8", "backslashreplace")


@contextmanager
def folder_when_complete(path: str | os.PathLike[str], *, replace: bool) -> Iterator[Path]:
    """A new folder, which takes its name when the block ends well, or else vanishes.

    Its parents are made. What lies in it can be read by all whom the user lets read new files, even if the program that
    wrote it (safetensors) wanted otherwise.

    Args:
        path: Where the folder is to be.
        replace: Whether an older folder gives way to it. If not, only an empty one does.

    Yields:
        The folder to fill, a hidden neighbour of `path`.

    Raises:
        FileExistsError: There is a file at that place, or, without `replace`, a folder with something in it: when the
            block begins, or by the time it ends. What is there stays as it is.
        OSError: The place cannot be written.
    """
    path = Path(path).resolve()  # "." has no name to put the new folder beside
    _refuse_to_replace(path, replace)
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
        for file in staging.rglob("*"):
            if file.is_file() and not file.is_symlink():  # whose file is elsewhere, and somebody's own
                file.chmod(mode)
        _refuse_to_replace(path, replace)
        if path.exists():
            if replace:
                path.rename(replaced)
            else:
                path.rmdir()  # which the system refuses if it is no longer empty, and so it does the next line
        staging.rename(path)
        shutil.rmtree(replaced, ignore_errors=True)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        if replaced.exists() and not path.exists():
            replaced.rename(path)
        raise


def _refuse_to_replace(path: Path, replace: bool) -> None:
    """No file gives way to a folder, and a folder with something in it only if it may be replaced."""
    if not os.path.lexists(path) or (path.is_dir() and (replace or not any(path.iterdir()))):
        return
    raise FileExistsError(f"{path} exists: choose another folder, or delete it first")


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if not overwrite and path.exists():
        raise FileExistsError(
            f"{path} exists already; pass overwrite=True (on the command line --overwrite) to replace it"
        )
