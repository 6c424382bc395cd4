"""What building the page `docs/try` leaves alone."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest


def test_a_folder_of_the_user_is_left_alone(build_script: ModuleType, tmp_path: Path) -> None:
    """And no model is exported first, which takes minutes."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="exists: choose another folder"):
        build_script.build(tmp_path, artefact=tmp_path / "none")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
