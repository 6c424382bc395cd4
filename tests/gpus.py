"""A machine with GPUs, as far as torch is asked for their number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from self1e.segment.segmenter import Segmenter

GPUS = 2


class WithGpus:
    """Loads a model in another process, whose torch finds `GPUS` GPUs from its beginning on."""

    def __init__(self, load: Callable[..., Segmenter]) -> None:
        self.load = load

    def __setstate__(self, state: dict[str, Any]) -> None:
        torch.cuda.is_available = lambda: True
        torch.cuda.device_count = lambda: GPUS
        self.__dict__ |= state

    def __call__(self, *arguments: Any, **options: Any) -> Segmenter:
        return self.load(*arguments, **options)
