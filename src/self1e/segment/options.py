"""How a model is to be loaded. Importing this is cheap, so that commands can tell what they were asked at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from self1e.segment.quantise import CheckPictures


@dataclass(frozen=True)
class LoadOptions:
    """Which version of a model to load, where to, and how.

    Attributes:
        device: "auto" (CUDA, else MPS, else the CPU), or a device as torch names it.
        dtype: "auto" (see `self1e.segment.devices`), "float32", "bfloat16" or "float16". Exported models compute in
            float32 ("auto"), or in bfloat16 where OpenVINO runs them and the CPU has instructions for it.
        revision: Branch, tag or commit on the Hub.
        subfolder: Folder of the model inside of its name.
        max_tiles: Most tiles to cut a picture into. More show smaller things, and take as many times longer. None: as
            the model was trained; the published models and results are with one.
        quantize: "int8" (CPU and CUDA), "int4", "nf4" or "8bit" (CUDA); see `self1e.segment.quantise`. The masks
            are compared with the unquantised model's.
        quantize_check: Pictures to compare them on, or pairs (picture, prompts). None: bundled ones.
        compile: Have torch compile the text model; the first masks take longer.
        engine: What runs a model that `self1e export` wrote: "onnxruntime", "openvino" or "torch". None: that which it
            was exported for.

    Raises:
        ValueError: If `max_tiles` is less than 1, or there is something to check but nothing to quantise.
    """

    device: str | torch.device = "auto"
    dtype: str | torch.dtype = "auto"
    revision: str | None = None
    subfolder: str | None = None
    max_tiles: int | None = None
    quantize: str | None = None
    quantize_check: CheckPictures | None = None
    compile: bool = False
    engine: str | None = None

    def __post_init__(self) -> None:
        if self.max_tiles is not None and (type(self.max_tiles) is not int or self.max_tiles < 1):
            raise ValueError(f"max_tiles must be a whole number of at least 1, not {self.max_tiles!r}")
        if self.quantize is None and self.quantize_check is not None:
            raise ValueError("quantize_check is for quantised models only: say quantize='int8', or leave it out")
