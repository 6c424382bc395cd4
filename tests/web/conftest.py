"""A model, and pages on which it is asked."""

from __future__ import annotations

import pytest
from showing import Counted

from self1e import Segmenter
from self1e.web.state import Session


@pytest.fixture(scope="session")
def nano() -> Segmenter:
    """What the page has to agree with."""
    return Segmenter.from_pretrained("nano")


@pytest.fixture
def model(nano: Segmenter) -> Counted:
    """nano as the page asks it."""
    return Counted(nano)


@pytest.fixture
def session(model: Counted) -> Session:
    """A page that was just opened."""
    return Session([model])
