"""A source of records as a set of marked pictures, to be written in another form."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from self1e.data.forms.marked import Marked, Thing
from self1e.data.records import DataError, FileSource


class FromSource:
    """What a source asks for by masks; what it says in words is lost."""

    def __init__(self, source: FileSource, folder: Path, labels: Iterable[str] | None = None) -> None:
        """Takes the source as it is.

        Args:
            source: Of any kind.
            folder: Below which its pictures are named.
            labels: All that it asks for. None: each record is read to see that.
        """
        self.name = source.name
        self._source = source
        self._folder = folder
        self.labels = list(dict.fromkeys(self._asked() if labels is None else labels))

    def _asked(self) -> Iterable[str]:
        for index in range(len(self._source)):
            try:
                yield from (query.text for query in self._source[index].queries)
            except DataError:  # which is told when the record is asked for
                continue

    def __len__(self) -> int:
        return len(self._source)

    def image_path(self, index: int) -> Path:
        return self._source.image_path(index)

    def files(self) -> Iterator[Path]:
        return self._source.files()

    def __getitem__(self, index: int) -> Marked:
        record = self._source[index]
        name = Path(os.path.relpath(record.image, self._folder)).as_posix()
        things = tuple(Thing(query.text, query.mask, there=not query.absent) for query in record.queries)
        words = [("", "an explanation in words") for query in record.queries if query.answer]
        words += [("", "a conversation") for _ in record.talks]
        words += [("", what) for what in record.dropped]
        return Marked(name if not name.startswith("..") else Path(name).name, things, record.image, lost=tuple(words))
