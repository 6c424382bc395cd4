"""Many pictures on a Ray cluster: `segment_in_processes` with actors on all its machines, which Ray Data feeds.

    this process     gives out chunks of pictures                         takes what `finish` made of each, in order
    each actor                                    read, segment, finish

Pictures go there as paths and come back as what `finish` returns: both are best small. If this process is slow, Ray
keeps some of that for it, and then has the actors wait.

Only actors work. Ray Data's known hang, in which actors hold all CPUs and the task that reads for them waits for one,
cannot come about, and before the work it is sure that there is room for the actors.
"""

from __future__ import annotations

import gc
import os
import pickle
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from math import ceil, inf
from typing import TYPE_CHECKING, Any, TextIO

from self1e.parallel import MOST_DEATHS, ProcessError, Work, chunks, portable
from self1e.segment.files import CHUNK, Asked, Done, Finish, Numbered, T, begin_work, check_arguments

if TYPE_CHECKING:
    from self1e.segment.segmenter import Segmenter

PATIENCE = 30
"""Seconds that the cluster has to make room for the actors."""

RETRIES = 2
"""How often a chunk is given out again at which an actor died."""

Warned = tuple[str, type[Warning], str, int]
"""A warning: its text, category, file and line."""


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
        device: "auto", "cuda" or "cpu".
        finish: See `segment_in_processes`.
        batch: See `Segmenter.segment_files`.
        options: See `Segmenter.segment`.

    Yields:
        A `Done` for each source, in their order. What an actor had when it died is given out again. Where that does not
        help, its pictures come last, each by itself, and one at which actors die all the same has a `ProcessError`.

    Raises:
        ProcessError: If the cluster has no room for the actors, or too many of them die.
        ValueError: If a number is less than 1.
        Exception: Whatever `load`, `Segmenter.segment` or `finish` raised, see `segment_in_processes`.
    """
    check_arguments(sources, processes=1 if processes is None else processes, batch=batch)
    pictures = list(sources)
    begin = partial(begin_work, 1, device, load, prompts, finish, batch, options)
    missing: list[Numbered] = list(enumerate(pictures))
    heard: set[Warned] = set()
    for at_a_time in (CHUNK, 1):
        if not missing:
            return
        actors, cpus, gpus = shares(_resources(), processes, device)
        actors = min(actors, len(missing))
        _wait_for_room(actors, cpus, gpus)
        given_out = chunks(missing, actors, at_a_time, batch if at_a_time > 1 else 1)
        came = set()
        for done in _run(begin, given_out, actors, cpus, gpus, heard):
            came.add(done.index)
            yield done
        missing = [each for each in missing if each[0] not in came]
    for index, source in missing:
        picture = source[0] if isinstance(source, tuple) else source
        name = str(picture if isinstance(picture, str | os.PathLike) else getattr(picture, "name", f"number {index}"))
        death = ProcessError(f"an actor of Ray died at {name}: if memory is short, use fewer processes")
        yield Done(index, picture, error=death)


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


def _wait_for_room(actors: int, cpus: int, gpus: float) -> None:
    """Ray Data would wait for ever, without a word.

    Raises:
        ProcessError: When others hold what the actors need.
    """
    from ray.util import placement_group, remove_placement_group

    each = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    room = placement_group([each] * actors)
    try:
        if not room.wait(PATIENCE):
            needs = f"{cpus} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
            raise ProcessError(
                f"the Ray cluster has no room now for {actors} processes with {needs} each: others hold them, as `ray "
                "status` shows. Wait for them, or use fewer processes"
            )
    finally:
        remove_placement_group(room)


def _run(
    begin: Callable[[int], Work[Asked, Done[T]]],
    given_out: list[list[Numbered]],
    actors: int,
    cpus: int,
    gpus: float,
    heard: set[Warned],
) -> Iterator[Done[T]]:
    """What becomes of pictures, without those of a chunk at which an actor died. Warns of what is not `heard` yet."""
    import ray.data
    from ray.data.exceptions import ExecutionTimeoutError
    from ray.exceptions import RayError
    from ray.util.annotations import RayDeprecationWarning

    rows = [pickle.dumps(chunk) for chunk in given_out]
    data = ray.data.from_items(rows, override_num_blocks=len(rows))  # a row is a block, which is what a task works on
    data.context.enable_progress_bars = data.context.print_on_execution_start = False
    data.context.execution_options.preserve_order = True
    data.context.max_errored_blocks = MOST_DEATHS * actors
    # What waits in an actor counts as what it died at, and no picture is to be taken for another that kills.
    in_flight = 2 if any(len(chunk) > 1 for chunk in given_out) else 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RayDeprecationWarning)  # of `max_task_retries`: goes in Ray 2.64
        data = data.map(
            _Actor,
            fn_constructor_args=(begin,),
            compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=in_flight),
            num_cpus=cpus,
            num_gpus=gpus,
            max_task_retries=RETRIES,  # by itself Ray would start an actor anew for ever, and have it killed for ever
        )
    try:
        for row in data.iter_rows():
            answer, said = pickle.loads(row["item"])
            for each in dict.fromkeys(said):
                if each not in heard:
                    heard.add(each)
                    warnings.warn_explicit(*each)
            if isinstance(answer, Exception):
                raise answer
            yield from answer
    except (RayError, ExecutionTimeoutError) as error:
        first, *_ = str(error).strip().splitlines() or [type(error).__name__]
        raise ProcessError(
            f"actors of Ray died or did not answer: if memory is short, use fewer processes; all machines need self1e "
            f"and the model. Ray says: {first}"
        ) from error
    finally:
        del data
        gc.collect()  # Ray Data runs this by objects that hold each other, and the CPUs of the actors with them


class _Actor:
    """What an actor does: answers for each picture of each chunk.

    An error is an answer, which `_run` raises: Ray would put its own names and traceback around it. The model is loaded
    with the first chunk, as Ray counts how often an actor dies at a chunk, but not how often it dies before.
    """

    def __init__(self, begin: Callable[[int], Work[Asked, Done[Any]]]) -> None:
        self._begin = begin
        self._said: list[Warned] = []
        warnings.showwarning = self._hear  # Ray gives the process to this actor alone

    @cached_property
    def _work(self) -> Work[Asked, Done[Any]]:
        return self._begin(0)

    def _hear(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        self._said.append((str(message), category, filename, lineno))

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        answer: list[Done[Any]] | Exception
        try:
            answer = list(self._work(iter(pickle.loads(row["item"]))))
        except Exception as error:
            answer = portable(error)
        said, self._said = self._said, []
        return {"item": pickle.dumps((answer, said))}
