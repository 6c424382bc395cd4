"""Programs as `torch.export` writes them: run by torch alone, without transformers and without code of a model."""

from __future__ import annotations

from pathlib import Path

import torch

from self1e.export.trace import Traced


def write_torch(traced: Traced, path: Path, precision: str) -> None:
    """Writes a program.

    Raises:
        ValueError: For another precision than float32.
    """
    if precision != "float32":
        raise ValueError(f"what is exported to torch is in float32, not in {precision}: use onnx or openvino for that")
    torch.export.save(traced.program, path)
