"""Pictures at addresses, from a server on this machine; it speaks http, which takes the place of https here."""

from __future__ import annotations

import io
import pickle
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from self1e.processing import sources
from self1e.processing.images import ImageError, load_image
from self1e.processing.sources import Address, Given


def png() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (7, 5), "red").save(content, "PNG")
    return content.getvalue()


asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    """What each path gives."""

    def do_GET(self) -> None:
        moved = {"/moved.png": "/a.png", "/file": "file:///etc/passwd", "/ftp": "ftp://127.0.0.1/a", "/s": "https://x/"}
        asked.append(self.path)
        if self.path in moved:
            self.send_response(302)
            self.send_header("Location", moved[self.path])
            self.end_headers()
        elif self.path == "/missing.png":
            self.send_error(404)
        else:
            self.send_response(200)
            self.end_headers()
            for part in range(200 if self.path in ("/slow.png", "/large.png") else 1):
                try:
                    self.wfile.write(png() if not part else bytes(2000))
                except OSError:  # the reader has gone
                    return
                time.sleep(0.02 if self.path == "/slow.png" else 0)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(sources, "SCHEME", "http")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


@pytest.mark.parametrize("path", ["/a.png", "/moved.png", "/my bücher.png?q=é a%20b"])
def test_a_picture_is_fetched(server: str, path: str) -> None:
    assert load_image(pickle.loads(pickle.dumps(Address(server + path)))).size == (7, 5)
    assert asked[-1] in ("/a.png", "/my%20b%C3%BCcher.png?q=%C3%A9%20a%20b")


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/missing.png", "404"),
        ("/file", "file:///etc/passwd"),
        ("/ftp", "it leads to ftp://127.0.0.1/a, but only http:// is fetched"),
        ("/s", "it leads to https://x/"),  # as with https, from there to http
        ("/large.png", "more than 100,000 bytes"),
        ("/slow.png", "more than 1 seconds"),
    ],
)
def test_what_is_not_fetched(server: str, path: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LARGEST", 100_000 if path == "/large.png" else 10**7)
    monkeypatch.setattr(sources, "LONGEST", 1.0)
    with pytest.raises(ImageError, match=what) as error:
        load_image(Address(server + path))
    assert server + path in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.png",
        "file:///etc/passwd",
        "https://127.0.0.1:1/a.png",
        "https://[",
        "https://\udcff/",
        "https://x/\udcff",
    ],
)
def test_only_https_is_fetched(url: str) -> None:
    with pytest.raises(ImageError, match="cannot fetch"):
        load_image(Address(url))


def test_bytes() -> None:
    assert load_image(Given(png())).size == (7, 5)
    with pytest.raises(ImageError, match="standard input is empty"):
        load_image(Given(b""))
    assert Given(b"a").stamp() != Given(b"b").stamp()
