"""The benchmark of quantisation, on nano, once through."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import quantization


def test_quantisation_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "quantization.json"
    variants = ("float32", "float32-int8")
    quantization.main(
        ["--size", "nano", "--passes", "1", "--expressions", "1", "--results", str(results), "--variants", *variants]
    )
    (row,) = json.loads(results.read_text())
    plain, quantized = (row["variants"][name] for name in variants)
    assert quantized["weights_gib"] < plain["weights_gib"]
    assert plain["iou"] is None and quantized["iou"] > 0.9
    for measured in row["work"].values():
        assert set(measured["seconds"]) == set(variants)
        assert set(measured["ratios"]) == {"float32 / float32-int8"}
    assert "| float32-int8 |" in capsys.readouterr().out
