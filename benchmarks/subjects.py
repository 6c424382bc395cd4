"""What the benchmarks run on: a model of some size, a picture of some tiles, and things to ask for."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image

from benchmarks.machine import device_name
from self1e import SELF1EProcessor
from self1e.checkpoints.hub import BUNDLED
from self1e.checkpoints.presets import TEXT_SHAPES, full_config, random_model
from self1e.conversation import IMG_CONTEXT, SEG
from self1e.model.network import SELF1EForSegmentation
from self1e.processing.images import load_image
from self1e.processing.tokens import special_ids
from self1e.segment.devices import choose_device

SIZES = (*BUNDLED, *TEXT_SHAPES)
DTYPES = ("float32", "bfloat16")
PICTURE = Path(__file__).parents[1] / "examples" / "pictures" / "lakeside.png"
THINGS = ("white cow", "house", "boat with a sail", "tree", "window", "fence", "person", "bridge over the water")
PLACES = ("", " on the left", " on the right", " behind the lake")


def add_model_options(parser: argparse.ArgumentParser, size: str) -> None:
    """`--size`, `--dtype`, `--tokenizer`, `--device` and `--compile`."""
    parser.add_argument("--size", choices=SIZES, default=size, help="a bundled model, or shapes with random weights")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--tokenizer", type=Path, help="InternVL3's, for 1B, 2B and 8B; default: nano's")
    parser.add_argument("--device", type=_device, default="cpu", help="cpu, cuda, cuda:1, mps or auto; default: cpu")
    parser.add_argument("--compile", action="store_true", help="compile the text model's layers, of ours only")


def _device(name: str) -> torch.device:
    try:
        return choose_device(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def model_settings(chosen: argparse.Namespace) -> dict[str, Any]:
    """What names a row of results, of the options of `add_model_options`."""
    return {
        "size": chosen.size,
        "dtype": chosen.dtype,
        "device": device_name(chosen.device),
        "compile": chosen.compile,
    }


def model_arguments(chosen: argparse.Namespace) -> list[str]:
    """The same options for another process."""
    arguments = ["--size", chosen.size, "--dtype", chosen.dtype, "--device", str(chosen.device)]
    arguments += ["--tokenizer", str(chosen.tokenizer)] if chosen.tokenizer else []
    return arguments + (["--compile"] if chosen.compile else [])


def build_chosen(
    chosen: argparse.Namespace, folder: Path | None = None
) -> tuple[SELF1EForSegmentation, SELF1EProcessor]:
    """The model of these options, on its device, with its processor: from a folder of `saved`, or as `build` does."""
    built = build(chosen.size, chosen.dtype, chosen.tokenizer) if folder is None else load(folder, chosen.dtype)
    return built[0].to(chosen.device), built[1]


def build(size: str, dtype: str, tokenizer: Path | None = None) -> tuple[SELF1EForSegmentation, SELF1EProcessor]:
    """A model as it is trained, with its processor, on the CPU.

    Args:
        size: One of `SIZES`. Those of InternVL3 get random weights at the published shapes.
        dtype: Of the weights.
        tokenizer: Folder with InternVL3's. Without, nano's cuts the text, which makes it a few tokens longer.
    """
    if size in BUNDLED:
        return load(BUNDLED[size], dtype)
    processor = processor_of(size, tokenizer)
    ids = special_ids(processor.tokenizer)
    config = full_config(size, seg_token_id=ids[SEG], image_token_id=ids[IMG_CONTEXT])
    return random_model(config, getattr(torch, dtype)).eval(), processor


def processor_of(size: str, tokenizer: Path | None = None) -> SELF1EProcessor:
    """The processor of such a model."""
    if size in BUNDLED:
        return SELF1EProcessor.from_pretrained(BUNDLED[size])
    processor = SELF1EProcessor.from_pretrained(tokenizer or BUNDLED["nano"])
    processor.image_size, processor.tokens_per_tile = 448, 256
    return processor


@contextmanager
def saved(chosen: argparse.Namespace) -> Iterator[Path]:
    """The folder of the model of these options, for other processes to load it from, as users load theirs."""
    if chosen.size in BUNDLED:
        yield BUNDLED[chosen.size]
        return
    with TemporaryDirectory() as folder:
        for part in build(chosen.size, chosen.dtype, chosen.tokenizer):
            part.save_pretrained(folder)
        yield Path(folder)


def load(folder: Path, dtype: str) -> tuple[SELF1EForSegmentation, SELF1EProcessor]:
    """As `build`, from a folder."""
    model = SELF1EForSegmentation.from_pretrained(folder, dtype=getattr(torch, dtype))
    return model.eval(), SELF1EProcessor.from_pretrained(folder)


def picture(processor: SELF1EProcessor, columns: int, rows: int) -> Image.Image:
    """A picture that `processor` cuts into columns x rows tiles; it is set to allow them."""
    processor.max_tiles = columns * rows
    side = processor.image_size
    return load_image(PICTURE).resize((columns * side, rows * side))


def prompts(number: int) -> list[str]:
    """Noun phrases of the usual length, each but once.

    Raises:
        ValueError: If there are not so many.
    """
    known = [f"the {thing}{place}" for place, thing in product(PLACES, THINGS)]
    if not 1 <= number <= len(known):
        raise ValueError(f"there are 1 to {len(known)} prompts, not {number}")
    return known[:number]


@contextmanager
def pathway(model: SELF1EForSegmentation, image_to_segmentation: bool) -> Iterator[None]:
    """Image-to-segmentation open (the exact method) or closed (a shared prefix), for as long as this lasts."""
    before = model.config.image_to_segmentation
    model.config.image_to_segmentation = image_to_segmentation
    try:
        yield
    finally:
        model.config.image_to_segmentation = before
