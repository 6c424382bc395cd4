"""Going on without what is broken: another example takes its place, and says so in its `skipped`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Protocol

import numpy as np

from self1e.conversation import Example
from self1e.data.records import DataError, NothingSaid

logger = logging.getLogger(__name__)

TRIES = 25
"""Examples that are tried before a run of broken ones is an error of its own."""

MOST_SILENT = 10_000
"""Pictures about which nothing is said that are passed over for one example: things may be in one of a thousand."""


class AllBrokenError(DataError):
    """Nothing of what was tried could be used."""


class Examples(Protocol):
    """What a run goes through: example `i` is a function of the settings and `i` alone."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: int) -> Example:
        """A picture with the conversations about it. Raises DataError when it cannot be had."""


def first_sound(candidates: Iterable[tuple[str, Callable[[], Example]]], what: str) -> Example:
    """The first example that can be made; its `skipped` names broken ones before it.

    Args:
        candidates: Name, for reports, and maker of each, without end; the next one is asked for when one is broken, or
            nothing is said about its picture.
        what: All of them are, for the error: "records of SOURCE".

    Raises:
        AllBrokenError: When `TRIES` are broken, or `MOST_SILENT` say nothing.
    """
    skipped: list[tuple[str, str]] = []
    silent = 0
    for name, make in candidates:
        try:
            example = make()
        except AllBrokenError:  # what has tried others already is not tried again
            raise
        except NothingSaid:
            _tell_silent(what)
            silent += 1
            if silent == MOST_SILENT:
                raise AllBrokenError(
                    f"{silent:,} {what} in a row say nothing about their pictures: set `absent_classes` to ask for "
                    "what is not there, or leave most of these pictures out"
                ) from None
        except DataError as error:
            skipped.append((name, str(error)))
            if len(skipped) == TRIES:
                break
        else:
            return replace(example, skipped=(*skipped, *example.skipped)) if skipped else example
    reasons = "\n".join(f"  {name}: {reason}" for name, reason in skipped[:5])
    raise AllBrokenError(f"{len(skipped)} {what} in a row are broken, the first of them:\n{reasons}")


@cache
def _tell_silent(what: str) -> None:
    """Once in a process."""
    logger.info("%s that say nothing about their pictures are passed over; `self1e data check` counts them", what)


class Tolerant:
    """Examples that go on without broken ones: another one, always the same, takes the place of each.

    Args:
        examples: Some of them may raise DataError.
        name: What reports call them.
    """

    def __init__(self, examples: Examples, name: str) -> None:
        self.examples = examples
        self.name = name

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        """Example `index`, or another.

        Raises:
            AllBrokenError: When `TRIES` in a row are broken.
        """
        return first_sound(self._candidates(index), f"examples of {self.name}")

    def _candidates(self, index: int) -> Iterator[tuple[str, Callable[[], Example]]]:
        rng = np.random.default_rng(index)
        while True:
            yield f"{self.name} {index}", partial(self.examples.__getitem__, index)
            index = int(rng.integers(len(self)))
