"""The paper's ladder on toyland: what each rung and each perception pathway is worth, at one small budget.

    python -m benchmarks.ladder --seeds 1 2 3            # all variants; a run that is finished is not run again
    python -m benchmarks.ladder --variants rfa baseline --seeds 1 --steps 200

Trains each variant from nothing as `configs/ladder.yaml` says and evaluates it on scenes it has not seen. Seeds change
the initial weights; the data are the same for all. Writes `benchmarks/results/ladder.json` and prints the table of the
docs.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from self1e import Segmenter
from self1e.toyland.benchmark import evaluate_toyland
from self1e.toyland.training import ToylandData
from self1e.training.config import TrainConfig, load_config
from self1e.training.run import train

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "ladder.yaml"
RESULTS = ROOT / "benchmarks" / "results" / "ladder.json"
SCENES = 150
EVALUATION_SEED = 5
KEY = ("variant", "seed", "steps")
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


def settings_of(variant: str, seed: int, steps: int) -> TrainConfig:
    """The settings of one run, which has a folder of its own for every budget."""
    folder = variant.replace(", ", "-").replace(" ", "-").replace("[", "").replace("]", "")
    changes = {"seed": seed, "optimisation.steps": steps, "output": f"runs/ladder/{folder}-{steps}-steps-{seed}"}
    return load_config(CONFIG, VARIANTS[variant] | changes)


def measure(variant: str, seed: int, steps: int) -> dict[str, Any]:
    """Trains and evaluates one variant."""
    settings = settings_of(variant, seed, steps)
    finished = Path(settings.output) / "model"
    if not finished.is_dir():
        train(settings, device="cpu")
    data = settings.data
    assert isinstance(data, ToylandData) and data.last_weights is not None
    report = evaluate_toyland(
        Segmenter.from_pretrained(str(finished)), EVALUATION_SEED, SCENES, weights=data.last_weights
    ).to_dict()
    # The report has a seed of its own, that of the scenes.
    return report | {"variant": variant, "seed": seed, "steps": steps, "scenes_seed": EVALUATION_SEED}


def table(results: list[dict[str, Any]], steps: int) -> str:
    """Markdown of one budget: mean over seeds, with the lowest and highest where there are several."""
    lines = ["| variant | gIoU | of things by name | cIoU | Pr@0.5 | runs |", "|---|---|---|---|---|---|"]
    for variant in VARIANTS:
        runs = [result for result in results if (result["variant"], result["steps"]) == (variant, steps)]
        if runs:
            columns = [[100 * run[name] for run in runs] for name in ("giou", "ciou", "pr@0.5")]
            columns.insert(1, [100 * run["kinds"]["class"]["giou"] for run in runs])
            lines.append(f"| {variant} | {' | '.join(map(_spread, columns))} | {len(runs)} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--steps", type=int, default=load_config(CONFIG).optimisation.steps, help="of each run")
    parser.add_argument("--table", action="store_true", help="print what there is, and run nothing")
    chosen = parser.parse_args()
    results: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    if chosen.table:
        print(table(results, chosen.steps))
        return
    for seed in chosen.seeds:
        for variant in chosen.variants:
            result = measure(variant, seed, chosen.steps)
            run = [result[key] for key in KEY]
            results = [old for old in results if [old[key] for key in KEY] != run] + [result]
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            print(table(results, chosen.steps), flush=True)


if __name__ == "__main__":
    main()
