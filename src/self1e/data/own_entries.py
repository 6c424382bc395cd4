"""Data of one's own as settings name them: entries of `own`, each in one of the forms of `self1e.data.forms`.

    own:
      - {jsonl: mine.jsonl}
      - {coco: annotations/instances.json, images: photos}
      - {masks: masks, images: photos, classes: classes.txt, absent_classes: 2}
      - {yolo: boats/data.yaml, split: train}
      - {results: segmented, images: photos, min_score: 0.8}

Paths begin at the folder that the program is started in; `~` is the home folder. `exif: stored` in an entry of the
first three says that its masks are of pictures as they are stored, before their EXIF orientation is applied; without,
or with `displayed`, they are of pictures as they are displayed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml

from self1e.data.forms import form_of
from self1e.data.forms.asked import AskedThings
from self1e.data.own import OwnSource
from self1e.data.own_masks import CocoInstancesSource, IndexMapSource
from self1e.data.records import DataError, FileSource, Record, Source
from self1e.files import expand_user

EXIF = ("displayed", "stored")
"""Of which pictures masks are: with their EXIF orientation applied, or without."""


def open_own(entry: Mapping[str, Any]) -> FileSource:
    """The source of an entry.

    Raises:
        DataError: When the entry is of none of the forms, or its data are missing or unreadable.
        ImportError: When its form needs another package.
    """
    given = dict(entry)
    absent, min_score = given.pop("absent_classes", 0), given.pop("min_score", 0.0)
    exif = given.pop("exif", EXIF[0])
    try:
        form = form_of(entry)
        if not all(isinstance(path, str) for path in given.values()):
            raise ValueError("paths are text")
        if type(absent) is not int or absent < 0:
            raise ValueError("`absent_classes` is a whole number")
        if not isinstance(min_score, int | float) or not 0 <= min_score <= 1:
            raise ValueError("`min_score` is a number from 0 to 1")
        if exif not in EXIF:
            raise ValueError(f"`exif` is {' or '.join(EXIF)}")
    except ValueError as error:
        raise DataError(f"{str(dict(entry))[:200]} is no data of one's own: {error}") from None
    paths = {key: value if key == "split" else expand_user(value) for key, value in given.items()}
    stored = exif == "stored"
    match form.name:
        case "jsonl":
            return OwnSource(paths["jsonl"], stored=stored)
        case "coco":
            return CocoInstancesSource(paths["coco"], paths["images"], absent_classes=absent, stored=stored)
        case "index":
            folders = paths["images"], paths["masks"]
            return IndexMapSource(*folders, paths["classes"], absent_classes=absent, stored=stored)
    return AskedThings(form.open(paths), absent_classes=absent, min_score=min_score)


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
