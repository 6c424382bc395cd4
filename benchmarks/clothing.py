"""nano on photographs, beside a standard rival that has the same minutes of the same CPU.

    python examples/clothing_co_parsing.py CCP ccp
    python -m benchmarks.clothing ccp --steps 1500

Trains nano on Clothing Co-Parsing as `configs/clothing.yaml` says, and SegFormer (b0, from random weights, that of
transformers) on the same labels for as many minutes as nano took. Then both are asked for every garment that is marked
in each of the 200 test photographs, and for two that are not: nano by name, SegFormer by its class. Figures are of
single garments at the photographs' own size. Writes benchmarks/results/clothing.json and docs/pictures/clothing.png.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from self1e import Segmenter
from self1e.data.contact_sheet import Cell, laid_out, with_masks
from self1e.data.masks import read_index_map
from self1e.data.own_masks import IndexMapSource
from self1e.data.records import Record
from self1e.evaluation.metrics import MaskScores
from self1e.evaluation.run import question_of
from self1e.processing.images import load_image
from self1e.training.config import load_config
from self1e.training.run import train

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "clothing.json"
PICTURE = ROOT / "docs" / "pictures" / "clothing.png"
SIDE, BATCH, RATE = 384, 8, 6e-4
MEAN, DEVIATION = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

Masks = Callable[[Record], list[np.ndarray]]


def source_of(folder: Path) -> IndexMapSource:
    """A split, with two garments a picture that are not there."""
    return IndexMapSource(folder / "images", folder / "masks", folder / "classes.txt", absent_classes=2)


def train_ours(data: Path, steps: int | None, output: str) -> tuple[Path, float]:
    """The model's folder, and how many minutes it took, loading included."""
    part = "data.parts.clothing.own"
    changes: dict[str, Any] = {"output": output}
    for split, key in (("train", part), ("test", f"validation.{part}")):
        own = {name: str(data / split / name) for name in ("images", "masks")}
        changes[key] = [own | {"classes": str(data / split / "classes.txt"), "absent_classes": 2}]
    if steps is not None:
        changes["optimisation.steps"] = steps
    start = time.perf_counter()
    folder = train(load_config(ROOT / "configs" / "clothing.yaml", changes), device="cpu")
    return folder, (time.perf_counter() - start) / 60


def pixels_of(image: Image.Image) -> torch.Tensor:
    """float[3, SIDE, SIDE]."""
    small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32) / 255
    return ((torch.from_numpy(small) - MEAN) / DEVIATION).permute(2, 0, 1)


