"""nano on photographs, beside a standard rival that has the same minutes of the same CPU.

    pip install scipy
    python examples/clothing_co_parsing.py CCP ccp
    python -m benchmarks.clothing ccp --steps 1500
    python -m benchmarks.clothing ccp --steps 1500 --from-nothing     # nano's shape with random weights instead of nano

Trains nano on Clothing Co-Parsing as `configs/clothing.yaml` says, and SegFormer (b0, from random weights, that of
transformers) on the same labels for as many minutes. Then both are asked for every garment that is marked in each of
the 200 test photographs, and for two that are not: nano by name, SegFormer by its class. Hair and skin are marked like
garments, in nearly every photograph; figures without them are given, too. Apart from that both are asked for one of a
pair ("the left shoe"), for which SegFormer has no better answer than the class.

Minutes are the processor's, of training steps, from the batch at hand to the updated weights: reading and putting
together data and checkpoints are left out, for both. Stages that are done are not done again: nano goes on from its
last checkpoint, and the trained rival is kept beside it, so that a second run of the command only measures. Writes
benchmarks/results/clothing.json, in which models stay that were not measured this time, docs/pictures/clothing.png
with the outlines alone, and photographs.png with the photographs, which are not ours to give on, into the folder of
the models.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from benchmarks.machine import ROOT, machine_facts
from benchmarks.stopwatch import Stopwatch
from examples.clothing_co_parsing import WORN_IN_PAIRS, prompts_of
from self1e import Segmenter
from self1e.data.contact_sheet import Cell, laid_out, with_masks
from self1e.data.masks import read_index_map
from self1e.data.own import OwnSource
from self1e.data.own_masks import IndexMapSource, spoken_name
from self1e.data.records import Record, Source
from self1e.evaluation.record_benchmarks import predicted_masks
from self1e.files import folder_when_complete, write_json
from self1e.metrics import GREFCOCO_MIN_AREA, MaskScores
from self1e.processing.images import load_image
from self1e.training.config import load_config
from self1e.training.run import build, train

CONFIG = ROOT / "configs" / "clothing.yaml"
RESULTS = ROOT / "benchmarks" / "results" / "clothing.json"
PICTURE = ROOT / "docs" / "pictures" / "clothing.png"
RANDOM = ROOT / "configs" / "nano" / "1-vision.yaml"
"""What nano was before it was trained."""

OURS, RIVAL, FROM_NOTHING = "nano", "SegFormer-b0", "nano, from nothing"
ABSENT = 2
"""Garments a photograph that are asked for and are not there."""

BODY = ("the hair", "the skin")
"""What is marked but not worn."""

FIGURES = {"ciou": "cIoU", "giou": "gIoU", "miou": "mIoU", "pr@0.5": "Pr@0.5", "n_acc": "N-acc"}
NAMED, PAIRED = tuple(FIGURES), ("ciou", "giou", "pr@0.5")

SIDE, BATCH = 384, 8
"""Of SegFormer: photographs are brought to the square that nano sees them in, and as many make a step."""

RATE, WARMUP = 6e-4, 50
"""The published recipe's learning rate of what is not pretrained, which here is everything; and steps to get there."""

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
DEVIATION = torch.tensor([0.229, 0.224, 0.225])[:, None, None]

Masks = Callable[[Record], list[np.ndarray]]
Asked = dict[tuple[str, bool], MaskScores]
"""Samples by what was asked for, and whether it was there."""


def garments_of(folder: Path) -> IndexMapSource:
    """A split, with garments that are not there."""
    return IndexMapSource(folder / "images", folder / "masks", folder / "classes.txt", absent_classes=ABSENT)


def untrained(folder: Path, config: Path = RANDOM) -> Path:
    """The folder of a model as `config` builds it, with random weights; one that is there is kept.

    Raises:
        ValueError: When the folder holds a model that was built with other settings.
    """
    settings = load_config(config)
    asked, kept = settings.model_dump(mode="json"), folder / "settings.json"
    if not folder.is_dir():
        with folder_when_complete(folder) as staging:
            for part in build(settings):
                part.save_pretrained(staging)
            write_json(staging / kept.name, asked, indent=1)
    elif not kept.is_file() or json.loads(kept.read_text("utf-8")) != asked:
        raise ValueError(f"{folder} was not built as {config} says: choose another --output")
    return folder


