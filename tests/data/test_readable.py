"""Texts that are too long for the model: found by a check, passed over by a run, by the measure of inference."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_runs import config, own_data, write_config

from self1e import Segmenter
from self1e.cli import run
from self1e.conversation import Conversation, Example, Turn
from self1e.data.readable import Readable, Reader
from self1e.data.records import DataError, evaluation_turn
from self1e.processing.prompts import PromptError, phrase_question
from self1e.processing.tiles import tile_grid
from self1e.segment.words import given_answer
from self1e.training.run import train


def test_what_inference_refuses_is_too_long(tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the token, with one tile and with several."""
    segmenter = Segmenter.from_pretrained(tiny_model_folder, device="cpu", max_tiles=4)
    monkeypatch.setattr(segmenter.model.config.text_config, "max_position_embeddings", 200)
    processor = segmenter.processor
    reader = Reader(processor, 200)
    for size in ((40, 40), (400, 100)):
        prefix, verdicts = processor.prefix(tile_grid(*size, 4, processor.image_size)), set()
        for letters in range(1, 200):
            prompt = "x" * letters
            try:
                given_answer(segmenter.runner, prefix, phrase_question(prompt))
                refused = False
            except PromptError:
                refused = True
            assert bool(reader.fault([evaluation_turn(prompt, "phrase")], size)) == refused, (size, letters)
            verdicts.add(refused)
        assert verdicts == {True, False}


def test_every_conversation_counts(tiny_model_folder: Path) -> None:
    reader = Reader(Segmenter.from_pretrained(tiny_model_folder).processor, 200)
    long = Conversation((Turn("Why?", "because " * 90),))
    short = Conversation((Turn("Why?", "Because."),))
    picture = Image.fromarray(np.zeros((9, 9, 3), np.uint8))
    examples = [Example(picture, (short,), "a"), Example(picture, (short, long), "b")]
    examples.append(Example(picture, (short,), "c", rehearsed=(long,)))
    readable = Readable(examples, reader)
    assert readable[0].id == "a"
    for place, name in ((1, "b"), (2, "c")):
        with pytest.raises(DataError, match=rf"{name}, 'Why\?': the text takes \d+ tokens .* no more than 200"):
            readable[place]


@pytest.fixture
def too_long(tmp_path: Path) -> dict[str, object]:
    """Settings of data in which one of seven records asks for more than any model of ours reads."""
    data = own_data(tmp_path, broken_share=1.0)
    line = {"image": "0.png", "prompt": "the thing " * 3000, "masks": []}
    Image.new("RGB", (48, 40)).save(tmp_path / "long.png")
    with (tmp_path / "own.jsonl").open("a") as file:
        file.write("\n" + json.dumps(line | {"image": "long.png"}))
    return data


def test_a_run_passes_over_them(
    tmp_path: Path, tiny_model_folder: Path, too_long: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    settings = config(tmp_path, too_long, init=str(tiny_model_folder), optimisation={"pictures_per_step": 4})
    with caplog.at_level(logging.WARNING):
        assert train(settings, device="cpu").is_dir()
    assert "own/long.png" in caplog.text and "but the model reads no more than 2048" in caplog.text


@pytest.mark.parametrize("model", [{"init": "nano"}, {"architecture": {}}, {"init": "not/here"}])
def test_a_check_finds_them(
    tmp_path: Path, too_long: dict[str, object], capsys: pytest.CaptureFixture[str], model: dict[str, object]
) -> None:
    settings = write_config(tmp_path, too_long, **model)
    run(["data", "check", str(settings), "--workers", "0", "--out", str(tmp_path / "out")])
    outcome = capsys.readouterr()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    faults = [fault["record"] for source in report["sources"] for fault in source["faults"]]
    if model == {"init": "not/here"}:
        assert not faults and "whether texts are too long for the model is not known: not/here" in outcome.err
    else:
        assert faults == ["own/long.png"] and "the text takes" in outcome.out
