"""How the cost of masks grows: with expressions, tiles, the length of the text, rows in a pass, and processes.

    python -m benchmarks.scaling --size nano --dtype float32 --passes 5
    python -m benchmarks.scaling --size 2B --axes expressions tiles --tokenizer FOLDER
    python -m benchmarks.scaling --size 2B --device cuda --tokenizer FOLDER
    python -m benchmarks.scaling --draw                    # only the pictures of what was measured

All values of an axis are measured pass by pass, in up to three ways: `reference` (the release's), `exact` and `shared`,
see `benchmarks.inference`. Processes have one thread each; beside them stands `one process` with as many threads. Costs
are ratios to the first value in the way `exact`. Results go to `benchmarks/results/scaling.json`, a picture for each
size to `docs/pictures/`, for which matplotlib is needed (`pip install 'self1e[plot]'`).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.inference import GRIDS, Ways
from benchmarks.machine import CPU, ROOT, machine_facts
from benchmarks.records import RESULTS, read, record, settings_of
from benchmarks.subjects import add_model_options, build_chosen, model_settings, picture, prompts
from benchmarks.timing import interleaved, ratio

VALUES: dict[str, tuple[int, ...]] = {
    "expressions": (1, 2, 4, 8, 16, 32),
    "tiles": tuple(GRIDS),
    "words": (1, 8, 32, 128),
    "rows": (1, 2, 4, 8, 16),
    "processes": (1, 2),
}
"""The axes: expressions about a picture; its tiles; words in an expression; expressions in a pass, of `ASKED`; and
processes that each segment pictures of their own."""

ASKED = 16
"""Expressions on the axis of rows."""

PICTURES = 32
"""Pictures on the axis of processes, dealt out evenly; `VALUES["processes"]` divide them."""

Rivals = dict[tuple[int, str], Callable[[], Any]]


def along(axis: str, ways: Ways, values: Sequence[int]) -> Rivals:
    """What to run for each value of an axis, and in which way."""
    one_tile = picture(ways.processor, 1, 1)
    rivals: Rivals = {}
    for value in values:
        image, asked, options, names = one_tile, prompts(1), {}, ["exact", "shared"]
        if axis == "expressions":
            asked, names = prompts(value), ["reference", "exact", "shared"]
        elif axis == "tiles":
            image, names = picture(ways.processor, *GRIDS[value]), ["reference", "exact"]
        elif axis == "words":
            asked, names = [" ".join(["the", *["very"] * (value - 1), "red", "car"])], ["exact"]
        else:
            asked, options = prompts(ASKED), {"batch_size": value}
        for name in names:
            rivals[value, name] = _on(ways, name, image, asked, options)
    return rivals


def _on(ways: Ways, name: str, image: Any, asked: list[str], options: dict[str, Any]) -> Callable[[], Any]:
    columns, rows = (side // ways.processor.image_size for side in image.size)

    def run() -> Any:
        ways.processor.max_tiles = columns * rows
        return getattr(ways, name)(image, asked, **options)

    return run


def measure(axis: str, rivals: Rivals, passes: int, device: torch.device = CPU) -> list[tuple[int, dict[str, float]]]:
    """For each value the cost in each way, relative to the first value's in the way `exact`."""
    for run in rivals.values():
        run()
    seconds, _ = interleaved(rivals, passes, device)
    unit = next(times for (_, way), times in seconds.items() if way == "exact")
    costs: dict[int, dict[str, float]] = {}
    for (value, way), times in seconds.items():
        costs.setdefault(value, {})[way] = ratio(times, unit)
    return list(costs.items())


@contextmanager
def workers(number: int, chosen: argparse.Namespace) -> Iterator[list[Connection]]:
    """Processes with a model each, of `build_chosen`. Sent (threads, pictures), one answers when they are segmented."""
    context = multiprocessing.get_context("spawn")
    pairs = [context.Pipe() for _ in range(number)]
    processes = [context.Process(target=_work, args=(theirs, chosen)) for _, theirs in pairs]
    for process, (_, theirs) in zip(processes, pairs, strict=True):
        process.start()
        theirs.close()  # so that a process that dies is noticed at the other end
    try:
        yield [ours for ours, _ in pairs]
    finally:
        for ours, _ in pairs:
            ours.close()  # ends the process
        for process in processes:
            process.join()


