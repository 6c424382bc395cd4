"""Many picture files: threads read ahead of the model and finish behind it, so that it seldom waits for a disk.

    segmenter = Segmenter.from_pretrained("nano")
    for done in segmenter.segment_files(sorted(Path("photos").glob("*.jpg")), "the dog"):
        print(done.source, done.error or done.value.score)

    threads        read and tile 3, 4, 5, 6     finish 1 (draw, pack, write)
    this thread                              model: 2

Pillow, numpy and zlib let go of Python's lock while they decode, draw and pack. A handful of pictures are in memory at
a time, however many there are, and results come in the order of the sources. `segment_in_processes` does this in
several processes, which share nothing but the list of what is to be done.
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
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch

from self1e.processing.images import ImageError, ImageSource
from self1e.segment.devices import choose_device

if TYPE_CHECKING:
    from self1e.segment.passes import TiledPicture
    from self1e.segment.segmenter import Segmenter

AHEAD = 4
"""Pictures that are read while the model is at others, and as many wait to be finished; a batch, if that is more."""

THREADS = 2
"""Default number of threads that read and finish."""

CHUNK = 16
"""Most pictures that a process is given at a time; a batch, if that is more."""

MOST_DEATHS = 10
"""So many processes that end before their work is done are replaced."""

PATIENCE = 30
"""Seconds that a process has to end when it is told to. It needs them for files that it is writing."""

T = TypeVar("T")
Finish = Callable[[int, Any], T]
Numbered = tuple[int, ImageSource]
"""A picture with its place among the sources."""


class ProcessError(RuntimeError):
    """A process of `segment_in_processes` ended before its work was done."""


@dataclass(frozen=True)
class Done(Generic[T]):
    """What became of one file.

    Attributes:
        index: Its place among the sources.
        source: The file, as it was given.
        value: What `Segmenter.segment` gives for the prompts, or what `finish` made of that. None after an error.
        error: Why the file was passed over: it cannot be read, or it was lost with a process.
    """

    index: int
    source: ImageSource
    value: T | None = None
    error: ImageError | ProcessError | None = None


def segment_files(
    segmenter: Segmenter,
    sources: Iterable[ImageSource],
    prompts: str | list[str],
    *,
    finish: Finish[T] | None = None,
    batch: int = 1,
    threads: int = THREADS,
    **options: Any,
) -> Generator[Done[T], None, None]:
    """Segments pictures one after the other; see `Segmenter.segment_files`."""
    if min(batch, threads) < 1:
        raise ValueError(f"must be at least 1: {batch=}, {threads=}")
    return _segment_numbered(segmenter, enumerate(sources), prompts, finish, batch, threads, options)


def _segment_numbered(
    segmenter: Segmenter,
    sources: Iterator[Numbered],
    prompts: str | list[str],
    finish: Finish[T] | None,
    batch: int,
    threads: int,
    options: dict[str, Any],
) -> Generator[Done[T], None, None]:
    ahead = max(batch, AHEAD)
    reading: deque[tuple[Done[T], Future[TiledPicture]]] = deque()
    finishing: deque[Future[Done[T]]] = deque()

    def finished(done: Done[T], results: Any) -> Done[T]:
        if done.error is not None:
            return done
        return replace(done, value=results if finish is None else finish(done.index, results))

    pool = ThreadPoolExecutor(threads, thread_name_prefix="self1e")
    try:
        while True:
            for index, source in islice(sources, batch + ahead - len(reading)):
                reading.append((Done(index, source), pool.submit(segmenter.read, source)))
            if not reading:
                break
            group: list[Done[T]] = []
            pictures: dict[int, TiledPicture] = {}
            for _ in range(min(batch, len(reading))):
                done, picture = reading.popleft()
                try:
                    pictures[done.index] = picture.result()
                except ImageError as error:
                    done = replace(done, error=error)
                group.append(done)
            requests: Any = [(picture, prompts) for picture in pictures.values()]
            results = dict(zip(pictures, segmenter.segment(requests, **options), strict=True))
            finishing += [pool.submit(finished, done, results.get(done.index)) for done in group]
            while finishing and (len(finishing) > ahead or finishing[0].done()):
                yield finishing.popleft().result()
        while finishing:
            yield finishing.popleft().result()
    finally:
        # What is being written is written to its end; what waits is dropped.
        pool.shutdown(wait=True, cancel_futures=True)


# ------------------------------------------------------------------------------------------------- several processes


@dataclass
class _Worker:
    """A process, this side of its pipe, and what it was given and has not answered for; None before it is ready."""

    number: int
    process: BaseProcess
    pipe: Connection
    pending: deque[Numbered] | None = None

    @property
    def idle(self) -> bool:
        return self.pending is not None and not self.pending


def segment_in_processes(
    load: Callable[..., Segmenter],
    sources: Iterable[ImageSource],
    prompts: str | list[str],
    *,
    processes: int,
    device: str = "auto",
    finish: Finish[T] | None = None,
    batch: int = 1,
    **options: Any,
) -> Generator[Done[T], None, None]:
    """`segment_files` in several processes with a model each. Results still come in the order of the sources.

    With "cuda" each process takes the next GPU; on the CPU they divide torch's threads among them. Processes are
    started anew, not forked: a script that calls this must do so under `if __name__ == "__main__":`.

    Args:
        load: Is called in each process as `load(device=...)`, such as `partial(Segmenter.from_pretrained, "nano")`.
        sources: See `Segmenter.segment_files`. All that is given here goes through pipes, and must be such that pickle
            can take it: paths are best.
        prompts: See `Segmenter.segment`.
        processes: How many; never more than there are sources.
        device: See `choose_device`.
        finish: See `Segmenter.segment_files`. Best returns what is small: without it, masks go through the pipe.
        batch: See `Segmenter.segment_files`.
        options: See `Segmenter.segment`.

    Yields:
        A `Done` for each source. A picture that kills a process has a `ProcessError`. The process is replaced; of the
        pictures that it was given, each is given out again by itself, to see which it was: `finish` may then meet files
        that it wrote before.

    Raises:
        ProcessError: If a process ends before it has a model, or too many of them end.
        ValueError: If a number is less than 1.
        Exception: Whatever `load`, `Segmenter.segment` or `finish` raised, with the traceback as a note; as a
            `ProcessError` of the same words where pickle cannot take it.
    """
    if min(processes, batch) < 1:
        raise ValueError(f"must be at least 1: {processes=}, {batch=}")
    pictures = list(enumerate(sources))
    processes = min(processes, len(pictures))
    return _in_processes(pictures, processes, batch, (processes, device, load, prompts, finish, batch, options))


def _in_processes(
    pictures: list[Numbered], processes: int, batch: int, task: tuple[Any, ...]
) -> Generator[Done[Any], None, None]:
    todo = _chunks(pictures, processes, batch)  # a heap: what a dead process leaves behind is next
    farthest = 2 * processes * max(batch, CHUNK)  # so that results which wait for an earlier one do not pile up
    next_index = deaths = 0
    done: dict[int, Done[Any]] = {}
    workers: dict[Any, _Worker] = {}
    try:
        for number in range(processes):
            _start(workers, number, task)
        while next_index < len(pictures):
            for worker in workers.values():
                if worker.idle and todo and todo[0][0][0] < next_index + farthest:
                    with suppress(OSError):  # it is gone, which the next look at its pipe will tell
                        worker.pipe.send(todo[0])
                        worker.pending = deque(heappop(todo))
            for pipe in wait(list(workers)):
                worker = workers[pipe]
                try:
                    message = worker.pipe.recv()
                except (EOFError, OSError):
                    del workers[pipe]
                    deaths += 1
                    death, lost = _death(worker), worker.pending
                    if lost is None or deaths > MOST_DEATHS:
                        missing = len(pictures) - next_index - len(done)
                        raise ProcessError(f"{death}; {missing} pictures are not done") from None
                    if len(lost) == 1:
                        index, source = lost.pop()
                        done[index] = Done(index, source, error=ProcessError(death))
                    for each in lost:
                        heappush(todo, [each])  # by itself, to see which it was
                    if todo:
                        _start(workers, worker.number, task)
                    continue
                if isinstance(message, Exception):
                    raise message
                if worker.pending is None:
                    worker.pending = deque()  # its first message says that it is ready
                else:
                    worker.pending.popleft()
                    done[message.index] = message
            while next_index in done:
                yield done.pop(next_index)
                next_index += 1
    finally:
        _stop(workers.values())


def _chunks(pictures: list[Numbered], processes: int, batch: int) -> list[list[Numbered]]:
    """What a process is given at a time: full batches, and fewer towards the end, so that all end together."""
    chunks, start = [], 0
    while start < len(pictures):
        count = min(CHUNK, (len(pictures) - start) // (2 * processes))
        end = start + max(1, count // batch) * batch
        chunks.append(pictures[start:end])
        start = end
    return chunks


def _start(workers: dict[Any, _Worker], number: int, task: tuple[Any, ...]) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, number, *task), daemon=True)
    # Children inherit that: Ctrl-C is for the parent, which stops them in order. Only the main thread may set it.
    in_main = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main else None
    try:
        process.start()
        workers[ours] = _Worker(number, process, ours)
    finally:
        if previous is not None:
            signal.signal(signal.SIGINT, previous)
    theirs.close()  # or the pipe would not end with the process


def _death(worker: _Worker) -> str:
    """How a process ended whose pipe has, and at what."""
    worker.process.join(PATIENCE)  # for its exit code
    code = worker.process.exitcode
    how = f"was killed by signal {-code}" if code and code < 0 else f"ended with exit code {code}"
    if worker.pending is None:
        how += " before it had a model"
    elif len(worker.pending) == 1:
        index, source = worker.pending[0]
        how += f" at {source if isinstance(source, str | os.PathLike) else f'picture {index}'}"
    return f"a process {how}: if memory is short, use fewer processes"


def _stop(workers: Iterable[_Worker]) -> None:
    """Ends processes: those that are idle at once, others when the files that they are writing are whole."""
    for worker in workers:
        if not worker.idle:
            worker.process.terminate()
        worker.pipe.close()
    for worker in workers:
        worker.process.join(PATIENCE)
        worker.process.kill()  # if it has not ended
        worker.process.join()


def _work(
    pipe: Connection,
    number: int,
    processes: int,
    device: str,
    load: Callable[..., Segmenter],
    prompts: str | list[str],
    finish: Finish[Any] | None,
    batch: int,
    options: dict[str, Any],
) -> None:
    """What a process does: says that it is ready, then answers for each picture of each chunk."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # in order: files that are being written become whole
    if number:
        warnings.simplefilter("ignore")  # the first process says the same
    try:
        segmenter = load(device=_share(number, processes, device))
        pipe.send(None)
        while True:
            for done in _segment_numbered(segmenter, iter(pipe.recv()), prompts, finish, batch, THREADS, options):
                pipe.send(done)
    except Exception as error:
        message = _portable(error)
        message.add_note("".join(traceback.format_exception(error)))
        with suppress(OSError):  # the parent has closed the pipe, or is gone: that was the error
            pipe.send(message)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending as it is


def _portable(error: Exception) -> Exception:
    """The error, or one of the same words where pickle cannot carry it to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return ProcessError(f"{type(error).__name__}: {error}")
    return error


def _share(number: int, processes: int, device: str) -> torch.device:
    """The part of the machine that is for one of several processes."""
    if device in ("auto", "cuda") and torch.cuda.is_available():  # before anything else touches the first GPU
        return torch.device("cuda", number % torch.cuda.device_count())
    chosen = choose_device(device)
    if chosen.type == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    return chosen
