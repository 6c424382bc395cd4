"""Training on data sets of the field and on one's own."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file
from small_runs import config, own_data, own_file
from tiny import TINY
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, TrainingArguments

from self1e import Segmenter
from self1e.conversation import IM_END, Turn
from self1e.data.records import DataError
from self1e.data.settings import MixtureData
from self1e.processing.processor import SELF1EProcessor
from self1e.processing.tokens import encode_conversation, encode_text
from self1e.training.config import ConfigError
from self1e.training.run import build, train, training_arguments
from tests.data.drawn_sets import PICTURES, draw_sets
from tests.photos.made_up import add_photo, write_folder


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


def test_own_data_train_a_model_from_nothing(tmp_path: Path) -> None:
    """Its tokenizer is learnt from what the run reads and writes."""
    architecture = TINY.model_dump() | {"vocabulary": 420}
    finished = train(config(tmp_path, own_data(tmp_path), architecture=architecture), device="cpu")
    tokenizer = SELF1EProcessor.from_pretrained(finished).tokenizer
    assert 300 < len(tokenizer) <= 420
    assert len(encode_text(tokenizer, "the red thing")) <= 4  # of 13 letters
    result = Segmenter.from_pretrained(str(finished), device="cpu").segment(tmp_path / "1.png", "the red thing")
    assert result.mask.shape == (40, 48)


def test_a_tokenizer_is_taken_from_elsewhere(tmp_path: Path, tiny_model_folder: Path) -> None:
    """From a model of ours, or from any folder: special tokens are added where they are missing."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend.train_from_iterator(["a red ball"], trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False))
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(tmp_path / "plain")
    ours = SELF1EProcessor.from_pretrained(tiny_model_folder).tokenizer
    for name, length in ((str(tiny_model_folder), len(ours)), (str(tmp_path / "plain"), len(backend.get_vocab()) + 7)):
        architecture = {key: value for key, value in TINY.model_dump().items() if key != "vocabulary"}
        settings = config(tmp_path, own_data(tmp_path), architecture=architecture | {"tokenizer": name})
        model, processor = build(settings)
        assert len(processor.tokenizer) == model.config.text_config.vocab_size == length
        assert processor.tokenizer.eos_token == IM_END
        row = encode_conversation(processor.tokenizer, [Turn("the red ball", "It is [SEG].")], 4)
        assert model.config.seg_token_id in row.input_ids and max(row.input_ids) < length
        assert processor.tokenizer.decode(encode_text(processor.tokenizer, "the red ball")) == "the red ball"
    for name, said in ((str(tmp_path), "has no tokenizer that can be used"), ("nowhere-at-all", "nowhere-at-all")):
        settings = config(tmp_path, own_data(tmp_path), architecture=architecture | {"tokenizer": name})
        with pytest.raises(ValueError, match=said):
            build(settings)


def test_too_many_broken_records_stop_the_run(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("self1e.training.running.BROKEN_COUNTED_FROM", 4)
    data = {"parts": {"mine": {"rate": 1, "own": [{"jsonl": str(own_file(tmp_path, 4, broken=4))}]}}}
    settings = config(tmp_path, data, init=str(tiny_model_folder))
    with pytest.raises(DataError, match=r"(?s)records are broken, more than data\.broken_share, 1\.00%.*missing-"):
        train(settings, device="cpu")
    assert "skipped own" in caplog.text
    tolerant = config(tmp_path, data | {"broken_share": 1.0}, init=str(tiny_model_folder), output=str(tmp_path / "b"))
    assert train(tolerant, device="cpu").is_dir()


def test_data_of_a_plugin_may_be_broken_in_places(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_folder(tmp_path)
    for place in range(8):
        add_photo(tmp_path, f"photo{place}", [("dog", (20, 20, 70, 70))], split="train")
    for path in sorted((tmp_path / "photos").iterdir())[:4]:
        path.write_bytes(b"torn")
    data = {"photos": {"folders": [str(tmp_path)], "size": 64, "composed": 0.0}}
    assert train(config(tmp_path, data, init=str(tiny_model_folder)), device="cpu").is_dir()
    assert "skipped photos" in caplog.text
    monkeypatch.setattr("self1e.training.running.BROKEN_COUNTED_FROM", 1)
    again = config(tmp_path, data, init=str(tiny_model_folder), output=str(tmp_path / "again"))
    with pytest.raises(DataError, match=r"records are broken, more than photos tolerates, 1\.00%"):
        train(again, device="cpu")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"parts": {"a": {"rate": 1, "sets": ["ade20k"]}}}, "`root` is needed"),
        ({"parts": {"a": {"rate": -1}}}, "data.parts.a.rate"),
        ({"parts": {"a": {"rate": 1, "own": [{"jsonl": "a", "coco": "b"}]}}}, "`coco` cannot stand beside `jsonl`"),
        (
            {"parts": {"a": {"rate": 1, "own": [{"jsonl": "a", "absent_classes": 1}]}}},
            "`absent_classes` cannot stand beside `jsonl`",
        ),
        ({"parts": {}, "scenes": 5}, "data.scenes"),
        ({"parts": {}}, "data.parts: .* at least 1"),
        ({"root": "x", "part": {}}, "data.part: Extra"),
        ({"root": "x", "parts": {"a": {"rate": 1, "sets": ["ade2k"]}}}, "a.sets: .* unknown data set 'ade2k'"),
        ({"root": "x", "parts": {"a": {"rate": 1, "sets": ["refcoco|unc|dev"]}}}, "has no split 'dev'"),
        ({"root": "x", "parts": {"a": {"rate": 1, "sets": ["reasonseg|dev"]}}}, "reasonseg has train, val, test"),
    ],
)
def test_wrong_settings(tmp_path: Path, data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, data, init="somewhere")


def test_missing_sets(tmp_path: Path) -> None:
    def opened(name: str) -> object:
        tree = {"parts": {"a": {"rate": 1, "sets": [name]}}, "root": str(tmp_path)}
        return MixtureData.model_validate(tree).examples(4, training=True)

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
        mixture = settings.data.examples(400, training=True)
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
