"""How long masks take: ours beside the release's way of computing, and beside nothing but the matrix products.

    python -m benchmarks.inference --size 2B --tokenizer FOLDER            # every setting of the table
    python -m benchmarks.inference --size nano --dtype float32 --expressions 1 4 --tiles 1 --passes 5
    python -m benchmarks.inference --size 2B --memory                      # peak memory, a process for each rival
    python -m benchmarks.inference --size 2B --device cuda --compile       # on a GPU, with compiled layers
    python -m benchmarks.inference --cold-start                            # from the shell to the first mask

Rivals, all in one process, pass by pass:

    reference    the release's way (`benchmarks.reference`): the picture again for each expression
    exact        `Segmenter.segment`, the method as published; the picture is read and encoded in each pass
    shared       the same with image-to-segmentation off: all expressions behind one picture, in one row
    products     the matrix products with weights that `exact` does, and nothing else (`benchmarks.matrix_products`)
    activations  its products of activations: attention, and the inner product of the masks

Checks while it runs that the masks are those of the reference. Full sizes have random weights, on which speed does not
depend. Results go to `benchmarks/results/inference.json`, row by row; `python -m benchmarks.performance` makes tables.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import nn

from benchmarks.machine import ROOT, device_name, machine_facts, peak_gib, peak_of_child
from benchmarks.matrix_products import MatrixProducts
from benchmarks.records import RESULTS, record
from benchmarks.reference import BATCH, Reference
from benchmarks.subjects import (
    PICTURE,
    add_model_options,
    build_chosen,
    model_arguments,
    model_settings,
    pathway,
    picture,
    prompts,
    saved,
)
from benchmarks.timing import cost_ratios, interleaved, medians, ratio
from self1e import Segmenter, SELF1EProcessor
from self1e.checkpoints.hub import BUNDLED
from self1e.model.network import SELF1EForSegmentation
from self1e.processing.prompts import question_for

GRIDS = {1: (1, 1), 2: (2, 1), 4: (2, 2), 6: (3, 2), 9: (3, 3), 12: (4, 3)}
"""(columns, rows) for a number of tiles."""

WAYS = ("reference", "exact", "shared")

TOLERANCE = {"float32": ("max_difference", 1e-3), "bfloat16": ("iou", 0.995)}
"""What agreement is measured by, and its limit."""

Logits = list[np.ndarray]
"""float32[1, H, W] of each expression, at the picture's size."""


class Ways:
    """The ways to get masks out of one model.

    Args:
        model: As it is trained.
        processor: The model's.
        compile: Have torch compile the text model, for ours only.
    """

    def __init__(self, model: SELF1EForSegmentation, processor: SELF1EProcessor, *, compile: bool = False) -> None:
        self.theirs = Reference(model)
        self.segmenter = Segmenter(model, processor, compile=compile)
        fast = self.segmenter.fast
        self.modules: list[nn.Module] = [model, fast.projector, cast(nn.Module, fast.head)]
        """Whose weights are used."""
        self.model, self.processor = model, processor

    def reference(self, image: Image.Image, asked: Sequence[str], image_to_segmentation: bool = True) -> Logits:
        """The release's way, in batches of `BATCH`."""
        questions = [question_for(each) for each in asked]
        with pathway(self.model, image_to_segmentation):
            return [logits.cpu().numpy() for logits in self.theirs.segment(self.processor, image, questions)]

    def exact(self, image: Image.Image, asked: Sequence[str], **options: Any) -> Logits:
        """Ours, every pathway open."""
        with pathway(self.model, True):
            return self._segment(image, asked, **options)

    def shared(self, image: Image.Image, asked: Sequence[str], **options: Any) -> Logits:
        """Ours, expressions packed behind one picture."""
        with pathway(self.model, False):
            return self._segment(image, asked, **options)

    def _segment(self, image: Image.Image, asked: Sequence[str], **options: Any) -> Logits:
        results = self.segmenter.segment(image, list(asked), logits=True, refine="none", **options)  # as theirs
        return [result.logits for result in results if result.logits is not None]

    def watched(self, run: Callable[[], Logits]) -> tuple[MatrixProducts, int, Logits]:
        """The products of a run, the tokens that went through the language model, and what it returned."""
        tokens = 0

        def count(_: Any, __: Any, arguments: dict[str, Any]) -> None:
            nonlocal tokens
            tokens += arguments["inputs_embeds"].shape[:2].numel()

        hook = self.model.model.language_model.register_forward_pre_hook(count, with_kwargs=True)
        try:
            products, result = MatrixProducts.of(self.modules, run)
        finally:
            hook.remove()
        return products, tokens, result


