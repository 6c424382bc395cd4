"""Work on many records, spread over several processes."""

from __future__ import annotations

import multiprocessing
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any, TypeVar

from self1e.data.records import DataError

Common = TypeVar("Common")
Chunk = TypeVar("Chunk")
Result = TypeVar("Result")

CHUNK = 64
"""Records that a process takes at once."""

Progress = Callable[[int, int], None]
"""Told of records done, and of all."""

_common: Any = None


def spread(
    work: Callable[[Common, Chunk], Result], common: Common, chunks: Sequence[Chunk], workers: int
) -> Iterator[Result]:
    """`work(common, chunk)` of every chunk, in order.

    Args:
        work: A function of a module.
        common: What all chunks need; goes to each process once.
        chunks: What there is to do.
        workers: Processes; 0 for this one, which also does what fits into one chunk.

    Raises:
        DataError: When a process ends before its work is done.
    """
    if workers == 0 or len(chunks) <= 1:
        for chunk in chunks:
            yield work(common, chunk)
        return
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
