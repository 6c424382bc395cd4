"""How the pictures of the docs are drawn. Needs matplotlib (`pip install 'self1e[plot]'`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes


@contextmanager
def panels(path: Path, titles: Sequence[str], columns: int = 2) -> Iterator[dict[str, Axes]]:
    """An SVG file with a plot for each title, to be filled by the block; the same numbers give the same file.

    Args:
        path: Is overwritten.
        titles: Of the plots, line by line.
        columns: Plots in a line.
    """
    columns = min(columns, len(titles))
    rows = -(-len(titles) // columns)
    with plt.rc_context({"svg.hashsalt": "self1e"}):
        figure, axes = plt.subplots(rows, columns, figsize=(5 * columns, 3 * rows), layout="constrained", squeeze=False)
        for spare in axes.flat[len(titles) :]:
            spare.remove()
        plots = dict(zip(titles, axes.flat, strict=False))
        yield plots
        for title, plot in plots.items():
            plot.set_title(title, fontsize=10)
            plot.legend(fontsize=8)
            plot.spines[["top", "right"]].set_visible(False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
