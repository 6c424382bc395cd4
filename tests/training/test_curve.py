"""The table that grows with a run."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from small_runs import history, write_config
from transformers import TrainerState

from self1e.training.config import load_config
from self1e.training.curve import Curve
from self1e.training.run import train


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "curve.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def state(first: bool = True) -> TrainerState:
    return TrainerState(is_world_process_zero=first)


def log(curve: Curve, run: TrainerState, step: int, **figures: Any) -> None:
    """As `Trainer` does it."""
    run.log_history.append({**figures, "step": step})
    curve.on_log(None, run, None, logs=figures)


def test_rows_come_as_they_are_logged(tmp_path: Path) -> None:
    curve, run = Curve(tmp_path), state()
    curve.on_train_begin(None, run, None)
    for step in (5, 10):
        log(curve, run, step, loss=1 / step, word="left out")
        assert [row["step"] for row in rows_of(tmp_path)] == [str(each) for each in (5, 10) if each <= step]
    log(curve, run, 10, eval_giou=0.5)  # in the row of its step
    log(curve, run, 15, loss=0.1)
    rows = rows_of(tmp_path)
    assert list(rows[0]) == ["step", "seconds", "loss", "eval_giou"]
    assert [(row["step"], row["loss"], row["eval_giou"]) for row in rows] == [
        ("5", "0.2", ""),
        ("10", "0.1", "0.5"),
        ("15", "0.1", ""),
    ]


def test_a_run_that_goes_on_keeps_what_its_checkpoint_knows(tmp_path: Path) -> None:
    (tmp_path / "curve.csv").write_text("step,seconds,loss\n5,100.0,1\n10,200.0,2\n15,300.0,3\n20,4")
    curve, run = Curve(tmp_path), state()
    run.log_history += [{"loss": 1, "step": 5, "seconds": 100.0}, {"loss": 2, "step": 10, "seconds": 200.0}]
    curve.on_train_begin(None, run, None)
    assert [(row["step"], row["seconds"]) for row in rows_of(tmp_path)] == [("5", "100.0"), ("10", "200.0")]
    log(curve, run, 15, loss=3.5)
    last = rows_of(tmp_path)[-1]
    assert (last["step"], last["loss"]) == ("15", "3.5") and 200 <= float(last["seconds"]) < 210


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    curve, run = Curve(tmp_path), state(first=False)
    curve.on_train_begin(None, run, None)
    log(curve, run, 5, loss=1.0)
    assert not list(tmp_path.iterdir())


def test_of_a_run(tmp_path: Path, tiny_model_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = {"toyland": {"seed": 3, "size": 64}}
    train(load_config(write_config(tmp_path, data, init=str(tiny_model_folder))), device="cpu")
    logged = [line for line in history(tmp_path / "run" / "checkpoint-3") if "loss" in line]
    rows = [row for row in rows_of(tmp_path / "run") if row["loss"]]
    assert [(int(row["step"]), float(row["loss"])) for row in rows] == [(line["step"], line["loss"]) for line in logged]
    assert len(rows) == 3 and all(float(row["seconds"]) >= 0 for row in rows)
    assert "3/3" not in capfd.readouterr().err  # a bar is for terminals
