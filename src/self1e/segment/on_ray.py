"""Many pictures on a Ray cluster: `segment_in_processes` with actors on all its machines.

    this process     gives out chunks of pictures                         takes what `finish` made of each, in order
    each actor                                    read, segment, finish

Pictures go there as paths and come back as what `finish` returns: both are best small. Chunks are given out here, not
by Ray Data: docs/big-jobs.md says why.
"""

from __future__ import annotations

import os
import pickle
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import ceil, inf
from typing import TYPE_CHECKING, Any

from self1e.parallel import MOST_DEATHS, Dealer, Lost, ProcessError, Warned, Work, portable, warn_once
from self1e.segment.files import CHUNK, Asked, Done, Finish, Numbered, T, answered, begin_work, check_arguments

if TYPE_CHECKING:
    from ray.util.placement_group import PlacementGroup

    from self1e.segment.segmenter import Segmenter

PATIENCE = 30.0
"""Seconds that the cluster has to make room for the actors."""

LONGEST_GAP = 30 * 60.0
"""Seconds that the cluster has to bring machines back when all that had actors are gone."""

TRIES = 3
"""So many actors may die with a picture, the last at it alone, or one after the other before they have a model."""

Begin = Callable[[], Work[Asked, Done[T]]]
"""Loads the model."""


def segment_on_ray(
    load: Callable[..., Segmenter],
    sources: Iterable[Asked],
    prompts: str | list[str] | None,
    *,
    processes: int | None = None,
    device: str = "auto",
    finish: Finish[T] | None = None,
    batch: int = 1,
    **options: Any,
) -> Generator[Done[T], None, None]:
    """`segment_in_processes` on the Ray cluster that this process is connected with (by `ray.init`).

    Args:
        load: See `segment_in_processes`. Like `finish` and paths, it has to mean the same on all machines.
        sources: See `segment_in_processes`.
        prompts: See `Segmenter.segment_files`.
        processes: How many actors; never more than there are pictures. None: one for each GPU of the cluster, or, if it
            has none, for each machine. They divide its CPUs and GPUs among them.
        device: "auto", "cuda" or "cpu": with "cpu" no GPU is kept for the actors, which an exported model does not use.
        finish: See `segment_in_processes`.
        batch: See `Segmenter.segment_files`.
        options: See `Segmenter.segment`.

    Yields:
        A `Done` for each source, in their order. Of what an actor had when it died, each picture is given out again by
        itself; one at which actors die all the same has a `ProcessError`. `finish` may then meet files that it wrote
        before.

    Raises:
        ProcessError: If the cluster has no room for the actors, or too many of them die.
        ValueError: If a number is less than 1.
        Exception: Whatever `load`, `Segmenter.segment` or `finish` raised, see `segment_in_processes`.
    """
    check_arguments(sources, processes=1 if processes is None else processes, batch=batch)
    pictures = list(sources)
    if not pictures:
        return
    actors, cpus, gpus = shares(_resources(), processes, device)
    begin = partial(begin_work, 1, device, load, prompts, finish, batch, options, 0)
    with _room(min(actors, len(pictures)), cpus, gpus) as room:
        yield from answered(pictures, _in_actors(room, begin, pictures, batch))


