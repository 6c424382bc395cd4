"""Toyland: a generated world of cartoon scenes with exact masks, and everything that can be asked about them.

A small model can be trained on it from nothing, in hours and without downloads. `generate_scene` draws the scene of a
seed, `queries` and `sample_queries` ask about it, `conversation` turns a query into training or evaluation text with
its mask, and `toyland_example` does all three. The same seed always gives the same example.
"""

from self1e.toyland.dataset import DEFAULT_WEIGHTS, toyland_example
from self1e.toyland.generate import generate_scene
from self1e.toyland.language import KINDS, Query, conversation, queries, sample_queries
from self1e.toyland.scene import Part, Scene, Thing
from self1e.toyland.vocabulary import PARTS, STUFF, THINGS

__all__ = [
    "DEFAULT_WEIGHTS",
    "KINDS",
    "PARTS",
    "STUFF",
    "THINGS",
    "Part",
    "Query",
    "Scene",
    "Thing",
    "conversation",
    "generate_scene",
    "queries",
    "sample_queries",
    "toyland_example",
]
