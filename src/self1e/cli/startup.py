"""A quick start: without what transformers and torch do when the first model is built, and no command needs.

Only the commands do this. In the library imports are Python's own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

COMPILER = "torch._dynamo"

DECORATORS = ("allow_in_graph", "assume_constant_result", "disable")
"""Tell torch's compiler how to treat a function, and do nothing where nothing is compiled."""


def started_quickly(load: Callable[[], T]) -> T:
    """What `load` returns, which imports and builds a model, in a process that is not going to compile.

    Functions that are imported meanwhile do not get their decorators for the compiler. Where a version of torch or
    transformers wants more of it than these, and `load` fails, it is called once more, and imports as usual.
    """
    missed: list[str] = []
    try:
        with _without_compiler(missed), _models_listed_once():
            return load()
    except Exception:  # whatever the error has become on its way here
        if not missed:
            raise
    return load()  # behind the block, which holds what was half built


@contextmanager
def _without_compiler(missed: list[str]) -> Iterator[None]:
    """A stub in place of the package, which is large. What it is asked for in vain is added to `missed`."""
    import torch

    spec = None if COMPILER in sys.modules else find_spec(COMPILER)
    if spec is None:
        yield
        return

    def missing(name: str) -> Any:
        missed.append(name)
        raise AttributeError(f"module {COMPILER!r} has no attribute {name!r}")

    stub = module_from_spec(spec)
    vars(stub).update(dict.fromkeys(DECORATORS, _no_op), __getattr__=missing)
    sys.modules[COMPILER] = torch._dynamo = stub
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name == COMPILER or name.startswith(f"{COMPILER}.")]:
            del sys.modules[name]
        del torch._dynamo


def _no_op(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Callable[..., Any]:
    return function if function is not None else _no_op


@contextmanager
def _models_listed_once() -> Iterator[None]:
    """transformers has read the files of all its models to list what is in them, and is about to do so again.

    It remembers the list, but by a path: once that of their folder, once that of the `__init__.py` in it.
    """
    from transformers.utils import import_utils  # which makes the list

    name = "create_import_structure_from_path"
    listed = getattr(import_utils, name, None)
    if listed is None:
        yield
        return
    setattr(import_utils, name, lambda path: listed(Path(path).parent if Path(path).is_file() else path))
    try:
        yield
    finally:
        setattr(import_utils, name, listed)
