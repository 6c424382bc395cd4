"""A source of records as a set of marked pictures, to be written in another form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from self1e.data.forms.marked import Lost, MarkedSet, Thing, listed
from self1e.data.records import Canvas, DataError, FileSource


class FromSource(MarkedSet):
    """What a source asks for by masks; what it says in words is lost."""

    def __init__(self, source: FileSource, folder: Path, labels: Iterable[str] | None = None) -> None:
        """Takes the source as it is.

        Args:
            source: Of any kind.
            folder: Below which its pictures are named.
            labels: All that it asks for. None: each record is read to see that.
        """
        self._source = source
        labels = self._asked() if labels is None else labels
        super().__init__(source.name, labels, listed(source.image_path, len(source)), folder)

    def _asked(self) -> Iterable[str]:
        for index in range(len(self._source)):
            with suppress(DataError):  # which is told when the record is asked for
                yield from (query.text for query in self._source[index].queries)

    def files(self) -> Iterator[Path]:
        return self._source.files()

    def _read(self, index: int, canvas: Canvas) -> tuple[list[Thing], list[Lost]]:
        record = self._source[index]
        lost = ["an explanation in words" for query in record.queries if query.answer]
        lost += ["a conversation" for _ in record.talks]
        things = [Thing(query.text, query.mask, there=not query.absent) for query in record.queries]
        return things, [Lost("", what) for what in (*lost, *record.dropped)]
