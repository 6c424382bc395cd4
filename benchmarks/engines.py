"""Engines side by side: torch (ours), ONNX Runtime and OpenVINO, and the release's way of computing.

    python -m benchmarks.engines --sizes nano mini                  # every engine and precision; 1, 4, 16 expressions
    python -m benchmarks.engines --sizes 1B 2B --tokenizer FOLDER   # shapes of InternVL3, random weights
    python -m benchmarks.engines --sizes nano --expressions 1 --ways reference torch-float32 onnxruntime-float32
    python -m benchmarks.engines --cold-start --folder exported     # processes from their start to the first mask
    python -m benchmarks.engines --cold-start --python rt/bin/python    # engines in an environment of the runtime alone

A pass reads and encodes a picture of one tile anew and makes masks of all expressions. All ways of a size run in one
process, pass by pass, each time in another order. A way is `reference` (`benchmarks.reference`, in float32), or an
engine with a precision: torch in float32, bfloat16 or int8; onnxruntime and openvino with weights in float32, float16
or int8, which compute in float32; and `openvino-bfloat16` and `openvino-int8-bfloat16`, which compute in bfloat16, with
weights that are stored in float32 and int8.

Models are exported for the run, or taken from `--folder` if they are there already. How much masks differ from torch's
in float32, on the pictures that an export is checked on, is written down for trained models, and not refused. What this
machine has no memory or no instructions for is left out, and said. Results go to `benchmarks/results/engines.json`, row
by row, and a table is printed.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property, partial
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Column, Table

from benchmarks.machine import ROOT, machine_facts
from benchmarks.records import RESULTS, record
from benchmarks.reference import Reference
from benchmarks.subjects import PICTURE, SIZES, build, picture, processor_of, prompts
from benchmarks.timing import interleaved, medians, ratio
from self1e import Segmenter, SELF1EProcessor
from self1e.checkpoints.check import expected_shapes
from self1e.checkpoints.hub import BUNDLED
from self1e.checkpoints.presets import full_config
from self1e.engines.artefact import Artefact, is_artefact, open_artefact
from self1e.engines.programs import has_bfloat16
from self1e.export.export import PRECISIONS, Exporter
from self1e.export.verify import compared, sample_maps, samples_to_check
from self1e.model.network import SELF1EForSegmentation
from self1e.processing.prompts import question_for
from self1e.segment.agreement import MaskMap
from self1e.segment.devices import cpu_has_bfloat16
from self1e.segment.options import LoadOptions
from self1e.segment.quantise import quantize
from self1e.segment.runner import Runner

REFERENCE, OURS = "reference", "torch-float32"
KINDS = {"onnxruntime": "onnx", "openvino": "openvino"}


class Way(NamedTuple):
    """How a model is run.

    Attributes:
        engine: What runs it.
        precision: What its weights are stored in.
        dtype: What an engine computes in.
    """

    engine: str
    precision: str
    dtype: str = "float32"


WAYS = {
    REFERENCE: Way(REFERENCE, "float32"),
    **{f"torch-{precision}": Way("torch", precision) for precision in ("float32", "bfloat16", "int8")},
    **{f"{engine}-{precision}": Way(engine, precision) for engine in KINDS for precision in PRECISIONS},
    "openvino-bfloat16": Way("openvino", "float32", "bfloat16"),
    "openvino-int8-bfloat16": Way("openvino", "int8", "bfloat16"),
}
BYTES = {"float32": 4.0, "float16": 4.0, "bfloat16": 2.0, "int8": 1.5}
"""That a number of a model takes while it runs: halves are made float32, and in 8 bits some parts stay as they were."""

TO_EXPORT = 9
"""Bytes for each number while a model is exported: it itself, and a copy that is written."""

SHARE = 0.85
"""Of the memory of a machine that is for models."""

Run = Callable[[Any, Sequence[str]], Any]
"""Makes masks of expressions about a picture."""


class Subject:
    """A model, and the ways to run it.

    Args:
        size: One of `SIZES`.
        tokenizer: See `benchmarks.subjects.build`.
        folder: Where exported models are kept, and the model itself if its weights are random.
    """

    def __init__(self, size: str, tokenizer: Path | None, folder: Path) -> None:
        self.size, self.tokenizer, self.folder = size, tokenizer, folder

    def way(self, name: str) -> tuple[Run, dict[str, Any]]:
        """What runs, and facts about it."""
        facts: dict[str, Any] = {}
        engine, precision, dtype = WAYS[name]
        if engine == REFERENCE:
            model, processor = self._in_full
            reference = Reference(model)
            return lambda image, asked: reference.segment(processor, image, [question_for(each) for each in asked]), {}
        if engine in KINDS:
            artefact = self.exported(KINDS[engine], precision)
            segmenter = Segmenter.load(artefact, LoadOptions(dtype=dtype))
            size = sum(path.stat().st_size for path in artefact.folder.iterdir())
            facts["megabytes"] = round(size / 1e6, 1)
        else:
            segmenter = self._in_torch(precision)
        if name != OURS:
            facts |= self.difference(segmenter.runner)
        return lambda image, asked: segmenter.segment(image, list(asked)), facts

    def _in_torch(self, precision: str) -> Segmenter:
        if precision == "float32":
            return Segmenter(*self._in_full)
        model, processor = build(self.size, "float32" if precision == "int8" else precision, self.tokenizer)
        if precision == "int8":
            quantize(model, precision)
        return Segmenter(model, processor)

    @cached_property
    def _in_full(self) -> tuple[SELF1EForSegmentation, SELF1EProcessor]:
        """In float32, for all that only read it."""
        return build(self.size, "float32", self.tokenizer)

    def export(self, ways: Sequence[str]) -> None:
        """Exports all that is to be run, before anything else takes memory."""
        for engine, precision, _ in (WAYS[way] for way in ways):
            if engine in KINDS:
                self.exported(KINDS[engine], precision)
        self.__dict__.pop("_exporter", None)

    def exported(self, kind: str, precision: str) -> Artefact:
        """An exported model, made if it is not there yet."""
        folder = self.folder / f"{self.size}-{kind}-{precision}"
        if is_artefact(folder):
            return open_artefact(folder)
        return self._exporter.write(kind, folder, precision, samples=[])

    @cached_property
    def _exporter(self) -> Exporter:
        return Exporter(str(self._source()))

    def _source(self) -> Path:
        if self.size in BUNDLED:
            return BUNDLED[self.size]
        source = self.folder / self.size
        if not source.exists():
            for part in build(self.size, "float32", self.tokenizer):
                part.save_pretrained(source)
        return source

    def difference(self, runner: Runner) -> dict[str, Any]:
        """How masks differ from torch's in float32; of random weights, these would not mean anything."""
        if self.size not in BUNDLED:
            return {}
        samples = samples_to_check()
        found = compared(self._maps_in_full, sample_maps(runner, samples), len(samples))
        return {"largest_difference": found.largest_difference, "iou": found.iou}

    @cached_property
    def _maps_in_full(self) -> list[MaskMap]:
        return sample_maps(Segmenter(*self._in_full).runner, samples_to_check())


