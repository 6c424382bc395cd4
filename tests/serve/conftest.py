"""A server for all tests of this folder."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx2
import pytest
from serving import LIMITS, load_fragile, served

from self1e import Segmenter
from self1e.serve.app import make_app
from self1e.serve.engine import Engine
from self1e.serve.metrics import Metrics


@pytest.fixture(scope="session")
def segmenter() -> Segmenter:
    """What the server's model has to agree with."""
    return Segmenter.from_pretrained("nano")


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Of a server with `LIMITS`."""
    metrics = Metrics()
    engine = Engine(load_fragile, limits=LIMITS, watch=metrics.event)
    with served(make_app(engine, metrics=metrics)) as url:
        ends = time.monotonic() + 60
        while httpx2.get(f"{url}/readyz").status_code != 200:
            assert time.monotonic() < ends
            time.sleep(0.1)
        yield url
