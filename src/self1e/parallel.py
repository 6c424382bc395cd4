"""Work in several processes of one machine. (What has to talk while it works, training, is started by torchrun.)

Items are given out a few at a time, and results come back in the order of the items. Processes share nothing. They are
started anew, not forked, as torch may have threads that a forked process would wait for in vain. One that dies is
replaced; what it was working on is given out again, item by item, to see which of them it was.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

MOST_DEATHS = 10
"""So many processes that end before their work is done are replaced."""

PATIENCE = 30
"""Seconds that a process has to end when it is told to. It needs them for files that it is writing."""

Item = TypeVar("Item")
Result = TypeVar("Result")

Work = Callable[[Iterator[tuple[int, Item]]], Iterator[Result]]
"""Takes some items, each with its place among all, and gives a result for each, in their order."""


class ProcessError(RuntimeError):
    """A process ended before its work was done."""


@dataclass(frozen=True)
class Lost:
    """Stands for the result of an item at which a process died."""

    index: int
    error: ProcessError


Warned = tuple[str, type[Warning], str, int]
"""Words, category, file and line."""


@dataclass
class _Worker(Generic[Item]):
    """A process, this side of its pipe, and what it was given and has not answered for; None before it is ready."""

    number: int
    process: BaseProcess
    pipe: Connection
    pending: deque[tuple[int, Item]] | None = None

    @property
    def idle(self) -> bool:
        return self.pending is not None and not self.pending


def in_processes(
    begin: Callable[[int], Work[Item, Result]],
    items: Sequence[Item],
    processes: int,
    *,
    at_a_time: int = 1,
    multiple: int = 1,
) -> Generator[Result | Lost, None, None]:
    """What processes make of items. A script that calls this must do so under `if __name__ == "__main__":`.

    Args:
        begin: Is called in each process with its number, from 0, and returns what does the work there. Goes through a
            pipe, as items and results do, and must be such that pickle can take it.
        items: What is to be worked on.
        processes: How many; never more than there are items.
        at_a_time: Most items that a process is given at once; fewer towards the end, so that all end together.
        multiple: Items are given out in multiples of this, as long as there are enough.

    Yields:
        For each item, in order, its result, or `Lost`. What processes warn of, this one does; of the same words, once.

    Raises:
        ProcessError: If a process ends before it is ready, or too many of them end.
        Exception: What `begin` or the work raised, with the traceback as a note; as a `ProcessError` of the same words
            where pickle cannot take it.
    """
    processes = min(processes, len(items))
    dealer: Dealer[Item, Result | Lost] = Dealer(items, processes, at_a_time, multiple)
    deaths = 0
    heard: set[Warned] = set()
    workers: dict[Connection, _Worker[Item]] = {}
    try:
        for number in range(processes):
            _start(workers, number, begin)
        while dealer.missing:
            for worker in workers.values():
                if worker.idle and (chunk := dealer.deal()):
                    try:
                        worker.pipe.send(chunk)
                        worker.pending = deque(chunk)
                    except OSError:  # it is gone, which the next look at its pipe will tell
                        dealer.take_back(chunk)
            yield from dealer.in_order()
            for pipe in wait(list(workers)):
                assert isinstance(pipe, Connection)
                worker = workers[pipe]
                try:
                    message, warned = pipe.recv()
                except (EOFError, OSError):
                    del workers[pipe]
                    deaths += 1
                    death, lost = _death(worker), worker.pending
                    if lost is None or deaths > MOST_DEATHS:
                        raise ProcessError(f"{death}; {dealer.missing} of {len(items)} are not done") from None
                    if len(lost) == 1:
                        index, _ = lost.pop()
                        dealer.put(index, Lost(index, ProcessError(death)))
                    dealer.take_back(lost)
                    if dealer.has_more:
                        _start(workers, worker.number, begin)
                    continue
                warn_once(warned, heard)
                if isinstance(message, Exception):
                    raise message
                if worker.pending is None:
                    worker.pending = deque()  # its first message says that it is ready
                else:
                    index, _ = worker.pending.popleft()
                    dealer.put(index, message)
        yield from dealer.in_order()
    finally:
        _stop(workers.values())


class Dealer(Generic[Item, Result]):
    """Gives items out, takes results as they come, and gives these back in the order of the items."""

    def __init__(self, items: Sequence[Item], processes: int, at_a_time: int, multiple: int) -> None:
        """See `in_processes`."""
        self._todo = _chunks(list(enumerate(items)), processes, at_a_time, multiple)  # a heap: what is first is next
        self._farthest = 2 * processes * max(multiple, at_a_time)  # results that wait must not pile up
        self._waiting: dict[int, Result] = {}
        self._ready: deque[Result] = deque()
        self._next = 0
        self._count = len(items)

    @property
    def missing(self) -> int:
        """How many items have no result."""
        return self._count - self._next - len(self._waiting)

    @property
    def has_more(self) -> bool:
        """Whether there are items that nobody has."""
        return bool(self._todo)

    def deal(self) -> list[tuple[int, Item]]:
        """Items for a process that is idle: none if there are no more, or it has to wait for one that is behind."""
        if self._todo and self._todo[0][0][0] < self._next + self._farthest:
            return heappop(self._todo)
        return []

    def take_back(self, lost: Iterable[tuple[int, Item]]) -> None:
        """What a process had that died is given out again, item by item, to see which of them it was."""
        for each in lost:
            heappush(self._todo, [each])

    def put(self, index: int, result: Result) -> None:
        """Takes the result of an item."""
        self._waiting[index] = result
        while self._next in self._waiting:
            self._ready.append(self._waiting.pop(self._next))
            self._next += 1

    def in_order(self) -> Iterator[Result]:
        """The results that do not wait for an earlier one. Each is given back once."""
        while self._ready:
            yield self._ready.popleft()


def warn_once(warned: Iterable[Warned], heard: set[Warned]) -> None:
    """Warns of what another process did, unless it was heard before."""
    for each in warned:
        if each not in heard:
            heard.add(each)
            warnings.warn_explicit(*each)


def _chunks(
    items: list[tuple[int, Item]], processes: int, at_a_time: int, multiple: int
) -> list[list[tuple[int, Item]]]:
    """Items as they are given out, in order; see `in_processes`."""
    found, start = [], 0
    while start < len(items):
        count = min(at_a_time, (len(items) - start) // (2 * processes))
        end = start + max(1, count // multiple) * multiple
        found.append(items[start:end])
        start = end
    return found


def _start(workers: dict[Connection, _Worker[Item]], number: int, begin: Callable[[int], Work[Item, Result]]) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, number, begin), daemon=True)
    start_deaf(process)
    workers[ours] = _Worker(number, process, ours)
    theirs.close()  # or the pipe would not end with the process


def start_deaf(process: BaseProcess) -> None:
    """Starts a process that Ctrl-C does not reach: it is for the parent, which ends its processes in order."""
    # Children inherit that. Only the main thread may set it.
    in_main = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main else None
    try:
        process.start()
    finally:
        if previous is not None:
            signal.signal(signal.SIGINT, previous)


def _death(worker: _Worker[Item]) -> str:
    """How a process ended whose pipe has, and at what."""
    worker.process.join(PATIENCE)  # for its exit code
    code = worker.process.exitcode
    how = f"was killed by signal {-code}" if code and code < 0 else f"ended with exit code {code}"
    if worker.pending is None:
        how += " before it was ready"
    elif len(worker.pending) == 1:
        index, item = worker.pending[0]
        how += f" at {item if isinstance(item, str | os.PathLike) else f'number {index}'}"
    return f"a process {how}: if memory is short, use fewer processes"


def _stop(workers: Iterable[_Worker[Item]]) -> None:
    """Ends processes: those that are idle at once, others when the files that they are writing are whole."""
    for worker in workers:
        if not worker.idle:
            worker.process.terminate()
        worker.pipe.close()
    for worker in workers:
        worker.process.join(PATIENCE)
        worker.process.kill()  # if it has not ended
        worker.process.join()


def _work(pipe: Connection, number: int, begin: Callable[[int], Work[Item, Result]]) -> None:
    """What a process does: says that it is ready, then answers for each item of each chunk."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # in order: files that are being written become whole
    sys.unraisablehook = _unraisable
    warned: deque[Warned] = deque()
    warnings.showwarning = lambda message, *place: warned.append((str(message), *place[:3]))

    def send(message: Any) -> None:
        pipe.send((message, [warned.popleft() for _ in range(len(warned))]))

    try:
        work = begin(number)
        send(None)
        while True:
            for result in work(iter(pipe.recv())):
                send(result)
    except Exception as error:  # whatever it is, the parent raises it
        with suppress(OSError):  # the parent has closed the pipe, or is gone: that was the error
            send(portable(error))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending as it is


def _unraisable(lost: sys.UnraisableHookArgs) -> None:
    """Tells of an error in a `__del__`, unless it is the end that a signal asked for: the pipe brings that."""
    if lost.exc_type is not SystemExit:
        sys.__unraisablehook__(lost)


def portable(error: Exception) -> Exception:
    """The error, or one of the same words where pickle cannot carry it to another process; its traceback is a note."""
    try:
        pickle.loads(pickle.dumps(error))
        message = error
    except Exception:  # an error may refuse in any way
        message = ProcessError(f"{type(error).__name__}: {error}")
    message.add_note("".join(traceback.format_exception(error)))
    return message
