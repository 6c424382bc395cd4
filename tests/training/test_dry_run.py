"""Two steps of a run, and what they say of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import config, own_data, write_config
from tiny import TINY

from self1e.cli import run
from self1e.data.records import DataError
from self1e.training import dry_run as module
from self1e.training.dry_run import dry_run


def test_dry_run_of_ones_own_data(tmp_path: Path, tiny_model_folder: Path) -> None:
    settings = config(
        tmp_path,
        own_data(tmp_path),
        init=str(tiny_model_folder),
        optimisation={"steps": 100, "accumulate": 4, "ema": 0.9},
        lora={"rank": 2, "alpha": 4},
        keep=3,
    )
    seen = dry_run(settings, device="cpu")
    assert not seen.notes and len(seen.losses) == 2 and all(loss > 0 for loss in seen.losses)
    assert (seen.steps, seen.pictures_of_run, seen.pictures, seen.checkpoints) == (100, 800, 1, 4)
    assert 0 < seen.trained < seen.parameters
    # float32 weights, gradients of the trained ones, and AdamW's two moments of these with a count each
    assert seen.held == pytest.approx(4 * seen.parameters + 12 * seen.trained, rel=0.01)
    assert seen.checkpoint == pytest.approx(2 * 4 * seen.trained + 8 * seen.trained, rel=0.01)
    assert not (tmp_path / "run").exists()
    assert any("100 steps, 800 pictures" in line for line in seen.lines())


def test_known_bases_are_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The 2B recipe from the command line; its shapes are made small here, and full in the test marked heavy."""
    small = {"2B": (48, 64, 1, 2, 1)}
    monkeypatch.setattr("self1e.checkpoints.presets.TEXT_SHAPES", small)
    monkeypatch.setattr("self1e.checkpoints.presets.VISION_SHAPE", (32, 64, 1, 2))
    monkeypatch.setattr("self1e.checkpoints.presets.VOCABULARY", 2000)
    recipe = Path(__file__).parents[2] / "configs" / "recipes" / "2b.yaml"
    assert run(["train", str(recipe), "--dry-run", "--device", "cpu", "--set", "data.root=nowhere"]) == 0
    said = capsys.readouterr()
    text = said.out + said.err
    for words in ("random weights in the shapes of OpenGVLab/InternVL3-2B", "nano's tokenizer", "no folder nowhere"):
        assert words in text
    assert "5,000 steps, 200,000 pictures" in text


def test_a_model_from_nothing_does_without_its_data(tmp_path: Path) -> None:
    """Its tokenizer is learnt from what stands in for them."""
    data = {"root": str(tmp_path / "nowhere"), "parts": {"a": {"rate": 1, "sets": ["ade20k"]}}}
    seen = dry_run(config(tmp_path, data, architecture=TINY.model_dump()), device="cpu")
    assert len(seen.losses) == 2
    assert "there is no folder" in seen.notes[0] and "up to 500 tokens" in seen.notes[1]


def test_missing_sets_are_no_reason_to_look_away(tmp_path: Path, tiny_model_folder: Path) -> None:
    data = {"root": str(tmp_path), "parts": {"a": {"rate": 1, "sets": ["ade20k"]}}}
    with pytest.raises(DataError, match="ADEChallengeData2016"):
        dry_run(config(tmp_path, data, init=str(tiny_model_folder)), device="cpu")


def test_tokenizer_is_for_dry_runs(tmp_path: Path, tiny_model_folder: Path) -> None:
    path = write_config(tmp_path, own_data(tmp_path), init=str(tiny_model_folder))
    assert run(["train", str(path), "--tokenizer", str(tiny_model_folder)]) == 2


@pytest.mark.heavy
def test_recipe_at_full_shapes_on_real_formats(real_data: Path, tmp_path: Path) -> None:
    """2B, LoRA of rank 128, two steps on photographs: some 17 GiB and a few minutes."""
    root = real_data
    settings = config(
        tmp_path,
        {"root": str(root / "dataset"), "parts": {"refer": {"rate": 1, "sets": ["refcoco"]}}},
        init="OpenGVLab/InternVL3-2B",
        lora={},
        optimisation={"precision": "bfloat16", "gradient_checkpointing": True, "rates": {"projector": 0}},
    )
    seen = dry_run(settings, device="cpu", tokenizer=str(root / "tokenizer" / "InternVL3-2B"))
    assert 2.0e9 < seen.parameters < 2.5e9
    assert seen.peak < 24 * module.GIB
