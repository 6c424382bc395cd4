"""Work on all records of a mixture, in several processes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import TypeVar

from self1e.data.members import Listing
from self1e.data.records import DataError
from self1e.parallel import Lost, ProcessError, Work, in_processes

Common = TypeVar("Common")
Result = TypeVar("Result")

CHUNK = 64
"""Records that a process takes at once."""

Progress = Callable[[int, int], None]
"""Told of records done, and of all."""

#: Pictures (or why there is none), each with the records about it: number of the member, and place.
Chunk = list[tuple[str | DataError, list[tuple[int, int]]]]


def over_records(
    work: Callable[[Common, Chunk], Result],
    common: Common,
    listings: Sequence[Listing],
    workers: int,
    on_progress: Progress | None,
) -> Iterator[Result]:
    """`work(common, chunk)` of all records, chunk by chunk, in order.

    Args:
        work: A function of a module.
        common: What all chunks need; goes to each process once.
        listings: One a member.
        workers: Processes; 0 for this one, which also does what fits into one chunk.
        on_progress: Told of records done, and of all.

    Raises:
        DataError: When a process ends before its work is done.
    """
    chunks = chunked(listings)
    alone = workers == 0 or len(chunks) <= 1
    results = map(partial(work, common), chunks) if alone else _in_processes(work, common, chunks, workers)
    done, total = 0, sum(len(listing.pictures) for listing in listings)
    for chunk, result in zip(chunks, results, strict=True):
        yield result
        done += sum(len(places) for _, places in chunk)
        if on_progress is not None:
            on_progress(done, total)


def chunked(listings: Sequence[Listing]) -> list[Chunk]:
    """All records by picture, in chunks of about `CHUNK` records."""
    groups: dict[str | DataError, list[tuple[int, int]]] = {}  # an error equals no other
    for member, listing in enumerate(listings):
        for place, picture in listing.pictures.items():
            groups.setdefault(picture, []).append((member, place))
    chunks: list[Chunk] = []
    room = 0
    for group in groups.items():
        if room <= 0:
            chunks.append([])
            room = CHUNK
        chunks[-1].append(group)
        room -= len(group[1])
    return chunks


def _in_processes(
    work: Callable[[Common, Chunk], Result], common: Common, chunks: Sequence[Chunk], workers: int
) -> Iterator[Result]:
    with closing(in_processes(partial(_begin, work, common), chunks, workers)) as results:
        try:
            for result in results:
                if isinstance(result, Lost):
                    raise result.error
                yield result
        except ProcessError as error:
            raise DataError(
                "a process that reads the data ended before its work was done, perhaps for lack of memory: try fewer "
                "workers (0 shows the error itself)"
            ) from error


def _begin(work: Callable[[Common, Chunk], Result], common: Common, _: int) -> Work[Chunk, Result]:
    """What a process does first."""
    warnings.simplefilter("ignore")
    return lambda chunks: (work(common, chunk) for _, chunk in chunks)
