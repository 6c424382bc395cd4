"""`--quantize` and `--check-pictures`, on a tiny random model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Cli, assert_one_sentence
from PIL import Image

from self1e.segment import quantise as quantization


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights are more sensitive than trained ones."""
    monkeypatch.setattr(quantization, "LEAST_IOU", 0.0)


def options(picture: Path) -> tuple[object, ...]:
    return "--device", "cpu", "--quantize", "int8", "--check-pictures", picture.parent


def test_segment_says_how_far_the_masks_agree(
    cli: Cli, lenient: None, tiny_model_folder: Path, picture: Path, tmp_path: Path
) -> None:
    outcome = cli(
        "segment", picture, "-p", "a ball", "--model", tiny_model_folder, "--out", tmp_path, *options(picture)
    )
    assert outcome.code in (0, 1)
    assert outcome.err.startswith("note: 20 layers in int8; masks agree with the unquantised model's to a mean IoU of ")
    assert outcome.err.endswith("(1 compared)\n")
    assert (tmp_path / "street.a-ball.overlay.png").is_file()


def test_chat(cli: Cli, lenient: None, tiny_model_folder: Path, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/null").open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        outcome = cli("chat", picture, "--model", tiny_model_folder, *options(picture))
    assert "20 layers in int8" in outcome.err


def test_eval_keeps_the_figure_and_the_records_apart(
    cli: Cli, lenient: None, tiny_model_folder: Path, picture: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    own, out, figures = tmp_path / "own.jsonl", tmp_path / "results", tmp_path / "figures.json"
    own.write_text(json.dumps({"image": "a.png", "prompt": "the thing", "masks": []}))
    fixed = (tiny_model_folder, own, "--out", out, "--worst", 0, "--overwrite", "--json", figures)
    for more, expected in ((), None), (options(picture), "int8"):
        outcome = cli("eval", *fixed, *more)
        assert outcome.code == 0, outcome.err
        kept = json.loads(figures.read_text())["quantization"]
        assert (kept and kept["scheme"]) == expected
    assert len(list(out.rglob("figures.json"))) == 2


def test_what_is_refused(
    cli: Cli, tiny_model_folder: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = "the largest thing"  # a mask of medium size, unlike that of others
    base = ("segment", picture, "-p", prompt, "--model", tiny_model_folder, "--device", "cpu", "--out", tmp_path)
    assert_one_sentence(cli(*base, "--check-pictures", picture.parent), "--check-pictures goes with --quantize")
    assert_one_sentence(cli(*base, "--quantize", "int8", "--check-pictures", tmp_path), "has no pictures")
    assert_one_sentence(cli(*base, "--quantize", "nf4"), "'nf4' runs on CUDA only")
    monkeypatch.setattr(quantization, "weight_levels", lambda: 1)
    assert_one_sentence(cli(*base, "--quantize", "int8", "--check-pictures", picture.parent), "mean IoU of 0.", "0.97")
