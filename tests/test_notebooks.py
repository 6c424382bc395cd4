"""The notebooks run from top to bottom, and hold what came of one run, or nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from readme_commands import ROOT, copy_of_repository

NOTEBOOKS = sorted(ROOT.glob("docs/notebooks/*.ipynb"))
MOST_BYTES = 200_000
"""Of all outputs of a notebook."""


def code_cells(notebook: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(notebook.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_top_to_bottom(notebook: Path, tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient", reason="needs the extra `docs`")
    nbformat = pytest.importorskip("nbformat", reason="needs the extra `docs`")
    folder = copy_of_repository(tmp_path) / notebook.parent.relative_to(ROOT)
    content = nbformat.read(notebook, as_version=4)
    nbclient.NotebookClient(content, timeout=1200, resources={"metadata": {"path": str(folder)}}).execute()


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_small_and_of_one_run(notebook: Path) -> None:
    cells = code_cells(notebook)
    outputs = [output for cell in cells for output in cell["outputs"]]
    counts = [cell["execution_count"] for cell in cells]
    assert counts == (list(range(1, len(cells) + 1)) if outputs else [None] * len(cells))
    assert not any(output["output_type"] == "error" for output in outputs)
    assert sum(len(json.dumps(output)) for output in outputs) <= MOST_BYTES


def test_there_are_notebooks() -> None:
    assert {path.stem for path in NOTEBOOKS} >= {"use-it", "your-own-data", "how-it-works"}
