"""Who may ask, and what is fetched: without a model."""

from __future__ import annotations

import asyncio
import base64
import gzip
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx2
import pytest
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from self1e.serve.fetch import Fetcher, origin
from self1e.serve.guard import Guard, Keys, is_loopback, read_keys
from self1e.serve.limits import Limits
from self1e.serve.metrics import Metrics
from self1e.serve.problems import Problem

KEY, OTHER = "a" * 24, "b" * 24
PACKED = gzip.compress(bytes(2**24))


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()


def status(headers: dict[str, str], *, keys: Sequence[str] = (), host: str = "127.0.0.1", path: str = "/x") -> int:
    """What a request with these headers gets."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("fine")(scope, receive, send)

    async def ask() -> int:
        guarded = Guard(app, keys=Keys(keys), limits=Limits(), host=host, metrics=Metrics())
        transport = httpx2.ASGITransport(guarded)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            return (await client.get(path, headers=headers)).status_code

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Authorization": f"Bearer {KEY}"}, 200),
        ({"authorization": f"bearer  {OTHER}"}, 200),
        ({"Authorization": f"Token {KEY}"}, 200),
        ({"Token": OTHER}, 200),
        ({"Authorization": basic(KEY)}, 200),
        ({}, 401),
        ({"Authorization": f"Bearer {KEY}x"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Token": ""}, 401),
        ({"Authorization": basic("")}, 401),
        ({"Authorization": "Basic =="}, 401),
        ({"Authorization": KEY}, 401),
    ],
)
def test_keys(headers: dict[str, str], expected: int) -> None:
    assert status(headers, keys=[KEY, OTHER]) == expected
    assert status(headers) == 200  # a server without keys is open
    assert status(headers, keys=[KEY, OTHER], path="/readyz") == 200


@pytest.mark.parametrize(
    ("headers", "host", "expected"),
    [
        ({"Host": "localhost:8000"}, "127.0.0.1", 200),
        ({"Host": "[::1]:8000"}, "::1", 200),
        ({"Host": "evil.example"}, "127.0.0.1", 403),  # whose name leads to this machine
        ({"Host": "evil.example"}, "0.0.0.0", 200),
        ({"Origin": "http://127.0.0.1:8000"}, "127.0.0.1", 200),
        ({"Origin": "http://evil.example"}, "127.0.0.1", 403),
        ({"Origin": "null"}, "0.0.0.0", 403),
        ({"Host": "[evil.example"}, "127.0.0.1", 400),
        ({"Origin": "http://[evil.example"}, "0.0.0.0", 400),
    ],
)
def test_other_peoples_pages(headers: dict[str, str], host: str, expected: int) -> None:
    assert status(headers, host=host) == expected


def test_bodies_of_all_requests_together() -> None:
    """What is being answered is held in memory."""

    async def ask() -> None:
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            while (await receive()).get("more_body"):
                pass
            reached.set()
            await go_on.wait()
            await PlainTextResponse("fine")(scope, receive, send)

        limits = Limits(body_bytes=1000, bodies_bytes=1500)
        guarded = Guard(app, keys=Keys([]), limits=limits, host="127.0.0.1", metrics=Metrics())
        transport = httpx2.ASGITransport(guarded)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            first = asyncio.create_task(client.post("/x", content=b" " * 900))
            await reached.wait()
            announced = await client.post("/x", content=b" " * 601)
            counted = await client.post("/x", content=_parts(601))
            for refused in (announced, counted):
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
                assert "bytes are being answered: ask again later" in refused.json()["detail"]
            go_on.set()
            assert (await first).status_code == (await client.post("/x", content=b" " * 601)).status_code == 200
        assert guarded.held == 0

    asyncio.run(ask())


def test_a_large_body_does_not_make_the_server_look_ill() -> None:
    """One may have more bytes than all together, where only that was set; it keeps no question without a body out."""
    limits = Limits(body_bytes=2000, bodies_bytes=1000)
    guarded = Guard(PlainTextResponse("fine"), keys=Keys([]), limits=limits, host="127.0.0.1", metrics=Metrics())
    guarded.held = 1500

    async def ask() -> list[int]:
        transport = httpx2.ASGITransport(guarded)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            return [(await client.get("/healthz")).status_code, (await client.post("/x", content=b"x")).status_code]

    assert asyncio.run(ask()) == [200, 503]


async def _parts(size: int) -> AsyncIterator[bytes]:
    yield b" " * (size - 1)
    yield b" "


def test_where_keys_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(f"# for the annotators\n{KEY}\n\n  {OTHER}  \n")
    assert read_keys(file) == [KEY, OTHER]
    monkeypatch.setenv("SELF1E_API_KEYS", f"{OTHER}, {KEY}")
    assert read_keys(None) == [OTHER, KEY] and read_keys(file) == [KEY, OTHER]
    file.write_text("# none\n")
    with pytest.raises(ValueError, match="has no key"):
        read_keys(file)
    file.write_text("secret\n")
    with pytest.raises(ValueError, match="1 of 1 keys are shorter than 16"):
        read_keys(file)
    file.write_text(f"{KEY}\nein sehr geheimer Schlüssel\n", "utf-8")
    with pytest.raises(ValueError, match=r"1 of 2 keys are .* not of ASCII"):
        read_keys(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"keys\.txt, which is to have keys, cannot be read \(no UTF-8\)"):
        read_keys(file)
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory\)"):
        read_keys(tmp_path)
    assert Keys([KEY]).open_with(Headers({"token": KEY})) and not Keys([KEY]).open_with(Headers({}))


def test_what_is_loopback() -> None:
    assert [is_loopback(each) for each in ("127.0.0.1", "127.9.9.9", "::1", "localhost")] == [True] * 4
    assert [is_loopback(each) for each in ("0.0.0.0", "::", "192.168.0.1", "example.org", "")] == [False] * 5


# ------------------------------------------------------------------------------------------------------------- fetching


class Site(BaseHTTPRequestHandler):
    """A host of pictures, with what hostile ones do."""

    seen: ClassVar[list[tuple[str, str, str | None]]] = []

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers["Host"], self.headers["Authorization"]))
        where = {"/away": "http://169.254.169.254/latest", "/loop": "/loop", "/near": "/a.png"}.get(self.path)
        self.send_response(404 if self.path == "/none" else 302 if where else 200)
        if where:
            self.send_header("Location", where)
        if self.path == "/packed":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        if self.path == "/large":
            for _ in range(40):
                self.wfile.write(b"x" * 1000)
        elif self.path == "/packed":
            self.wfile.write(PACKED)
        elif not where:
            self.wfile.write(b"picture")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Where names lead; each look-up takes the next address of a name."""
    leads: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        address = host.decode() if isinstance(host, bytes) else host
        if leads.get(address):
            address = leads[address].pop(0)
        return real(address, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return leads


def fetched(url: str, fetcher: Fetcher) -> bytes:
    return asyncio.run(fetcher.fetch(url))


def test_only_named_hosts(names: dict[str, list[str]]) -> None:
    fetcher = Fetcher(["Pictures.example"])
    for url in (
        "https://other.example/a.png",
        "http://pictures.example/a.png",
        "https://pictures.example:8443/a.png",
        "https://pictures.example.evil.example/a.png",
        "https://evil.example/?pictures.example",
        "https://pictures.example@evil.example/a.png",
    ):
        with pytest.raises(Problem, match="not fetched from") as refused:
            fetched(url, fetcher)
        assert refused.value.status == 403
    for url in ("file:///etc/passwd", "/etc/passwd", "photo.jpg", "https:///a.png", ""):
        with pytest.raises(Problem, match="is no address like https://"):
            fetched(url, fetcher)
    with pytest.raises(Problem, match="name or password"):
        fetched("https://me:secret@pictures.example/a.png", fetcher)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
        *("::1", "fd00::1", "fec0::1", "fe80::1", "ff0e::1", "::ffff:10.0.0.1", "::10.0.0.1"),
        *("64:ff9b::10.0.0.1", "64:ff9b:1::1", "2002:a00:1::1"),
    ],
)
def test_a_named_host_that_leads_inside(names: dict[str, list[str]], address: str) -> None:
    names["pictures.example"] = [address]
    with pytest.raises(Problem, match=r"pictures\.example leads into a private network"):
        fetched("https://pictures.example/a.png", Fetcher(["pictures.example"]))


