"""Runs the command in this process."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Cli, Outcome, save_picture

from self1e.cli import run


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`cli("segment", path, ...)`: what the command does with these arguments, in a wide terminal."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run([str(each) for each in arguments])
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A small picture file."""
    return save_picture(tmp_path / "pictures" / "street.png")
