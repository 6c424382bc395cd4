"""A model of the full InternVL3 shapes, end to end on this machine: does it fit, and how long does a mask take?

    python -m benchmarks.full_size --tokenizer FOLDER [--size 2B] [--dtype float32] [PICTURE ...]

The weights are random (no checkpoint is needed), so that the masks mean nothing; everything else is real: the
tokenizer, the prompts, the pictures, one 448 px tile, the mask pass, and generation with a KV cache. Prints one line of
JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from PIL import Image

from benchmarks.machine import machine_facts, peak_gib
from benchmarks.subjects import DTYPES, build
from self1e import Segmenter
from self1e.checkpoints.presets import TEXT_SHAPES


def run(size: str, dtype: str, tokenizer: Path, pictures: list[Path]) -> dict[str, object]:
    """Builds the model, asks one and four prompts of each picture, and generates an answer."""
    start = time.perf_counter()
    model, processor = build(size, dtype, tokenizer)
    parameters = sum(weight.numel() for weight in model.parameters())
    facts: dict[str, object] = {
        "size": size,
        "dtype": dtype,
        "parameters": parameters,
        "seconds_to_build": round(time.perf_counter() - start, 1),
        "machine": machine_facts(),
    }
    segmenter = Segmenter(model, processor, model_name=f"random-{size}")
    prompts = ["the left guy", "What could be used to cut bread?", "red car", "the sky"]
    images: list[Image.Image] = [Image.open(path) for path in pictures] or [Image.new("RGB", (640, 480), "grey")]
    for count in (1, 4):
        seconds = []
        for image in images:
            start = time.perf_counter()
            results = segmenter.segment(image, prompts[:count])
            seconds.append(time.perf_counter() - start)
            assert all(result.mask.shape == (image.height, image.width) for result in results)
        facts[f"seconds_for_{count}"] = round(sorted(seconds)[len(seconds) // 2], 2)
    start = time.perf_counter()
    segmenter.chat(images[0], "What is in this picture?", max_new_tokens=8)
    facts["seconds_for_8_tokens"] = round(time.perf_counter() - start, 2)
    return facts | {"pictures": len(images), "peak_gib": peak_gib()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="*", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder with InternVL3's tokenizer")
    parser.add_argument("--size", choices=TEXT_SHAPES, default="2B")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    chosen = parser.parse_args()
    print(json.dumps(run(chosen.size, chosen.dtype, chosen.tokenizer, chosen.pictures)))


if __name__ == "__main__":
    main()
