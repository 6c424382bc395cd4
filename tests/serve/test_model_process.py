"""What goes on in a process with the model: here it is a thread of this one."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import pytest
from serving import NAP, SECRET, SLOW, STRANGE, load_fragile, picture

from self1e import Segmenter
from self1e.serve import model_process
from self1e.serve.messages import Answer, Asked, Cancelled, Failure, ImageJob, Pass, SegmentJob, SentPicture
from self1e.serve.model_process import ModelProcess


@pytest.fixture(scope="module")
def fragile() -> Segmenter:
    """The model of the process."""
    return load_fragile("cpu")


@contextmanager
def working(segmenter: Segmenter) -> Iterator[tuple[ModelProcess, Connection]]:
    """The process, and the server's end of its pipe."""
    ours, theirs = multiprocessing.Pipe()
    process = ModelProcess(theirs, segmenter, known_bytes=2**20)
    thread = threading.Thread(target=process.serve)
    thread.start()
    ours.recv()  # it is ready
    try:
        yield process, ours
    finally:
        ours.close()
        thread.join()


def told_of(pipe: Connection, jobs: int) -> tuple[list[Any], list[Pass]]:
    """What becomes of so many jobs, by their numbers; and the passes that it took."""
    told: list[Any] = []
    passes: list[Pass] = []
    while len(told) < jobs or sum(each.jobs for each in passes) < sum(isinstance(each, Answer) for each in told):
        message = pipe.recv()
        (passes if isinstance(message, Pass) else told).append(message)
    return sorted(told, key=lambda each: int(each.number)), passes


def sent(size: tuple[int, int], colour: str = "red") -> SentPicture:
    return SentPicture(f"{size} {colour}", picture(size, colour), size[0] * size[1])


def test_pictures_of_jobs_that_are_gone_or_came_twice_are_not_held(fragile: Segmenter) -> None:
    with working(fragile) as (process, pipe):
        slow = ImageJob(sent(SLOW))
        pipe.send(Asked(0, slow))
        time.sleep(NAP / 4)  # now it is being encoded
        pipe.send(Asked(1, slow))
        pipe.send(Asked(2, ImageJob(sent((20, 20)))))
        pipe.send(Cancelled(2))
        (first, second, gone), _ = told_of(pipe, 3)
        assert isinstance(first, Answer) and isinstance(second, Answer) and isinstance(gone, Failure)
        assert gone.kind == "cancelled" and not process.reading


def test_what_nobody_thought_of_is_in_the_log_without_its_words(
    fragile: Segmenter, caplog: pytest.LogCaptureFixture
) -> None:
    with working(fragile) as (_, pipe):
        pipe.send(Asked(0, ImageJob(sent(STRANGE))))
        pipe.send(Asked(1, ImageJob(sent((20, 20)))))
        (failed, other), _ = told_of(pipe, 2)
    assert isinstance(failed, Failure) and isinstance(other, Answer)
    assert (failed.kind, failed.message) == ("internal", "unexpected KeyError: the server's log has more")
    assert "serving.py" in caplog.text and "in encode" in caplog.text and SECRET not in caplog.text


def test_large_jobs_are_not_in_memory_together(fragile: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [SegmentJob(sent((30, 20), colour), ("the sun",)) for colour in ("red", "green", "blue", "white")]
    monkeypatch.setattr(model_process, "MEMORY_AT_ONCE", 2 * jobs[0].memory)
    monkeypatch.setattr(model_process, "READ_AHEAD", jobs[0].picture.pixels)
    with working(fragile) as (process, pipe):
        pipe.send(Asked(9, ImageJob(sent(SLOW))))  # meanwhile the others gather
        time.sleep(NAP / 4)
        for number, job in enumerate(jobs):
            pipe.send(Asked(number, job))
        time.sleep(NAP / 4)
        assert len(process.reading) == 1
        told, passes = told_of(pipe, 5)
    assert all(isinstance(each, Answer) for each in told) and [each.jobs for each in passes] == [1, 2, 2]
