"""Packages that only some parts need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from self1e.data.records import DataError


class MissingPackage(DataError):
    """A package that only some parts need is not installed. The message says how to get it."""


def package(name: str, *, extra: str = "forms", what: str = "this form") -> ModuleType:
    """The package.

    Args:
        name: Of its module.
        extra: Of ours, which brings it.
        what: What needs it.

    Raises:
        MissingPackage: When it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingPackage(f"{what} needs another package, {name}: pip install 'self1e[{extra}]'") from error
