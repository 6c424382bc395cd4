"""The ladder's runs: each has a folder of its own, none is lost, and a table is of runs that can be compared."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ladder
from benchmarks.ladder import TOYLAND, VARIANTS, WORLDS, budget, kept, results, settings_of, table
from benchmarks.records import read, rows_of

PAGE = Path(__file__).parents[2] / "docs" / "how-it-works.md"


def test_every_run_has_a_folder_of_its_own() -> None:
    runs = [(variant, seed, steps) for variant in VARIANTS for seed in (1, 2) for steps in (20, 500)]
    assert len({settings_of(TOYLAND, *run).output for run in runs}) == len(runs)
    settings = settings_of(TOYLAND, "rfa, neither", 3, 20)
    assert (settings.seed, settings.optimisation.steps) == (3, 20)
    assert (settings.image_to_image, settings.image_to_segmentation) == (False, False)


FIGURES = {"giou": 0.3, "ciou": 0.5, "pr@0.5": 0.25, "kinds": {"class": {"giou": 0.4}}}


def a_run(seed: int, settings: str = "new", steps: int = 500, **figures: float) -> dict[str, Any]:
    return {"variant": "rfa", "seed": seed, "steps": steps, "settings": settings, **FIGURES, **figures}


@pytest.fixture
def kept_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the runs on toyland, with one of other settings and one of another budget."""
    monkeypatch.setattr(ladder, "RESULTS", tmp_path)
    kept("toyland").write_text(json.dumps([a_run(1, "old"), a_run(1), a_run(2), a_run(1, "new", 20)]))
    return kept("toyland")


def test_a_table_has_a_row_for_each_variant() -> None:
    runs = [a_run(seed, giou=seed / 10) for seed in (1, 2, 3)]
    assert table(WORLDS["toyland"], runs).splitlines()[2:] == [
        "| rfa | 20.0 (10.0 to 30.0) | 40.0 (40.0 to 40.0) | 50.0 (50.0 to 50.0) | 25.0 (25.0 to 25.0) | 3 |"
    ]


def test_runs_that_can_be_compared_have_one_budget_and_the_same_settings(kept_runs: Path) -> None:
    assert results("toyland", 500) == [a_run(1), a_run(2)]  # the latest settings, whatever those of today are
    assert results("toyland", 500, "old") == [a_run(1, "old")]
    assert results("toyland", 20) == [a_run(1, "new", 20)]
    assert results("photographs", 500) == []


def test_a_run_is_added_to_those_of_other_settings(kept_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def measure(variant: str, seed: int, steps: int) -> dict[str, Any]:
        made.append(variant)
        with rows_of(kept_runs) as rows:  # another process ends meanwhile
            rows.append(a_run(8))
        return FIGURES

    monkeypatch.setitem(WORLDS, "toyland", replace(WORLDS["toyland"], measure=measure))
    monkeypatch.setattr(sys, "argv", ["ladder", "toyland", "--variants", "rfa", "--seeds", "1", "--steps", "500"])
    before = read(kept_runs)
    ladder.main()
    ladder.main()  # it is there now
    assert read(kept_runs) == [*before, a_run(8), a_run(1, ladder.fingerprint(TOYLAND))] and made == ["rfa"]


def test_the_page_has_a_table_of_the_results() -> None:
    steps = budget(WORLDS["photographs"])
    kept_settings = {run["settings"] for run in read(kept("photographs")) if run["steps"] == steps}
    tables = [table(WORLDS["photographs"], results("photographs", steps, each)) for each in kept_settings]
    (shown,) = (each for each in tables if each in PAGE.read_text("utf-8"))
    rows = [line.split("|")[1].strip() for line in shown.splitlines()[2:]]
    assert rows == list(WORLDS["photographs"].variants)


@pytest.mark.heavy
def test_a_variant_on_toyland(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "src").symlink_to(ladder.ROOT / "src")  # where the settings look for nano's vision tower
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ladder, "SCENES", 1)
    found = ladder.on_toyland("baseline", 2, 1)
    assert found["scenes_seed"] == ladder.EVALUATION_SEED and 0 <= found["giou"] <= 1