def shares(machines: Sequence[Mapping[str, float]], processes: int | None, device: str) -> tuple[int, int, float]:
    """How many actors a cluster is to have, and how many CPUs and GPUs each has.

    Args:
        machines: How much of each resource each has.
        processes: See `segment_on_ray`.
        device: See `segment_on_ray`.

    Raises:
        ProcessError: When there are not so many whole CPUs, or no GPU where one is asked for.

    >>> shares([{"CPU": 8}, {"CPU": 8}], None, "auto"), shares([{"CPU": 8}, {"CPU": 4}], 5, "auto")
    ((2, 8, 0), (5, 2, 0))
    >>> shares([{"CPU": 8, "GPU": 2}], None, "auto"), shares([{"CPU": 8, "GPU": 2}], 3, "cuda")
    ((2, 4, 1.0), (3, 2, 0.5))
    """
    of_gpus = [int(machine.get("GPU", 0)) if device != "cpu" else 0 for machine in machines]
    of_cpus = [int(machine.get("CPU", 0)) for machine in machines]
    if device.startswith("cuda") and not any(of_gpus):
        raise ProcessError("no machine of the Ray cluster has a GPU: use another device, or start Ray with GPUs")
    actors = processes or sum(of_gpus) or sum(cpus > 0 for cpus in of_cpus) or 1
    on_gpu = ceil(actors / sum(of_gpus)) if any(of_gpus) else 0

    def room(cpus: int) -> float:
        return sum(
            min(cpus_there // cpus, gpus * on_gpu if on_gpu else inf)
            for cpus_there, gpus in zip(of_cpus, of_gpus, strict=True)
        )

    for cpus in range(max(of_cpus, default=0), 0, -1):
        if room(cpus) >= actors:
            return actors, cpus, 1 / on_gpu if on_gpu else 0
    raise ProcessError(
        f"the Ray cluster has no room for {actors} processes, each with a CPU of its own: its {len(machines)} machines "
        f"have {sum(of_cpus)} CPUs, which is room for {room(1)}. Use fewer processes, or add machines"
    )


def _resources() -> list[dict[str, float]]:
    import ray

    return [machine["Resources"] for machine in ray.nodes() if machine["Alive"]]


@contextmanager
def _room(actors: int, cpus: int, gpus: float) -> Iterator[PlacementGroup]:
    """Keeps a place for each actor free of others. Actors that are there at the end are killed.

    Raises:
        ProcessError: When others hold what the actors need.
    """
    from ray.util import placement_group, remove_placement_group

    each = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    room = placement_group([each] * actors, strategy="SPREAD")
    try:
        if not room.wait(PATIENCE):
            needs = f"{cpus} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
            raise ProcessError(
                f"the Ray cluster has no room now for {actors} processes with {needs} each: others hold them, as `ray "
                "status` shows. Wait for them, or use fewer processes"
            )
        yield room
    finally:
        remove_placement_group(room)


@dataclass
class _Worker:
    """A place in the cluster, and the actor that is there.

    Attributes:
        create: Makes an actor for the place. If its machine is gone, Ray waits until it has another.
        actor: What it made last.
        starts: How many actors were made since one last answered.
        chunk: What the actor was given and has not answered for: no pictures while it loads the model.
        call: Brings the answer; None if there is nothing to answer for.
    """

    create: Callable[[], Any]
    actor: Any = None
    starts: int = 0
    chunk: list[Numbered] = field(default_factory=list)
    call: Any = None

    def start(self) -> None:
        import ray

        if self.actor is not None:
            ray.kill(self.actor)  # or one that only does not answer would stay in the place
        self.starts += 1
        self.actor = self.create()
        self.give([])

    def give(self, chunk: list[Numbered]) -> None:
        self.chunk = chunk
        self.call = self.actor.answer.remote(chunk)

    def take(self) -> tuple[list[Done[Any]] | Exception, list[Warned]]:
        """What was answered, and what was warned of. Raises RayError if the actor is dead."""
        import ray

        answer: bytes = ray.get(self.call)
        self.starts, self.call = 0, None
        return pickle.loads(answer)


def _workers(room: PlacementGroup, begin: Begin[Any]) -> list[_Worker]:
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    actor = ray.remote(_Actor)
    found = []
    for place, needs in enumerate(room.bundle_specs):
        there = PlacementGroupSchedulingStrategy(room, place)
        options = actor.options(num_cpus=needs["CPU"], num_gpus=needs.get("GPU", 0), scheduling_strategy=there)
        found.append(_Worker(partial(options.remote, begin)))
    return found


def _in_actors(
    room: PlacementGroup, begin: Begin[T], pictures: list[Asked], batch: int
) -> Generator[Done[T] | Lost, None, None]:
    """What becomes of each picture, as `in_processes` has it; but an actor may also die with its machine."""
    import ray
    from ray.exceptions import RayError

    workers = _workers(room, begin)
    dealer: Dealer[Asked, Done[T] | Lost] = Dealer(pictures, len(workers), CHUNK, batch)
    deaths = 0
    died_with: Counter[int] = Counter()
    heard: set[Warned] = set()
    for worker in workers:
        worker.start()
    while dealer.missing:
        for worker in workers:
            if worker.call is None and (chunk := dealer.deal()):
                worker.give(chunk)
        yield from dealer.in_order()
        busy = {worker.call: worker for worker in workers if worker.call is not None}
        calls, _ = ray.wait(list(busy), timeout=LONGEST_GAP)
        if not calls and not any(worker.chunk for worker in busy.values()):
            _check_machines(room)
        for worker in [busy[call] for call in calls]:
            try:
                answer, warned = worker.take()
            except RayError as error:
                deaths += 1
                if worker.starts == TRIES or deaths > MOST_DEATHS * len(workers):
                    raise ProcessError(_deaths(deaths, worker.starts, dealer.missing, error)) from error
                died_with.update(index for index, _ in worker.chunk)
                match worker.chunk:
                    case [(index, source)] if died_with[index] >= TRIES:
                        dealer.put(index, Lost(index, ProcessError(_death_at(index, source))))
                    case chunk:
                        dealer.take_back(chunk)
                worker.start()
                continue
            warn_once(warned, heard)
            if isinstance(answer, Exception):
                raise answer
            for done in answer:
                dealer.put(done.index, done)
    yield from dealer.in_order()


def _check_machines(room: PlacementGroup) -> None:
    """Raises ProcessError if actors have no machine that could load the model."""
    from ray.util import placement_group_table

    if placement_group_table(room)["state"] != "CREATED":
        raise ProcessError(
            "all machines of the Ray cluster that segmented are gone, and none came in their place within "
            f"{LONGEST_GAP / 60:g} minutes: start others, and begin again"
        )


def _deaths(deaths: int, starts: int, missing: int, last: Exception) -> str:
    died = f"an actor of Ray died {starts} times before it had a model"
    if starts < TRIES:
        died = f"actors of Ray died {deaths} times"
    *_, reason = str(last).strip().splitlines() or [type(last).__name__]
    return (
        f"{died}, and {missing} pictures are not done: if memory is short, use fewer processes; all machines need "
        f"self1e and the model. Ray says: {reason}"
    )


def _death_at(index: int, source: Asked) -> str:
    picture = source[0] if isinstance(source, tuple) else source
    name = picture if isinstance(picture, str | os.PathLike) else getattr(picture, "name", f"number {index}")
    return f"actors of Ray died at {name}: if memory is short, use fewer processes"


class _Actor:
    """What an actor does: answers for each picture of each chunk.

    Answers are pickled here, and errors are answers: Ray would put its own names and traceback around them.
    """

    def __init__(self, begin: Begin[Any]) -> None:
        self._begin = begin
        self._warned: list[Warned] = []
        # Ray gives the process to this actor alone.
        warnings.showwarning = lambda message, *place: self._warned.append((str(message), *place[:3]))

    @cached_property
    def _work(self) -> Work[Asked, Done[Any]]:
        return self._begin()

    def answer(self, chunk: list[Numbered]) -> bytes:
        """A `Done` for each picture, or an error; and what was warned of. With no pictures it only loads the model."""
        try:
            return pickle.dumps((list(self._work(iter(chunk))), self._heard()))
        except Exception as error:
            return pickle.dumps((portable(error), self._heard()))

    def _heard(self) -> list[Warned]:
        warned, self._warned = self._warned, []
        return list(dict.fromkeys(warned))
