"""The paper's ladder: what each rung and each perception pathway is worth, at one small budget.

    python -m benchmarks.ladder photographs --seeds 1 2 3    # all variants; a run that is finished is not run again
    python -m benchmarks.ladder toyland --variants rfa baseline --seeds 1 --steps 200

On photographs, which `configs/mini/ladder.yaml` names, each variant starts from `init` there, but for the refilling
head, which is random; the stem stays frozen. Two rivals have the same minutes of the same CPU; see
`benchmarks.class_heads`. On toyland each starts from nothing, as `configs/ladder.yaml` says. Seeds change initial
weights and, of photographs, what is seen of them and in which order; they may run side by side, in processes of their
own. Adds to `benchmarks/results/ladder-WORLD.json`, which keeps the runs of all settings that there ever were, and
prints the table of the docs: that of the settings of the latest run, unless --settings names others.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from benchmarks.class_heads import head_masks, train_head
from benchmarks.photo_figures import figures_of_masks
from benchmarks.records import RESULTS, read, rows_of
from benchmarks.stopwatch import Stopwatch
from self1e import Segmenter
from self1e.checkpoints.hub import open_checkpoint
from self1e.checkpoints.load import load_network
from self1e.checkpoints.names import HEAD
from self1e.evaluation.record_benchmarks import predicted_masks
from self1e.evaluation.samples import MEASURED
from self1e.files import folder_when_complete, write_json
from self1e.model.network import SELF1EForSegmentation
from self1e.photos.dataset import PhotoData
from self1e.processing.processor import SELF1EProcessor
from self1e.toyland.benchmark import evaluate_toyland
from self1e.toyland.training import ToylandData
from self1e.training.config import TrainConfig, load_config
from self1e.training.run import train

ROOT = Path(__file__).parents[1]
SCENES = 150
EVALUATION_SEED = 5
PHOTOGRAPHS = 400
KEY = ("variant", "seed", "steps", "settings")
"""What makes a run one of its own."""

VARIANTS: dict[str, dict[str, Any]] = {
    "baseline": {"refilling": "baseline"},
    "uncompressed": {"refilling": "uncompressed"},
    "rfr": {"refilling": "rfr"},
    "rfa": {"refilling": "rfa"},
    "rfa, no image-to-image": {"image_to_image": False},
    "rfa, no image-to-[SEG]": {"image_to_segmentation": False},
    "rfa, neither": {"image_to_image": False, "image_to_segmentation": False},
}
HEADS = {"linear head": False, "SegFormer head": True}
"""Rivals on photographs -> whether features are mixed."""


@dataclass(frozen=True)
class World:
    """What variants are compared on.

    Attributes:
        config: Settings of the runs.
        variants: Their names.
        measure: Trains and evaluates a variant, with a seed, in some steps: its figures.
        columns: Of the table -> the figure of a run, in percent.
    """

    config: Path
    variants: tuple[str, ...]
    measure: Callable[[str, int, int], dict[str, Any]]
    columns: Mapping[str, Callable[[Mapping[str, Any]], float | None]]


def fingerprint(config: Path) -> str:
    """Of what is the same for all variants: settings, what is known of sets and nouns, how absent nouns are drawn, and
    what edges are.
    """
    rules = ["sets.toml", "nouns.toml", "language/absent.py"] if config == PHOTOS else []
    contents = b"".join(file.read_bytes() for file in (config, *(files("self1e.photos") / name for name in rules)))
    contents += str(MEASURED).encode()
    return hashlib.sha256(contents).hexdigest()[:8]


def settings_of(config: Path, variant: str, seed: int, steps: int) -> TrainConfig:
    """The settings of one run, which has a folder of its own for every budget."""
    folder = variant.replace(", ", "-").replace(" ", "-").replace("[", "").replace("]", "")
    output = f"{load_config(config).output}/{fingerprint(config)}/{folder}-{steps}-steps-{seed}"
    return load_config(config, VARIANTS[variant] | {"seed": seed, "optimisation.steps": steps, "output": output})


def on_toyland(variant: str, seed: int, steps: int) -> dict[str, Any]:
    """Trains and evaluates one variant on drawn scenes."""
    settings = settings_of(TOYLAND, variant, seed, steps)
    model, _ = trained(settings)
    data = settings.data
    assert isinstance(data, ToylandData) and data.last_weights is not None
    segmenter = Segmenter.from_pretrained(model, device="cpu")
    report = evaluate_toyland(segmenter, EVALUATION_SEED, SCENES, weights=data.last_weights).to_dict()
    return report | {"scenes_seed": EVALUATION_SEED}  # the report has a seed of its own, that of the scenes


def on_photographs(variant: str, seed: int, steps: int) -> dict[str, Any]:
    """Trains and evaluates one variant, or a rival that has the minutes of `rfa`, on photographs."""
    settings = settings_of(PHOTOS, variant if variant in VARIANTS else "rfa", seed, steps)
    assert isinstance(settings.data, PhotoData) and settings.init is not None
    data = settings.data.model_copy(update={"seed": seed})
    start = fresh_head(Path(settings.init), Path(f"{settings.output}-start"), settings)
    settings = settings.model_copy(update={"data": data, "init": str(start)})
    model, minutes = trained(settings)
    test = Path(data.folders[0])
    if variant in VARIANTS:
        segmenter = Segmenter.from_pretrained(model, device="cpu", dtype="float32")
        segmenter.processor.refine = "none"  # the map itself counts, and rivals have nothing else
        figures = figures_of_masks(
            lambda record: [found.mask for found in predicted_masks(segmenter, record, "given")], test, PHOTOGRAPHS
        )
        return {"minutes": minutes} | figures
    network = load_network(open_checkpoint(start), torch.float32)
    stem = network.model.vision_tower.embeddings.patch_embeddings.stem
    mixed, batch = HEADS[variant], settings.optimisation.pictures_per_step
    head, done = train_head(stem, data, minutes, seed, mixed=mixed, batch=batch, workers=settings.workers)
    return {"minutes": minutes, "steps_done": done} | figures_of_masks(
        head_masks(stem, head, data.size), test, PHOTOGRAPHS
    )


def trained(settings: TrainConfig) -> tuple[Path, float]:
    """The folder of a run's model, and the minutes that its steps took; one that is finished is kept.

    Raises:
        FileNotFoundError: When it is finished, and was not measured.
    """
    finished, watch = Path(settings.output) / "model", Stopwatch()
    kept = Path(settings.output) / "minutes.json"
    if not finished.is_dir():
        train(settings, device="cpu", callbacks=[watch])
        write_json(kept, watch.seconds / 60, overwrite=True)
    if not kept.is_file():
        raise FileNotFoundError(f"how long {settings.output} was trained is not known: delete it, to train it again")
    return finished, float(json.loads(kept.read_text("utf-8")))


def fresh_head(model: Path, out: Path, settings: TrainConfig) -> Path:
    """A copy of a model on another rung, with a random refilling head of this seed; one that is there is kept."""
    if not out.is_dir():
        start = load_network(open_checkpoint(model), torch.float32)
        config = deepcopy(start.config)
        config.refilling = settings.refilling
        torch.manual_seed(settings.seed)
        other = SELF1EForSegmentation(config)
        kept = {name: weight for name, weight in start.state_dict().items() if not name.startswith(HEAD)}
        missing, unexpected = other.load_state_dict(kept, strict=False)
        assert not unexpected and all(name.startswith(HEAD) for name in missing)
        with folder_when_complete(out, replace=False) as staging:
            other.save_pretrained(staging)
            SELF1EProcessor.from_pretrained(model).save_pretrained(staging)
    return out


def kept(name: str) -> Path:
    """The file of the runs in a world."""
    return RESULTS / f"ladder-{name}.json"


def keep(name: str, run: dict[str, Any]) -> None:
    """Adds a run to those in a world, unless another process has made the same meanwhile."""
    with rows_of(kept(name)) as runs:
        if not is_among(run, runs):
            runs.append(run)


def is_among(run: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether runs have one of the same variant, seed, steps and settings."""
    return any(all(other[key] == run[key] for key in KEY) for other in runs)


