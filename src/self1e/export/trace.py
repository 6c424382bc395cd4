"""What torch traces of the two programs: their operators, for any number of tiles, rows, words and marks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from self1e.engines.artefact import MASKS, PICTURE
from self1e.export.programs import MasksProgram, PictureProgram, SharedMasksProgram, SharedPictureProgram
from self1e.export.quantised import linear_layers
from self1e.fast import FastModel

GRID = (2, 3)
"""Rows and columns of tiles in the example that is traced. No size of an example may be 1: torch would take it for
fixed."""

WORDS, MARKS = (2, 7), 3
"""Rows and words in it, and marks."""

OPSET = 18
"""Of the operators in ONNX: all of its runtimes know them."""

AXES = {"keys": (2,), "values": (2,), "marks": (0,)}
"""Which axes of what the programs take may be of any size, where it is not the first two."""


@dataclass(frozen=True)
class Traced:
    """A program as torch traced it.

    Attributes:
        program: Takes and gives tensors by name.
        outputs: The names of what it gives, in order.
        layers: How many linear layers of transformers are in it.
    """

    program: ExportedProgram
    outputs: list[str]
    layers: int

    @cached_property
    def in_onnx(self) -> Any:
        """The same in ONNX, as torch has it: its `model_proto` is a copy each time."""
        return torch.onnx.export(
            self.program, dynamo=True, opset_version=OPSET, output_names=self.outputs, verbose=False
        )


def trace(fast: FastModel, prefix: list[int]) -> dict[str, Traced]:
    """Both programs of a model, by name.

    Args:
        fast: The model, on the CPU in float32.
        prefix: Tokens before the picture.
    """
    config = fast.network.config
    height, width = config.vision_config.image_size
    pixels = {"pixels": torch.zeros(*GRID, 3, height, width)}
    words = {
        "words": torch.full(WORDS, config.seg_token_id, dtype=torch.int32),
        "positions": torch.arange(WORDS[1], dtype=torch.int32).expand(WORDS).contiguous(),
        "conversations": torch.zeros(WORDS, dtype=torch.int32),
        "marks": torch.arange(1, MARKS + 1, dtype=torch.int32),
    }
    first: nn.Module
    second: nn.Module
    if config.image_to_segmentation:
        first, second = PictureProgram(fast, prefix), MasksProgram(fast, prefix)
    else:
        first, second = SharedPictureProgram(fast, prefix), SharedMasksProgram(fast, prefix)
    with torch.no_grad():
        given = first.eval()(**pixels)
        return {PICTURE: _traced(first, pixels), MASKS: _traced(second.eval(), given | words)}


def _traced(program: nn.Module, example: dict[str, Tensor]) -> Traced:
    traced = export(program, (), example, dynamic_shapes={name: _axes(name) for name in example})
    return Traced(traced, list(program(**example)), linear_layers(program))


def _axes(name: str) -> dict[int, Any]:
    return dict.fromkeys(AXES.get(name, (0, 1)), Dim.DYNAMIC)
