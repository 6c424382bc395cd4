"""How long a training step takes, and how much memory, with several expressions about one picture.

    python -m benchmarks.training --size 1B --dtype bfloat16 --tokenizer FOLDER
    python -m benchmarks.training --size nano --dtype float32 --passes 5
    python -m benchmarks.training --size 1B --memory                       # peak memory, a process for each rival
    python -m benchmarks.training --size 1B --device cuda --compile        # on a GPU, with compiled layers

Forward and backward through all weights; `--optimiser` adds AdamW's step. Rivals, pass by pass in one process:

    reference    the release's way (`benchmarks.reference`): the picture, and logits of every token, for each expression
    exact        ours, the method as published
    packed       ours with image-to-segmentation off: all expressions in one row behind one picture (`packed: true`)
    products     the matrix products with weights of `exact`, forward and backward, and nothing else
    activations  its products of activations, in the same way

Checks that losses and gradients are those of the reference. Results go to `benchmarks/results/training.json`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import machine_facts, peak_gib, peak_of_child
from benchmarks.matrix_products import MatrixProducts
from benchmarks.records import RESULTS, record
from benchmarks.reference import Reference
from benchmarks.subjects import (
    add_model_options,
    build_chosen,
    model_arguments,
    model_settings,
    pathway,
    picture,
    prompts,
)
from benchmarks.timing import cost_ratios, interleaved, medians
from self1e import SELF1EProcessor
from self1e.conversation import Turn
from self1e.fast.attention import FEW_PASSES
from self1e.fast.prepare import compile_layers
from self1e.model.network import SELF1EForSegmentation, SELF1EOutput
from self1e.processing.prompts import SEG_ANSWERS, question_for
from self1e.training.run import denormals_flushed

WAYS = ("reference", "exact", "packed")


class Steps:
    """Training steps of one model about one picture.

    Args:
        model: All of its weights are trained. In bfloat16 on a CPU it gets the attention that `self1e train` gives it.
        processor: The model's.
        expressions: About the picture, each with a mask.
        optimiser: A step is not over before the weights are updated.
        compile: Have torch compile the text model, for ours only.
    """

    def __init__(
        self,
        model: SELF1EForSegmentation,
        processor: SELF1EProcessor,
        expressions: int,
        *,
        optimiser: bool = False,
        compile: bool = False,
    ) -> None:
        self.model = model.train()
        self.theirs = Reference(model)
        if model.dtype == torch.bfloat16 and model.device.type == "cpu":
            model.set_attn_implementation(FEW_PASSES)
        if compile:
            compile_layers(model)
        image = picture(processor, 1, 1)
        asked = [[Turn(question_for(each), SEG_ANSWERS[0])] for each in prompts(expressions)]
        masks = torch.zeros(expressions, 1, image.height, image.width, dtype=torch.uint8)
        for number, mask in enumerate(masks):
            mask[:, :, : 20 * (number + 1)] = 1
        batches = {
            "reference": processor([image] * expressions, [[turns] for turns in asked], masks=list(masks)),
            "exact": processor([image], [asked], masks=list(masks)),
            "packed": processor([image], [asked], masks=[masks[:, 0]], pack_rows=True),
        }
        self.batches = {way: batch.to(model.device) for way, batch in batches.items()}
        # A rate of 0 costs as much as any other, and every pass finds the same weights.
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.95)) if optimiser else None

    def loss(self, way: str, image_to_segmentation: bool | None = None) -> Tensor:
        """The loss in one of `WAYS`; by default the pathway is closed for `packed` only."""
        forward: Callable[..., SELF1EOutput] = self.theirs if way == "reference" else self.model
        with pathway(self.model, way != "packed" if image_to_segmentation is None else image_to_segmentation):
            loss = forward(self.batches[way]).loss
        assert loss is not None  # there are labels and masks
        return loss

    def step(self, way: str, image_to_segmentation: bool | None = None) -> float:
        """Forward and backward; the loss. Gradients stay until the next step."""
        self.model.zero_grad(set_to_none=True)
        loss = self.loss(way, image_to_segmentation)
        loss.backward()
        if self.optimiser:
            self.optimiser.step()
        return loss.item()

    def signature(self, way: str, image_to_segmentation: bool | None = None) -> dict[str, float]:
        """The loss of a step, and the norm of every gradient by the name of its weight."""
        loss = self.step(way, image_to_segmentation)
        gradients = {name: weight.grad for name, weight in self.model.named_parameters()}
        norms = {name: 0.0 if each is None else each.float().norm().item() for name, each in gradients.items()}
        return {"loss": loss} | norms


def measure(steps: Steps, passes: int) -> dict[str, Any]:
    """Times the rivals, and compares losses and gradients."""
    agreement = {
        "exact": difference(steps.signature("exact"), steps.signature("reference")),
        "packed": difference(steps.signature("packed"), steps.signature("reference", image_to_segmentation=False)),
    }
    products, _ = MatrixProducts.of([steps.model], lambda: steps.loss("exact"), backward=True)
    rivals: dict[str, Callable[[], Any]] = {way: lambda way=way: steps.step(way) for way in WAYS}  # type: ignore[misc]
    rivals |= products.rivals()
    with denormals_flushed():  # as in `self1e train`
        seconds, _ = interleaved(rivals, passes, steps.model.device)
    return {
        "passes": passes,
        "seconds": medians(seconds),
        "ratios": cost_ratios(seconds, ("exact", "packed")),
        "tflop": {"exact": round(products.tflop, 3), "products": round(products.with_weights().tflop, 3)},
        "agreement": agreement,
        "machine": machine_facts(steps.model.device),
    }


def difference(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, float]:
    """Relative differences of the loss, and of the norms of all gradients together."""
    names = [name for name in theirs if name != "loss"]
    apart = math.sqrt(sum((ours[name] - theirs[name]) ** 2 for name in names))
    size = math.sqrt(sum(theirs[name] ** 2 for name in names))
    return {
        "loss": float(f"{abs(ours['loss'] / theirs['loss'] - 1):.3g}"),
        "gradient_norms": float(f"{apart / size:.3g}"),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_options(parser, "1B")
    parser.add_argument("--expressions", type=int, default=3)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--optimiser", action="store_true")
    parser.add_argument("--memory", action="store_true", help="measure memory instead of time")
    parser.add_argument("--results", type=Path, default=RESULTS / "training.json")
    parser.add_argument("--peak-of", choices=WAYS, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    key = model_settings(chosen) | {"expressions": chosen.expressions, "optimiser": chosen.optimiser}
    if chosen.memory:
        options = [*model_arguments(chosen), "--expressions", chosen.expressions]
        options += ["--optimiser"] if chosen.optimiser else []
        gib = {way: peak_of_child("benchmarks.training", [*options, "--peak-of", way]) for way in WAYS}
        record(chosen.results, key, memory={"gib": gib, "machine": machine_facts(chosen.device)})
        print(json.dumps(key | gib))
        return
    steps = Steps(*build_chosen(chosen), chosen.expressions, optimiser=chosen.optimiser, compile=chosen.compile)
    if chosen.peak_of:
        steps.step(chosen.peak_of)
        print(peak_gib(chosen.device))
        return
    found = measure(steps, chosen.passes)
    record(chosen.results, key, timing=found)
    print(json.dumps(key | found["ratios"] | found["agreement"]))


if __name__ == "__main__":
    main()