def measure(ways: Ways, expressions: int, tiles: int, passes: int) -> dict[str, Any]:
    """Times the rivals about one picture, and compares their masks.

    Args:
        ways: On one model.
        expressions: About the picture.
        tiles: Of the picture; one of `GRIDS`.
        passes: Of each rival. One more of each is run before, to warm up; of the reference, its first batch.
    """
    device = ways.model.device
    image = picture(ways.processor, *GRIDS[tiles])
    asked = prompts(expressions)
    batch = asked[:BATCH]
    ways.exact(image, asked[:1])  # what is read once is not to be counted
    theirs, their_tokens, _ = ways.watched(lambda: ways.reference(image, batch))
    products, tokens, _ = ways.watched(lambda: ways.exact(image, asked))
    shared, shared_tokens, _ = ways.watched(lambda: ways.shared(image, asked))
    rivals: dict[str, Callable[[], Any]] = {
        "reference": lambda: ways.reference(image, asked),
        "exact": lambda: ways.exact(image, asked),
        "shared": lambda: ways.shared(image, asked),
        **products.rivals(),
    }
    for way in ("exact", "shared"):
        rivals[way]()  # what is compiled was not while it was watched
    seconds, results = interleaved(rivals, passes, device)
    batches = len(asked) / len(batch)
    first = ways.reference(image, asked[:1], image_to_segmentation=False)
    return {
        "passes": passes,
        "seconds": medians(seconds),
        "ratios": cost_ratios(seconds, ("exact", "shared")),
        # Of the reference's batches one was counted.
        "tokens": {"reference": round(their_tokens * batches), "exact": tokens, "shared": shared_tokens},
        "tflop": {
            "reference": round(theirs.tflop * batches, 3),
            "exact": round(products.tflop, 3),
            "shared": round(shared.tflop, 3),
            "products": round(products.with_weights().tflop, 3),
        },
        "agreement": {
            "exact": agreement(results["exact"], results["reference"]),
            "shared": agreement(results["shared"][:1], first),  # without image-to-segmentation, the first is enough
        },
        "machine": machine_facts(device),
    }


def agreement(ours: Logits, theirs: Logits) -> dict[str, float]:
    """How far mask logits are from those of the reference.

    Random weights make maps without things in them: all on one side of 0, or noise around it, where the last bit of a
    number decides. "iou_decided" cuts such a map at its own median and leaves out the pixels that are closer to it than
    a tenth of the map's standard deviation.

    Returns:
        "max_difference" of the logits; "relative_difference", root mean square over the standard deviation of the
        reference's; "iou" of the masks, all intersections over all unions; "iou_decided".
    """
    one, other = np.concatenate(ours), np.concatenate(theirs)
    spread = other.std(axis=(1, 2), keepdims=True)
    middle = np.median(other, axis=(1, 2), keepdims=True)
    decided = np.abs(other - middle) > 0.1 * spread
    return {
        "max_difference": float(f"{np.abs(one - other).max():.3g}"),
        "relative_difference": float(f"{np.sqrt(np.square((one - other) / spread).mean()):.3g}"),
        "iou": _iou(one > 0, other > 0),
        "iou_decided": _iou((one > middle) & decided, (other > middle) & decided),
    }


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    union = np.count_nonzero(one | other)
    return round(np.count_nonzero(one & other) / union, 5) if union else 1.0


