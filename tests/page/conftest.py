"""The script that builds the page `docs/try`."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest
from page_in_node import PAGE


@pytest.fixture(scope="session")
def build_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_of_the_page", PAGE / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
