"""Runs from nothing: batches, order, resumption, losses of plugins, and that a few steps teach something."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from small_runs import history
from tiny import TINY

from self1e.model.network import SELF1EForSegmentation
from self1e.processing.tokenizers import train_tokenizer
from self1e.toyland.dataset import ToylandDataset, toyland_corpus
from self1e.toyland.training import ToylandData
from self1e.training.build_from_scratch import build_from_scratch, sine_positions
from self1e.training.collate import Collator
from self1e.training.config import ConfigError, TrainConfig
from self1e.training.run import build, make_trainer, targets_of, train

DATA = ToylandData(size=96, segmenting=3, textual=2, rehearsed=1)


def settings(folder: Path, **changes: Any) -> TrainConfig:
    tree: dict[str, Any] = {
        "output": str(folder),
        "architecture": TINY.model_dump(),
        "image_to_segmentation": False,
        "packed": True,
        "losses": {"toyland": {"weight": 0.3, "pointed_weight": 0.3}},
        "data": {"toyland": DATA.model_dump()},
        "optimisation": {"steps": 4, "pictures_per_step": 2, "warmup_steps": 1, "learning_rate": 3e-3},
        "workers": 0,
        "log_every": 1,
        "save_every": 2,
    }
    return TrainConfig.model_validate_json(json.dumps(tree | changes))


@pytest.fixture(autouse=True)
def small_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokenizer of a real run is learnt from 400 scenes; two will do here."""
    monkeypatch.setattr("self1e.toyland.training.toyland_corpus", lambda: toyland_corpus(2))


@pytest.fixture(scope="module")
def model_and_processor() -> tuple[SELF1EForSegmentation, Any]:
    return build_from_scratch(TINY, train_tokenizer(toyland_corpus(2), 500), seed=1)