async def abc() -> str:
    return "Token abc"


def test_the_server_named_at_start(site: int, names: dict[str, list[str]]) -> None:
    url = f"http://studio.example:{site}"
    names["studio.example"] = ["127.0.0.1", "203.0.113.9"]  # checked, and then led elsewhere
    fetcher = Fetcher(trusted=url, authorization=abc, limits=Limits(body_bytes=20_000))
    Site.seen.clear()
    assert fetched(f"{url}/a.png", fetcher) == b"picture"
    assert Site.seen == [("/a.png", f"studio.example:{site}", "Token abc")]  # the address that was looked up
    names["studio.example"] = ["127.0.0.1"] * 20
    assert fetched(f"{url}/near", fetcher) == b"picture"
    for path, words in {"large": "more than 20,000 bytes", "none": "answers 404", "loop": "more than 3 times"}.items():
        with pytest.raises(Problem, match=words):
            fetched(f"{url}/{path}", fetcher)
    assert fetched(f"{url}/packed", fetcher) == PACKED  # 16 MiB of nothing stay packed
    with pytest.raises(Problem, match=r"not fetched from http://169\.254\.169\.254"):
        fetched(f"{url}/away", fetcher)
    with pytest.raises(Problem, match="not fetched from"):
        fetched(f"http://127.0.0.1:{site}/a.png", fetcher)  # the same machine, under a name that was not given


def test_the_token_is_for_one_server_only(site: int, monkeypatch: pytest.MonkeyPatch) -> None:
    Site.seen.clear()
    fetcher = Fetcher(trusted=f"http://127.0.0.1:{site}", authorization=abc)
    other = Fetcher(trusted=f"http://localhost:{site}")
    fetched(f"http://localhost:{site}/a.png", other)
    with pytest.raises(Problem):
        fetched(f"http://localhost:{site}/a.png", fetcher)
    assert [token for *_, token in Site.seen] == [None]


def test_origins() -> None:
    assert origin("HTTPS://A.example:443/x?y") == "https://a.example:443"


def test_who_goes_away_in_the_middle_is_no_fault() -> None:
    """Which a server logs, with what was called."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        raise AssertionError("nobody is there")

    metrics = Metrics()
    guarded = Guard(app, keys=Keys([]), limits=Limits(), host="127.0.0.1", metrics=metrics)
    scope = {"type": "http", "method": "POST", "path": "/x", "headers": [(b"host", b"127.0.0.1")], "query_string": b""}
    asyncio.run(guarded(scope, gone, send))
    assert b'status="499"' in metrics.text() and b'status="500"' not in metrics.text()