def _work(connection: Connection, chosen: argparse.Namespace) -> None:
    ways = Ways(*build_chosen(chosen), compile=chosen.compile)
    image, asked = picture(ways.processor, 1, 1), prompts(1)
    try:
        while True:
            threads, pictures = connection.recv()
            torch.set_num_threads(threads)
            for _ in range(pictures):
                ways.exact(image, asked)
            connection.send(pictures)
    except EOFError:
        return


def over_processes(values: Sequence[int], connections: Sequence[Connection], device: torch.device = CPU) -> Rivals:
    """`PICTURES` pictures by 1, 2, ... processes of one thread each, and on a CPU by one process of as many threads."""

    def run(processes: int, threads: int) -> None:
        for connection in connections[:processes]:
            connection.send((threads, PICTURES // processes))
        for connection in connections[:processes]:
            connection.recv()

    rivals: Rivals = {}
    for number in values:
        rivals[number, "exact"] = partial(run, number, 1)
        if number > 1 and device.type == "cpu":
            rivals[number, "one process"] = partial(run, 1, number)
    return rivals


def draw(rows: list[dict[str, Any]], target: Path) -> None:
    """A panel for each axis that was measured.

    Args:
        rows: Of one device, size and type.
        target: An SVG file.
    """
    from benchmarks.plots import panels

    axes = list(dict.fromkeys(row["settings"]["axis"] for row in rows))
    with panels(target, axes, columns=3) as plots:
        for axis, plot in plots.items():
            points = sorted(
                ((row["settings"]["value"], row["cost"]) for row in rows if row["settings"]["axis"] == axis),
                key=lambda point: point[0],
            )
            for way in dict.fromkeys(way for _, cost in points for way in cost):
                shown = [(value, cost[way]) for value, cost in points if way in cost]
                plot.plot(*zip(*shown, strict=True), marker="o", label=way)
            plot.set_xlabel(axis, fontsize=8)
            plot.set_ylabel(f"cost, times that of {points[0][0]}", fontsize=8)
            plot.set_xticks([value for value, _ in points])
            plot.set_ylim(0, 1.1 * max(most for _, cost in points for most in cost.values()))


def picture_name(settings: dict[str, Any]) -> str:
    """File name of the picture that shows rows with these settings (`settings_of`)."""
    device = "" if settings["device"] == "cpu" else "-" + re.sub(r"[^a-z0-9]+", "-", settings["device"].lower())
    compiled = "-compiled" if settings["compile"] else ""
    return f"scaling-{settings['size']}-{settings['dtype']}{device}{compiled}.svg"


def draw_all(results: Path, folder: Path) -> list[Path]:
    """A picture for each device, size and type among the results."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for row in read(results):
        kinds.setdefault(picture_name(settings_of(row)), []).append(row)
    for name, rows in kinds.items():
        draw(rows, folder / name)
    return [folder / name for name in kinds]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_options(parser, "nano")
    parser.add_argument("--axes", nargs="+", choices=VALUES, default=list(VALUES))
    parser.add_argument("--most", type=int, default=32, help="leave out greater values of an axis, but of words")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    parser.add_argument("--results", type=Path, default=RESULTS / "scaling.json")
    parser.add_argument("--pictures", type=Path, default=ROOT / "docs" / "pictures")
    chosen = parser.parse_args(arguments)

    def note(axis: str, rivals: Rivals) -> None:
        for value, cost in measure(axis, rivals, chosen.passes, chosen.device):
            key = model_settings(chosen) | {"axis": axis, "value": value}
            record(chosen.results, key, cost=cost, passes=chosen.passes, machine=machine_facts(chosen.device))
            print(json.dumps(key | cost), flush=True)

    axes = [] if chosen.draw else chosen.axes
    if in_one := [axis for axis in axes if axis != "processes"]:
        ways = Ways(*build_chosen(chosen), compile=chosen.compile)
        for axis in in_one:
            values = [value for value in VALUES[axis] if axis == "words" or value <= chosen.most]
            note(axis, along(axis, ways, values))
        del ways  # before others take their memory
    if "processes" in axes:
        values = [value for value in VALUES["processes"] if value <= chosen.most]
        with workers(max(values), chosen) as connections:
            note("processes", over_processes(values, connections, chosen.device))
    for path in draw_all(chosen.results, chosen.pictures):
        print(path)


if __name__ == "__main__":
    main()
