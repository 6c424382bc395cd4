"""What the addresses of one server share."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from self1e.serve.engine import Engine
from self1e.serve.fetch import Fetcher
from self1e.serve.limits import Limits
from self1e.serve.metrics import Metrics
from self1e.serve.pictures import KeptPictures


@dataclass(frozen=True)
class State:
    """Of a server. `model` is the name of what it serves, also while that is being loaded."""

    engine: Engine
    limits: Limits
    kept: KeptPictures
    metrics: Metrics
    fetcher: Fetcher
    model: str


def state_of(request: Request) -> State:
    """Of the server that a request came to."""
    state = request.app.state.of_server
    assert isinstance(state, State)
    return state
