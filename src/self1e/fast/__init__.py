"""What makes inference fast, behind one seam: `prepare`. The network in `self1e.model` knows nothing of it."""

from self1e.fast.prepare import FastModel, prepare

__all__ = ["FastModel", "prepare"]
