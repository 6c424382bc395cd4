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
from serving import NAP, SLOW, load_fragile, picture

from self1e import Segmenter
from self1e.serve.messages import Answer, Asked, Cancelled, Failure, ImageJob, Pass, SentPicture
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


def told_of(pipe: Connection, jobs: int) -> list[Any]:
    """What becomes of so many jobs."""
    told: list[Any] = []
    while len(told) < jobs:
        message = pipe.recv()
        if not isinstance(message, Pass):
            told.append(message)
    return told


def kept(size: tuple[int, int], colour: str) -> ImageJob:
    return ImageJob(SentPicture(f"{size} {colour}", picture(size, colour)))


def test_pictures_of_jobs_that_are_gone_or_came_twice_are_not_held(fragile: Segmenter) -> None:
    with working(fragile) as (process, pipe):
        slow = kept(SLOW, "red")
        pipe.send(Asked(0, slow))
        time.sleep(NAP / 4)  # now it is being encoded
        pipe.send(Asked(1, slow))
        pipe.send(Asked(2, kept((20, 20), "blue")))
        pipe.send(Cancelled(2))
        first, second, gone = told_of(pipe, 3)
        assert isinstance(first, Answer) and isinstance(second, Answer) and isinstance(gone, Failure)
        assert gone.kind == "cancelled" and not process.reading
