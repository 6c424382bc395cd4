"""Who may ask, and how much, before anything is read. An ASGI middleware, the outermost."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import os
import time
from asyncio import timeout
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from self1e.serve.limits import Limits
from self1e.serve.metrics import Metrics
from self1e.serve.problems import Problem

KEYS_VARIABLE = "SELF1E_API_KEYS"
OPEN_PATHS = ("/healthz", "/readyz")
"""What anybody may ask, so that a machine can look whether this one is well."""

LOCAL_NAMES = ("localhost",)


def read_keys(file: Path | None) -> list[str]:
    """Keys of a file, one a line, "#" before remarks; without a file those of the environment, joined by commas.

    Raises:
        ValueError: If there is a file, but no key in it, or a key is short enough to be guessed.
    """
    if file is None:
        keys = [key.strip() for key in os.environ.get(KEYS_VARIABLE, "").split(",") if key.strip()]
    else:
        lines = [line.strip() for line in file.read_text("utf-8").splitlines()]
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise ValueError(f"{file} has no key: write one a line, as from `openssl rand -hex 24`")
    if short := sum(len(key) < 16 for key in keys):
        raise ValueError(
            f"{short} of {len(keys)} keys are shorter than 16 characters: `openssl rand -hex 24` makes one"
        )
    return keys


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address to listen at."""
    with suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return host in LOCAL_NAMES


class Keys:
    """The keys that open the server; none: it is open."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [_digest(key) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def open_with(self, headers: Headers) -> bool:
        """Whether a request brings one: as a bearer's token, as X-AnyLabeling's `Token`, or as a password."""
        if not self._digests:
            return True
        scheme, _, value = headers.get("authorization", "").partition(" ")
        given = [headers.get("token", "")]
        if scheme.lower() in ("bearer", "token"):
            given.append(value.strip())
        elif scheme.lower() == "basic":
            with suppress(ValueError):
                given.append(base64.b64decode(value, validate=True).decode("utf-8").partition(":")[2])
        # All are compared, whichever fits: how long that takes says nothing.
        fits = [hmac.compare_digest(_digest(one), key) for one in given for key in self._digests]
        return any(fits)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class Guard:
    """Refuses what may not be asked, what is too large, and what comes too slowly; counts the rest.

    Args:
        app: What it stands before.
        keys: Who may ask.
        limits: Of requests.
        host: Where the server listens. On loopback only requests for this machine's own names are answered: a web page
            may have its own name lead here (DNS rebinding).
        metrics: Counts.
    """

    def __init__(self, app: ASGIApp, *, keys: Keys, limits: Limits, host: str, metrics: Metrics) -> None:
        self.app, self.keys, self.limits, self.host, self.metrics = app, keys, limits, host, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500
        begun = False

        async def sending(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                message["headers"] = [*message.get("headers", []), (b"x-content-type-options", b"nosniff")]
            await send(message)

        try:
            self._look(scope, Headers(scope=scope))
            await self.app(scope, self._limited(receive), sending)
        except Problem as problem:
            if begun:  # too late for another answer
                raise
            await problem.response(scope, receive, sending)
        finally:
            route = scope.get("route")
            self.metrics.request(getattr(route, "path", "other"), status, time.perf_counter() - start)

    def _look(self, scope: Scope, headers: Headers) -> None:
        """Raises a Problem with a request that need not be read."""
        host = headers.get("host", "")
        name = urlsplit(f"//{host}").hostname or ""
        if not self.keys and is_loopback(self.host) and not is_loopback(name):
            raise Problem(403, f"this server answers for this machine only, not for {host!r}")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            raise Problem(403, f"pages of {origin} may not ask this server")
        if scope["path"] not in OPEN_PATHS and not self.keys.open_with(headers):
            detail = "a key is needed: send it as 'Authorization: Bearer KEY'"
            raise Problem(401, detail, {"WWW-Authenticate": 'Bearer, Basic realm="self1e"'})
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.limits.body_bytes:
            raise self._too_large(int(length))

    def _too_large(self, size: int) -> Problem:
        return Problem(413, f"the request has {size:,} bytes or more, and may have {self.limits.body_bytes:,}")

    def _limited(self, receive: Receive) -> Receive:
        """`receive`, of so many bytes in so many seconds."""
        ends, size, whole = time.monotonic() + self.limits.body_seconds, 0, False

        async def limited() -> Message:
            nonlocal size, whole
            if whole:  # all that can come now is that the other side has gone
                return await receive()
            try:
                async with timeout(max(0.0, ends - time.monotonic())):
                    message = await receive()
            except TimeoutError:
                raise Problem(408, f"the request did not arrive in {self.limits.body_seconds:g} seconds") from None
            size += len(message.get("body", b""))
            if size > self.limits.body_bytes:
                raise self._too_large(size)
            whole = not message.get("more_body", False)
            return message

        return limited
