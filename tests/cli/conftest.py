"""What tests of commands have in common."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import save_picture


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A small picture file."""
    return save_picture(tmp_path / "pictures" / "street.png")
