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
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from self1e.serve.limits import Limits
from self1e.serve.metrics import Metrics
from self1e.serve.problems import GONE, Problem

KEYS_VARIABLE = "SELF1E_API_KEYS"
OPEN_PATHS = ("/healthz", "/readyz")
"""What anybody may ask, so that a machine can look whether this one is well."""

LOCAL_NAMES = ("localhost",)

PART = 2**18
"""Bytes of an answer that are handed on at once."""


def read_keys(file: Path | None) -> list[str]:
    """Keys of a file, one a line, "#" before remarks; without a file those of the environment, joined by commas.

    Raises:
        ValueError: If there is a file, but it cannot be read or has no key, or a key is short enough to be guessed, or
            of letters that headers do not carry.
    """
    if file is None:
        keys = [key.strip() for key in os.environ.get(KEYS_VARIABLE, "").split(",") if key.strip()]
    else:
        try:
            lines = [line.strip() for line in file.read_text("utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", "no UTF-8")
            raise ValueError(f"{file}, which is to have keys, cannot be read ({why}): write one a line") from None
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise ValueError(f"{file} has no key: write one a line, as from `openssl rand -hex 24`")
    if unfit := sum(len(key) < 16 or not key.isascii() for key in keys):
        what = "shorter than 16 characters, or not of ASCII"
        raise ValueError(f"{unfit} of {len(keys)} keys are {what}: `openssl rand -hex 24` makes one")
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
    """Refuses what may not be asked, what is too large, and what comes or goes too slowly; counts the rest.

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
        self.held = 0  # bytes of the bodies of requests that are being answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        body, answer = _Body(self, receive), _Answer(self.limits, send)
        try:
            self._look(scope, Headers(scope=scope))
            await self.app(scope, body.receive, answer.send)
        except Problem as problem:
            if answer.begun:  # too late for another
                raise
            await problem.response(scope, receive, answer.send)
        except StalledError:
            pass  # the server closes the connection of an answer that is not whole
        except ClientDisconnect:  # before the body was whole: nobody is there to be answered
            answer.status = GONE
        finally:
            self.held -= body.size
            route = scope.get("route")
            self.metrics.request(getattr(route, "path", "other"), answer.status, time.perf_counter() - start)

    def _look(self, scope: Scope, headers: Headers) -> None:
        """Raises a Problem with a request that need not be read."""
        host, origin = headers.get("host", ""), headers.get("origin")
        try:
            name, asking = urlsplit(f"//{host}").hostname or "", urlsplit(origin or "").netloc
        except ValueError:
            raise Problem(400, "the request's Host or Origin is no address") from None
        if not self.keys and is_loopback(self.host) and not is_loopback(name):
            raise Problem(403, f"this server answers for this machine only, not for {host!r}")
        if origin is not None and asking != host:
            raise Problem(403, f"pages of {origin} may not ask this server")
        if scope["path"] not in OPEN_PATHS and not self.keys.open_with(headers):
            detail = "a key is needed: send it as 'Authorization: Bearer KEY'"
            raise Problem(401, detail, {"WWW-Authenticate": 'Bearer, Basic realm="self1e"'})
        length = headers.get("content-length", "0")
        if length.isdecimal():
            self.check(int(length), int(length))

    def check(self, size: int, more: int) -> None:
        """Raises a Problem if a body of `size` bytes is too large, or `more` bytes are, beside those of others."""
        limits = self.limits
        if size > limits.body_bytes:
            raise Problem(413, f"the request has {size:,} bytes or more, and may have {limits.body_bytes:,}")
        if more and self.held + more > max(limits.bodies_bytes, size):
            raise Problem(503, f"requests of {self.held:,} bytes are being answered: ask again later")


class _Body:
    """A request's body as it comes: so many bytes in so many seconds."""

    def __init__(self, guard: Guard, receive: Receive) -> None:
        self.guard, self._receive = guard, receive
        self.ends = time.monotonic() + guard.limits.body_seconds
        self.size, self.whole = 0, False

    async def receive(self) -> Message:
        """The next part."""
        if self.whole:  # all that can come now is that the other side has gone
            return await self._receive()
        try:
            async with timeout(max(0.0, self.ends - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            detail = f"the request did not arrive in {self.guard.limits.body_seconds:g} seconds"
            raise Problem(408, detail, {"Connection": "close"}) from None
        more = len(message.get("body", b""))
        self.guard.check(self.size + more, more)
        self.size += more
        self.guard.held += more
        self.whole = not message.get("more_body", False)
        return message


class StalledError(Exception):
    """The other side does not take its answer."""


class _Answer:
    """An answer as it goes, in parts: uvicorn holds what it was given at once, even if nobody takes it."""

    def __init__(self, limits: Limits, send: Send) -> None:
        self.limits, self._send = limits, send
        self.status, self.begun = 500, False

    async def send(self, message: Message) -> None:
        """Hands on a message.

        Raises:
            StalledError: If the other side takes nothing for too long.
        """
        if message["type"] == "http.response.start":
            self.status, self.begun = message["status"], True
            message["headers"] = [*message.get("headers", []), (b"x-content-type-options", b"nosniff")]
            await self._send(message)
            return
        body = message.get("body", b"")
        for start in range(0, max(1, len(body)), PART):
            more = start + PART < len(body) or message.get("more_body", False)
            try:
                async with timeout(self.limits.body_seconds):
                    await self._send({**message, "body": body[start : start + PART], "more_body": more})
            except TimeoutError:
                raise StalledError from None