def results(name: str, steps: int, settings: str = "") -> list[dict[str, Any]]:
    """The runs in a world of one budget with the same settings, so that they can be compared.

    Args:
        name: Of the world.
        steps: Of each run.
        settings: Their `fingerprint` when the runs were made; "": that of the latest run.
    """
    runs = [run for run in read(kept(name)) if run["steps"] == steps]
    shown = settings or (runs[-1]["settings"] if runs else "")
    return [run for run in runs if run["settings"] == shown]


def budget(world: World) -> int:
    """How many steps the runs in a world have, unless told otherwise."""
    return load_config(world.config).optimisation.steps


def table(world: World, results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: mean over seeds, with the lowest and highest where there are several."""
    lines = [f"| variant | {' | '.join(world.columns)} | runs |", "|---" * (len(world.columns) + 2) + "|"]
    for variant in world.variants:
        runs = [result for result in results if result["variant"] == variant]
        if runs:
            cells = [_spread([figure(run) for run in runs]) for figure in world.columns.values()]
            lines.append(f"| {variant} | {' | '.join(cells)} | {len(runs)} |")
    return "\n".join(lines)


def _spread(shares: list[float | None]) -> str:
    """In percent; "-" where a run has no such figure."""
    values = [100 * share for share in shares if share is not None]
    if len(values) < len(shares):
        return "-"
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f} to {max(values):.1f})"


def _figure(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda run: run.get(name)


TOYLAND, PHOTOS = ROOT / "configs" / "ladder.yaml", ROOT / "configs" / "mini" / "ladder.yaml"
WORLDS = {
    "toyland": World(
        TOYLAND,
        tuple(VARIANTS),
        on_toyland,
        {
            "gIoU": _figure("giou"),
            "of things by name": lambda run: run["kinds"]["class"]["giou"],
            "cIoU": _figure("ciou"),
            "Pr@0.5": _figure("pr@0.5"),
        },
    ),
    "photographs": World(
        PHOTOS,
        (*VARIANTS, *HEADS),
        on_photographs,
        {  # of what is there, but for N-acc
            "cIoU": _figure("ciou"),
            "gIoU": _figure("giou"),
            "mIoU": _figure("miou"),
            **{f"gIoU, {size}": _figure(size) for size in ("small", "middle", "large")},
            "edges (F)": _figure("boundary"),
            "T-acc": _figure("t_acc"),
            "N-acc": _figure("n_acc"),
        },
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", choices=WORLDS)
    parser.add_argument("--variants", nargs="+", choices=[*VARIANTS, *HEADS], help="default: all of the world")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--steps", type=int, help="of each run; default: as the settings say")
    parser.add_argument("--table", action="store_true", help="print what there is, and run nothing")
    parser.add_argument(
        "--settings", default="", help="with --table: of which settings, as the runs in the file have it"
    )
    chosen = parser.parse_args()
    world = WORLDS[chosen.world]
    if strangers := [name for name in chosen.variants or () if name not in world.variants]:
        parser.error(f"{chosen.world} has no {', '.join(strangers)}: there are {', '.join(world.variants)}")
    if chosen.settings and not chosen.table:
        parser.error("--settings chooses among runs that there are: give --table, too")
    steps, settings = chosen.steps or budget(world), fingerprint(world.config)
    for seed in () if chosen.table else chosen.seeds:
        for variant in chosen.variants or world.variants:
            run = {"variant": variant, "seed": seed, "steps": steps, "settings": settings}
            if not is_among(run, read(kept(chosen.world))):
                keep(chosen.world, world.measure(variant, seed, steps) | run)
                print(table(world, results(chosen.world, steps, settings)), flush=True)
    print(table(world, results(chosen.world, steps, chosen.settings)))


if __name__ == "__main__":
    main()
