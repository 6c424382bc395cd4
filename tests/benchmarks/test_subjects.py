"""The options that say what runs, and where."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pytest
import torch

from benchmarks import inference, training
from benchmarks.subjects import add_model_options, build_chosen, model_arguments, model_settings
from self1e import SELF1EProcessor
from self1e.model.network import SELF1EForSegmentation


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    add_model_options(parser, "nano")
    return parser


def test_another_process_gets_the_same_options(parser: argparse.ArgumentParser, tmp_path: Path) -> None:
    for options in ([], ["--size", "1B", "--dtype", "float32", "--tokenizer", str(tmp_path), "--compile"]):
        chosen = parser.parse_args(options)
        assert parser.parse_args(model_arguments(chosen)) == chosen


def test_settings_name_what_ran(parser: argparse.ArgumentParser) -> None:
    chosen = parser.parse_args(["--dtype", "float32"])
    assert model_settings(chosen) == {"size": "nano", "dtype": "float32", "device": "cpu", "compile": False}
    model, _ = build_chosen(chosen)
    assert model.device.type == "cpu" and model.dtype == torch.float32


@pytest.mark.parametrize("device", ["gpu", "meta"])
def test_a_device_that_is_not_there(
    device: str, parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser.parse_args(["--device", device])
    assert f"device {device!r}" in (message := capsys.readouterr().err) and "'cpu'" in message


@pytest.mark.heavy
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for the CPU with g++")
def test_compiled_layers_give_the_same(tiny_model_folder: Path) -> None:
    from torch._dynamo.utils import counters

    model = SELF1EForSegmentation.from_pretrained(tiny_model_folder).eval()
    processor = SELF1EProcessor.from_pretrained(tiny_model_folder)
    steps = training.Steps(model, processor, expressions=2, compile=True)
    counters.clear()
    steps.step("reference")
    assert not counters["stats"]["unique_graphs"]  # the rival is as it was
    for found in training.measure(steps, passes=1)["agreement"].values():
        assert found["loss"] < 1e-5 and found["gradient_norms"] < 1e-4
    assert counters["stats"]["unique_graphs"]
    counters.clear()
    found = inference.measure(inference.Ways(model, processor, compile=True), expressions=3, tiles=1, passes=1)
    assert all(inference.is_close(each, "nano", "float32") for each in found["agreement"].values())
    assert counters["stats"]["unique_graphs"]
