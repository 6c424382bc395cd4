"""Checkpoints that several of the tests of `modeling/` start from."""

from pathlib import Path

import pytest
from builders import tiny_model
from official import official_config, official_tensors, write_folder


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A folder with a released checkpoint of `tiny_model()`."""
    return write_folder(tmp_path / "release", official_config(), official_tensors(tiny_model()))
