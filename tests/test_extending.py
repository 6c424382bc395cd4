"""The package of docs/extending.md, installed from that page: its data set, its benchmark and its loss are used."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from tiny import TINY

from self1e.data.records import DataError
from self1e.evaluation.benchmarks import open_benchmark
from self1e.training.config import ConfigError, load_config

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
FILE = re.compile(r"```(?:toml|python)\n# (\S+)\n(.*?)```", re.S)
SETTINGS = re.compile(r"```yaml\n(.*?)```", re.S)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages with `self1e-shapes` in it, as pip leaves it there."""
    folder = tmp_path / "site"
    files = dict(FILE.findall(PAGE.read_text("utf-8")))
    assert sorted(files) == ["pyproject.toml", "shapes/benchmark.py", "shapes/data.py", "shapes/loss.py"]
    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [f"[{group}]\n" + "\n".join(f"{name} = {what}" for name, what in points.items())
              for group, points in project["entry-points"].items()]  # fmt: skip
    (info / "entry_points.txt").write_text("\n\n".join(groups) + "\n")
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "shapes"]:
        del sys.modules[name]


def settings_file(folder: Path, **changes: object) -> Path:
    """A run of a few steps from nothing with the data and the loss of the page."""
    tree: dict[str, object] = {
        "output": str(folder / "run"),
        "architecture": TINY.model_dump(),
        "optimisation": {"steps": 2, "pictures_per_step": 2, "warmup_steps": 1},
        "workers": 0,
        "log_every": 1,
        "save_every": 2,
    }
    path = folder / "settings.yaml"
    of_page = yaml.safe_load("".join(SETTINGS.findall(PAGE.read_text("utf-8"))))
    path.write_text(yaml.safe_dump(tree | of_page | changes))
    return path


def test_each_piece_is_short() -> None:
    """What the page promises: a data set, a benchmark and a loss in about thirty lines each."""
    for name, text in FILE.findall(PAGE.read_text("utf-8")):
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith(("import", "from"))]
        assert len(lines) <= 32, name


def test_a_run_learns_from_the_data_and_logs_the_loss(site: Path, tmp_path: Path) -> None:
    from self1e.training.run import make_trainer

    trainer = make_trainer(load_config(settings_file(tmp_path)), "cpu")
    trainer.train()
    logged = [line for line in trainer.state.log_history if "loss" in line]
    assert len(logged) == 2
    assert all(0 < line["doubt_share"] <= 1 for line in logged)
    for line in logged:
        parts = line["ce"] + 2 * line["bce"] + 0.5 * line["dice"] + 0.05 * line["doubt_share"]
        assert line["loss"] == pytest.approx(parts, rel=1e-3)
    words = trainer.collator.processor.tokenizer.tokenize("red square")
    assert len(words) < len("red square")  # the tokenizer has learnt the words of these data


def test_unknown_settings_are_refused(site: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="losses"):
        load_config(settings_file(tmp_path, losses={"doubt": {"weigth": 1.0}}))
    with pytest.raises(ConfigError, match="shapes"):
        load_config(settings_file(tmp_path, data={"shapes": {"sead": 7}}))


def test_not_installed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shapes"):
        load_config(settings_file(tmp_path))
    with pytest.raises(DataError, match="there is no benchmark"):
        open_benchmark("shapes|red", tmp_path)


def test_the_benchmark_measures(site: Path, tmp_path: Path, tiny_model_folder: Path) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    pictures.mkdir()
    for number in range(3):
        mask = np.zeros((48, 48), np.uint8)
        mask[8 : 20 + number, 8:20] = 255
        Image.fromarray(mask).save(pictures / f"red-{number}.mask.png")
        Image.new("RGB", (48, 48), "grey").save(pictures / f"red-{number}.png")
    benchmark = open_benchmark("shapes|red", pictures)
    assert len(benchmark) == 3
    command = [sys.executable, "-m", "self1e", "eval", str(tiny_model_folder), "shapes|red", "--root", str(pictures)]
    ran = subprocess.run(
        [*command, "--out", str(out)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(site)},
    )
    assert ran.returncode == 0, ran.stderr
    (figures,) = out.rglob("figures.json")
    found = json.loads(figures.read_text())
    assert found["samples"] == 3 and 0 <= found["ciou"] <= 1
    with pytest.raises(DataError, match=r"shapes\|green"):
        open_benchmark("shapes|green", pictures)
