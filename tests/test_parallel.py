"""Processes of `self1e.parallel`; what they do with pictures is in `tests/segment/test_files.py`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial

import pytest

from self1e.parallel import in_processes


class Interrupted:
    """Is told to end in its `__del__`, or fails there."""

    def __init__(self, told: bool) -> None:
        self.told = told

    def __del__(self) -> None:
        if not self.told:
            raise ValueError("a fault")
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(10_000):
            pass


def doubled(items: Iterator[tuple[int, int]], told: bool) -> Iterator[int]:
    for _, item in items:
        Interrupted(told)
        yield 2 * item


def begin(_: int, told: bool) -> partial[Iterator[int]]:
    return partial(doubled, told=told)


@pytest.mark.parametrize("told", [True, False])
def test_an_end_in_a_destructor_is_no_fault(told: bool, capfd: pytest.CaptureFixture[str]) -> None:
    """Python cannot raise there what a signal asks for, and would print it over whatever the command says."""
    assert list(in_processes(partial(begin, told=told), [1, 2], processes=1)) == [2, 4]
    printed = capfd.readouterr().err
    assert ("a fault" in printed) == (not told) and "SystemExit" not in printed
