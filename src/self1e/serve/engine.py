"""The server's side of the model: jobs that wait, and the processes that answer them.

    engine = Engine(load, processes=1, limits=Limits())
    await engine.start()
    results = await engine.answer(SegmentJob(picture, ("the cat",)))
    await engine.stop()

A process that dies is replaced. What it was working on is given out again, job by job, to see which of them it was;
that one fails and is not tried again. A process that is silent long after its jobs' time is over is killed, as dead.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import signal
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from self1e.parallel import start_deaf
from self1e.serve.limits import Limits
from self1e.serve.messages import (
    Answer,
    Asked,
    Cancelled,
    Failure,
    Job,
    Kind,
    NotLoaded,
    Pass,
    Ready,
    Text,
    Told,
)

if TYPE_CHECKING:
    from self1e.segment.segmenter import Segmenter

AT_A_TIME = 32
"""Jobs that a process has at most: those that wait there share passes, and a crash concerns no more."""

MOST_FALSE_STARTS = 3
"""So many processes in a row may end before they have loaded the model."""

GRACE = 30.0
"""Seconds after the end of a job's time when its process is held to hang."""

Load = Callable[..., "Segmenter"]


class EngineError(Exception):
    """A job was not done.

    Attributes:
        kind: Why, see `Kind`.
    """

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(eq=False)
class Ticket:
    """A job on its way."""

    number: int
    job: Job
    ends: float
    told: asyncio.Queue[Told] = field(default_factory=asyncio.Queue)
    wanted: bool = True
    alone: bool = False