def train_ours(
    data: Path,
    steps: int | None,
    output: Path,
    config: Path = CONFIG,
    start: Path | None = None,
    *,
    pairs: bool = True,
) -> tuple[Path, dict[str, Any]]:
    """The model's folder, and what its training took. Goes on with an earlier run; one that is finished is kept.

    Args:
        data: What examples/clothing_co_parsing.py made.
        steps: Instead of what the settings say.
        output: Of the run.
        config: The settings.
        start: Folder of the model to start from, instead of theirs.
        pairs: Whether one of a pair is asked for, too.
    """
    folder = data / "train"
    maps = {name: str(folder / name) for name in ("images", "masks")} | {"classes": str(folder / "classes.txt")}
    garments = [maps | {"absent_classes": ABSENT}]
    changes: dict[str, Any] = {"output": str(output), "validation": None}
    if pairs:
        changes["data.parts.clothing.own"] = garments
        changes["data.parts.pairs.own"] = [{"jsonl": str(folder / "pairs.jsonl")}]
    else:
        changes["data.parts"] = {"clothing": {"rate": 1, "own": garments}}
    if steps is not None:
        changes["optimisation.steps"] = steps
    if start is not None:
        changes["init"] = str(start)
    settings, stopwatch = load_config(config, changes), Stopwatch()
    model = train(settings, device="cpu", callbacks=[stopwatch])
    chosen = settings.optimisation
    photographs = chosen.steps * chosen.pictures_per_step * chosen.accumulate
    return model, {"minutes": stopwatch.seconds / 60, "steps": chosen.steps, "photographs": photographs}


def pixels_of(image: Image.Image) -> torch.Tensor:
    """uint8[3, SIDE, SIDE]."""
    return torch.from_numpy(np.array(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))).permute(2, 0, 1)


