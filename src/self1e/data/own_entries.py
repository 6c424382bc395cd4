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

from self1e.data.forms import read_entry
from self1e.data.forms.asked import AskedThings
from self1e.data.own import OwnSource
from self1e.data.own_masks import CocoInstancesSource, IndexMapSource
from self1e.data.records import DataError, FileSource, Record, Source


def open_own(given: Mapping[str, Any]) -> FileSource:
    """The source of an entry.

    Raises:
        DataError: When the entry is of none of the forms, its data are missing or unreadable, or another package is
            needed to read them.
    """
    try:
        entry = read_entry(given)
    except ValueError as error:
        raise DataError(f"{str(dict(given))[:200]} is no data of one's own: {error}") from None
    absent, min_score, stored = entry.absent_classes, entry.min_score, entry.stored
    match entry.form.name:
        case "jsonl":
            return OwnSource(entry.paths["jsonl"], stored=stored)
        case "coco":
            paths = entry.paths["coco"], entry.paths["images"]
            return CocoInstancesSource(*paths, absent_classes=absent, min_score=min_score, stored=stored)
        case "index":
            folders = entry.paths["images"], entry.paths["masks"], entry.paths["classes"]
            return IndexMapSource(*folders, absent_classes=absent, stored=stored)
    return AskedThings(entry.open(), absent_classes=absent, min_score=min_score)


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
