"""From which layer on should image-to-segmentation be open? Quality and cost of nano for every answer.

    python -m benchmarks.late_pathways                    # all layers of nano; a run that is finished is not run again
    python -m benchmarks.late_pathways --layers 0 5 --steps 100
    python -m benchmarks.late_pathways --draw             # only the picture and the table of what was measured

Trains nano a little further for each layer, as `configs/late.yaml` says, evaluates it on toyland, and times eight
expressions about one picture, all models in one process, pass by pass. Layer 0 is the method as published; the number
of layers stands for never, a prefix that is shared to the end. Costs are ratios to that. Results go to
`benchmarks/results/late_pathways.json`, the picture to `docs/pictures/`, for which matplotlib is needed
(`pip install 'self1e[plot]'`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, machine_facts
from benchmarks.records import RESULTS, read, record
from benchmarks.subjects import PICTURE, prompts
from benchmarks.timing import interleaved, ratio
from self1e import Segmenter, SELF1EConfig
from self1e.data.toyland.dataset import DEFAULT_WEIGHTS
from self1e.data.toyland.language import SEGMENTING
from self1e.evaluation.toyland import evaluate_toyland
from self1e.training.config import load_config
from self1e.training.run import train

CONFIG = ROOT / "configs" / "late.yaml"
EVALUATION_SEED, SCENES = 6, 60
EXPRESSIONS = 8
ASKED = {kind: weight for kind, weight in DEFAULT_WEIGHTS.items() if kind in SEGMENTING}
DRAWN = ROOT / "docs" / "pictures" / "late-pathways.svg"


def trained(layer: int, steps: int) -> Path:
    """The model folder of one layer. Where the pathway is open from the first layer on, nothing can be packed."""
    folder = Path("runs") / "late" / f"from-{layer}-{steps}-steps"
    changes = {
        "image_to_segmentation_from": layer,
        "packed": layer > 0,
        "optimisation.steps": steps,
        "output": str(folder),
    }
    finished = folder / "model"
    return finished if finished.is_dir() else train(load_config(CONFIG, changes), device="cpu")


def quality(segmenter: Segmenter, scenes: int) -> dict[str, float]:
    """Figures of masks on scenes that were not trained on."""
    report = evaluate_toyland(segmenter, EVALUATION_SEED, scenes, weights=ASKED).to_dict()
    return {name: report[name] for name in ("giou", "ciou", "n_acc", "t_acc")}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, from always to never."""
    lines = ["| open from layer | cost of 8 expressions | gIoU | cIoU | N-acc |", "|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: row["settings"]["layer"]):
        figures = " | ".join(f"{100 * row['quality'][name]:.1f}" for name in ("giou", "ciou", "n_acc"))
        lines.append(f"| {row['settings']['layer']} | {row['cost']:.2f} | {figures} |")
    return "\n".join(lines)


def draw(rows: Sequence[dict[str, Any]], path: Path = DRAWN) -> None:
    """gIoU over cost, a point for each layer."""
    from benchmarks.plots import panels

    title = f"nano, {EXPRESSIONS} expressions about a picture"
    with panels(path, [title]) as plots:
        ordered = sorted(rows, key=lambda row: row["settings"]["layer"])
        points = [(row["cost"], 100 * row["quality"]["giou"]) for row in ordered]
        plots[title].plot(*zip(*points, strict=True), marker="o", label="image-to-segmentation from layer ...")
        for row, point in zip(ordered, points, strict=True):
            plots[title].annotate(str(row["settings"]["layer"]), point, (4, 4), textcoords="offset points", fontsize=8)
        plots[title].set_xlabel("cost, times that of a prefix shared to the end", fontsize=8)
        plots[title].set_ylabel("gIoU", fontsize=8)
        quality = [giou for _, giou in points]
        plots[title].set_ylim(min(quality) - 2, max(quality) + 2)  # or chance would look like a mountain


def main(arguments: Sequence[str] | None = None) -> None:
    config = load_config(CONFIG)
    last = SELF1EConfig.from_pretrained(config.init).text_config.num_hidden_layers
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, nargs="+", choices=range(last + 1), default=list(range(last + 1)))
    parser.add_argument("--steps", type=int, default=config.optimisation.steps, help="of each training")
    parser.add_argument("--scenes", type=int, default=SCENES, help="to evaluate on")
    parser.add_argument("--passes", type=int, default=9)
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    parser.add_argument("--results", type=Path, default=RESULTS / "late_pathways.json")
    parser.add_argument("--picture", type=Path, default=DRAWN)
    chosen = parser.parse_args(arguments)
    if not chosen.draw:
        models = {
            layer: Segmenter.from_pretrained(trained(layer, chosen.steps), device="cpu")
            for layer in sorted({*chosen.layers, last})
        }
        asked = prompts(EXPRESSIONS)
        rivals = {layer: partial(model.segment, PICTURE, asked) for layer, model in models.items()}
        for run in rivals.values():
            run()
        seconds, _ = interleaved(rivals, chosen.passes)
        for layer, model in models.items():
            measured: dict[str, Any] = {"cost": ratio(seconds[layer], seconds[last]), "machine": machine_facts()}
            measured["quality"] = quality(model, chosen.scenes)
            record(chosen.results, {"layer": layer, "steps": chosen.steps, "scenes": chosen.scenes}, **measured)
    budget = {"steps": chosen.steps, "scenes": chosen.scenes}
    rows = [row for row in read(chosen.results) if budget.items() <= row["settings"].items()]
    print(table(rows))
    draw(rows, chosen.picture)


if __name__ == "__main__":
    main()
