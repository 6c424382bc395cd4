"""The average of a model and of one that training made of it, or that both were made of.

    python configs/mini/average.py MODEL OTHER SHARE OUT

OUT gets all of MODEL's files but the calibration, which is of its weights only, and of each weight 1 - SHARE of MODEL's
and SHARE of OTHER's (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from self1e.segment.load import CALIBRATION_NAME

WEIGHTS = "model.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description="The average of two models of one lineage.")
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("other", type=Path, help="folder of the other, with weights of the same names and sizes")
    parser.add_argument("share", type=float, help="of the other, from 0 to 1")
    parser.add_argument("out", type=Path, help="folder to write it to")
    options = parser.parse_args()
    if not 0 <= options.share <= 1:
        parser.error(f"the share is {options.share}: give a number from 0 to 1")
    if options.out.exists():
        parser.error(f"{options.out} exists: choose another folder, or delete it first")
    weights, other = load_file(options.model / WEIGHTS), load_file(options.other / WEIGHTS)
    differing = [
        name
        for name in weights.keys() | other.keys()
        if name not in weights or name not in other or weights[name].shape != other[name].shape
    ]
    if differing:
        parser.error(
            f"{len(differing)} weights differ in name or size, {min(differing)} the first: take two stages of one model"
        )
    with safe_open(options.model / WEIGHTS, "pt") as file:
        metadata = file.metadata()
    shutil.copytree(options.model, options.out, ignore=shutil.ignore_patterns(CALIBRATION_NAME))
    for name, weight in weights.items():
        weights[name] = weight.float().lerp(other[name].float(), options.share).to(weight.dtype)
    save_file(weights, options.out / WEIGHTS, metadata=metadata)


if __name__ == "__main__":
    main()
