"""Toyland: a generated world of cartoon scenes with exact masks, and everything that can be asked about them.

A small model can be trained on it from nothing, in hours and without downloads. `generate_scene` draws the scene of a
seed, `queries` and `sample_queries` ask about it, `conversation` turns a query into training or evaluation text with
its mask, and `toyland_example` does all three. The same seed always gives the same example.

It is a plugin as any other package could be one (`self1e.plugins`): the rest of the library finds its data set,
benchmark, loss and command by name, and never imports it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from self1e.toyland.example import DEFAULT_WEIGHTS, toyland_example
    from self1e.toyland.generate import generate_scene
    from self1e.toyland.language import KINDS, SceneQuery, conversation, queries, sample_queries
    from self1e.toyland.scene import Part, Scene, Thing
    from self1e.toyland.vocabulary import PARTS, STUFF, THINGS

__all__ = [
    "DEFAULT_WEIGHTS",
    "KINDS",
    "PARTS",
    "STUFF",
    "THINGS",
    "Part",
    "Scene",
    "SceneQuery",
    "Thing",
    "conversation",
    "generate_scene",
    "queries",
    "sample_queries",
    "toyland_example",
]

_HOMES = {
    "example": ("DEFAULT_WEIGHTS", "toyland_example"),
    "generate": ("generate_scene",),
    "language": ("KINDS", "SceneQuery", "conversation", "queries", "sample_queries"),
    "scene": ("Part", "Scene", "Thing"),
    "vocabulary": ("PARTS", "STUFF", "THINGS"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Imports on first use, so that the help of its command comes without numpy."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
