"""What building the page `docs/try` leaves alone, and what the page says twice."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
from page_in_node import PAGE

from self1e.segment.overlay import PALETTE


def test_a_folder_of_the_user_is_left_alone(build_script: ModuleType, tmp_path: Path) -> None:
    """And no model is exported first, which takes minutes."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="exists: choose another folder"):
        build_script.build(tmp_path, artefact=tmp_path / "none")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_policies_agree(build_script: ModuleType) -> None:
    """That of the page itself is for servers that say nothing."""
    assert f'content="{build_script.POLICY}"' in (PAGE / "index.html").read_text("utf-8")


def constant(script: str, name: str) -> str:
    """What a module of the page sets a constant to."""
    found = re.search(rf"^const {name} = (.*?);$", (PAGE / script).read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def test_headers_agree(build_script: ModuleType) -> None:
    """Those of the service worker isolate the page as the server's do."""
    policy = {"Content-Security-Policy": build_script.POLICY}
    assert json.loads(constant("isolate.js", "HEADERS")) | policy == build_script.HEADERS


def test_colours_agree() -> None:
    assert ast.literal_eval(constant("view.js", "PALETTE")) == [list(colour) for colour in PALETTE]
