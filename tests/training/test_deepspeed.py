"""DeepSpeed's ZeRO in two processes on the CPU, started as docs/training.md says: what one process does, and again.

Needs `pip install deepspeed` (on a machine without a GPU: `DS_ACCELERATOR=cpu DS_BUILD_OPS=0 pip install deepspeed`);
at the first run it builds a library with g++.
"""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from several_processes import LORA, ONE, ROOT, assert_same, launched, run
from small_runs import history, own_file, write_config

from self1e.checkpoints.hub import open_checkpoint
from self1e.checkpoints.load import load_network

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs deepspeed, which is not installed here"),
]

Weights = dict[str, torch.Tensor]


def two(stage: int) -> list[str]:
    """What docs/training.md says, with two processes."""
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2"]
    return [*launcher, "--config_file", str(ROOT / "configs" / "launch" / f"zero{stage}.yaml"), "-m", "self1e"]


def mixed_data(folder: Path) -> dict[str, Any]:
    """Pictures of one, two and three tiles, asked about once, twice, or in words alone."""
    file = own_file(folder)
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    for number, size in enumerate([(48, 40), (120, 40), (40, 80), (48, 40), (120, 40), (40, 80)]):
        Image.new("RGB", size, (40 * number, 0, 0)).save(folder / f"{number}.png")
    kept = [entry for entry in entries if entry.get("answer") or entry["image"] in ("0.png", "1.png", "2.png")]
    file.write_text("\n".join(map(json.dumps, kept)))
    return {"parts": {"mine": {"rate": 1, "own": [{"jsonl": str(file)}]}}, "at_most": 2}


def assert_engine(checkpoint: Path, stage: int) -> None:
    """What DeepSpeed itself wrote down: plain DDP, or two processes that know nothing of each other, end well, too."""
    [state] = checkpoint.glob("global_step*")
    told = [torch.load(path, weights_only=False) for path in sorted(state.glob("*_optim_states.pt"))]
    assert [int(each["optimizer_state_dict"]["zero_stage"]) for each in told] == [stage] * 2  # a file a process
    models = [torch.load(path, weights_only=False) for path in state.glob("*_model_states.pt")]
    assert len(models) == (2 if stage == 3 else 1)
    assert {each["dp_world_size"] for each in models} == {2}


def resumed(folder: Path, again: Any) -> tuple[Weights, Weights]:
    """The weights of the run in a folder, and those of the same run taken up from its first checkpoint.

    The figures have to be the same.
    """
    there = folder / "run"
    before = load_file(there / "model" / "model.safetensors"), history(there / "checkpoint-4")
    for name in ("checkpoint-4", "model", "best"):
        shutil.rmtree(there / name)
    again()
    assert history(there / "checkpoint-4") == before[1]
    return before[0], load_file(there / "model" / "model.safetensors")


def assert_equal(first: Weights, second: Weights) -> None:
    assert first.keys() == second.keys()
    assert not [name for name, weight in first.items() if not torch.equal(weight, second[name])]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    optimisation = {"pictures_per_step": 4}
    return run(folder, ONE, 1, tiny_model_folder, data=mixed_data(folder), max_tiles=3, optimisation=optimisation)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_two_processes_do_what_one_does(tmp_path: Path, tiny_model_folder: Path, alone: Path, stage: int) -> None:
    """And a resumed run as well, bit for bit."""

    def train() -> Path:
        data, optimisation = mixed_data(tmp_path), {"pictures_per_step": 2}
        return run(tmp_path, two(stage), 2, tiny_model_folder, data=data, max_tiles=3, optimisation=optimisation)

    there = train()
    assert_engine(there / "checkpoint-4", stage)
    assert_same(alone, there)
    assert {path.name for path in (there / "model").iterdir()} == {path.name for path in (alone / "model").iterdir()}
    load_network(open_checkpoint(there / "checkpoint-4"))
    assert_equal(*resumed(tmp_path, train))


@pytest.mark.parametrize("stage", [2, 3])
def test_the_recipe(tmp_path: Path, tiny_model_folder: Path, stage: int) -> None:
    """Adapters in half precision, with activations computed again: close to one process; resumed bit for bit."""
    optimisation = {"precision": "bfloat16", "gradient_checkpointing": True}
    first = run(tmp_path / "one", ONE, 1, tiny_model_folder, lora=LORA, optimisation=optimisation)

    def train() -> Path:
        return run(tmp_path / "two", two(stage), 2, tiny_model_folder, lora=LORA, optimisation=optimisation)

    second = train()
    assert_engine(second / "checkpoint-4", stage)
    for line, other in zip(*(history(folder / "checkpoint-4") for folder in (first, second)), strict=True):
        for name in line.keys() & {"loss", "ce", "bce", "dice", "eval_loss"}:
            assert line[name] == pytest.approx(other[name], rel=0.02), (name, line["step"])
    for folder in ("adapter", "model"):
        files, others = ({path.name for path in (run / folder).iterdir()} for run in (first, second))
        assert files == others
    assert_equal(*resumed(tmp_path / "two", train))


@pytest.mark.parametrize("stage", [2, 3])
def test_a_run_is_made_longer(tmp_path: Path, tiny_model_folder: Path, stage: int) -> None:
    """From its last checkpoint on at the rates of the longer schedule."""
    rates = {}
    for name, lengths in (("whole", [6]), ("longer", [4, 6])):
        for steps in lengths:
            there = run(tmp_path / name, two(stage), 2, tiny_model_folder, optimisation={"steps": steps})
        rates[name] = [line["learning_rate"] for line in history(there / "checkpoint-6") if "learning_rate" in line]
    assert rates["longer"][4:] == rates["whole"][4:]


@pytest.mark.parametrize("stage", [2, 3])
def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path, tiny_model_folder: Path, stage: int) -> None:
    """Also where each process has only a part of them to look at, as ZeRO-3 leaves of large ones."""
    model = load_network(open_checkpoint(tiny_model_folder))
    model.get_input_embeddings().weight.data *= 10  # so that they overflow in the first step
    shutil.copytree(tiny_model_folder, tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    alone = dict.fromkeys(("vision", "projector", "language", "head"), 0)  # the embeddings
    far = {"learning_rate": 3e37, "weight_decay": 10.0, "warmup_steps": 0, "pictures_per_step": 1, "rates": alone}
    settings = write_config(
        tmp_path, mixed_data(tmp_path), init=str(tmp_path / "model"), optimisation=far, save_every=1
    )
    done = launched(two(stage), settings)
    assert done.returncode != 0
    assert "error: step 1: weights are not finite" in done.stderr
    assert not list((tmp_path / "run").glob("checkpoint-*")) and not (tmp_path / "run" / "unfinished").exists()


def test_what_it_cannot_do_is_refused(tmp_path: Path, tiny_model_folder: Path) -> None:
    for name, change, said in (
        ("ema", {"ema": 0.9}, "error: ema averages whole weights"),
        ("muon", {"optimiser": "muon"}, "error: optimiser: muon needs whole matrices"),
    ):
        (tmp_path / name).mkdir()
        settings = write_config(
            tmp_path / name, mixed_data(tmp_path / name), init=str(tiny_model_folder), optimisation=change
        )
        done = launched(two(2), settings)
        assert done.returncode != 0 and said in done.stderr
