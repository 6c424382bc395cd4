"""Runs that take seconds: six pictures of one's own, asked about in every way, and a model of 64 pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from self1e.training.config import TrainConfig, load_config


def own_file(folder: Path, pictures: int = 6, broken: int = 0) -> Path:
    """A JSONL file with its pictures: masks, an empty mask, words alone, and several `[SEG]` in an answer."""
    lines: list[dict[str, Any]] = []
    for number in range(pictures):
        colour = (40 * number, 0, 0)
        Image.new("RGB", (48, 40), colour).save(folder / f"{number}.png")
        box = [5, 5, 5 + 3 * number, 5, 5 + 3 * number, 30, 5, 30]
        lines.append({"image": f"{number}.png", "prompt": "the red thing", "masks": [box] if number else []})
        lines.append({"image": f"{number}.png", "prompt": "What is it?", "answer": "A box."})
        talk = [{"question": "Where?", "answer": "Here [SEG] and there [SEG]."}]
        lines.append({"image": f"{number}.png", "conversations": talk, "masks": [box, []]})
    for number in range(broken):
        lines.append({"image": f"missing-{number}.png", "prompt": "the red thing", "masks": []})
    file = folder / "own.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


def own_data(folder: Path, **changes: Any) -> dict[str, Any]:
    """`data` of settings for `own_file`."""
    return {"parts": {"mine": {"rate": 1, "own": [{"jsonl": str(own_file(folder))}]}}} | changes


def config(folder: Path, data: dict[str, Any], **changes: Any) -> TrainConfig:
    """Settings of a short run in `folder / "run"`, read from a file."""
    return load_config(write_config(folder, data, **changes))


def write_config(
    folder: Path, data: dict[str, Any], *, optimisation: dict[str, Any] | None = None, **changes: Any
) -> Path:
    """The file that `config` reads."""
    tree = {
        "output": str(folder / "run"),
        "data": data,
        "optimisation": {"steps": 3, "pictures_per_step": 2, "warmup_steps": 1, "learning_rate": 1e-3}
        | (optimisation or {}),
        "workers": 0,
        "log_every": 1,
        "save_every": 3,
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(tree | changes))
    return path


def history(checkpoint: Path) -> list[dict[str, float]]:
    """The lines that a checkpoint remembers, but for how long they took, which no two runs have in common."""
    lines: list[dict[str, float]] = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]
