"""Which pictures a command line means, and what the files made of them are called."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from glob import glob, has_magic
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

from self1e.cli.lists import LISTS, read_list
from self1e.cli.terminal import CliError
from self1e.data.forms import FORMS
from self1e.files import address_of, distinct, expand_user, files_of_user, is_of_user, pictures_among
from self1e.processing.sources import SCHEME, Address, Given, Row
from self1e.segment.journal import stamp_of, written_in

#: What earlier runs left in a folder is not taken for pictures to segment.
OWN_OUTPUTS = tuple(form.suffix for form in FORMS.values() if form.suffix.endswith(".png"))

LONGEST_PROMPT = 50_000
"""Characters. What a model can read is checked by the model, in tokens; this catches a file pasted by mistake."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})

LONGEST_SLUG, LONGEST_STEM = 60, 120
"""Bytes. File systems take names of 255 bytes, and each of these may get a number and a suffix."""


@dataclass(frozen=True)
class Picture:
    """A picture to segment.

    Attributes:
        source: Its file, or what else it is read from.
        name: What it is called in results: its path below the folder of all pictures, with "/" between the parts.
        prompts: What to segment there, each once.
        stem: What its files are called below the folder of results, without suffixes.
    """

    source: Path | Address | Given | Row
    name: str
    prompts: tuple[str, ...] = ()
    stem: str = ""

    @property
    def file(self) -> Path | None:
        """Its own file, if it has one."""
        return self.source if isinstance(self.source, Path) else None

    @property
    def origin(self) -> str:
        """What it is read from where that is no file of its own; two of one name are not the same."""
        return "" if isinstance(self.source, Path) else self.source.origin

    def stamp(self) -> list[Any]:
        """What tells whether it, or what is asked about it, has changed."""
        source = stamp_of(self.source) if isinstance(self.source, Path) else self.source.stamp()
        return [source, *sorted(self.prompts)]


def find_pictures(names: Sequence[str], recursive: bool) -> list[Path]:
    """The picture files that files, folders and glob patterns name, each once, in order.

    A file that is named is taken whatever it is called, so that a wrong one is reported and not passed over.

    Raises:
        CliError: When a folder or pattern holds no picture, or a name is an address.
    """
    for name in names:
        if address := address_of(name):
            _address(address, False)
    found = (path for name in names for path, _ in _found(name, recursive))
    return list({path.resolve(): path for path in reversed(list(found))}.values())[::-1]


def name_pictures(
    names: Sequence[str], prompts: Sequence[str], recursive: bool, out: Path | None = None, allow_urls: bool = False
) -> tuple[Path, list[Picture]]:
    """The pictures of files, folders, patterns, lists, addresses and "-"; and the folder below which they are named.

    That is the folder that was given, the one that a list, a file or the pattern of a name is in, or, of several, the
    deepest that holds them all: there is one folder in which a reader of results finds every picture.

    Args:
        names: See `find_pictures`, `read_list` and `Address`; "-" is a picture on standard input.
        prompts: What to segment in all of them.
        recursive: See `find_pictures`.
        out: Where results go. What lies there is passed over if that is inside of a folder that is looked into.
        allow_urls: Whether addresses may be read.

    Raises:
        CliError: As `find_pictures` and `read_list`; when there is nothing to segment in a picture, when addresses may
            not be read, or no folder holds all files.
    """
    found: dict[Any, tuple[Path | Address | Given | Row, Path | str, list[str]]] = {}

    def take(source: Path | Address | Given | Row, place: Path | str, asked: Sequence[str]) -> None:
        """`place` is the folder below which a file is named, or the name of anything else."""
        key = source.resolve() if isinstance(source, Path) else source
        found.setdefault(key, (source, place, []))[2].extend(asked)

    for name in names:
        path = expand_user(name)
        listed = path.suffix.lower() in LISTS and path.is_file()
        for image, of_picture in read_list(path).items() if listed else [(name, [])]:
            asked = [*prompts, *check_prompts(of_picture)]
            if isinstance(image, Row):
                take(image, f"{image.file.stem.replace('.', '-')}-{image.number:07}", asked)
            elif address := address_of(image):
                take(_address(address, allow_urls), PurePosixPath(urlsplit(address).path).name, asked)
            elif image == "-":
                take(Given(_standard_input()), "stdin", asked)
            elif listed:
                for file, base in _found(str(path.parent / expand_user(image)), recursive, out, patterns=False):
                    take(file, path.parent if _absolute(file).is_relative_to(_absolute(path.parent)) else base, asked)
            else:
                for file, base in _found(image, recursive, out):
                    take(file, base, asked)
    try:
        bases = [_absolute(place) for _, place, _ in found.values() if isinstance(place, Path)]
        folder = Path(os.path.commonpath(bases)) if bases else Path.cwd()
    except ValueError:
        raise CliError("the pictures are on several drives: start the command once for each") from None
    pictures = []
    for source, place, asked in found.values():
        if not asked:
            raise CliError("there is no prompt: say what to segment by --prompt, for example -p 'the dog on the left'")
        name = _absolute(source).relative_to(folder).as_posix() if isinstance(source, Path) else str(place)
        pictures.append(Picture(source, name, tuple(dict.fromkeys(asked))))
    return folder, pictures


