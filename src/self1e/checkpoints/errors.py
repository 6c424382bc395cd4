"""What is wrong with a model. Importing this needs no torch."""

from __future__ import annotations


class ModelError(ValueError):
    """A model that cannot be loaded. The message says what is wrong with it and what to do."""
