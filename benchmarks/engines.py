"""Engines side by side: torch (ours), ONNX Runtime and OpenVINO, and the release's way of computing.

    python -m benchmarks.engines --sizes nano mini                  # every engine and precision; 1, 4, 16 expressions
    python -m benchmarks.engines --sizes 1B 2B --tokenizer FOLDER   # shapes of InternVL3, random weights
    python -m benchmarks.engines --sizes nano --expressions 1 --ways reference torch-float32 onnxruntime-float32
    python -m benchmarks.engines --cold-start --folder exported     # processes from their start to the first mask

A pass reads and encodes a picture of one tile anew and makes masks of all expressions. All ways of a size run in one
process, pass by pass, each time in another order. A way is `reference` (`benchmarks.reference`, in float32), or an
engine with a precision: torch in float32, bfloat16 or int8; onnxruntime and openvino with weights in float32, float16
or int8.

Models are exported for the run, or taken from `--folder` if they are there already. How much masks differ from torch's
is written down for trained models, and not refused. What this machine has not enough memory for is left out, and said.
Results go to `benchmarks/results/engines.json`, row by row, and a table is printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property, partial
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

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
from self1e.export.export import PRECISIONS, Exporter
from self1e.export.verify import compared
from self1e.model.network import SELF1EForSegmentation
from self1e.processing.prompts import question_for
from self1e.segment.agreement import mask_maps
from self1e.segment.devices import cpu_has
from self1e.segment.on_engine import EngineRunner
from self1e.segment.quantise import bundled_samples, quantize

REFERENCE, OURS = "reference", "torch-float32"
KINDS = {"onnxruntime": "onnx", "openvino": "openvino"}
WAYS = (
    REFERENCE,
    *(f"torch-{precision}" for precision in ("float32", "bfloat16", "int8")),
    *(f"{engine}-{precision}" for engine in KINDS for precision in PRECISIONS),
)
BYTES = {"float32": 4.0, "float16": 4.0, "bfloat16": 2.0, "int8": 1.5}
"""That a number of a model takes while it runs: halves are made float32, and in 8 bits some parts stay as they were."""

TO_EXPORT = 10
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
        engine, _, precision = name.partition("-")
        if engine in KINDS:
            artefact = self.exported(KINDS[engine], precision)
            size = sum(path.stat().st_size for path in artefact.folder.iterdir())
            facts = {"megabytes": round(size / 1e6, 1), **self.difference(artefact)}
            exported = Segmenter.load(artefact)
            return lambda image, asked: exported.segment(image, list(asked)), facts
        if precision == "bfloat16":
            model, processor = build(self.size, precision, self.tokenizer)
        elif precision == "int8":
            model, processor = build(self.size, "float32", self.tokenizer)
            quantize(model, "int8")
        else:
            model, processor = self._in_full
        if name == REFERENCE:
            reference = Reference(model)
            return lambda image, asked: reference.segment(processor, image, [question_for(each) for each in asked]), {}
        segmenter = Segmenter(model, processor)
        return lambda image, asked: segmenter.segment(image, list(asked)), {}

    @cached_property
    def _in_full(self) -> tuple[SELF1EForSegmentation, SELF1EProcessor]:
        """In float32, for all that only read it."""
        return build(self.size, "float32", self.tokenizer)

    def export(self, ways: Sequence[str]) -> None:
        """Exports all that is to be run, before anything else takes memory."""
        for engine, _, precision in (way.partition("-") for way in ways):
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

    def difference(self, artefact: Artefact) -> dict[str, Any]:
        """How masks differ from torch's in float32; of random weights, these would not mean anything."""
        if self.size not in BUNDLED:
            return {}
        samples = bundled_samples()
        before = mask_maps(Segmenter(*self._in_full).runner, samples)
        found = compared(before, mask_maps(EngineRunner(artefact), samples), len(samples))
        return {"largest_difference": found.largest_difference, "iou": found.iou}


def possible(size: str, ways: Sequence[str], gib: float) -> list[str]:
    """Those ways that this machine can take together; the others are told of."""
    numbers = 0 if size in BUNDLED else sum(map(prod, expected_shapes(full_config(size, **IDS)).values()))
    room, chosen, float32 = SHARE * gib * 2**30, list[str](), False
    for way in ways:
        engine, _, precision = way.partition("-")
        ours = way in (REFERENCE, OURS)
        need = 0.0 if ours and float32 else numbers * BYTES[precision or "float32"]
        lacks = ""
        if way == "torch-bfloat16" and not (cpu_has("amx_tile") or cpu_has("avx512_bf16")):
            lacks = "instructions for bfloat16"
        elif need > room or (engine in KINDS and numbers * TO_EXPORT > SHARE * gib * 2**30):
            lacks = "memory for it beside the others: give it in --ways with fewer"
        if lacks:
            print(f"{size}: {way} is left out; this machine lacks {lacks}", file=sys.stderr)
            continue
        room, float32 = room - need, float32 or ours
        chosen.append(way)
    return chosen


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
    columns = ("way", "ms", "times as fast", "MB", "IoU with torch", "largest difference of logits")
    table = Table(*columns, title=f"{size}, expressions: {expressions}", title_justify="left")
    for name, seconds in found["seconds"].items():
        faster = next((value for key, value in found["ratios"].items() if key.endswith(f" / {name}")), 1.0)
        of_way = (facts[name].get(key, "") for key in ("megabytes", "iou", "largest_difference"))
        table.add_row(name, f"{1000 * seconds:.0f}", f"{faster:.2f}", *map(str, of_way))
    Console().print(table)


def cold_start(folder: Path, passes: int) -> dict[str, Any]:
    """Processes of their own, from their start to the first mask: torch, and each engine."""
    code = (
        "from self1e import Segmenter\n"
        "result = Segmenter.from_pretrained({model!r}).segment({picture!r}, 'the white cow')\n"
        "assert result.mask.shape"
    )
    subject = Subject("nano", None, folder)
    models = {engine: str(subject.exported(kind, "float32").folder) for engine, kind in KINDS.items()}

    def run(model: str) -> None:
        command = [sys.executable, "-c", code.format(model=model, picture=str(PICTURE))]
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)

    rivals: dict[str, Callable[[], Any]] = {
        name: partial(run, model) for name, model in {"torch": "nano", **models}.items()
    }
    for start in rivals.values():
        start()  # or files would have to be read from the disk
    seconds, _ = interleaved(rivals, passes)
    return {"passes": passes, "seconds": medians(seconds), "machine": machine_facts()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", choices=SIZES, nargs="+", default=["nano"])
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=WAYS)
    parser.add_argument("--expressions", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--tokenizer", type=Path, help="InternVL3's, for 1B and 2B; default: nano's")
    parser.add_argument("--folder", type=Path, help="of exported models; default: a temporary one")
    parser.add_argument("--cold-start", action="store_true", help="time processes from their start instead")
    parser.add_argument("--results", type=Path, default=RESULTS / "engines.json")
    chosen = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = chosen.folder or Path(stack.enter_context(TemporaryDirectory()))
        if chosen.cold_start:
            found = cold_start(folder, chosen.passes)
            record(chosen.results, {"size": "nano", "command": "from start to first mask"}, cold_start=found)
            print(found["seconds"])
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