class Engine:
    """See the head of this file. All methods belong to one event loop.

    Args:
        load: Is called in each process as `load(device=...)`; pickle must be able to take it.
        processes: How many; each has a model.
        device: Of `LoadOptions`.
        limits: Of what may wait, and for how long.
        watch: Is called with each `Pass`, and with a word for other events: "restart".
    """

    def __init__(
        self,
        load: Load,
        *,
        processes: int = 1,
        device: str = "auto",
        limits: Limits | None = None,
        watch: Callable[[Pass | str], None] = lambda event: None,
    ) -> None:
        self.limits = limits or Limits()
        self.watch = watch
        self.failed: str | None = None
        self.facts: dict[str, Any] = {}
        self.waiting: deque[Ticket] = deque()
        self.stopping = self.stopped = False
        self._numbers = itertools.count()
        self._begin = partial(_begin, processes=processes, device=device, load=load)
        self._processes = [ModelSide(self, number) for number in range(processes)]
        self._watchdog: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    # ------------------------------------------------------------------------------------------------------- its life

    async def start(self) -> None:
        """Starts the processes, and does not wait for them."""
        self._watchdog = asyncio.create_task(self._watch())
        for process in self._processes:
            process.start()

    async def ready(self) -> None:
        """Waits until a process has its model.

        Raises:
            EngineError: If that fails.
        """
        await self._until(lambda: self.is_ready or self.failed is not None)
        if self.failed is not None:
            raise EngineError("stopped", self.failed)

    async def ended(self) -> None:
        """Waits until there is no model any more."""
        await self._until(lambda: self.failed is not None)

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._changed.clear()
            await self._changed.wait()

    @property
    def is_ready(self) -> bool:
        """Whether a process has its model."""
        return any(process.ready for process in self._processes)

    @property
    def in_work(self) -> int:
        """Jobs that processes have."""
        return sum(len(process.given) for process in self._processes)

    async def stop(self) -> None:
        """Takes nothing more, finishes what was taken, and ends the processes."""
        self.stopping, self.stopped = True, self.failed is None
        while self._is_waited_for and self.failed is None:  # each until its time is over
            await asyncio.sleep(0.02)
        self.kill()

    def kill(self) -> None:
        """Ends the processes at once."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._give_up("the server stops")
        for process in self._processes:
            process.kill()

    @property
    def _is_waited_for(self) -> bool:
        """Whether somebody waits for an answer."""
        given = (ticket for process in self._processes for ticket in process.given.values())
        return any(ticket.wanted for ticket in (*self.waiting, *given))

    def _give_up(self, why: str) -> None:
        """Nothing is answered any more."""
        self.failed = self.failed or why
        for ticket in [*self.waiting, *(ticket for process in self._processes for ticket in process.given.values())]:
            ticket.told.put_nowait(Failure(ticket.number, "stopped", self.failed))
        self.waiting.clear()
        self._changed.set()

    # ------------------------------------------------------------------------------------------------------------ jobs

    async def answer(self, job: Job, seconds: float | None = None) -> Any:
        """The answer to a job, see `messages`. Who is cancelled while waiting cancels the job.

        Args:
            job: What to do.
            seconds: In which it is to be done; None, or more than that: `limits.seconds`.

        Raises:
            EngineError: When it is not done.
        """
        async with aclosing(self.answers(job, seconds)) as answers:
            async for told in answers:
                if isinstance(told, Answer):
                    return told.value
        raise AssertionError("a job ends with an answer or an error")

    async def answers(self, job: Job, seconds: float | None = None) -> AsyncGenerator[Text | Answer, None]:
        """The pieces of text of a chat, then the answer; see `answer`."""
        if self.stopping or self.failed is not None:
            raise EngineError("stopped", self.failed or "the server stops")
        if len(self.waiting) >= self.limits.waiting:
            raise EngineError("busy", f"{len(self.waiting)} requests wait already: ask again later")
        if job.memory > self.limits.job_bytes:
            takes = f"takes {job.memory:,} bytes of memory, more than {self.limits.job_bytes:,}"
            raise EngineError("too_much", f"the request {takes}: send fewer prompts, or a smaller picture")
        seconds = min(seconds or self.limits.seconds, self.limits.seconds)
        ticket = Ticket(next(self._numbers), job, time.monotonic() + seconds)
        self.waiting.append(ticket)
        self._give_out()
        try:
            while True:
                try:
                    async with asyncio.timeout_at(asyncio.get_running_loop().time() + ticket.ends - time.monotonic()):
                        told = await ticket.told.get()
                except TimeoutError:
                    raise EngineError("late", f"it was not done within {seconds:g} seconds") from None
                if isinstance(told, Failure):
                    raise EngineError(told.kind, told.message)
                assert isinstance(told, Text | Answer)
                yield told
                if isinstance(told, Answer):
                    return
        finally:
            self._forget(ticket)

    def _forget(self, ticket: Ticket) -> None:
        """Nobody waits for it any more; if it is not done, it need not be."""
        ticket.wanted = False
        if ticket in self.waiting:
            self.waiting.remove(ticket)
        for process in self._processes:
            if ticket.number in process.given:
                process.tell(Cancelled(ticket.number))

    def _give_out(self) -> None:
        """Gives waiting jobs to processes: to the one that knows the picture, if it is free, else to the freest."""
        while self.waiting:
            ticket = self.waiting[0]
            able = [process for process in self._processes if process.takes(ticket)]
            if not able:
                return
            key = ticket.job.picture.key
            able.sort(key=lambda process: (key not in process.pictures, len(process.given)))
            self.waiting.popleft()
            able[0].give(ticket)

    # ------------------------------------------------------------------------------------------------- what comes back

    def received(self, process: ModelSide, told: Told) -> None:
        """A message of a process."""
        if isinstance(told, Ready):
            process.ready, process.false_starts = True, 0
            self.facts = told.facts
            self._changed.set()
        elif isinstance(told, NotLoaded):
            self._give_up(told.message)
        elif isinstance(told, Pass):
            self.watch(told)
        else:
            ticket = process.given.get(told.number)
            if ticket is None:
                return
            if not isinstance(told, Text):
                del process.given[told.number]
            if ticket.wanted:
                ticket.told.put_nowait(told)
        self._give_out()

    def died(self, process: ModelSide, how: str) -> None:
        """A process has ended, in whatever way."""
        lost, was_ready = list(process.given.values()), process.ready
        process.forget()
        if self.failed is not None:
            return
        if not was_ready:
            process.false_starts += 1
            if process.false_starts >= MOST_FALSE_STARTS:
                self._give_up(f"the model's process {how} before it was ready, {process.false_starts} times")
                return
        if len(lost) == 1:
            message = f"the model's process {how} at this request; it is not tried again"
            lost.pop().told.put_nowait(Failure(-1, "crash", message))
        for ticket in reversed(lost):
            if ticket.wanted:
                ticket.alone = True  # to see which it was
                self.waiting.appendleft(ticket)
        self.watch("restart")
        process.start()

    async def _watch(self) -> None:
        """Kills processes that hang."""
        while True:
            await asyncio.sleep(1)
            for process in self._processes:
                oldest = min((ticket.ends for ticket in process.given.values()), default=float("inf"))
                if time.monotonic() > oldest + GRACE:
                    process.kill()


class ModelSide:
    """A process with the model, seen from the server.

    Attributes:
        given: Jobs that it has, by number.
        ready: Whether it has its model.
        pictures: Keys of pictures that it was given lately.
        false_starts: Times in a row that it ended before it was ready.
    """

    def __init__(self, engine: Engine, number: int) -> None:
        self.engine, self.number = engine, number
        self.false_starts = 0
        self.process: BaseProcess | None = None
        self.forget()

    def forget(self) -> None:
        """Of a process that is gone."""
        self.given: dict[int, Ticket] = {}
        self.pictures: dict[str, None] = {}
        self.ready = False

    def start(self) -> None:
        """Starts it, anew: torch's threads would not survive a fork."""
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        process = context.Process(
            target=self.engine._begin, args=(theirs, self.number, self.engine.limits.known_bytes), daemon=True
        )
        start_deaf(process)
        self.process = process
        theirs.close()  # or the pipe would not end with the process
        self.outbox: SimpleQueue[Asked | Cancelled | None] = SimpleQueue()
        loop = asyncio.get_running_loop()
        for work in (partial(_send, self.pipe, self.outbox), partial(_receive, self.pipe, self, process, loop)):
            threading.Thread(target=work, name="self1e-pipe", daemon=True).start()

    def takes(self, ticket: Ticket) -> bool:
        """Whether it can be given a job now. One that is to be alone is not given others beside it."""
        if not self.ready or any(each.alone for each in self.given.values()):
            return False
        return len(self.given) < (1 if ticket.alone else AT_A_TIME)

    def give(self, ticket: Ticket) -> None:
        """Gives it a job."""
        self.given[ticket.number] = ticket
        self.pictures[ticket.job.picture.key] = None
        if len(self.pictures) > self.engine.limits.images:
            del self.pictures[next(iter(self.pictures))]
        self.tell(Asked(ticket.number, ticket.job))

    def tell(self, message: Asked | Cancelled) -> None:
        """Sends it something, without waiting."""
        self.outbox.put(message)

    def kill(self) -> None:
        """Ends it at once; that is then noticed like any other end."""
        if self.process is not None:
            self.process.kill()


