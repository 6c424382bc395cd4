"""Engines side by side: which ways there are, what is said of masks, and the start of processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxscript")

from benchmarks import engines
from benchmarks.records import read


def test_what_a_machine_lacks_is_left_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(engines, "can_bfloat16", lambda engine: engine == "torch")
    every = list(engines.WAYS)
    assert set(every) - set(engines.possible("nano", every, 1)) == {"openvino-bfloat16", "openvino-int8-bfloat16"}
    assert "openvino-int8-bfloat16 is left out; this machine lacks instructions" in capsys.readouterr().err
    asked = ["torch-float32", "torch-bfloat16", "openvino-float32"]
    assert engines.possible("1B", asked, 8) == ["torch-float32", "torch-bfloat16"]


@pytest.mark.slow
def test_a_row_says_how_fast_and_how_close(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openvino")
    ways = engines.possible("nano", ["torch-float32", "torch-int8", "openvino-float32", "openvino-bfloat16"], 8)
    results, folder = tmp_path / "results.json", tmp_path / "exported"
    command = ["--expressions", "2", "--passes", "1", "--results", str(results), "--folder", str(folder)]
    engines.main([*command, "--ways", *ways])
    [row] = read(results)
    facts = row["timing"]["facts"]
    assert facts["torch-float32"] == {}
    for way in ways[1:]:
        assert 0.97 <= facts[way]["iou"] <= 1 and row["timing"]["ratios"][f"torch-float32 / {way}"] > 0
    assert facts["openvino-float32"]["largest_difference"] < 1e-3 < facts["torch-int8"]["largest_difference"]
    assert "nano, expressions: 2" in capsys.readouterr().out


@pytest.mark.slow
def test_starts_of_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openvino")
    results = tmp_path / "results.json"
    command = ["--cold-start", "--passes", "1", "--results", str(results), "--folder", str(tmp_path / "exported")]
    engines.main([*command, "--python", sys.executable])
    [row] = json.loads(results.read_text())
    assert row["settings"]["engines"] == "in an environment of their own"
    seconds, of_core = row["cold_start"]["seconds"], row["cold_start"]["core_seconds"]
    assert seconds.keys() == of_core.keys() == {"torch", "onnxruntime", "openvino"}
    assert all(value > 0.1 for value in (*seconds.values(), *of_core.values()))
    assert seconds["onnxruntime"] < seconds["torch"] and of_core["onnxruntime"] < of_core["torch"]
    assert "seconds of a core" in capsys.readouterr().out