def labels_of(file: Path) -> torch.Tensor:
    """uint8[SIDE / 2, SIDE / 2]: twice the resolution of SegFormer's logits."""
    small = Image.fromarray(read_index_map(file)).resize((SIDE // 2, SIDE // 2), Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(small))


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """float[..., 3, H, W] of values 0 to 255, as SegFormer expects them."""
    return (pixels / 255 - MEAN) / DEVIATION


def varied(pixels: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A window of each picture, of three quarters to all of its sides, mirrored at random.

    Args:
        pixels: uint8[B, 3, H, W].
        labels: uint8[B, h, w].
        rng: Chooses.

    Returns:
        float[B, 3, H, W] of the same values, and int64[B, h, w].
    """
    count = len(pixels)
    share = rng.uniform(0.75, 1, count)
    window = np.zeros((count, 2, 3), np.float32)
    window[:, 0, 0] = share * rng.choice((-1, 1), count)
    window[:, 1, 1] = share
    window[:, :, 2] = rng.uniform(-1, 1, (count, 2)) * (1 - share[:, None])

    def seen(maps: torch.Tensor, mode: str) -> torch.Tensor:
        grid = F.affine_grid(torch.from_numpy(window), list(maps.shape), align_corners=False)
        return F.grid_sample(maps.float(), grid, mode, align_corners=False)

    return seen(pixels, "bilinear"), seen(labels[:, None], "nearest")[:, 0].long()


def train_rival(
    data: Path, minutes: float, classes: int, folder: Path
) -> tuple[SegformerForSemanticSegmentation, dict[str, Any]]:
    """SegFormer-b0 after so many minutes, and what its training took; from `folder`, once it is there.

    Raises:
        ValueError: When the folder holds one that was trained otherwise.
    """
    asked = {"given_minutes": minutes, "side": SIDE, "batch": BATCH, "learning_rate": RATE, "classes": classes}
    record = folder / "training.json"
    if record.exists():
        facts = json.loads(record.read_text("utf-8"))
        if facts["settings"] != asked:
            raise ValueError(f"{folder} was trained with {facts['settings']}, not {asked}: choose another --output")
        return SegformerForSemanticSegmentation.from_pretrained(folder).eval(), facts
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    files = sorted((data / "train" / "masks").glob("*.png"))
    labels = torch.stack([labels_of(file) for file in files])
    pixels = torch.stack([pixels_of(load_image(data / "train" / "images" / f"{file.stem}.jpg")) for file in files])
    model = SegformerForSemanticSegmentation(SegformerConfig(num_labels=classes)).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    seconds, steps = 0.0, 0
    while (done := seconds / 60 / minutes) < 1:
        for group in optimiser.param_groups:  # after the warm-up, linear to 0 at the end of its time
            group["lr"] = RATE * min((steps + 1) / WARMUP, 1 - done)
        chosen = rng.choice(len(files), min(BATCH, len(files)), replace=False)
        batch, truth = varied(pixels[chosen], labels[chosen], rng)
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(pixel_values=normalised(batch)).logits
        logits = F.interpolate(logits.float(), truth.shape[-2:], mode="bilinear", align_corners=False)
        loss = F.cross_entropy(logits, truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seconds += time.process_time() - start
        steps += 1
        if steps % 50 == 0:
            print(f"{RIVAL}: step {steps}, {100 * done:.0f} % of its time, loss {loss.item():.3f}", flush=True)
    facts = {"minutes": seconds / 60, "steps": steps, "photographs": steps * len(batch), "settings": asked}
    with folder_when_complete(folder) as staging:
        model.save_pretrained(staging)
        write_json(staging / record.name, facts, indent=1)
    return model.eval(), facts


def rival_masks(model: SegformerForSemanticSegmentation, classes: tuple[str, ...]) -> Masks:
    """Of each garment that is asked for, and of one of a pair, the pixels of its class."""
    numbers = {spoken_name(name): number for number, name in enumerate(classes)}
    numbers |= {
        prompt: numbers[f"the {name}"]
        for name in WORN_IN_PAIRS
        if f"the {name}" in numbers
        for prompt in prompts_of(name)
    }

    @torch.inference_mode()
    def masks(record: Record) -> list[np.ndarray]:
        image = load_image(record.image)
        logits = model(pixel_values=normalised(pixels_of(image)[None])).logits
        size = (image.height, image.width)
        found = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)[0].argmax(0).numpy()
        return [found == numbers[query.text] for query in record.queries]

    return masks


def our_masks(segmenter: Segmenter) -> Masks:
    """Of each garment that is asked for, what its name gives, in the words of the evaluation protocol."""
    return lambda record: [found.mask for found in predicted_masks(segmenter, record, "given")]


def measure(source: Source, masks: Masks) -> Asked:
    """Asks all there is to ask about all photographs."""
    asked: Asked = {}
    for record in (source[index] for index in range(len(source))):
        for query, mask in zip(record.queries, masks(record), strict=True):
            truth = query.mask()
            asked.setdefault((query.text, bool((truth == 1).any())), MaskScores()).update(mask, truth)
    return asked


def figures_of(asked: Asked) -> dict[str, Any]:
    """Figures of samples, of which at least one is of something that is there.

    cIoU, gIoU and Pr@0.5 are of what is there, N-acc of what is not (fewer than 50 pixels are none). mIoU is the mean
    over prompts of cIoU, in which pixels that are found where nothing is count, too.
    """
    named = _together(scores for (_, there), scores in asked.items() if there)
    absent = _together(scores for (_, there), scores in asked.items() if not there)
    by_prompt = {
        text: {
            "n": len(scores),
            "ciou": _together([scores, asked.get((text, False), MaskScores())]).compute()["ciou"],
        }
        for (text, there), scores in sorted(asked.items(), key=lambda item: item[0])
        if there
    }
    return {
        "named": len(named),
        "absent": len(absent),
        **{name: named.compute()[name] for name in ("ciou", "giou", "pr@0.5")},
        "miou": float(np.mean([each["ciou"] for each in by_prompt.values()])),
        **({"n_acc": float(np.mean(np.array(absent.predicted) < GREFCOCO_MIN_AREA))} if len(absent) else {}),
        "by_prompt": by_prompt,
    }


def without_body(asked: Asked) -> Asked:
    """What is worn: all but hair and skin."""
    return {(text, there): scores for (text, there), scores in asked.items() if text not in BODY}


def _together(parts: Iterable[MaskScores]) -> MaskScores:
    return reduce(MaskScores.merge, parts, MaskScores())


def sheet(examples: Mapping[Source, int], ways: Mapping[str, Masks], *, photographs: bool = False) -> Image.Image:
    """One garment of some photographs of each source: marked, and as each model finds it.

    On a grey ground, as the photographs have no licence to be shown elsewhere; on them if `photographs`.
    """

    def cells() -> Iterator[Cell]:
        for source, count in examples.items():
            for index in np.linspace(0, len(source) - 1, count).astype(int):
                record = source[int(index)]
                truths = [query.mask() for query in record.queries]
                there = sorted(
                    (place for place, truth in enumerate(truths) if truth.any()), key=lambda i: truths[i].sum()
                )
                chosen = there[len(there) // 2]  # neither the most of the picture nor a speck
                image = load_image(record.image)
                if not photographs:
                    image = Image.new("RGB", image.size, "grey")
                yield Cell("marked", with_masks(image, [truths[chosen]]), record.queries[chosen].text)
                for name, masks in ways.items():
                    yield Cell(name, with_masks(image, [masks(record)[chosen].astype(np.uint8)]), "")

    return laid_out(list(cells()), "Clothing Co-Parsing, test photographs", 2 * (1 + len(ways)))


def tables(results: Mapping[str, Any]) -> str:
    """Markdown: all that is marked, what is worn, and one of a pair."""
    lines = [
        "| | parameters | minutes | steps | photographs seen | cIoU | gIoU | mIoU | Pr@0.5 | N-acc |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    known = [name for name in (OURS, RIVAL, FROM_NOTHING) if name in results]
    for name in known:
        row = results[name]
        told = [
            f"{row['parameters'] / 1e6:.1f} M",
            f"{row['minutes']:.1f}",
            f"{row['steps']:,}",
            f"{row['photographs']:,}",
        ]
        lines.append(f"| {name} | {' | '.join(told + _cells(row['garments'], NAMED))} |")
    for title, part, names in (("without hair and skin", "worn", NAMED), ("one of a pair", "pairs", PAIRED)):
        lines += ["", f"| {' | '.join([title, *(FIGURES[name] for name in names)])} |", "|---" * (len(names) + 1) + "|"]
        lines += [f"| {name} | {' | '.join(_cells(results[name][part], names))} |" for name in known]
    return "\n".join(lines)


def _cells(figures: Mapping[str, float], names: tuple[str, ...]) -> list[str]:
    return [f"{100 * figures[name]:.1f}" for name in names]


def compare(
    data: Path, steps: int | None, output: Path, config: Path = CONFIG
) -> tuple[dict[str, Any], dict[str, Image.Image]]:
    """Trains and measures both; see above.

    Returns:
        The results, and two sheets of examples by file name, with and without the photographs.
    """
    folder, ours = train_ours(data, steps, output, config)
    garments, pairs = test_photographs(data)
    rival, theirs = train_rival(data, ours["minutes"], len(garments.classes), output / "segformer")
    segmenter = Segmenter.from_pretrained(folder, device="cpu")
    ways = {OURS: our_masks(segmenter), RIVAL: rival_masks(rival, garments.classes)}
    results = {
        OURS: measured(segmenter.model, ours, ways[OURS], garments, pairs),
        RIVAL: measured(rival, theirs, ways[RIVAL], garments, pairs),
    }
    examples: dict[Source, int] = {garments: 6, pairs: 2}
    return results, {
        "shapes.png": sheet(examples, ways),
        "photographs.png": sheet(examples, ways, photographs=True),
    }


def compare_start(
    data: Path, steps: int | None, output: Path, config: Path = CONFIG, random: Path = RANDOM
) -> dict[str, Any]:
    """Trains and measures a model of nano's shape, which has learnt nothing before."""
    folder, facts = train_ours(data, steps, output / "from-nothing", config, untrained(output / "untrained", random))
    segmenter = Segmenter.from_pretrained(folder, device="cpu")
    return {FROM_NOTHING: measured(segmenter.model, facts, our_masks(segmenter), *test_photographs(data))}


def test_photographs(data: Path) -> tuple[IndexMapSource, OwnSource]:
    """The test photographs: garments by name, and one of a pair."""
    return garments_of(data / "test"), OwnSource(data / "test" / "pairs.jsonl")


def measured(
    model: torch.nn.Module, facts: dict[str, Any], masks: Masks, garments: Source, pairs: Source
) -> dict[str, Any]:
    """All figures of a model, with what its training took."""
    asked = {"garments": measure(garments, masks), "pairs": measure(pairs, masks)}
    asked["worn"] = without_body(asked["garments"])
    figures = {part: figures_of(each) for part, each in asked.items()}
    parameters = sum(each.numel() for each in model.parameters())
    return {"parameters": parameters, **facts, **figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="what examples/clothing_co_parsing.py made")
    parser.add_argument("--steps", type=int, default=None, help="of nano, instead of what the settings say")
    parser.add_argument("--output", type=Path, default=Path("runs/clothing-benchmark"), help="folder of both models")
    parser.add_argument("--from-nothing", action="store_true", help="train a model of nano's shape with random weights")
    chosen = parser.parse_args()
    if chosen.from_nothing:
        results, sheets = compare_start(chosen.data, chosen.steps, chosen.output), None
    else:
        results, sheets = compare(chosen.data, chosen.steps, chosen.output)
    results = {name: row | {"machine": machine_facts()} for name, row in results.items()}
    if RESULTS.exists():
        results = json.loads(RESULTS.read_text("utf-8")) | results
    write_json(RESULTS, results, overwrite=True, indent=1)
    if sheets is not None:
        sheets["shapes.png"].save(PICTURE)
        sheets["photographs.png"].save(chosen.output / "photographs.png")
    print(tables(results))


if __name__ == "__main__":
    main()
