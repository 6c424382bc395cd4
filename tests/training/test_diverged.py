"""Training that comes to NaN stops before any of it is saved, and folders that hold NaN say so when they are loaded."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from builders import IMAGE, SEG
from command_line import save_picture
from safetensors.torch import load_file, save_file
from small_runs import config, own_data, write_config

from self1e import ModelError, Segmenter
from self1e.checkpoints.adapters import merge
from self1e.checkpoints.convert import convert_checkpoint
from self1e.cli import run
from self1e.training.run import train
from self1e.training.watch import DivergedError


def test_a_run_that_diverges_keeps_its_last_good_checkpoint(
    tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first step leaves the weights alone, the second throws them far away, the third comes to NaN."""
    wild = {"learning_rate": 1e30, "steps": 9, "accumulate": 2, "pictures_per_step": 1}
    settings = write_config(
        tmp_path, own_data(tmp_path), init=str(tiny_model_folder), optimisation=wild, save_every=1, keep=1
    )
    output = tmp_path / "run"
    assert run(["train", str(settings), "--device", "cpu"]) == 2
    said = capsys.readouterr()
    assert "the trained model" not in said.out
    for words in ("step 3", "nan", str(output / "diverged-3.json"), str(output / "checkpoint-2"), "learning_rate"):
        assert words in said.err
    assert [path.name for path in output.glob("checkpoint-*")] == ["checkpoint-2"]
    assert not (output / "model").exists() and not (output / "unfinished").exists()
    dump = json.loads((output / "diverged-3.json").read_text())
    assert dump["step"] == 3 and len(dump["batches"]) == 2
    assert all(batch["loss"] == "nan" and batch["examples"][0].startswith("own/") for batch in dump["batches"])


@pytest.mark.parametrize("lora", [None, {"rank": 2, "alpha": 4}])
def test_weights_that_are_not_finite_are_not_saved(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, lora: dict[str, int] | None
) -> None:
    """Whatever made them so: here the optimiser, of a finite gradient."""

    def spoil(self: torch.optim.Optimizer, *_: object) -> None:
        with torch.no_grad():
            self.param_groups[0]["params"][-1].view(-1)[-1] = float("inf")

    monkeypatch.setattr(torch.optim.AdamW, "step", spoil)
    settings = config(
        tmp_path, own_data(tmp_path), init=str(tiny_model_folder), lora=lora, save_every=1, optimisation={"steps": 1}
    )
    with pytest.raises(DivergedError, match=r"step 1: weights are not finite (.|\n)*same output, anew"):
        train(settings, device="cpu")
    assert not list((tmp_path / "run").glob("*/*.safetensors"))


@pytest.fixture
def spoilt(tmp_path: Path, tiny_model_folder: Path) -> Path:
    """What training of earlier versions left: some tensors all NaN, those that were frozen as they were."""
    folder = shutil.copytree(tiny_model_folder, tmp_path / "spoilt")
    weights = load_file(folder / "model.safetensors")
    trained = {name: value * float("nan") for name, value in weights.items() if "language_model" in name}
    save_file(weights | trained, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_a_run_says_which_checkpoint_it_cannot_go_on_from(tmp_path: Path, tiny_model_folder: Path) -> None:
    lora = {"rank": 2, "alpha": 4}
    settings = config(
        tmp_path, own_data(tmp_path), init=str(tiny_model_folder), lora=lora, save_every=1, optimisation={"steps": 1}
    )
    train(settings, device="cpu")
    checkpoint = tmp_path / "run" / "checkpoint-1"
    path = checkpoint / "adapter_model.safetensors"
    save_file({name: value * float("nan") for name, value in load_file(path).items()}, path)
    for use in (lambda: train(settings, device="cpu"), lambda: merge(checkpoint)):
        with pytest.raises(ModelError, match=rf"weights of {path} are not finite.*delete this one first"):
            use()


def test_conversion_refuses_weights_that_are_not_finite(release: Path, tmp_path: Path) -> None:
    """Or that are not when they are stored in another type."""
    path = release / "model.safetensors"
    weights = load_file(path)
    name = next(iter(weights))
    for spoilt, dtype in ((1e6, torch.float16), (float("nan"), None)):
        weights[name].view(-1)[-1] = spoilt
        save_file(weights, path)
        with pytest.raises(ModelError, match="holds NaN or infinity"):
            convert_checkpoint(release, tmp_path / "out", dtype=dtype, seg_token_id=SEG, image_token_id=IMAGE)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["segment", "chat", "eval", "merge", "train", "info"])
def test_loading_says_that_weights_are_not_finite(
    spoilt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    picture = str(save_picture(tmp_path / "a.png"))
    settings = write_config(tmp_path, own_data(tmp_path), init=str(spoilt))
    arguments = {
        "segment": [picture, "-p", "x", "--model", str(spoilt), "--out", str(tmp_path / "out")],
        "chat": [picture, "--model", str(spoilt)],
        "eval": [str(spoilt), str(tmp_path / "own.jsonl"), "--out", str(tmp_path / "out")],
        "merge": [str(spoilt), str(tmp_path / "out")],
        "train": [str(settings), "--device", "cpu"],
        "info": [str(spoilt)],
    }
    code = run([command, *arguments[command]])
    said = capsys.readouterr()
    assert "not finite" in said.out + said.err
    assert code == (1 if command == "info" else 2)
    assert not list(tmp_path.glob("out/*"))


def test_a_few_numbers_that_are_not_finite_give_no_mask_and_no_answer(tiny_model_folder: Path, tmp_path: Path) -> None:
    """Loading looks at the beginning of each tensor only; results are looked at, too."""
    segmenter = Segmenter.from_pretrained(tiny_model_folder)
    picture = segmenter.encode(save_picture(tmp_path / "a.png"))
    with torch.no_grad():
        segmenter.model.model.language_model.norm.weight[-1] = float("nan")
    for ask in (segmenter.segment, segmenter.chat, partial(segmenter.chat, temperature=0.5)):
        with pytest.raises(ModelError, match=r"not finite: 1 tensors .*language_model\.norm\.weight"):
            ask(picture, "the ball")
