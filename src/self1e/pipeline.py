"""Many picture files with the model never waiting for a disk: read ahead of it, finished behind it.

    segmenter = Segmenter.from_pretrained("nano")
    for done in segmenter.segment_files(sorted(Path("photos").glob("*.jpg")), "the dog"):
        print(done.source, done.error or done.value.score)

    threads        read and tile 3, 4, 5, 6     finish 1 (draw, pack, write)
    this thread                              model: 2

Pillow, numpy and zlib let go of Python's lock while they decode, draw and pack, so that the threads cost the model
little. A handful of pictures are in memory at a time, however many there are, and results come in the order of the
sources. `segment_in_processes` does this in several processes, which share nothing but the list of what is to be done.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch

from self1e.devices import choose_device
from self1e.processing.images import ImageError, ImageSource

if TYPE_CHECKING:
    from self1e.inference import TiledPicture
    from self1e.segmenter import Segmenter

AHEAD = 4
"""Pictures that are read before the model is ready for them; as many results wait to be finished or fetched."""

THREADS = 2
"""Default number of threads that read and finish."""

CHUNK = 16
"""Most pictures that a process is given at a time, or a batch."""

MOST_DEATHS = 10
"""So many processes that end before their work is done are replaced."""

PATIENCE = 10
"""Seconds that a process has to end by itself when it is no longer needed."""

T = TypeVar("T")
Finish = Callable[[int, Any], T]


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
    sources: Iterator[tuple[int, ImageSource]],
    prompts: str | list[str],
    finish: Finish[T] | None,
    batch: int,
    threads: int,
    options: dict[str, Any],
) -> Generator[Done[T], None, None]:
    reading: deque[tuple[Done[T], Future[TiledPicture]]] = deque()
    finishing: deque[Future[Done[T]]] = deque()

    def finished(done: Done[T], results: Any) -> Done[T]:
        return replace(done, value=results if finish is None else finish(done.index, results))

    pool = ThreadPoolExecutor(threads, thread_name_prefix="self1e")
    try:
        while True:
            for index, source in islice(sources, batch + AHEAD - len(reading)):
                reading.append((Done(index, source), pool.submit(segmenter.read, source)))
            if not reading:
                break
            pictures: list[tuple[Done[T], TiledPicture]] = []
            group: list[Done[T]] = []
            for _ in range(min(batch, len(reading))):
                done, picture = reading.popleft()
                try:
                    pictures.append((done, picture.result()))
                except ImageError as error:
                    done = replace(done, error=error)
                group.append(done)
            requests: Any = [(picture, prompts) for _, picture in pictures]
            answers = segmenter.segment(requests, **options)
            results = {done.index: answer for (done, _), answer in zip(pictures, answers, strict=True)}
            for done in group:
                finishing.append(
                    pool.submit(finished, done, results[done.index]) if done.error is None else _already(done)
                )
            while finishing and (len(finishing) > AHEAD or finishing[0].done()):
                yield finishing.popleft().result()
        while finishing:
            yield finishing.popleft().result()
    finally:
        # What is being written is written to its end; what waits is dropped.
        pool.shutdown(wait=True, cancel_futures=True)


def _already(value: T) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(value)
    return future


# ------------------------------------------------------------------------------------------------- several processes


@dataclass
class _Worker:
    """A process, this side of its pipe, and what it was given and has not answered for; None before it is ready."""

    number: int
    process: BaseProcess
    pipe: Connection
    pending: deque[tuple[int, ImageSource]] | None = None


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
        pictures that it was given, each is given out again by itself, to see which it was.

    Raises:
        ProcessError: If a process ends before it has a model, or too many of them end.
        ValueError: If a number is less than 1.
        Exception: Whatever `load`, `Segmenter.segment` or `finish` raised, with the traceback as a note.
    """
    if min(processes, batch) < 1:
        raise ValueError(f"must be at least 1: {processes=}, {batch=}")
    todo = deque(enumerate(sources))
    return _in_processes(todo, min(processes, len(todo)), batch, (load, device, prompts, finish, batch, options))