def is_close(found: dict[str, float], size: str, dtype: str) -> bool:
    """Whether masks agree: by the logits in float32, else by IoU; with random weights that of the decided pixels."""
    name, limit = TOLERANCE[dtype]
    if name == "iou":
        return found["iou" if size in BUNDLED else "iou_decided"] >= limit
    return max(found["max_difference"], found["relative_difference"]) <= limit


def peak(chosen: argparse.Namespace, expressions: int, tiles: int) -> float:
    """GiB that one way takes in this process, from the start: the model as it is loaded, and masks once."""
    model, processor = build_chosen(chosen, chosen.folder)
    way, image, asked = chosen.peak_of, picture(processor, *GRIDS[tiles]), prompts(expressions)
    if way == "reference":  # alone: nothing is made for ours
        Reference(model).segment(processor, image, [question_for(each) for each in asked])
    else:
        getattr(Ways(model, processor, compile=chosen.compile), way)(image, asked)
    return peak_gib(model.device)


def cold_start(passes: int, device: torch.device) -> dict[str, Any]:
    """Whole processes: a mask from the command line with nano, and the imports that it cannot do without."""
    python = Path(sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        command = [python.with_name("self1e"), "segment", PICTURE, "--prompt", "the white cow", "--out", folder]
        command += ["--device", device]
        rivals = {
            "imports": [python, "-c", "import torch, transformers"],
            "first mask": [*command, "--format", "mask", "--overwrite"],
        }

        def run(arguments: list[Any]) -> None:
            subprocess.run(list(map(str, arguments)), check=True, capture_output=True, cwd=ROOT)

        for arguments in rivals.values():
            run(arguments)
        seconds, _ = interleaved({name: lambda of=of: run(of) for name, of in rivals.items()}, passes)  # type: ignore[misc]
    return {
        "passes": passes,
        "seconds": medians(seconds),
        "ratios": {"first mask / imports": ratio(seconds["first mask"], seconds["imports"])},
        "machine": machine_facts(device),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_options(parser, "2B")
    parser.add_argument("--expressions", type=int, nargs="+", default=[1, 4, 16, 32])
    parser.add_argument("--tiles", type=int, nargs="+", choices=GRIDS, default=[1, 4])
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="measure memory instead of time")
    parser.add_argument("--cold-start", action="store_true", help="time the command line instead")
    parser.add_argument("--results", type=Path, default=RESULTS / "inference.json")
    parser.add_argument("--peak-of", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.cold_start:
        found = cold_start(chosen.passes, chosen.device)
        key = {"command": "self1e segment", "device": device_name(chosen.device)}
        record(chosen.results, key, cold_start=found)
        print(json.dumps(found["ratios"]))
        return
    settings = [(tiles, expressions) for tiles in chosen.tiles for expressions in chosen.expressions]
    if chosen.peak_of:
        (tiles, expressions), *_ = settings
        print(peak(chosen, expressions, tiles))
        return
    if chosen.memory:
        with saved(chosen) as folder:
            for tiles, expressions in settings:
                options = [*model_arguments(chosen), "--folder", folder]
                options += ["--expressions", expressions, "--tiles", tiles]
                gib = {way: peak_of_child("benchmarks.inference", [*options, "--peak-of", way]) for way in WAYS}
                key = model_settings(chosen) | {"expressions": expressions, "tiles": tiles}
                record(chosen.results, key, memory={"gib": gib, "machine": machine_facts(chosen.device)})
                print(json.dumps(key | gib), flush=True)
        return
    ways = Ways(*build_chosen(chosen), compile=chosen.compile)
    differing = []
    for tiles, expressions in settings:
        key = model_settings(chosen) | {"expressions": expressions, "tiles": tiles}
        found = measure(ways, expressions, tiles, chosen.passes)
        record(chosen.results, key, timing=found)
        print(json.dumps(key | found["ratios"] | found["agreement"]), flush=True)
        differing += [
            f"{name}, {expressions} expressions, {tiles} tiles: {of_way}"
            for name, of_way in found["agreement"].items()
            if not is_close(of_way, chosen.size, chosen.dtype)
        ]
    if differing:
        raise SystemExit("masks differ from the reference's:\n" + "\n".join(differing))


if __name__ == "__main__":
    main()