def possible(size: str, ways: Sequence[str], gib: float) -> list[str]:
    """Those ways that this machine can take together; the others are told of."""
    numbers = 0 if size in BUNDLED else sum(map(prod, expected_shapes(full_config(size, **IDS)).values()))
    room, chosen, float32 = SHARE * gib * 2**30, list[str](), False
    for way in ways:
        engine, precision, dtype = WAYS[way]
        ours = way in (REFERENCE, OURS)
        need = 0.0 if ours and float32 else numbers * BYTES[precision]
        lacks = ""
        if "bfloat16" in (precision, dtype) and not can_bfloat16(engine):
            lacks = "instructions for bfloat16"
        elif need > room or (engine in KINDS and numbers * TO_EXPORT > SHARE * gib * 2**30):
            lacks = "memory for it beside the others: give it in --ways with fewer"
        if lacks:
            print(f"{size}: {way} is left out; this machine lacks {lacks}", file=sys.stderr)
            continue
        room, float32 = room - need, float32 or ours
        chosen.append(way)
    return chosen


def can_bfloat16(engine: str) -> bool:
    """Whether this CPU computes in bfloat16, with an engine, as fast as it should."""
    return has_bfloat16() if engine in KINDS else cpu_has_bfloat16()


IDS = {"seg_token_id": 1, "image_token_id": 2}
"""Of which shapes do not depend."""


def measure(ways: Mapping[str, Run], image: Any, asked: Sequence[str], passes: int) -> dict[str, Any]:
    """Seconds of each way, and how many times as fast as `OURS` it is."""
    rivals: dict[str, Callable[[], Any]] = {name: partial(run, image, list(asked)) for name, run in ways.items()}
    for run in rivals.values():
        run()  # warm
    seconds, _ = interleaved(rivals, passes)
    base = OURS if OURS in seconds else next(iter(seconds))
    faster = {f"{base} / {name}": ratio(seconds[base], values) for name, values in seconds.items() if name != base}
    return {"passes": passes, "seconds": medians(seconds), "ratios": faster, "machine": machine_facts()}


