"""Low-rank adapters: what trains, what is saved, and that merging changes nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_runs import config, history, own_data
from torch import nn

from self1e import Segmenter
from self1e.checkpoints.adapters import merge
from self1e.checkpoints.hub import open_checkpoint
from self1e.checkpoints.weights import ModelError
from self1e.cli import run
from self1e.cli.segment_resume import model_here
from self1e.model.network import SELF1EForSegmentation
from self1e.processing.processor import SELF1EProcessor
from self1e.segment.options import LoadOptions
from self1e.training.adapters import adapter_state, add_adapters, save_adapter
from self1e.training.collate import Collator
from self1e.training.config import ConfigError, Lora, Optimisation, TrainConfig
from self1e.training.run import build, train, with_adapters

LORA = {"rank": 4, "alpha": 8, "dropout": 0.1}
RATES = {"projector": 0}


def settings_for(folder: Path, init: Path, **changes: object) -> TrainConfig:
    return config(
        folder,
        own_data(folder),
        init=str(init),
        lora=LORA,
        optimisation={"rates": RATES, "learning_rate": 1e-2},
        **changes,
    )


def test_which_weights_train(tmp_path: Path, tiny_model_folder: Path) -> None:
    model = SELF1EForSegmentation.from_pretrained(tiny_model_folder, dtype=torch.float32)
    linears = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    adapted = with_adapters(model, settings_for(tmp_path, tiny_model_folder))
    trained = {name for name, weight in adapted.named_parameters() if weight.requires_grad}
    with_lora = {name.split(".lora_")[0].removeprefix("base_model.model.") for name in trained if ".lora_" in name}
    # All linear layers of attention and MLPs, in both; the head, embeddings and LM head in full (method, section 4).
    inside = {name for name in linears if ".layers." in name or ".encoder.layer." in name}
    assert with_lora == inside and any("vision" in name for name in inside) and any("k_proj" in name for name in inside)
    rest = {name.removeprefix("base_model.model.") for name in trained if ".lora_" not in name}
    assert {name for name in rest if not name.startswith("refilling_head.")} == {
        "model.language_model.embed_tokens.weight"  # which is the LM head as well in this model
    }


def test_adapters_merge_into_the_model_they_were(tmp_path: Path, tiny_model_folder: Path) -> None:
    settings = settings_for(tmp_path, tiny_model_folder, packed=True, image_to_segmentation=False)
    finished = train(settings, device="cpu")
    output = tmp_path / "run"
    assert not (output / "checkpoint-3" / "model.safetensors").exists()
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_model_folder, finished))
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name].float(), after[name].float())}
    assert {name for name in before if "multi_modal_projector" in name}.isdisjoint(moved)
    adapted = ("self_attn.q_proj.weight", "mlp.down_proj.weight", "attention.projection_layer.weight", "fc1.weight")
    for ending in (*adapted, "embed_tokens.weight", "fuse.linear_1.weight"):
        assert all(name in moved for name in before if name.endswith(ending)), ending
    assert not any("norm" in name for name in moved)

    live = with_adapters(SELF1EForSegmentation.from_pretrained(tiny_model_folder, dtype=torch.float32), settings)
    result = live.load_state_dict(adapter_state(output / "adapter"), strict=False)
    assert not result.unexpected_keys
    merged = SELF1EForSegmentation.from_pretrained(finished, dtype=torch.float32)
    processor = SELF1EProcessor.from_pretrained(finished)
    batch = Collator(processor, packed=True)([settings.data.examples(1, training=True)[0]])["batch"]
    live.config.image_to_segmentation = False
    with torch.no_grad():
        ours, theirs = (model.eval()(batch, logits_at=batch.supervised) for model in (live, merged))
    torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.loss, theirs.loss, atol=1e-4, rtol=1e-4)
    assert (
        not merged.config.image_to_segmentation
        and SELF1EForSegmentation.from_pretrained(tiny_model_folder).config.image_to_segmentation
    )  # the run decides the pathways, not the base
    assert (
        Segmenter.from_pretrained(str(finished), device="cpu").segment(tmp_path / "1.png", "the red thing").mask.shape
    )

    picture, prompt = tmp_path / "1.png", "the red thing"
    expected = Segmenter.from_pretrained(finished, device="cpu").segment(picture, prompt, logits=True)
    for folder in ("adapter", "checkpoint-3"):
        found = Segmenter.from_pretrained(output / folder, device="cpu").segment(picture, prompt, logits=True)
        np.testing.assert_allclose(found.logits, expected.logits, atol=1e-5)
    assert run(["segment", str(picture), "-p", prompt, "--model", str(output / "adapter"), "-f", "json"]) in (0, 1)
    assert run(["info", str(output / "adapter")]) == 0
    assert str(open_checkpoint(output / "adapter")).startswith(f"adapters of {tiny_model_folder}; `self1e merge` ")
    next_stage, _ = build(settings_for(tmp_path, output / "adapter", image_to_segmentation=False))
    assert all(
        torch.equal(value, after[name].float()) for name, value in next_stage.state_dict().items() if name in after
    )

    command = ["merge", str(output / "adapter"), str(tmp_path / "merged"), "--dtype", "float32"]
    assert run(command) == 0
    again = load_file(tmp_path / "merged" / "model.safetensors")
    assert all(torch.equal(again[name], after[name].float()) for name in after)
    assert run(command) == 2


def test_resumed_adapters_equal_uninterrupted_ones(tmp_path: Path, tiny_model_folder: Path) -> None:
    whole = train(settings_for(tmp_path, tiny_model_folder, save_every=2), device="cpu")
    checkpoint = tmp_path / "run" / "checkpoint-2"
    copy = tmp_path / "second"
    copy.mkdir()
    for path in (checkpoint, tmp_path / "run" / "config.yaml", tmp_path / "run" / "run.json"):
        path.rename(copy / path.name)
    resumed = train(settings_for(tmp_path, tiny_model_folder, save_every=2, output=str(copy)), device="cpu")
    assert history(copy / "checkpoint-3")[-2]["loss"] == history(tmp_path / "run" / "checkpoint-3")[-2]["loss"]
    first, second = (load_file(folder / "model.safetensors") for folder in (whole, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_adapters_do_not_go_on_with_another_base(tmp_path: Path, tiny_model_folder: Path) -> None:
    shutil.copytree(tiny_model_folder, tmp_path / "base")
    train(settings_for(tmp_path, tmp_path / "base", save_every=2), device="cpu")
    spoil(tmp_path / "base", 0.5)
    shutil.rmtree(tmp_path / "run" / "checkpoint-3")
    with pytest.raises(ConfigError, match="base has other weights than when this run began"):
        train(settings_for(tmp_path, tmp_path / "base", save_every=2), device="cpu")


def test_adapters_find_a_bundled_model_again(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, Path("nano"))
    save_adapter(with_adapters(build(settings)[0], settings), tmp_path / "adapter")
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == "nano"
    merged, nano = merge(tmp_path / "adapter"), build(settings)[0]
    assert all(torch.equal(a.float(), b.float()) for a, b in zip(merged.parameters(), nano.parameters(), strict=True))


def test_adapters_take_no_other_model_of_the_name_of_their_base(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_model_folder, tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    settings = settings_for(tmp_path, Path("./base"))
    model, processor = build(settings)
    save_adapter(with_adapters(model, settings), tmp_path / "adapter")
    processor.save_pretrained(tmp_path / "adapter")
    expected = merge(tmp_path / "adapter")
    (tmp_path / "other").mkdir()
    shutil.copytree(tiny_model_folder, tmp_path / "other" / "base")
    monkeypatch.chdir(tmp_path / "other")  # where there is another of that name
    spoil(tmp_path / "other" / "base", 0.5)
    found = merge(tmp_path / "adapter")
    assert all(torch.equal(a, b) for a, b in zip(expected.parameters(), found.parameters(), strict=True))
    assert run(["info", str(tmp_path / "adapter")]) == 0
    assert open_checkpoint(tmp_path / "adapter").sha256() in capsys.readouterr().out

    files = [Path(file) for file, _ in model_here(str(tmp_path / "adapter"), LoadOptions())["files"]]
    assert {tmp_path / "adapter" / "trained.safetensors", tmp_path / "base" / "config.json"} < {*files}

    spoil(tmp_path / "base", 0.5)
    with pytest.raises(ModelError, match=rf"{tmp_path}/base has other weights than .*/adapter adapts: .* --base MODEL"):
        Segmenter.from_pretrained(tmp_path / "adapter")
    assert merge(tmp_path / "adapter", str(tmp_path / "base"))
    spoil(tmp_path / "base", float("nan"))
    assert run(["info", str(tmp_path / "adapter")]) == 1
    assert "1 tensors hold NaN or infinity" in capsys.readouterr().out


def spoil(folder: Path, value: float) -> None:
    """Changes a number of a model."""
    weights = load_file(folder / "model.safetensors")
    next(iter(weights.values())).flatten()[-1] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_faults_are_named(tmp_path: Path, tiny_model_folder: Path) -> None:
    with pytest.raises(ModelError, match="no adapter folder"):
        merge(tiny_model_folder)
    settings = settings_for(tmp_path, Path("nano"))
    save_adapter(add_adapters(build(settings)[0], Lora(rank=1), 0, "moved/away/from"), tmp_path / "adapter")
    SELF1EProcessor.from_pretrained(tiny_model_folder).save_pretrained(tmp_path / "adapter")
    with pytest.raises(
        ModelError, match=r"adapter adapts cannot be .*moved/away/from.* self1e merge .*adapter DST --base"
    ):
        Segmenter.from_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter" / "trained.safetensors").unlink()
    with pytest.raises(ModelError, match="not of this package"):
        Segmenter.from_pretrained(tmp_path / "adapter")
    for changes, said in (
        ({"optimisation": {"optimiser": "muon"}}, "set optimiser: adamw"),
        ({"optimisation": {"rates": {"vision": 0}}}, "rates are 0 for vision of lora.targets"),
        ({"optimisation": {"rates": {"head": -1}}}, "greater than or equal to 0"),
        ({"optimisation": {"rates": {"tail": 1}}}, "rates.tail"),
    ):
        with pytest.raises(ConfigError, match=said):
            config(tmp_path, own_data(tmp_path), init=str(tiny_model_folder), lora=LORA, **changes)  # type: ignore[arg-type]


def test_frozen_weights_take_half_the_memory_beside_adapters(tmp_path: Path, tiny_model_folder: Path) -> None:
    settings = config(
        tmp_path,
        own_data(tmp_path),
        init=str(tiny_model_folder),
        lora=LORA,
        optimisation={"precision": "bfloat16", "gradient_checkpointing": True},
    )
    model = with_adapters(SELF1EForSegmentation.from_pretrained(tiny_model_folder, dtype=torch.float32), settings)
    for name, weight in model.named_parameters():
        assert weight.dtype == (torch.float32 if weight.requires_grad else torch.bfloat16), name
    assert train(settings, device="cpu").is_dir()


def test_defaults_are_the_recipe() -> None:
    assert (Lora().rank, Lora().alpha, Lora().dropout) == (128, 256, 0.05)
    assert Lora().targets == ["vision", "language"]
    assert Optimisation(steps=1).betas == (0.9, 0.95)
