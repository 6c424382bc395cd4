"""Programs as `torch.export` writes them: run by torch alone, without transformers and without code of a model."""

from __future__ import annotations

from pathlib import Path

import torch

from self1e.export.trace import Traced


def write_torch(traced: Traced, path: Path, precision: str) -> None:
    """Writes a program, in float32; there is no other precision."""
    assert precision == "float32"
    traced.program.example_inputs = None  # or they would be saved as well
    torch.export.save(traced.program, path)
