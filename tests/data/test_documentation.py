"""docs/data.md says where the data of evaluation lie."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from self1e.data.open_vocabulary import PASCAL_CONTEXT_TREE, PASCAL_VOC_TREE
from self1e.data.vqa import VQA_TESTS

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8")
PASCAL = re.findall(r"ROOT/(\S+?)(?:/\*\S*)?\s", PASCAL_CONTEXT_TREE + PASCAL_VOC_TREE)
VQA = dict.fromkeys(path for paths in VQA_TESTS.values() for path in paths if path)


@pytest.mark.parametrize("path", [*PASCAL, *VQA, "ade20k/images/validation", "ade20k/annotations/validation"])
def test_where_it_lies_is_said(path: str) -> None:
    assert f"`{path}`" in PAGE


@pytest.mark.parametrize("name", ["|".join(each) for each in VQA_TESTS])
def test_each_test_has_a_row(name: str) -> None:
    assert f"| `{name}` |".replace(name, name.replace("|", r"\|")) in PAGE
