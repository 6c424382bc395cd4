"""Many picture files: threads read ahead of the model and finish behind it, so that it seldom waits for a disk.

    segmenter = Segmenter.from_pretrained()
    for done in segmenter.segment_files(sorted(Path("photos").glob("*.jpg")), "the dog"):
        print(done.source, done.error or done.value.score)

    threads        read and tile 3, 4, 5, 6     finish 1 (draw, pack, write)
    this thread                              model: 2

Pillow, numpy and zlib let go of Python's lock while they decode, draw and pack. A handful of pictures are in memory at
a time, however many there are, and results come in the order of the sources. `segment_in_processes` does this in
several processes, which share nothing but the list of what is to be done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from self1e.parallel import Lost, ProcessError, Work, in_processes
from self1e.processing.images import ImageError, ImageSource
from self1e.processing.prompts import PromptError
from self1e.segment.runner import NumbersError, TiledPicture
from self1e.segment.share import take_share

if TYPE_CHECKING:
    from self1e.segment.segmenter import Segmenter

AHEAD = 4
"""Pictures that are read while the model is at others, and as many wait to be finished; a batch, if that is more."""

THREADS = 2
"""Default number of threads that read and finish."""

CHUNK = 16
"""Most pictures that a process is given at a time; a batch, if that is more."""

T = TypeVar("T")
Finish = Callable[[Any, Any], T]
Asked = ImageSource | tuple[ImageSource, str | list[str]] | tuple[ImageSource, str | list[str], Any]
"""A picture; or a picture and what is to be segmented in it; or these two, and what `finish` is told in place of the
picture's place among all: what it needs to know of this picture, so that it need not hold a list of them all."""

Numbered = tuple[int, Asked]
"""A source with its place among all."""


@dataclass(frozen=True)
class Done(Generic[T]):
    """What became of one file.

    Attributes:
        index: Its place among the sources.
        source: The file, as it was given.
        value: What `Segmenter.segment` gives for the prompts, or what `finish` made of that. None after an error.
        error: Why the file was passed over: it cannot be read, a prompt is longer than the model can read beside it,
            numbers overflowed, or it was lost with a process.
    """

    index: int
    source: ImageSource
    value: T | None = None
    error: ImageError | PromptError | NumbersError | ProcessError | None = None


def segment_files(
    segmenter: Segmenter,
    sources: Iterable[Asked],
    prompts: str | list[str] | None,
    *,
    finish: Finish[T] | None = None,
    batch: int = 1,
    threads: int = THREADS,
    **options: Any,
) -> Generator[Done[T], None, None]:
    """Segments pictures one after the other; see `Segmenter.segment_files`."""
    check_arguments(sources, batch=batch, threads=threads)
    return _segment_numbered(segmenter, enumerate(sources), prompts, finish, batch, threads, options)


def check_arguments(sources: object, **numbers: object) -> None:
    """Raises ValueError if sources are one text, or a number is less than 1."""
    if isinstance(sources, str | bytes):
        raise ValueError(f"sources are a list of pictures, not one: give [{sources!r}]")
    wrong = [f"{name}={value!r}" for name, value in numbers.items() if not isinstance(value, int) or value < 1]
    if wrong:
        raise ValueError(f"must be a whole number of at least 1: {', '.join(wrong)}")