def _absolute(path: Path) -> Path:
    """Without ".." and with links."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _address(name: str, allowed: bool) -> Address:
    if not allowed:
        raise CliError(f"{name} is an address: download the picture, and give its file, or give --allow-urls")
    if not name.lower().startswith(f"{SCHEME}://"):
        raise CliError(f"{name} cannot be fetched: only {SCHEME}:// can")
    return Address(name)


def _standard_input() -> bytes:
    if sys.stdin.isatty():
        raise CliError("'-' is a picture on standard input, but nothing is piped in: self1e segment - < street.jpg")
    return sys.stdin.buffer.read()


def _beside(taken: Iterable[str], names: Iterable[str]) -> list[str]:
    """Ends of addresses as names of files, none of which is taken.

    >>> _beside(["a.jpg"], ["a.jpg", "a%20%2F.jpg", ""])
    ['a-2.jpg', 'a-.jpg', 'picture']
    """
    paths = [Path(re.sub(r"[^\w.-]+", "-", unquote(name)).lstrip(".-") or "picture") for name in names]
    there = [str(PurePosixPath(name).with_suffix("")) for name in taken]
    stems = distinct([*there, *(path.stem for path in paths)])[len(there) :]
    return [f"{stem}{path.suffix}" for stem, path in zip(stems, paths, strict=True)]


def _found(name: str, recursive: bool, out: Path | None = None, patterns: bool = True) -> list[tuple[Path, Path]]:
    """The pictures of a file, folder or pattern, each with the folder that was named."""
    path = expand_user(name)
    if path.is_dir():
        return [(each, path) for each in _in_folder(path, recursive, out)]
    if patterns and has_magic(name) and not path.exists():
        base = next(folder for folder in path.parents if not has_magic(str(folder)))
        return [(each, base) for each in _matching(path, base, recursive, out)]
    return [(path, path.parent)]


def _in_folder(folder: Path, recursive: bool, out: Path | None) -> list[Path]:
    own = out.resolve() if out is not None and folder.resolve() in out.resolve().parents else None
    inside = _inputs(files_of_user(folder, "**/*" if recursive else "*"), folder)
    paths = [path for path in inside if own is None or own not in path.resolve().parents]
    if not paths:
        hint = "" if recursive else ", or give --recursive to look into its subfolders"
        raise CliError(f"the folder {folder} has no pictures: name another{hint}")
    return paths


def _matching(pattern: Path, base: Path, recursive: bool, out: Path | None) -> list[Path]:
    # Path.glob takes no absolute patterns.
    names = sorted(glob(str(pattern), recursive=True))  # noqa: PTH207
    matches = [path for path in map(Path, names) if all(map(is_of_user, path.relative_to(base).parts))]
    paths = _inputs(matches, base)
    for folder in matches:
        if folder.is_dir() and recursive:
            paths += _in_folder(folder, recursive, out)
    if not paths:
        raise CliError(f"no picture matches {pattern}: check the pattern")
    return paths


def _inputs(paths: Sequence[Path], base: Path) -> list[Path]:
    """The pictures among them that no run has written into a folder on the way from `base`."""
    written = cache(written_in)
    return [
        path
        for path in pictures_among(paths)
        if not path.name.lower().endswith(OWN_OUTPUTS)
        and path.is_file()
        and not any(
            path.relative_to(base / folder).as_posix() in written(base / folder)
            for folder in path.relative_to(base).parents
        )
    ]


def check_prompts(prompts: Sequence[str]) -> list[str]:
    """The prompts without surrounding space, each once.

    Raises:
        CliError: When one is empty or far too long.
    """
    stripped = [prompt.strip() for prompt in prompts]
    for prompt in stripped:
        if not prompt:
            raise CliError("a prompt is empty: say what to segment, for example -p 'the dog on the left'")
        if len(prompt) > LONGEST_PROMPT:
            raise CliError(f"a prompt has {len(prompt):,} characters: {LONGEST_PROMPT:,} are the most")
    return list(dict.fromkeys(stripped))


def slug(prompt: str) -> str:
    """A prompt as part of a file name: lower-case words joined by hyphens.

    >>> slug("The red boat!"), slug("  ???"), slug("Où est l'été?")
    ('the-red-boat', 'prompt', 'où-est-l-été')
    """
    words = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", prompt).lower())
    return shortened(words, LONGEST_SLUG).strip("-") or "prompt"


def shortened(name: str, most: int) -> str:
    """The beginning of a name, of at most `most` bytes as a file system counts them.

    >>> shortened("street", 4), shortened("été", 4)
    ('stre', 'ét')
    """
    cut = os.fsencode(name)[:most]
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that are no text stay as they are
        return os.fsdecode(cut)
    return cut.decode(errors="ignore")


def output_stems(pictures: Sequence[str], known: Mapping[str, str] = _NOTHING) -> list[str]:
    """What the files of each picture are called, without suffixes: its own name, numbered where two would be the same.

    Args:
        pictures: Their names.
        known: Stems that some had before, and keep.

    >>> output_stems(["a.png", "2/a.png", "a.jpg"])
    ['a', '2/a', 'a-2']
    >>> output_stems(["a.jpg", "a.png"], {"a.png": "a"})
    ['a-2', 'a']
    """
    paths = {picture: PurePosixPath(picture) for picture in pictures if picture not in known}
    new = [str(path.with_name(shortened(path.stem, LONGEST_STEM))) for path in paths.values()]
    stems = {**known, **dict(zip(paths, distinct([*known.values(), *new])[len(known) :], strict=True))}
    return [stems[picture] for picture in pictures]


def with_names(pictures: Sequence[Picture], done: Mapping[str, Mapping[str, Any]] = _NOTHING) -> list[Picture]:
    """The pictures with names that are theirs alone, and what their files are called; see `output_stems`.

    Args:
        pictures: As `name_pictures` gives them.
        done: What is known of pictures that are done, by name: those keep what they are called.
    """
    known = {entry["source"]: name for name, entry in done.items()}
    taken = [picture.name for picture in pictures if picture.file is not None]
    new = [picture for picture in pictures if picture.file is None and picture.origin not in known]
    known |= dict(zip([p.origin for p in new], _beside([*done, *taken], [p.name for p in new]), strict=True))
    names = [picture.name if picture.file is not None else known[picture.origin] for picture in pictures]
    stems = output_stems(names, {name: entry["stem"] for name, entry in done.items()})
    each = zip(pictures, names, stems, strict=True)
    return [replace(picture, name=name, stem=stem) for picture, name, stem in each]
