"""Packages that only some forms need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from self1e.data.records import DataError


def package(name: str) -> ModuleType:
    """The package.

    Raises:
        DataError: When it is not installed; the message says how to get it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise DataError(f"this form needs another package, {name}: pip install 'self1e[forms]'") from error
