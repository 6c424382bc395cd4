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
from self1e.engines.programs import choose_engine
from self1e.export.export import Exporter
from self1e.export.quantised import LayersError
from self1e.export.verify import ExportError
from self1e.files import folder_when_complete
from self1e.processing.images import PICTURES, load_image
from self1e.segment.agreement import PromptedPicture, mask_maps
from self1e.segment.on_engine import EngineRunner
from self1e.segment.options import LoadOptions
from self1e.segment.runner import NumbersError, Runner

CANDIDATES = ("openvino", "onnx")
"""What may be faster than torch."""

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
        speeds: Of each kind that gives the masks of the model.
        refused: Of each other one: why it is left out.
    """

    artefact: Artefact
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
    made, speeds, refused = dict[str, Artefact](), dict[str, Speed](), dict[str, ValueError]()
    with folder_when_complete(destination, replace=False) as folder:
        for kind in kinds:
            try:
                made[kind] = exporter.write(kind, folder / kind, precision, samples=samples)
                speeds[kind] = speed_of(EngineRunner(made[kind]), exporter.usual)
            except (ExportError, LayersError, ModelError, NumbersError) as error:
                refused[kind] = error
        reasons = [f"{kind}: {error}" for kind, error in refused.items()]
        if not speeds:
            raise ExportError("; ".join(reasons))
        best = max(speeds, key=lambda kind: speeds[kind].times)
        if speeds[best].times <= 1:
            tried = "; ".join([*(f"{kind} is {speed}" for kind, speed in speeds.items()), *reasons])
            raise ExportError(
                f"torch is the fastest here ({tried}): nothing was written; --to {best} exports all the same"
            )
        for file in made[best].folder.iterdir():
            file.rename(folder / file.name)
        for kind in made:
            shutil.rmtree(folder / kind)
    return Fastest(replace(made[best], folder=destination), speeds, refused)
