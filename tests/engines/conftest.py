"""Exported models, made once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from noise import Exported, Models, samples

from self1e.checkpoints.hub import BUNDLED
from self1e.engines.artefact import Artefact
from self1e.processing.processor import CONFIG_NAME


@pytest.fixture(scope="session")
def models(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Models:
    """The tiny model, whose pictures look at `[SEG]`; or nano, whose do not."""
    nano = shutil.copytree(BUNDLED["nano"], tmp_path_factory.mktemp("nano") / "model")
    (nano / "nouns.json").write_text('{"words": {"ball": []}}')
    settings = json.loads((nano / CONFIG_NAME).read_text())
    (nano / CONFIG_NAME).write_text(json.dumps(settings | {"refine": "guided"}))
    return lambda looking: tiny_model_folder if looking else nano


@pytest.fixture(scope="session")
def exported(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """`exported(looking, kind, precision)`: an exported model, made when it is first asked for. For reading only."""
    made: dict[tuple[bool, str, str], Artefact] = {}

    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from self1e.export.export import Exporter

    traced: dict[bool, Exporter] = {}

    def export(looking: bool, kind: str = "onnx", precision: str = "float32") -> Artefact:
        key = looking, kind, precision
        if key not in made:
            if looking not in traced:
                traced[looking] = Exporter(str(models(looking)))
            folder = tmp_path_factory.mktemp("exported") / "-".join(map(str, key))
            made[key] = traced[looking].write(kind, folder, precision, samples=samples())
        return made[key]

    return export
