"""SELF1E: text-prompted image segmentation by a multimodal LLM itself, with one `[SEG]` token and no mask decoder.

>>> from self1e import Segmenter  # doctest: +SKIP
>>> Segmenter.from_pretrained().segment("photo.jpg", "the cat").save("cat.png")  # doctest: +SKIP

Importing this package is cheap: torch and transformers load when a name that needs them is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from self1e.version import __version__

if TYPE_CHECKING:
    from self1e.checkpoints.errors import ModelError
    from self1e.checkpoints.load import SELF1EForSegmentation
    from self1e.model.config import SELF1EConfig
    from self1e.processing.processor import SELF1EProcessor
    from self1e.segment.results import Segmentation
    from self1e.segment.segmenter import Segmenter

_HOME_OF = {
    "ModelError": "self1e.checkpoints.errors",
    "SELF1EConfig": "self1e.model.config",
    "SELF1EForSegmentation": "self1e.checkpoints.load",
    "SELF1EProcessor": "self1e.processing.processor",
    "Segmentation": "self1e.segment.results",
    "Segmenter": "self1e.segment.segmenter",
}

__all__ = [
    "ModelError",
    "SELF1EConfig",
    "SELF1EForSegmentation",
    "SELF1EProcessor",
    "Segmentation",
    "Segmenter",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name.startswith("SELF1E"):  # transformers' Auto classes know all of these from when one is asked for
        for part in ("SELF1EForSegmentation", "SELF1EProcessor"):
            import_module(_HOME_OF[part])
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value  # so that this function is asked once for each name
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
