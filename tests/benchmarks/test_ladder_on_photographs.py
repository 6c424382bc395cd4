"""The ladder on photographs: what a variant starts from, its training and figures, and those of the heads beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from benchmarks import ladder
from self1e.checkpoints.hub import BUNDLED, open_checkpoint
from self1e.checkpoints.load import load_network
from self1e.checkpoints.names import HEAD
from self1e.photos.build import with_image_size
from self1e.processing.processor import SELF1EProcessor
from tests.photos.made_up import add_photo, write_folder


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path) -> Path:
    """Settings of runs from a tiny model, on made-up photographs, in steps of two at 64 pixels."""
    folder = tmp_path / "photos"
    write_folder(folder)
    for place in range(6):
        boxes = [("dog", (10, 20, 40, 70)), ("cat", (50, 10 + place, 90, 60))]
        add_photo(folder, f"photo{place}", boxes, split="test" if place < 2 else "train")
    settings = yaml.safe_load(ladder.PHOTOS.read_text("utf-8"))
    settings |= {"output": str(tmp_path / "runs"), "init": str(tiny_model_folder), "workers": 0}
    settings["data"]["photos"] |= {"folders": [str(folder)], "size": 64}
    settings["optimisation"] |= {"pictures_per_step": 2, "precision": "float32"}
    path = tmp_path / "ladder.yaml"
    path.write_text(yaml.safe_dump(settings), "utf-8")
    monkeypatch.setattr(ladder, "PHOTOS", path)
    return path


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_a_variant_starts_with_a_random_head_of_its_rung(photos: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    def start(variant: str, seed: int, name: str) -> Path:
        return ladder.fresh_head(tiny_model_folder, tmp_path / name, ladder.settings_of(photos, variant, seed, 1))

    first, again, other = start("rfr", 1, "first"), start("rfr", 1, "again"), start("rfr", 2, "other")
    theirs, ours = weights_of(tiny_model_folder), weights_of(first)
    heads = [{name for name in weights if name.startswith(HEAD)} for weights in (theirs, ours)]
    assert heads[0] - heads[1] and heads[1] < heads[0]  # "rfr" has no amplifiers
    assert theirs.keys() - heads[0] == ours.keys() - heads[1]
    assert all(torch.equal(theirs[name], ours[name]) for name in ours.keys() - heads[1])
    matrices = [name for name in heads[1] if ours[name].ndim == 2]
    assert matrices and not any(torch.equal(theirs[name], ours[name]) for name in matrices)
    assert all(torch.equal(weight, weights_of(again)[name]) for name, weight in ours.items())
    assert not any(torch.equal(ours[name], weights_of(other)[name]) for name in matrices)
    assert load_network(open_checkpoint(first), torch.float32).config.refilling == "rfr"
    before = (first / "model.safetensors").stat().st_mtime_ns
    assert start("rfr", 1, "first") == first and (first / "model.safetensors").stat().st_mtime_ns == before


def test_a_variant_on_photographs(photos: Path) -> None:
    figures = ladder.on_photographs("rfa, no image-to-image", 2, 1)
    assert figures["minutes"] > 0 and figures["questions"] > 4
    assert {"ciou", "giou", "boundary", "t_acc", "n_acc"} <= figures.keys()
    (run,) = photos.parent.glob("runs/*/rfa-no-image-to-image-1-steps-2")
    config = load_network(open_checkpoint(run / "model"), torch.float32).config
    assert (config.image_to_image, config.image_to_segmentation) == (False, True)
    assert ladder.on_photographs("rfa, no image-to-image", 2, 1) == figures  # it is not trained again
    (run / "minutes.json").unlink()
    with pytest.raises(FileNotFoundError, match="is not known: delete it"):
        ladder.on_photographs("rfa, no image-to-image", 2, 1)


@pytest.mark.slow
def test_a_head_has_the_minutes_of_the_method(photos: Path, tmp_path: Path) -> None:
    mini = open_checkpoint("mini")
    network, processor = load_network(mini, torch.float32), SELF1EProcessor.from_pretrained(BUNDLED["mini"])
    for part in with_image_size(network, processor, 64):
        part.save_pretrained(tmp_path / "start")
    settings = yaml.safe_load(photos.read_text("utf-8")) | {"init": str(tmp_path / "start")}
    photos.write_text(yaml.safe_dump(settings), "utf-8")
    method, head = (ladder.on_photographs(variant, 1, 2) for variant in ("rfa", "linear head"))
    assert head["minutes"] == method["minutes"] and head["steps_done"] > 0
    assert head["questions"] == method["questions"]
