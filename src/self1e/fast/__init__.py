"""What makes inference fast, behind one seam: `prepare`. The network in `self1e.model` knows nothing of it."""

from self1e.fast.prepare import FastModel, drop_hooks, prepare

__all__ = ["FastModel", "drop_hooks", "prepare"]
