"""Two processes on one machine (gloo): the same losses, gradients, figures and weights as one process has."""

from __future__ import annotations

from pathlib import Path

import pytest
from several_processes import LORA, ONE, TWO, assert_same, launched, run
from small_runs import history, own_data, own_file, write_config
from torch import distributed

LAYERS = "Qwen2DecoderLayer,InternVLVisionLayer"
FSDP = {  # what `accelerate launch --config_file configs/launch/fsdp2.yaml` sets
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": LAYERS,
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
}
TWO_DDP = [*TWO, "-m", "self1e"]
TWO_FSDP = [*TWO, str(Path(__file__).with_name("fsdp_on_cpu.py"))]

pytestmark = pytest.mark.skipif(not distributed.is_gloo_available(), reason="needs gloo")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Path:
    return run(tmp_path_factory.mktemp("alone"), ONE, 1, tiny_model_folder)


@pytest.mark.parametrize(
    ("command", "engine"),
    [pytest.param(TWO_DDP, {}, id="ddp"), pytest.param(TWO_FSDP, FSDP, id="fsdp", marks=pytest.mark.slow)],
)
def test_two_processes_do_what_one_does(
    tmp_path: Path, tiny_model_folder: Path, alone: Path, command: list[str], engine: dict[str, str]
) -> None:
    there = run(tmp_path, command, 2, tiny_model_folder, engine)
    assert_same(alone, there)
    # And a resumed run as well.
    for name in ("checkpoint-4", "model", "best"):
        (there / name).rename(tmp_path / name)
    run(tmp_path, command, 2, tiny_model_folder, engine)
    assert_same(alone, there)


@pytest.mark.slow
def test_adapters_under_fsdp(tmp_path: Path, tiny_model_folder: Path) -> None:
    first = run(tmp_path / "one", ONE, 1, tiny_model_folder, lora=LORA)
    second = run(tmp_path / "two", TWO_FSDP, 2, tiny_model_folder, FSDP, lora=LORA)
    assert_same(first, second)


@pytest.mark.slow
def test_recipe_under_fsdp(tmp_path: Path, tiny_model_folder: Path) -> None:
    """In half precision, with activations computed again: losses are close, and of float32 as they are logged."""
    optimisation = {"precision": "bfloat16", "gradient_checkpointing": True}
    first = run(tmp_path / "one", ONE, 1, tiny_model_folder, lora=LORA, optimisation=optimisation)
    second = run(tmp_path / "two", TWO_FSDP, 2, tiny_model_folder, FSDP, lora=LORA, optimisation=optimisation)
    for line, other in zip(*(history(folder / "checkpoint-4") for folder in (first, second)), strict=True):
        for name in line.keys() & {"loss", "ce", "bce", "dice", "eval_loss"}:
            assert line[name] == pytest.approx(other[name], rel=0.02), (name, line["step"])


@pytest.mark.slow
def test_processes_may_have_words_alone(tmp_path: Path, tiny_model_folder: Path) -> None:
    """One of two processes has no mask to learn from in some steps, and neither waits for the other for ever."""
    for name, command, processes, engine in (("one", ONE, 1, {}), ("two", TWO_FSDP, 2, FSDP)):
        folder = tmp_path / name
        folder.mkdir()
        file = own_file(folder)
        lines = file.read_text().splitlines()
        file.write_text("\n".join(line for line in lines if "A box." in line or '"0.png"' in line))
        data = {"parts": {"mine": {"rate": 1, "own": [{"jsonl": str(file)}]}}, "at_most": 1}
        run(folder, command, processes, tiny_model_folder, engine, data=data, optimisation={"accumulate": 1})
    assert_same(tmp_path / "one" / "run", tmp_path / "two" / "run")


def test_what_engines_cannot_do_is_refused(tmp_path: Path, tiny_model_folder: Path) -> None:
    data = own_data(tmp_path)
    settings = write_config(tmp_path, data, init=str(tiny_model_folder), optimisation={"ema": 0.9})
    done = launched(TWO_FSDP, settings, FSDP)
    assert done.returncode != 0
    assert "error: ema averages whole weights" in done.stderr


@pytest.mark.slow
def test_an_engine_that_is_not_there_is_told(tmp_path: Path, tiny_model_folder: Path) -> None:
    """accelerate takes plain DDP in its place, and says nothing."""
    done = launched(TWO_DDP, write_config(tmp_path, own_data(tmp_path), init=str(tiny_model_folder)), FSDP)
    assert done.returncode != 0
    assert "error: the launcher asks for FSDP, and accelerate has set up MULTI_CPU on cpu" in done.stderr