def _begin(pipe: Connection, number: int, known_bytes: int, *, processes: int, device: str, load: Load) -> None:
    """What a process does."""
    # Who tells all processes of the server to end (systemd does) means its work to be finished; see `Engine.stop`.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    from self1e.segment.share import take_share
    from self1e.serve.model_process import run

    take_share(number, processes)
    run(pipe, lambda: load(device=device), known_bytes)


def _send(pipe: Connection, outbox: SimpleQueue[Asked | Cancelled | None]) -> None:
    """In a thread: hands messages on, of which large ones take a while, until None comes."""
    with suppress(OSError):  # the process is gone, which the other thread tells
        while (message := outbox.get()) is not None:
            pipe.send(message)


def _receive(pipe: Connection, side: ModelSide, process: BaseProcess, loop: asyncio.AbstractEventLoop) -> None:
    """In a thread: hands on what comes, and at last that the process is gone."""
    with suppress(RuntimeError):  # the loop is closed
        try:
            while True:
                loop.call_soon_threadsafe(side.engine.received, side, pipe.recv())
        except (EOFError, OSError):
            pass
        process.join()
        code = process.exitcode
        how = f"was killed by signal {-code}" if code and code < 0 else f"ended with exit code {code}"
        side.outbox.put(None)
        pipe.close()
        loop.call_soon_threadsafe(side.engine.died, side, how)
