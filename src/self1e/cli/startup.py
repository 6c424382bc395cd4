"""A quick start: without what transformers and torch do when the first model is built, and no command needs.

Only the commands do this. The library imports as everybody does.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")

COMPILER = "torch._dynamo"

MARKS = ("allow_in_graph", "assume_constant_result", "disable")
"""Decorators that tell torch's compiler how to treat a function, and do nothing where nothing is compiled."""


def started_quickly(load: Callable[[], T]) -> T:
    """What `load` returns, which imports and builds a model, in a process that is not going to compile.

    Afterwards all modules are as they were, and torch's compiler as if nobody had asked for it. With versions of torch
    or transformers that want more of it, `load` is called again, and imports as usual.
    """
    importlib.import_module("transformers")
    try:
        with _compiler_left_out(), _models_listed_once():
            return load()
    except (ImportError, AttributeError):
        return load()


@contextmanager
def _compiler_left_out() -> Iterator[None]:
    """In place of the package, which imports 600 modules for its decorators, and for a class in a file of its own."""
    import torch

    spec = find_spec("torch")
    if COMPILER in sys.modules or spec is None or not spec.submodule_search_locations:
        yield
        return
    stand_in = ModuleType(COMPILER)
    stand_in.__path__ = [str(Path(folder) / "_dynamo") for folder in spec.submodule_search_locations]
    for mark in MARKS:
        setattr(stand_in, mark, _marked)
    sys.modules[COMPILER] = torch._dynamo = stand_in
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name == COMPILER or name.startswith(f"{COMPILER}.")]:
            del sys.modules[name]
        del torch._dynamo


def _marked(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Callable[..., Any]:
    return function if function is not None else _marked


@contextmanager
def _models_listed_once() -> Iterator[None]:
    """transformers has read the files of all its models to list what is in them, and is about to do so again.

    It remembers the list, but by a path: once that of their folder, once that of the `__init__.py` in it.
    """
    from transformers.utils import import_utils

    name = "create_import_structure_from_path"
    listed = getattr(import_utils, name)
    setattr(import_utils, name, lambda path: listed(Path(path).parent if Path(path).is_file() else path))
    try:
        yield
    finally:
        setattr(import_utils, name, listed)