def _in_processes(
    todo: deque[tuple[int, ImageSource]], processes: int, batch: int, task: tuple[Any, ...]
) -> Generator[Done[Any], None, None]:
    total, next_index, deaths = len(todo), 0, 0
    done: dict[int, Done[Any]] = {}
    suspects: set[int] = set()
    workers: list[_Worker] = []
    try:
        _start(workers, range(processes), processes, task)
        while next_index < total:
            for worker in workers:  # fewer pictures towards the end, so that all end together
                if worker.pending is not None and not worker.pending:
                    _feed(worker, todo, suspects, max(batch, min(CHUNK, len(todo) // (2 * processes))))
            ready = wait([worker.pipe for worker in workers])
            for worker in [worker for worker in workers if worker.pipe in ready]:
                try:
                    message = worker.pipe.recv()
                except (EOFError, OSError):
                    workers.remove(worker)
                    deaths += 1
                    how = _cause_of_death(worker)
                    pending = worker.pending or deque()
                    if len(pending) == 1:
                        index, source = pending.popleft()
                        name = source if isinstance(source, str | os.PathLike) else f"picture {index}"
                        how += f" at {name}"
                        error = ProcessError(f"{how}: if memory is short, use fewer processes")
                        done[index] = Done(index, source, error=error)
                    suspects |= {index for index, _ in pending}
                    todo.extendleft(reversed(pending))
                    if deaths > MOST_DEATHS:
                        missing = total - next_index - len(done)
                        raise ProcessError(
                            f"{how}, as {deaths - 1} before it: {missing} pictures are not done"
                        ) from None
                    if todo:
                        _start(workers, [worker.number], processes, task)
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
        _stop(workers)


def _start(workers: list[_Worker], numbers: Iterable[int], processes: int, task: tuple[Any, ...]) -> None:
    """Adds a process for each of `numbers`."""
    context = multiprocessing.get_context("spawn")
    with _interrupts_ignored():  # children inherit that: Ctrl-C is for the parent, which stops them in order
        for number in numbers:
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(number, processes, theirs, *task), daemon=True)
            process.start()
            theirs.close()  # or the pipe would not end with the process
            workers.append(_Worker(number, process, ours))


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only that one may
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _feed(worker: _Worker, todo: deque[tuple[int, ImageSource]], suspects: set[int], count: int) -> None:
    """Gives a process its next pictures, `count` at most, and a suspect by itself."""
    chunk: list[tuple[int, ImageSource]] = []
    while todo and len(chunk) < count and not (chunk and suspects & {chunk[0][0], todo[0][0]}):
        chunk.append(todo.popleft())
    if not chunk:
        return
    try:
        worker.pipe.send(chunk)
    except OSError:  # it is gone, which the next look at its pipe will tell
        todo.extendleft(reversed(chunk))
    else:
        worker.pending = deque(chunk)


def _cause_of_death(worker: _Worker) -> str:
    worker.process.join(PATIENCE)  # for its exit code
    code = worker.process.exitcode
    how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
    if worker.pending is None:
        raise ProcessError(f"a process {how} before it had a model: is there memory for so many? Use fewer processes")
    return f"a process {how}"


def _stop(workers: list[_Worker]) -> None:
    """Ends processes: those that are idle at once, others after the picture they are at."""
    for worker in workers:
        worker.pipe.close()
    for worker in workers:
        worker.process.join(PATIENCE)
        if worker.process.is_alive():
            worker.process.terminate()
            worker.process.join()


def _work(
    number: int,
    processes: int,
    pipe: Connection,
    load: Callable[..., Segmenter],
    device: str,
    prompts: str | list[str],
    finish: Finish[Any] | None,
    batch: int,
    options: dict[str, Any],
) -> None:
    """What a process does: says that it is ready, then answers for each picture of each chunk."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that files which are being written are cleared away
    if number:
        warnings.simplefilter("ignore")  # the first process says the same
    try:
        segmenter = load(device=_share(number, processes, device))
        pipe.send(None)
        while True:
            chunk = pipe.recv()
            for done in _segment_numbered(segmenter, iter(chunk), prompts, finish, batch, THREADS, options):
                pipe.send(done)
    except (EOFError, BrokenPipeError, ConnectionResetError):  # the parent has stopped, or is gone
        return
    except Exception as error:
        error.add_note("".join(traceback.format_exception(error)))
        pipe.send(error)


def _share(number: int, processes: int, device: str) -> torch.device:
    """The part of the machine that is for one of several processes."""
    chosen = choose_device(device)
    if chosen.type == "cuda" and chosen.index is None:
        return torch.device("cuda", number % torch.cuda.device_count())
    if chosen.type == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    return chosen