def train_rival(data: Path, minutes: float, classes: int) -> tuple[SegformerForSemanticSegmentation, int]:
    """SegFormer-b0 after so many minutes, and how many steps these were. Pictures are mirrored at random."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    names = sorted(path.stem for path in (data / "train" / "masks").glob("*.png"))
    pictures = torch.stack([pixels_of(load_image(data / "train" / "images" / f"{name}.jpg")) for name in names])
    labels = torch.stack(
        [
            torch.from_numpy(
                np.asarray(
                    Image.fromarray(read_index_map(data / "train" / "masks" / f"{name}.png")).resize(
                        (SIDE // 4, SIDE // 4), Image.Resampling.NEAREST
                    )
                ).astype(np.int64)
            )
            for name in names
        ]
    )
    model = SegformerForSemanticSegmentation(SegformerConfig(num_labels=classes)).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    start, steps = time.perf_counter(), 0
    while (done := (time.perf_counter() - start) / 60 / minutes) < 1:
        for group in optimiser.param_groups:  # a short warm-up, then linear to 0 at the end of its time
            group["lr"] = RATE * min((steps + 1) / 50, 1 - done)
        chosen = torch.from_numpy(rng.choice(len(names), BATCH, replace=False))
        batch, truth = pictures[chosen], labels[chosen]
        if rng.random() < 0.5:
            batch, truth = batch.flip(-1), truth.flip(-1)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(pixel_values=batch).logits
        loss = F.cross_entropy(logits.float(), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        steps += 1
        if steps % 50 == 0:
            print(f"rival: step {steps}, {100 * done:.0f} % of its time, loss {loss.item():.3f}", flush=True)
    return model.eval(), steps


def rival_masks(model: SegformerForSemanticSegmentation, classes: tuple[str, ...]) -> Masks:
    """Of each garment that is asked for, the pixels of its class."""
    numbers = {" ".join(name.split()): number for number, name in enumerate(classes)}

    @torch.inference_mode()
    def masks(record: Record) -> list[np.ndarray]:
        image = load_image(record.image)
        logits = model(pixel_values=pixels_of(image)[None]).logits
        size = (image.height, image.width)
        found = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)[0].argmax(0).numpy()
        return [found == numbers[query.text] for query in record.queries]

    return masks


def our_masks(segmenter: Segmenter) -> Masks:
    """Of each garment that is asked for, what its name gives."""

    def masks(record: Record) -> list[np.ndarray]:
        questions = [question_of(query) for query in record.queries]
        return [result.mask for result in segmenter.segment(record.image, questions, template="none")]

    return masks


def measure(source: IndexMapSource, masks: Masks) -> dict[str, Any]:
    """Figures over all garments of all photographs."""
    named, absent, classes = MaskScores(), MaskScores(), {}
    for record in (source[index] for index in range(len(source))):
        for query, mask in zip(record.queries, masks(record), strict=True):
            truth = query.mask()
            (named if (truth == 1).any() else absent).update(mask, truth)
            classes.setdefault(query.text, MaskScores()).update(mask, truth)
    figures = named.compute()
    per_class = [each.compute().get("ciou", 0.0) for each in classes.values() if sum(each.targets)]
    return {
        "named": len(named),
        "absent": len(absent),
        **{name: figures[name] for name in ("ciou", "giou", "pr@0.5")},
        "miou": float(np.mean(per_class)),
        "n_acc": absent.compute().get("n_acc"),
        "by_garment": {
            name: {"n": sum(target > 0 for target in each.targets), "ciou": each.compute().get("ciou")}
            for name, each in sorted(classes.items())
        },
    }


def sheet(source: IndexMapSource, ways: dict[str, Masks], count: int = 6) -> Image.Image:
    """Photographs with one garment each: marked, and as each model finds it."""

    def cells() -> Iterator[Cell]:
        for place in range(count):
            record = source[place * (len(source) // count)]
            sizes = [int((query.mask() == 1).sum()) for query in record.queries]
            chosen = int(np.argsort(sizes)[-3])
            query, image = record.queries[chosen], load_image(record.image)
            yield Cell("marked", with_masks(image, [query.mask()]), query.text)
            for name, masks in ways.items():
                yield Cell(name, with_masks(image, [masks(record)[chosen].astype(np.uint8)]), "")

    return laid_out(list(cells()), "Clothing Co-Parsing, test photographs")


def table(results: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| | minutes | cIoU | gIoU | mIoU | Pr@0.5 | N-acc |", "|---|---|---|---|---|---|---|"]
    for name in ("nano", "SegFormer-b0"):
        row = results[name]
        cells = [f"{100 * row[key]:.1f}" for key in ("ciou", "giou", "miou", "pr@0.5", "n_acc")]
        lines.append(f"| {name} | {row['minutes']:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="what examples/clothing_co_parsing.py made")
    parser.add_argument("--steps", type=int, default=None, help="of nano, instead of what the settings say")
    parser.add_argument("--output", default="runs/clothing")
    chosen = parser.parse_args()
    folder, minutes = train_ours(chosen.data, chosen.steps, chosen.output)
    test = source_of(chosen.data / "test")
    rival, steps = train_rival(chosen.data, minutes, len(test.classes))
    ours = our_masks(Segmenter.from_pretrained(folder, device="cpu"))
    ways = {"nano": ours, "SegFormer-b0": rival_masks(rival, test.classes)}
    results: dict[str, Any] = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "rival_steps": steps,
        **{name: {"minutes": minutes, **measure(test, masks)} for name, masks in ways.items()},
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    sheet(test, ways).save(PICTURE)
    print(table(results))


if __name__ == "__main__":
    main()
