"""The app over HTTP: its addresses, and who may use them."""

from __future__ import annotations

import io
from collections.abc import Iterator

import httpx2
import numpy as np
import pytest
from PIL import Image
from serving import served
from showing import Counted, lakeside

from self1e.serve.guard import Keys
from self1e.serve.limits import Limits
from self1e.web.state import Session, Sessions
from self1e.web.views import thumbnail

page_app = pytest.importorskip("self1e.web.app", reason="needs gradio: pip install 'self1e[web]'")


client = httpx2.Client(timeout=60)


@pytest.fixture(scope="module")
def app(nano):
    return page_app.make_app([Counted(nano)], limits=Limits(body_bytes=1_000_000))


@pytest.fixture(scope="module")
def address(app) -> Iterator[str]:
    with served(app) as url:
        yield url


@pytest.fixture
def opened(app) -> Session:
    """A page with a mask on it."""
    session = app.state.sessions.new()
    session.open(lakeside(), thumbnail)
    session.segment("the red boat")
    return session


def test_pictures_and_downloads_have_addresses(address, opened):
    base = f"{address}/pictures/{opened.key}"
    for name in ("original", "masks"):
        answer = client.get(f"{base}/{name}.jpg?1")
        assert answer.headers["content-type"] == "image/jpeg" and answer.headers["cache-control"] == "no-store"
        assert Image.open(io.BytesIO(answer.content)).size == (448, 448)
    cutout = client.get(f"{address}/downloads/{opened.key}/cutout")
    assert cutout.headers["content-disposition"] == "attachment; filename*=UTF-8''lakeside.cutout.png"
    inside = np.asarray(Image.open(io.BytesIO(cutout.content)))[..., 3] == 255
    assert np.array_equal(inside, opened.layers[0].result.mask)
    assert client.get(f"{address}/examples/cat.jpg").status_code == 200


def test_what_is_not_there(address, app, opened):
    empty = app.state.sessions.new()
    for path in (
        f"pictures/{opened.key}/why-llm.jpg",
        f"pictures/{opened.key}/why-prompt.jpg",
        f"pictures/{opened.key}/past-0.jpg",
        f"pictures/{opened.key}/reply-3.jpg",
        f"pictures/{opened.key}/secret.jpg",
        f"pictures/{empty.key}/masks.jpg",
        f"downloads/{opened.key}/everything",
        f"downloads/{empty.key}/coco",
        "pictures/guessed/masks.jpg",
        "examples/..%2Fmini%2Fconfig.json",
    ):
        answer = client.get(f"{address}/{path}")
        assert answer.status_code == 404, path
    assert "reload it" in client.get(f"{address}/pictures/guessed/masks.jpg").json()["detail"]


def test_pictures_come_as_they_are(address, app):
    session = app.state.sessions.new()
    assert client.post(f"{address}/pictures/{session.key}?name=a.png", content=b"bytes").json() == {"bytes": 5}
    assert (session.sent.content, session.sent.name) == (b"bytes", "a.png")
    large = client.post(f"{address}/pictures/{session.key}", content=bytes(1_000_001))
    assert large.status_code == 413 and "1,000,000" in large.json()["detail"]


def test_only_this_machine_s_names_and_pages_are_answered(address):
    assert client.get(f"{address}/", headers={"host": "evil.example"}).status_code == 403
    foreign = client.post(f"{address}/pictures/x", content=b"", headers={"origin": "http://evil.example"})
    assert foreign.status_code == 403


def test_passwords(nano):
    key = "k" * 24
    with served(page_app.make_app([Counted(nano)], keys=Keys([key]))) as url:
        assert client.get(f"{url}/").status_code == 401
        assert client.get(f"{url}/", auth=("anyone", key)).status_code == 200


def test_the_page_asks_nothing_of_others(address):
    page = client.get(f"{address}/").text
    assert "self1e" in page
    assert "fonts.googleapis" not in page and "cdnjs" not in page


def test_nothing_of_the_page_is_a_public_api(nano):
    page = page_app.make_page(Sessions([Counted(nano)]))
    assert not page.analytics_enabled
    assert {fn.api_visibility for fn in page.fns.values()} == {"private"}
