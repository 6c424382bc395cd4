"""What quantisation saves on this CPU, and what it costs: time, memory of the weights, and masks.

    python -m benchmarks.quantization --size nano
    python -m benchmarks.quantization --size 2B --tokenizer FOLDER         # 19 GiB of weights for all four variants
    python -m benchmarks.quantization --size 2B --variants bfloat16 bfloat16-int8

The variants run in one process, pass by pass, on one picture. Full sizes have random weights: speed does not depend on
them; their masks do, and the IoU of random ones says that numbers are carried through, not how good a trained model is
in 8 bits. Results go to `benchmarks/results/quantization.json`, and a table to the terminal.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.machine import machine_facts, peak_gib
from benchmarks.records import RESULTS, record
from benchmarks.subjects import DTYPES, SIZES, build, picture, prompts
from benchmarks.timing import interleaved, medians, ratio
from self1e import Segmenter
from self1e.checkpoints.hub import BUNDLED
from self1e.segment.agreement import agreement, mask_maps
from self1e.segment.on_torch import TorchRunner
from self1e.segment.quantise import bundled_samples, quantize

INT8 = "-int8"
VARIANTS = (*DTYPES, *(dtype + INT8 for dtype in DTYPES))
TOKENS = 8
"""Of the answer that is written."""


@dataclass(frozen=True)
class Variant:
    """A model to be timed.

    Attributes:
        segmenter: On the model.
        weights_gib: Parameters and buffers of the model.
        iou: Masks with those from before it was quantised; None where it was not.
    """

    segmenter: Segmenter
    weights_gib: float
    iou: float | None


def make(name: str, size: str, tokenizer: Path | None) -> Variant:
    """Builds one of `VARIANTS`. Whatever its masks become is measured, not refused."""
    model, processor = build(size, name.removesuffix(INT8), tokenizer)
    iou = None
    if name.endswith(INT8):
        samples = bundled_samples() if size in BUNDLED else [(picture(processor, 1, 1), prompts(4))]
        runner = TorchRunner(model, processor)
        before = mask_maps(runner, samples)
        quantize(model, "int8")
        iou = round(agreement(before, mask_maps(runner, samples)), 4)
    segmenter = Segmenter(model, processor)
    size_in_bytes = sum(each.nbytes for each in (*model.parameters(), *model.buffers()))
    return Variant(segmenter, round(size_in_bytes / 2**30, 3), iou)


def write(segmenter: Segmenter) -> None:
    """Writes `TOKENS` tokens about a picture that is encoded anew, or fewer where the model ends its answer."""
    encoded = segmenter.encode(picture(segmenter.processor, 1, 1))
    question = "What is in this picture?"
    segmenter.chat(encoded, question, max_new_tokens=TOKENS)


def segment(segmenter: Segmenter, expressions: int) -> None:
    """Masks of so many expressions about a picture that is encoded anew."""
    segmenter.segment(picture(segmenter.processor, 1, 1), prompts(expressions))


def measure(variants: dict[str, Variant], expressions: Sequence[int], passes: int) -> dict[str, Any]:
    """Seconds of each kind of work, and how many times as long each plain variant takes as each in int8."""
    work: dict[str, Callable[[Segmenter], None]] = {
        f"segment {count}": partial(segment, expressions=count) for count in expressions
    }
    work[f"write {TOKENS} tokens"] = write
    measured: dict[str, Any] = {}
    for name, run in work.items():
        rivals = {key: partial(run, variant.segmenter) for key, variant in variants.items()}
        for warm_up in rivals.values():
            warm_up()
        seconds, _ = interleaved(rivals, passes)
        ratios = {
            f"{plain} / {quantized}": ratio(seconds[plain], seconds[quantized])
            for quantized in variants
            for plain in variants
            if quantized.endswith(INT8) and not plain.endswith(INT8)
        }
        measured[name] = {"seconds": medians(seconds), "ratios": ratios}
    return measured


def table(row: dict[str, Any]) -> str:
    """Markdown: a variant a line."""
    work = row["work"]
    lines = [
        f"| variant | weights, GiB | mask IoU | {' | '.join(f'{name}, s' for name in work)} |",
        f"|{'---|' * (3 + len(work))}",
    ]
    for name, facts in row["variants"].items():
        seconds = " | ".join(f"{work[each]['seconds'][name]:.3g}" for each in work)
        iou = "" if facts["iou"] is None else f"{facts['iou']:.3f}"
        lines.append(f"| {name} | {facts['weights_gib']:.3g} | {iou} | {seconds} |")
    lines += ["", f"| as long as | {' | '.join(work)} |", f"|{'---|' * (1 + len(work))}"]
    for pair in next(iter(work.values()))["ratios"]:
        lines.append(f"| {pair} | {' | '.join(format(work[each]['ratios'][pair], '.2f') for each in work)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="2B", help="a bundled model, or shapes with random weights")
    parser.add_argument("--tokenizer", type=Path, help="InternVL3's, for 1B, 2B and 8B; default: nano's")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--expressions", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--results", type=Path, default=RESULTS / "quantization.json", help="file to put them in")
    chosen = parser.parse_args(arguments)
    machine = machine_facts()
    variants = {name: make(name, chosen.size, chosen.tokenizer) for name in chosen.variants}
    row = {
        "machine": machine,
        "passes": chosen.passes,
        "variants": {name: {"weights_gib": each.weights_gib, "iou": each.iou} for name, each in variants.items()},
        "work": measure(variants, chosen.expressions, chosen.passes),
        "peak_gib": peak_gib(),
    }
    record(chosen.results, {"size": chosen.size}, **row)
    print(table(row))


if __name__ == "__main__":
    main()
