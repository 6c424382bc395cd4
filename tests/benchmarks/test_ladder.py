"""The ladder's runs: each has a folder of its own, and the table is of one budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import ladder
from benchmarks.ladder import PHOTOS, TOYLAND, VARIANTS, WORLDS, results, settings_of, table
from self1e.training.config import load_config

PAGE = Path(__file__).parents[2] / "docs" / "how-it-works.md"


def test_every_run_has_a_folder_of_its_own() -> None:
    runs = [(variant, seed, steps) for variant in VARIANTS for seed in (1, 2) for steps in (20, 500)]
    assert len({settings_of(TOYLAND, *run).output for run in runs}) == len(runs)
    settings = settings_of(TOYLAND, "rfa, neither", 3, 20)
    assert (settings.seed, settings.optimisation.steps) == (3, 20)
    assert (settings.image_to_image, settings.image_to_segmentation) == (False, False)


def test_table_of_one_budget() -> None:
    figures = {"ciou": 0.5, "pr@0.5": 0.25, "kinds": {"class": {"giou": 0.4}}}
    runs = [{"variant": "rfa", "seed": seed, "steps": 500, "giou": seed / 10, **figures} for seed in (1, 2, 3)]
    other = {"variant": "rfa", "seed": 1, "steps": 20, "giou": 0.9, **figures}
    assert table(WORLDS["toyland"], [*runs, other], 500).splitlines()[2:] == [
        "| rfa | 20.0 (10.0 to 30.0) | 40.0 (40.0 to 40.0) | 50.0 (50.0 to 50.0) | 25.0 (25.0 to 25.0) | 3 |"
    ]


def test_the_page_has_the_table_of_the_results() -> None:
    steps = load_config(PHOTOS).optimisation.steps
    assert table(WORLDS["photographs"], results("photographs"), steps) in PAGE.read_text("utf-8")


@pytest.mark.heavy
def test_a_variant_on_toyland(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "src").symlink_to(ladder.ROOT / "src")  # where the settings look for nano's vision tower
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ladder, "SCENES", 1)
    found = ladder.on_toyland("baseline", 2, 1)
    assert found["scenes_seed"] == ladder.EVALUATION_SEED and 0 <= found["giou"] <= 1