def show(size: str, expressions: int, found: dict[str, Any], facts: Mapping[str, dict[str, Any]]) -> None:
    """A table of one measurement."""
    columns = ("ms", "times as fast", "MB", "IoU with torch", "largest difference of logits")
    table = Table(
        Column("way", no_wrap=True), *columns, title=f"{size}, expressions: {expressions}", title_justify="left"
    )
    for name, seconds in found["seconds"].items():
        faster = next((value for key, value in found["ratios"].items() if key.endswith(f" / {name}")), 1.0)
        of_way = (facts[name].get(key, "") for key in ("megabytes", "iou", "largest_difference"))
        table.add_row(name, f"{1000 * seconds:.0f}", f"{faster:.2f}", *map(str, of_way))
    Console().print(table)


FIRST_MASK = """
from self1e import Segmenter
result = Segmenter.from_pretrained({model!r}).segment({picture!r}, "the white cow")
assert result.mask.shape
"""


def cold_start(folder: Path, passes: int, python: Path) -> dict[str, Any]:
    """Processes of their own, from their start to the first mask: torch, and each engine.

    Args:
        folder: Of exported models.
        passes: How many of each.
        python: The interpreter for engines. Those that its environment lacks are left out, and told of.

    Returns:
        Medians: seconds by the clock, and seconds of a core.
    """
    subject = Subject("nano", None, folder)
    python = python.absolute()  # and not resolved: the interpreter of an environment is a link
    starts: dict[str, tuple[Path, str]] = {"torch": (Path(sys.executable), "nano")}
    for engine, kind in KINDS.items():
        if subprocess.run([python, "-c", f"import {engine}"], capture_output=True, cwd=ROOT, check=False).returncode:
            print(f"{engine} is left out; {python} cannot import it", file=sys.stderr)
            continue
        starts[engine] = python, str(subject.exported(kind, "float32").folder.resolve())
    of_core: dict[str, list[float]] = {name: [] for name in starts}

    def start(name: str) -> None:
        interpreter, model = starts[name]
        before = _seconds_of_children()
        command = [str(interpreter), "-c", FIRST_MASK.format(model=model, picture=str(PICTURE))]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        of_core[name].append(_seconds_of_children() - before)

    rivals = {name: partial(start, name) for name in starts}
    for run in rivals.values():
        run()  # or files would have to be read from the disk
    seconds, _ = interleaved(rivals, passes)
    busy = medians({name: values[1:] for name, values in of_core.items()})
    return {"passes": passes, "seconds": medians(seconds), "core_seconds": busy, "machine": machine_facts()}


def _seconds_of_children() -> float:
    """Of a core, that processes took which were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def show_cold_start(found: dict[str, Any]) -> None:
    """A table of it."""
    table = Table(title="nano, from the start of a process to the first mask", title_justify="left")
    for column in ("way", "seconds by the clock", "seconds of a core"):
        table.add_column(column)
    for name, seconds in found["seconds"].items():
        table.add_row(name, f"{seconds:.2f}", f"{found['core_seconds'][name]:.2f}")
    Console().print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", choices=SIZES, nargs="+", default=["nano"])
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=list(WAYS))
    parser.add_argument("--expressions", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--tokenizer", type=Path, help="InternVL3's, for 1B and 2B; default: nano's")
    parser.add_argument("--folder", type=Path, help="of exported models; default: a temporary one")
    parser.add_argument("--cold-start", action="store_true", help="time processes from their start instead")
    parser.add_argument("--python", type=Path, metavar="FILE", help="for --cold-start: the interpreter of engines")
    parser.add_argument("--results", type=Path, default=RESULTS / "engines.json")
    chosen = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = chosen.folder or Path(stack.enter_context(TemporaryDirectory()))
        if chosen.cold_start:
            found = cold_start(folder, chosen.passes, chosen.python or Path(sys.executable))
            settings: dict[str, Any] = {"size": "nano", "command": "from start to first mask"}
            settings["engines"] = "in an environment of their own" if chosen.python else "beside torch"
            record(chosen.results, settings, cold_start=found)
            show_cold_start(found)
            return
        gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        for size in chosen.sizes:
            subject = Subject(size, chosen.tokenizer, folder)
            names = possible(size, chosen.ways, gib)
            subject.export(names)
            made = {name: subject.way(name) for name in names}
            ways, facts = {name: run for name, (run, _) in made.items()}, {name: of for name, (_, of) in made.items()}
            image = picture(processor_of(size, chosen.tokenizer), 1, 1)
            for expressions in chosen.expressions:
                found = measure(ways, image, prompts(expressions), chosen.passes)
                settings = {"size": size, "expressions": expressions, "ways": names}
                record(chosen.results, settings, timing=found | {"facts": facts})
                show(size, expressions, found, facts)


if __name__ == "__main__":
    main()
