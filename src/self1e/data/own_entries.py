"""Data of one's own as settings name them: entries of `own`, each in one of three forms.

    own:
      - {jsonl: mine.jsonl}
      - {coco: annotations/instances.json, images: photos}
      - {masks: masks, images: photos, classes: classes.txt, absent_classes: 2}

Paths begin at the folder that the program is started in; `~` is the home folder. The forms are those of
`self1e.data.own` and `own_masks`. `exif: stored` in an entry says that its masks are of pictures as they are stored,
before their EXIF orientation is applied; without, or with `displayed`, they are of pictures as they are displayed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import yaml

from self1e.data.own import OwnSource
from self1e.data.own_masks import CocoInstancesSource, IndexMapSource
from self1e.data.records import DataError, Record, Source
from self1e.files import expand_user

EXIF = ("displayed", "stored")
"""Of which pictures masks are: with their EXIF orientation applied, or without."""


class FileSource(Source, Protocol):
    """A source that knows its files."""

    def files(self) -> Iterator[Path]:
        """Pictures, and files of masks, always in the same order, whether they are there or not."""


def open_own(entry: Mapping[str, Any]) -> FileSource:
    """The source of an entry.

    Raises:
        DataError: When the entry is of none of the three forms, or its data are missing or unreadable.
    """
    rest = dict(entry)
    absent, exif = rest.pop("absent_classes", 0), rest.pop("exif", EXIF[0])
    if type(absent) is int and absent >= 0 and exif in EXIF and all(isinstance(path, str) for path in rest.values()):
        paths = {key: expand_user(path) for key, path in rest.items()}
        stored = exif == "stored"
        match sorted(paths):
            case ["jsonl"] if not absent:
                return OwnSource(paths["jsonl"], stored=stored)
            case ["coco", "images"]:
                return CocoInstancesSource(paths["coco"], paths["images"], absent_classes=absent, stored=stored)
            case ["classes", "images", "masks"]:
                folders = paths["images"], paths["masks"]
                return IndexMapSource(*folders, paths["classes"], absent_classes=absent, stored=stored)
    raise DataError(
        f"{str(dict(entry))[:200]} is no data of one's own: give the paths `jsonl`, or `coco` and `images`, or "
        "`masks`, `images` and `classes`; beside `images` also how many `absent_classes`; with any, `exif`, "
        f"{' or '.join(EXIF)}"
    )


def read_entries(file: Path) -> list[dict[str, Any]]:
    """The entries of a YAML file that holds nothing else, see above.

    Raises:
        DataError: When it cannot be read, or holds something else.
    """
    try:
        tree = yaml.safe_load(file.read_bytes())  # which tells UTF-16 by its mark
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"cannot read {file}: {error}") from error
    match tree:
        case {"own": [*entries], **others} if entries and not others and all(isinstance(e, dict) for e in entries):
            return entries
    raise DataError(f"{file} should hold `own:` with a list of entries, and nothing else (see self1e.data.own_entries)")


class Joined:
    """Sources one after the other, as one."""

    def __init__(self, name: str, sources: Sequence[Source]) -> None:
        self.name = name
        self._sources = tuple(sources)
        self._starts = list(accumulate(map(len, sources), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> Record:
        source, place = self._place(index)
        return source[place]

    def image_path(self, index: int) -> Path:
        """The picture of a record."""
        source, place = self._place(index)
        return source.image_path(place)

    def _place(self, index: int) -> tuple[Source, int]:
        index = range(len(self))[index]
        number = bisect_right(self._starts, index) - 1
        return self._sources[number], index - self._starts[number]
