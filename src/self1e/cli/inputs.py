"""Which pictures a command line means, and what the files made of them are called."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path

from self1e.cli.terminal import CliError
from self1e.files import address_of, expand_user, files_of_user, pictures_among

SUFFIXES = {"overlay": ".overlay.png", "mask": ".mask.png", "cutout": ".cutout.png", "json": ".json"}
"""Forms of a result -> how the names of its files end."""

#: What earlier runs left in a folder is not taken for pictures to segment.
OWN_OUTPUTS = tuple(suffix for suffix in SUFFIXES.values() if suffix.endswith(".png"))

LONGEST_PROMPT = 50_000
"""Characters. What a model can read is checked by the model, in tokens; this catches a file pasted by mistake."""

LONGEST_SLUG, LONGEST_STEM = 60, 120
"""Bytes. File systems take names of 255 bytes, and each of these may get a number and a suffix."""


def find_pictures(names: Sequence[str], recursive: bool) -> list[Path]:
    """The picture files that files, folders and glob patterns name, each once, in order.

    A file that is named is taken whatever it is called, so that a wrong one is reported and not passed over.

    Raises:
        CliError: When a folder or pattern holds no picture, or a name is an address.
    """
    found: dict[Path, Path] = {}
    for name in names:
        if address := address_of(name):
            raise CliError(f"{address} is an address: download the picture, and give its file")
        path = expand_user(name)
        if path.is_dir():
            paths = _in_folder(path, recursive)
        elif has_magic(name) and not path.exists():
            paths = _matching(name, recursive)
        else:
            paths = [path]
        for each in paths:
            found.setdefault(each.resolve(), each)
    return list(found.values())


def _in_folder(folder: Path, recursive: bool) -> list[Path]:
    paths = _inputs(files_of_user(folder, "**/*" if recursive else "*"))
    if not paths:
        hint = "" if recursive else ", or give --recursive to look into its subfolders"
        raise CliError(f"the folder {folder} has no pictures: name another{hint}")
    return paths


def _matching(pattern: str, recursive: bool) -> list[Path]:
    # Path.glob takes no absolute patterns.
    names = sorted(glob(str(expand_user(pattern)), recursive=True))  # noqa: PTH207
    matches = [Path(name) for name in names]
    paths = _inputs(matches)
    for folder in matches:
        if folder.is_dir() and recursive:
            paths += _in_folder(folder, recursive)
    if not paths:
        raise CliError(f"no picture matches {pattern}: check the pattern")
    return paths


def _inputs(paths: Sequence[Path]) -> list[Path]:
    return [path for path in pictures_among(paths) if not path.name.lower().endswith(OWN_OUTPUTS) and path.is_file()]


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
    return os.fsencode(name)[:most].decode(errors="ignore")


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


def output_names(pictures: Sequence[Path], prompts: Sequence[str]) -> list[list[str]]:
    """For each picture and prompt the name that its files begin with, `<stem>.<prompt-slug>`; no two are the same."""
    stems = distinct([shortened(picture.stem, LONGEST_STEM) for picture in pictures])
    slugs = distinct([slug(prompt) for prompt in prompts])
    return [[f"{stem}.{each}" for each in slugs] for stem in stems]
