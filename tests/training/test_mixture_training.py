"""Training on data sets of the field and on one's own."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file
from small_runs import config, own_file
from transformers import TrainingArguments

from self1e.data.records import DataError
from self1e.training.config import ConfigError, MixtureData
from self1e.training.run import train, training_arguments
from self1e.training.sources import training_set
from tests.data.drawn_sets import PICTURES, draw_sets


@pytest.mark.parametrize("packed", [False, True])
def test_own_data_train_a_model(tmp_path: Path, tiny_model_folder: Path, packed: bool) -> None:
    data = {"parts": {"mine": {"rate": 1, "own": [{"jsonl": str(own_file(tmp_path))}]}}}
    changes = {"packed": packed, "image_to_segmentation": not packed}
    settings = config(tmp_path, data, init=str(tiny_model_folder), **changes)
    finished = train(settings, device="cpu")
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_model_folder, finished))
    moved = [name for name in before if not np.array_equal(before[name].float().numpy(), after[name].numpy())]
    assert any("refilling_head" in name for name in moved) and any("language_model" in name for name in moved)
    history = json.loads((tmp_path / "run/checkpoint-3/trainer_state.json").read_text())["log_history"]
    assert all(np.isfinite(line[part]) for line in history if "loss" in line for part in ("loss", "ce", "bce", "dice"))


def test_too_many_broken_records_stop_the_run(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("self1e.training.trainer.BROKEN_COUNTED_FROM", 4)
    data = {"parts": {"mine": {"rate": 1, "own": [{"jsonl": str(own_file(tmp_path, 4, broken=4))}]}}}
    settings = config(tmp_path, data, init=str(tiny_model_folder))
    with pytest.raises(DataError, match=r"(?s)records are broken, more than data\.broken_share, 1\.00%.*missing-"):
        train(settings, device="cpu")
    assert "skipped own" in caplog.text
    tolerant = config(tmp_path, data | {"broken_share": 1.0}, init=str(tiny_model_folder), output=str(tmp_path / "b"))
    assert train(tolerant, device="cpu").is_dir()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"parts": {"a": {"rate": 1, "sets": ["ade20k"]}}}, "`root` is needed"),
        ({"parts": {"a": {"rate": -1}}}, "data.mixture.parts.a.rate"),
        ({"parts": {"a": {"rate": 1, "own": [{"jsonl": "a", "coco": "b"}]}}}, "give `jsonl`, or `coco` and `images`"),
        ({"parts": {"a": {"rate": 1, "own": [{"jsonl": "a", "absent_classes": 1}]}}}, "absent_classes is for"),
        ({"parts": {}, "scenes": 5}, "data.mixture.scenes"),
        ({"parts": {}}, "data.mixture.parts: .* at least 1"),
        ({"root": "x", "part": {}}, "data.mixture.part: Extra"),
        ({"root": "x", "parts": {"a": {"rate": 1, "sets": ["ade2k"]}}}, "a.sets: .* unknown data set 'ade2k'"),
        ({"root": "x", "parts": {"a": {"rate": 1, "sets": ["refcoco|unc|dev"]}}}, "has no split 'dev'"),
        ({"root": "x", "parts": {"a": {"rate": 1, "sets": ["reasonseg|dev"]}}}, "reasonseg has train, val, test"),
        ({"scenes": "five"}, "data.toyland.scenes"),
    ],
)
def test_wrong_settings(tmp_path: Path, data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, data, init="somewhere")


def test_missing_sets(tmp_path: Path) -> None:
    def opened(name: str) -> object:
        tree = {"parts": {"a": {"rate": 1, "sets": [name]}}, "root": str(tmp_path)}
        return training_set(MixtureData.model_validate(tree), 4)

    with pytest.raises(DataError, match="ADEChallengeData2016"):
        opened("ade20k")
    with pytest.raises(DataError, match=r"there is no folder .*ReasonSeg"):
        opened("reasonseg|val")


def test_field_sets_leave_out_what_is_tested_on(
    tmp_path: Path, tiny_model_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = {
        "root": str(draw_sets(tmp_path / "sets")),
        "parts": {
            "sem_seg": {"rate": 6, "sets": ["ade20k", "cocostuff"]},
            "refer_seg": {"rate": 20, "sets": ["refcoco", "refcocog", "grefcoco"]},
        },
    }
    settings = config(tmp_path, data, init=str(tiny_model_folder))
    with caplog.at_level(logging.INFO, logger="self1e"):
        mixture = training_set(settings.data, 100)
    counts = {record.args[0]: record.args[1] for record in caplog.records if "left out" in record.msg}
    assert counts == {
        "ade20k": "0",
        "cocostuff": "1",
        "refcoco_unc_train": "1",
        "refcocog_umd_train": "1",
        "grefcoco_unc_train": "1",
    }
    seen = {mixture[index].id for index in range(100)}
    assert len(seen) == 2 + 4 * (len(PICTURES) - 1) and not any("00009" in name for name in seen), seen
    assert train(settings, device="cpu").is_dir()


def test_one_of_several_gpus_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(TrainingArguments, "n_gpu", property(lambda self: 4))
    with caplog.at_level(logging.WARNING, logger="self1e"):
        arguments = training_arguments(config(tmp_path, {"parts": {"a": {"rate": 1}}}, init="nowhere"), "cpu")
    assert arguments.n_gpu == 1 and arguments.train_batch_size == 2
    assert "one of 4 GPUs is used" in caplog.text
