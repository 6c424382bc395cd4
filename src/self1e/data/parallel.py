"""Work on all records of a mixture, spread over several processes."""

from __future__ import annotations

import multiprocessing
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any, TypeVar

from self1e.data.members import Listing
from self1e.data.records import DataError

Common = TypeVar("Common")
Result = TypeVar("Result")

CHUNK = 64
"""Records that a process takes at once."""

Progress = Callable[[int, int], None]
"""Told of records done, and of all."""

#: Pictures (or why there is none), each with the records about it: number of the member, and place.
Chunk = list[tuple[str | DataError, list[tuple[int, int]]]]

_common: Any = None


def spread(
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
    # Spawned, not forked: torch may have threads by now, which a forked process would wait for in vain.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(chunks)), context, initializer=_begin, initargs=(common,))
    try:
        yield from pool.map(partial(_work_on, work), chunks)
    except BrokenProcessPool as error:
        raise DataError(
            "a process that reads the data ended before its work was done, perhaps for lack of memory: try fewer "
            "workers (0 shows the error itself)"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(common: Any) -> None:
    """What a process does first."""
    global _common
    _common = common
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it, and ends it
    warnings.simplefilter("ignore")


def _work_on(work: Callable[[Any, Chunk], Result], chunk: Chunk) -> Result:
    return work(_common, chunk)