def test_weights_of_a_new_model_depend_on_the_seed_alone() -> None:
    tokenizer = train_tokenizer(toyland_corpus(2), 500)
    first, second, other = (build_from_scratch(TINY, tokenizer, seed)[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["model.language_model.norm.weight"] * 0 + 1, other["lm_head.weight"][0])
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


def test_sine_positions_tell_places_apart() -> None:
    positions = sine_positions(6, 32)
    distance = torch.cdist(positions, positions) + torch.eye(36) * 1e3
    assert distance.min() > 1e-3


@pytest.mark.parametrize("packed", [True, False])
def test_collator_rows(model_and_processor: tuple[Any, Any], packed: bool) -> None:
    model, processor = model_and_processor
    examples = [ToylandDataset(DATA, 10)[index] for index in range(2)]
    run = settings(Path("unused"))
    collated = Collator(processor, packed, targets_of(run, model.config))(examples)
    batch = collated["batch"]
    pictures = torch.tensor(batch.picture_index)
    for picture, example in enumerate(examples):
        pointing = [talk for talk in example.conversations if talk.segmenting]
        rows = (pictures == picture) & batch.bidirectional
        assert rows.sum() == (1 if packed else len(pointing))
        given = [mask for row in rows.nonzero().flatten() for mask in batch.masks[row].numpy()]
        expected = [mask for talk in pointing for mask in talk.masks]
        assert len(given) == len(expected)
        assert all(np.array_equal(a, b) for a, b in zip(given, expected, strict=True))
        causal = (pictures == picture) & ~batch.bidirectional
        assert causal.sum() == 1
        assert batch.masks[int(causal.nonzero())].shape[0] == 0
    assert batch.pixel_values.shape[0] == 2
    assert collated["targets"]["toyland"]["kind"].shape == (2, 16, 16)
    texts = [talk for each in examples for talk in (*each.conversations, *each.rehearsed)]
    assert collated["counts"]["conversations"] == len(texts)
    assert collated["counts"]["tokens"] == (batch.targets != -100).sum() > len(texts)
    assert collated["counts"]["read"] == batch.attention_mask.sum() < collated["counts"]["padded"]
    assert collated["counts"]["padded"] == batch.input_ids.numel() and collated["counts"]["pictures"] == 2


def test_packed_rows_give_the_loss_of_single_rows(
    model_and_processor: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = model_and_processor
    monkeypatch.setattr(model.config, "image_to_segmentation", False)
    data = DATA.model_copy(update={"textual": 0, "rehearsed": 0})
    examples = [ToylandDataset(data, 10)[index] for index in range(2)]
    with torch.no_grad():
        batches = [Collator(processor, way)(examples) for way in (True, False)]
        packed, single = (model(collated["batch"]) for collated in batches)
    for part in ("ce_loss", "mask_bce_loss", "mask_dice_loss", "loss"):
        torch.testing.assert_close(getattr(packed, part), getattr(single, part), rtol=1e-5, atol=1e-5)


def test_how_a_step_is_dealt_out_changes_nothing(tmp_path: Path) -> None:
    """Four pictures in four batches, two or one: every loss, and what else is logged, is the same but for rounding."""
    logged = []
    for accumulate in (4, 2, 1):
        run = settings(
            tmp_path / str(accumulate),
            optimisation={"steps": 1, "pictures_per_step": 4 // accumulate, "accumulate": accumulate},
            save_every=1,
        )
        train(run, device="cpu")
        line, *_ = history(tmp_path / str(accumulate) / "checkpoint-1")
        logged.append({name: value for name, value in line.items() if name != "padding"})
    assert {"ce", "toyland_kind", "toyland_place", "toyland_pointed", "toyland_accuracy_kind"} <= logged[0].keys()
    for other in logged[1:]:
        assert other == pytest.approx(logged[0], rel=1e-5)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_resumed_run_equals_uninterrupted_run(tmp_path: Path) -> None:
    whole = train(settings(tmp_path / "whole"), device="cpu")
    interrupted = settings(tmp_path / "interrupted")

    class Interrupted(Exception):
        pass

    original = ToylandDataset.__getitem__

    def fails_at_sixth(self: ToylandDataset, index: int) -> Any:
        if index == 6:
            raise Interrupted
        return original(self, index)

    ToylandDataset.__getitem__ = fails_at_sixth  # type: ignore[method-assign]
    try:
        with pytest.raises(Interrupted):
            train(interrupted, device="cpu")
    finally:
        ToylandDataset.__getitem__ = original  # type: ignore[method-assign]
    resumed = train(interrupted, device="cpu")
    first, second = weights(whole), weights(resumed)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_finished_run_can_be_lengthened(tmp_path: Path) -> None:
    """At a constant rate it ends as one of as many steps; falling rates are those of the longer run from there on."""
    quick = {"pictures_per_step": 1, "warmup_steps": 1, "learning_rate": 3e-3, "schedule": "constant"}
    whole = weights(train(settings(tmp_path / "whole", optimisation=quick | {"steps": 4}), device="cpu"))
    for steps in (2, 4):
        lengthened = train(settings(tmp_path / "run", optimisation=quick | {"steps": steps}), device="cpu")
    assert all(torch.equal(value, weights(lengthened)[name]) for name, value in whole.items())
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["optimisation"]["steps"] == 4
    with pytest.raises(ConfigError, match=r"optimisation.steps: 4 there, 3 now"):
        train(settings(tmp_path / "run", optimisation=quick | {"steps": 3}), device="cpu")
    for steps in (2, 4):
        falling = quick | {"schedule": "linear", "warmup_steps": 0, "steps": steps}
        train(settings(tmp_path / "falling", optimisation=falling), device="cpu")
    rates = [line["learning_rate"] for line in history(tmp_path / "falling" / "checkpoint-4") if "loss" in line]
    assert rates == pytest.approx([3e-3, 1.5e-3, 1.5e-3, 0.75e-3])


SILENT = {"toyland": {**DATA.model_dump(), "segmenting": 0, "textual": 0, "rehearsed": 0}}
"""Scenes that nothing is asked about."""


def test_next_stage_goes_on_from_model_and_losses(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = train(settings(tmp_path / "1", pictures_only=True, data=SILENT), device="cpu")
    left = load_file(first / "extra_losses.safetensors")
    assert left and all(name.startswith("toyland.probe.") for name in left)
    assert not any("extra_losses" in name for name in weights(first))
    next_stage = settings(tmp_path / "2", architecture=None, init=str(first))
    taken_up = make_trainer(next_stage, "cpu").model.extra_losses.state_dict()
    assert all(torch.equal(taken_up[name], left[name]) for name in left)
    fewer = settings(tmp_path / "3", architecture=None, init=str(first), losses={"toyland": {"labels": ["kind"]}})
    assert make_trainer(fewer, "cpu").model.extra_losses.state_dict().keys() == left.keys()
    assert "the weights of the loss toyland in" in caplog.text
    assert "extra_losses.safetensors" not in {path.name for path in first.parent.iterdir()}
    second = train(next_stage, device="cpu")
    assert SELF1EForSegmentation.from_pretrained(second).config.image_to_segmentation is False


def test_weights_of_losses_are_those_of_the_model(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each result has its own; what lies in the working folder, or beside another's model, is nobody's."""
    home, work = tmp_path / "home", tmp_path / "work"
    shutil.copytree(tiny_model_folder, home / "model")
    shutil.copytree(tiny_model_folder, home / "best")
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    new = {init: taken_up(tmp_path, init) for init in ("nano", str(home / "model"))}
    for name, init in ((".", "nano"), (home, str(home / "model"))):
        save_file({key: value + 1 for key, value in new[init].items()}, Path(name) / "extra_losses.safetensors")

    def added(init: str, like: str) -> set[float]:
        weights = taken_up(tmp_path, init)
        return {round(float((value - new[like][key]).mean()), 3) for key, value in weights.items()}

    ours = str(home / "model")
    assert added("nano", "nano") == {0}  # not the one in the working folder
    assert added("~/best", ours) == {0}  # not that of the last weights
    assert added("~/model", ours) == added(ours, ours) == {1}  # where earlier versions left it
    save_file({key: value + 2 for key, value in new[ours].items()}, home / "best" / "extra_losses.safetensors")
    assert added("~/best", ours) == {2}


def taken_up(folder: Path, init: str) -> dict[str, torch.Tensor]:
    """Weights of the losses of a run that is about to start."""
    run = settings(folder / "run", architecture=None, init=init, losses={"toyland": {"labels": ["kind"]}})
    return {name: value.clone() for name, value in make_trainer(run, "cpu").model.extra_losses.state_dict().items()}


def test_new_models_can_take_over_a_vision_tower(tmp_path: Path) -> None:
    first = train(settings(tmp_path / "1", pictures_only=True, data=SILENT), device="cpu")
    model, _ = build(settings(tmp_path / "2", vision=str(first), refilling="baseline", seed=2))
    taught = SELF1EForSegmentation.from_pretrained(first)
    for part in ("vision_tower", "multi_modal_projector"):
        given, taken = (getattr(each.model, part).state_dict() for each in (taught, model))
        assert all(torch.equal(given[name], taken[name]) for name in given)
    assert not torch.equal(taught.lm_head.weight, model.lm_head.weight)
    wider = {**TINY.model_dump(), "vision_width": 64}
    with pytest.raises(ConfigError, match=r"vision_tower .* does not fit"):
        build(settings(tmp_path / "3", vision=str(first), architecture=wider))


def test_bfloat16_products_leave_weights_and_losses_in_float32(tmp_path: Path) -> None:
    optimisation = {"steps": 3, "pictures_per_step": 1, "warmup_steps": 1, "learning_rate": 3e-3, "optimiser": "muon"}
    finished = {
        precision: weights(
            train(settings(tmp_path / precision, optimisation=optimisation | {"precision": precision}), device="cpu")
        )
        for precision in ("float32", "bfloat16")
    }
    name = next(name for name in finished["float32"] if name.endswith("layers.0.self_attn.q_proj.weight"))
    assert all(tensor.dtype == torch.float32 for tensor in finished["bfloat16"].values())
    assert not torch.equal(finished["float32"][name], finished["bfloat16"][name])
    difference = finished["float32"][name] - finished["bfloat16"][name]
    assert difference.norm() < 0.1 * finished["float32"][name].norm()


def test_settings_of_another_run_are_refused(tmp_path: Path) -> None:
    train(settings(tmp_path / "run", optimisation={"steps": 1, "pictures_per_step": 1}), device="cpu")
    with pytest.raises(ConfigError, match="other settings"):
        train(settings(tmp_path / "run"), device="cpu")


def test_a_few_steps_lower_the_loss(tmp_path: Path) -> None:
    train(
        settings(
            tmp_path / "run",
            optimisation={"steps": 30, "pictures_per_step": 2, "warmup_steps": 2, "learning_rate": 1e-2},
            save_every=30,
        ),
        device="cpu",
    )
    lines = history(tmp_path / "run" / "checkpoint-30")
    for part in ("loss", "ce", "toyland_kind", "toyland_pointed"):
        values = [line[part] for line in lines if part in line]
        assert np.mean(values[-5:]) < 0.9 * np.mean(values[:5]), part


def test_losses_with_weights_are_for_one_process_without_adapters(tmp_path: Path, tiny_model_folder: Path) -> None:
    run = settings(tmp_path / "run", architecture=None, init=str(tiny_model_folder), lora={"rank": 2, "alpha": 4})
    with pytest.raises(ConfigError, match="cannot be trained beside adapters"):
        make_trainer(run, "cpu")