def _segment_numbered(
    segmenter: Segmenter,
    sources: Iterator[Numbered],
    prompts: str | list[str] | None,
    finish: Finish[T] | None,
    batch: int,
    threads: int,
    options: dict[str, Any],
) -> Generator[Done[T], None, None]:
    ahead = max(batch, AHEAD)
    reading: deque[tuple[Done[T], str | list[str], Any, Future[TiledPicture]]] = deque()
    finishing: deque[Future[Done[T]]] = deque()

    def finished(done: Done[T], about: Any, results: Any) -> Done[T]:
        if done.error is not None:
            return done
        if isinstance(results, PromptError | NumbersError):
            return replace(done, error=results)
        return replace(done, value=results if finish is None else finish(about, results))

    pool = ThreadPoolExecutor(threads, thread_name_prefix="self1e")
    try:
        while True:
            for index, source in islice(sources, batch + ahead - len(reading)):
                picture, asked, about = _parts_of(index, source, prompts)
                reading.append((Done(index, picture), asked, about, pool.submit(segmenter.read, picture)))
            if not reading:
                break
            group: list[tuple[Done[T], Any]] = []
            requests: dict[int, Any] = {}  # (picture, prompts) by place
            for _ in range(min(batch, len(reading))):
                done, asked, about, tiled = reading.popleft()
                try:
                    requests[done.index] = tiled.result(), asked
                except ImageError as error:
                    done = replace(done, error=error)
                group.append((done, about))
            results = _results(segmenter, requests, options)
            finishing += [pool.submit(finished, done, about, results.get(done.index)) for done, about in group]
            while finishing and (len(finishing) > ahead or finishing[0].done()):
                yield finishing.popleft().result()
        while finishing:
            yield finishing.popleft().result()
    finally:
        # What is being written is written to its end; what waits is dropped.
        pool.shutdown(wait=True, cancel_futures=True)


def _results(segmenter: Segmenter, requests: dict[int, Any], options: dict[str, Any]) -> dict[int, Any]:
    """What `Segmenter.segment` gives for each request; an error that is only about one is its result."""
    try:
        return dict(zip(requests, segmenter.segment(list(requests.values()), **options), strict=True))
    except (PromptError, NumbersError) as error:
        if len(requests) == 1:
            return dict.fromkeys(requests, error)
    alone = ({index: request} for index, request in requests.items())
    return {index: result for one in alone for index, result in _results(segmenter, one, options).items()}


def _parts_of(index: int, source: Asked, prompts: str | list[str] | None) -> tuple[ImageSource, str | list[str], Any]:
    """Raises ValueError if there are no prompts, or both the pictures' own and others."""
    if prompts is None and isinstance(source, tuple) and len(source) in (2, 3):
        return source if len(source) == 3 else (*source, index)
    if prompts is None or isinstance(source, tuple):
        raise ValueError("give prompts for all pictures, or None and pairs (picture, prompts)")
    return source, prompts, index


# ------------------------------------------------------------------------------------------------- several processes


def segment_in_processes(
    load: Callable[..., Segmenter],
    sources: Iterable[Asked],
    prompts: str | list[str] | None,
    *,
    processes: int,
    device: str = "auto",
    finish: Finish[T] | None = None,
    batch: int = 1,
    **options: Any,
) -> Generator[Done[T], None, None]:
    """`segment_files` in several processes with a model each. Results still come in the order of the sources.

    With "auto" and "cuda" each process takes the next GPU, if there are some; threads they divide among them. Processes
    are started anew, not forked: a script that calls this must do so under `if __name__ == "__main__":`.

    Args:
        load: Is called in each process as `load(device=...)`, such as `partial(Segmenter.from_pretrained, "nano")`.
        sources: See `Segmenter.segment_files`. All that is given here goes through pipes, and must be such that pickle
            can take it: paths are best.
        prompts: See `Segmenter.segment_files`.
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
    check_arguments(sources, processes=processes, batch=batch)
    pictures = list(sources)
    processes = min(processes, len(pictures))
    begin = partial(begin_work, processes, device, load, prompts, finish, batch, options)
    return answered(pictures, in_processes(begin, pictures, processes, at_a_time=CHUNK, multiple=batch))


def answered(pictures: list[Asked], results: Iterator[Done[T] | Lost]) -> Generator[Done[T], None, None]:
    """A `Done` also for pictures that were lost."""
    for result in results:
        if isinstance(result, Lost):
            source = pictures[result.index]
            yield Done(result.index, source[0] if isinstance(source, tuple) else source, error=result.error)
        else:
            yield result


def begin_work(
    processes: int,
    device: str,
    load: Callable[..., Segmenter],
    prompts: str | list[str] | None,
    finish: Finish[T] | None,
    batch: int,
    options: dict[str, Any],
    number: int,
) -> Work[Asked, Done[T]]:
    """What a process does first: loads the model."""
    take_share(number, processes)
    segmenter = load(device=device)
    return lambda sources: _segment_numbered(segmenter, sources, prompts, finish, batch, THREADS, options)
