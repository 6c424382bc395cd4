"""Exported models, made once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from self1e.engines.artefact import Artefact
from self1e.export.export import export_model
from self1e.segment.agreement import PromptedPicture

PROMPTS = ["the red ball", "Which of them rolls?", "a blue ball, or something else that is rather long to describe"]

Models = Callable[[bool], Path]
Exported = Callable[..., Artefact]


def noise(width: int = 96, height: int = 96, seed: int = 0) -> Image.Image:
    """A picture of one tile; twice as wide or high as another, of two where these are allowed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def samples() -> list[PromptedPicture]:
    """Few, as a test has no time."""
    return [(noise(), PROMPTS[:1]), (noise(200, 90, seed=1), PROMPTS[1:2])]


@pytest.fixture(scope="session")
def models(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Models:
    """The tiny model whose pictures look at `[SEG]`, or the same where they do not."""
    sharing = shutil.copytree(tiny_model_folder, tmp_path_factory.mktemp("sharing") / "model")
    settings = json.loads((sharing / "config.json").read_text()) | {"image_to_segmentation": False}
    (sharing / "config.json").write_text(json.dumps(settings))
    (sharing / "nouns.txt").write_text("ball: balls\n")
    (sharing / "calibration.json").write_text(json.dumps({"present": [[0.5, 0.2], [1, 0.9]], "absent": [[0.5, 1]]}))
    return lambda looking: tiny_model_folder if looking else sharing


@pytest.fixture(scope="session")
def exported(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """`exported(looking, kind, precision)`: an exported model, made when it is first asked for. For reading only."""
    made: dict[tuple[bool, str, str], Artefact] = {}

    def export(looking: bool, kind: str = "onnx", precision: str = "float32") -> Artefact:
        key = looking, kind, precision
        if key not in made:
            folder = tmp_path_factory.mktemp("exported") / "-".join(map(str, key))
            made[key] = export_model(str(models(looking)), kind, folder, precision, samples=samples())
        return made[key]

    return export
