"""How fast an exported model is on this machine beside the model in torch, and the export that is fastest here."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from self1e.checkpoints.errors import ModelError
from self1e.engines.artefact import Artefact
from self1e.engines.programs import COMPUTES_IN, choose_engine, has_bfloat16
from self1e.export.export import Exporter
from self1e.export.quantised import LayersError
from self1e.export.verify import ExportError, compared, sample_maps, samples_to_check
from self1e.files import folder_when_complete
from self1e.processing.images import PICTURES, load_image
from self1e.segment.agreement import LEAST_IOU, PromptedPicture, mask_maps, turned_blank
from self1e.segment.devices import cpu_has_bfloat16
from self1e.segment.load import load_model
from self1e.segment.on_engine import EngineRunner
from self1e.segment.on_torch import TorchRunner
from self1e.segment.options import LoadOptions
from self1e.segment.runner import NumbersError, Runner

CANDIDATES = ("openvino", "onnx")
"""What may be faster than torch."""

IN_BFLOAT16 = " --dtype bfloat16"
"""What is added to the name of a kind, or to "torch", where it computes so."""

FEWEST_PAIRS, MOST_PAIRS, ENOUGH_SECONDS = 3, 15, 10.0
"""Passes of both in turns: so many, unless they took this long."""


@dataclass(frozen=True)
class Speed:
    """What a picture with one prompt takes, in torch and exported, measured in turns.

    Attributes:
        model: Seconds in torch, the median.
        exported: Seconds of the exported model, the median.
        times: How many times as fast that is: the median of the ratios of each pair, which other work on the machine
            hardly moves.
        pairs: How many there were.
        way: How torch ran the model: device and type.
    """

    model: float
    exported: float
    times: float
    pairs: int
    way: str

    def __str__(self) -> str:
        return (
            f"{self.times:.2f} times as fast here as torch ({self.way}): {1000 * self.exported:.0f} and "
            f"{1000 * self.model:.0f} ms for a picture with a prompt, medians of {self.pairs} pairs"
        )


def speed_of(exported: Runner, model: Runner) -> Speed:
    """Runs both in turns, and compares how long they take."""
    image = load_image(PICTURES / "cat.jpg")
    seconds: dict[Runner, list[float]] = {}

    def once(runner: Runner) -> float:
        begun = time.perf_counter()
        mask_maps(runner, [(image, ["the cat"])])
        return time.perf_counter() - begun

    order = [model, exported]
    for runner in order:
        once(runner)  # warm
        seconds[runner] = []
    end = time.perf_counter() + ENOUGH_SECONDS
    while len(seconds[model]) < FEWEST_PAIRS or (len(seconds[model]) < MOST_PAIRS and time.perf_counter() < end):
        order.reverse()  # what one leaves in the caches does not always meet the same
        for runner in order:
            seconds[runner].append(once(runner))
    pairs = list(zip(seconds[model], seconds[exported], strict=True))
    return Speed(
        median(seconds[model]),
        median(seconds[exported]),
        median(ours / theirs for ours, theirs in pairs),
        len(pairs),
        f"{model.device}, {model.dtype}",
    )


@dataclass(frozen=True)
class Fastest:
    """What `export_fastest` found.

    Attributes:
        artefact: What is kept.
        way: Its kind, and `IN_BFLOAT16` where it is the fastest so.
        speeds: Of each way that gives the masks of the model.
        refused: Of each other one: why it is left out.
    """

    artefact: Artefact
    way: str
    speeds: dict[str, Speed]
    refused: dict[str, ValueError]


def export_fastest(
    name: str,
    destination: Path,
    precision: str,
    *,
    samples: Sequence[PromptedPicture] | None = None,
    options: LoadOptions | None = None,
) -> Fastest:
    """Exports a model for each engine that is installed, measures, and keeps what is fastest on this machine.

    Each export runs in turns with the model as torch runs it without options. Where the CPU has instructions for
    bfloat16, so do OpenVINO's export and torch, computing in it.

    Args:
        name: This and all others: as for `self1e.export.export.export_model`.
        destination: Folder to make.
        precision: Of the weights.
        samples: To compare masks on.
        options: How to load the model.

    Raises:
        FileExistsError: If there is such a folder already, or something in it by the time all are measured.
        ExportError: If torch is faster than all, or no kind gives the masks of the model. The message has all speeds
            and refusals.
        ModelError: If the model cannot be loaded, or no engine is installed.
    """
    kinds = [kind for kind in CANDIDATES if find_spec(choose_engine(None, kind))]
    if not kinds:
        raise ModelError("neither openvino nor onnxruntime is installed: pip install 'self1e[export]'")
    if destination.exists():
        raise FileExistsError(f"{destination} exists: choose another folder, or delete it first")
    exporter = Exporter(name, options)
    samples = samples_to_check() if samples is None else samples
    made, speeds, refused = dict[str, Artefact](), dict[str, Speed](), dict[str, ValueError]()
    with folder_when_complete(destination, replace=False) as folder:
        for kind in kinds:
            way = kind
            try:
                made[kind] = exporter.write(kind, folder / kind, precision, samples=samples)
                speeds[way] = speed_of(EngineRunner(made[kind]), exporter.usual)
                if "bfloat16" in COMPUTES_IN[choose_engine(None, kind)] and has_bfloat16():
                    way += IN_BFLOAT16
                    speeds[way] = _speed_in_bfloat16(EngineRunner(made[kind], dtype="bfloat16"), exporter, samples)
            except (ExportError, LayersError, ModelError, NumbersError) as error:
                refused[way] = error
        if not speeds:
            raise ExportError("; ".join(f"{way}: {error}" for way, error in refused.items()))
        best_export = max(speeds, key=lambda way: speeds[way].times)
        if exporter.usual.device == "cpu" and exporter.usual.dtype != "bfloat16" and cpu_has_bfloat16():
            way = "torch" + IN_BFLOAT16
            try:
                speeds[way] = _speed_in_bfloat16(_torch_in_bfloat16(exporter), exporter, samples)
            except (ExportError, NumbersError) as error:
                refused[way] = error
        best = max(speeds, key=lambda way: speeds[way].times)
        if best != best_export or speeds[best].times <= 1:
            reasons = [f"{way}: {error}" for way, error in refused.items()]
            tried = "; ".join([*(f"{way} is {speed}" for way, speed in speeds.items()), *reasons])
            option = IN_BFLOAT16 if best != best_export else ""
            raise ExportError(
                f"torch is the fastest here{option} ({tried}): nothing was written; "
                f"--to {best_export.removesuffix(IN_BFLOAT16)} exports all the same"
            )
        artefact = made[best.removesuffix(IN_BFLOAT16)]
        for file in artefact.folder.iterdir():
            file.rename(folder / file.name)
        for kind in made:
            shutil.rmtree(folder / kind)
    return Fastest(replace(artefact, folder=destination), best, speeds, refused)


def _speed_in_bfloat16(runner: Runner, exporter: Exporter, samples: Sequence[PromptedPicture]) -> Speed:
    """How fast the model is where it computes in bfloat16.

    Raises:
        ExportError: If it does not give the masks that it gives in float32.
    """
    before, after = exporter.maps(samples).alone, sample_maps(runner, samples)
    found = compared(before, after, len(samples))
    if not found.iou >= LEAST_IOU or turned_blank(before, after):
        raise ExportError(f"bfloat16 changes the masks of this model: {found}")
    return speed_of(runner, exporter.usual)


def _torch_in_bfloat16(exporter: Exporter) -> TorchRunner:
    options = LoadOptions(device="cpu", dtype="bfloat16", max_tiles=exporter.loaded.processor.max_tiles)
    loaded = load_model(exporter.checkpoint, options)
    return TorchRunner(loaded.model, loaded.processor)
