"""Pictures at addresses, fetched only from hosts that were named when the server was started.

An address is looked up once; what it leads to is checked, and that very machine is connected to. So no name can lead to
this machine or its neighbours after it was checked (DNS rebinding), nor can a redirect, as each is checked like the
first.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import urljoin, urlsplit, urlunsplit

import httpx2

from self1e.serve.limits import Limits
from self1e.serve.problems import Problem
from self1e.version import __version__

MOST_REDIRECTS = 3
PATIENCE = 10.0
"""Seconds for which nothing may come."""

UNICAST, NAT64 = ipaddress.IPv6Network("2000::/3"), ipaddress.IPv6Network("64:ff9b::/96")
"""All that was ever given out of IPv6; and where IPv4 is within it."""


class Fetcher:
    """Fetches pictures.

    Args:
        hosts: Names of hosts to fetch from, by https, at their own port: "images.example.org".
        limits: Of a picture's bytes, and of the time for it.
        trusted: "http://host:port" of a server that was named at start, which may be in a private network, and be asked
            without TLS.
        authorization: Gives the header `Authorization` for that one, and for no other. It may raise a ValueError.
    """

    def __init__(
        self,
        hosts: Iterable[str] = (),
        *,
        limits: Limits | None = None,
        trusted: str | None = None,
        authorization: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self.hosts = frozenset(host.lower().strip() for host in hosts)
        self.limits = limits or Limits()
        self.trusted = origin(trusted) if trusted else None
        self.authorization = authorization

    async def fetch(self, url: str) -> bytes:
        """The file at an address.

        Raises:
            Problem: If it may not be fetched, cannot be had, is too large or takes too long.
        """
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                return await self._fetch(url)
        except TimeoutError:
            raise Problem(422, f"the picture could not be fetched in {self.limits.body_seconds:g} seconds") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise Problem(422, f"the picture cannot be fetched: {error or type(error).__name__}") from None

    async def _fetch(self, url: str) -> bytes:
        # No proxies, cookies or netrc of this machine: what they do was not checked.
        async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
            for _ in range(MOST_REDIRECTS + 1):
                answer = await self._ask(client, url)
                try:
                    if answer.is_redirect:
                        url = urljoin(url, answer.headers.get("location", ""))
                        continue
                    if answer.status_code != 200:
                        unknown = answer.status_code in (401, 403) and self._is_trusted(url)
                        hint = ": is its token in LABEL_STUDIO_API_KEY?" if unknown else ""
                        raise ValueError(f"its server answers {answer.status_code}{hint}")
                    content = bytearray()
                    async for part in answer.aiter_raw():  # what is packed would unpack to any size
                        content += part
                        if len(content) > self.limits.body_bytes:
                            raise Problem(413, f"the picture has more than {self.limits.body_bytes:,} bytes")
                    return bytes(content)
                finally:
                    await answer.aclose()
        raise ValueError(f"it is redirected more than {MOST_REDIRECTS} times")

    def _is_trusted(self, url: str) -> bool:
        return origin(url) == self.trusted

    async def _ask(self, client: httpx2.AsyncClient, url: str) -> httpx2.Response:
        parts = urlsplit(url)
        host, is_trusted = (parts.hostname or "").lower(), self._is_trusted(url)
        if not host:
            raise ValueError(f"{url[:80]!r} is no address like https://images.example.org/1.jpg")
        if not is_trusted and (parts.scheme != "https" or host not in self.hosts or parts.port not in (None, 443)):
            raise Problem(
                403,
                f"pictures are not fetched from {origin(url)}: start the server with --allow-host {host}, for https",
            )
        if parts.username is not None:
            raise Problem(403, "an address with a name or password in it is not fetched")
        address = await _address(host, parts.port or (443 if parts.scheme == "https" else 80), is_trusted)
        headers = {"Host": parts.netloc, "User-Agent": f"self1e/{__version__}", "Accept-Encoding": "identity"}
        if is_trusted and self.authorization is not None:
            headers["Authorization"] = await self.authorization()
        there = f"[{address}]" if ":" in address else address
        netloc = there if parts.port is None else f"{there}:{parts.port}"
        to = urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))
        request = client.build_request("GET", to, headers=headers, extensions={"sni_hostname": host})
        return await client.send(request, stream=True, follow_redirects=False)


def origin(url: str) -> str:
    """Scheme, host and port of an address.

    >>> origin("HTTP://Localhost:8080/data/1.png?x=1"), origin("https://a.example/")
    ('http://localhost:8080', 'https://a.example')
    """
    parts = urlsplit(url)
    return f"{parts.scheme.lower()}://{parts.netloc.lower()}"


async def _address(host: str, port: int, may_be_private: bool) -> str:
    """The address of a host. All that it has must be in the open internet, unless it may be private."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not may_be_private and not all(map(is_open, addresses)):
        raise Problem(403, f"{host} leads into a private network, from where nothing is fetched")
    return addresses[0]


def is_open(address: str) -> bool:
    """Whether an address is one of the open internet. What carries one of IPv4 is as open as that.

    >>> [is_open(each) for each in ("93.184.215.14", "10.0.0.1", "2606:4700::1", "64:ff9b::5db8:d70e", "2002:a00:1::1")]
    [True, False, True, True, False]
    """
    one = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(one, ipaddress.IPv6Address):
        carried = one.ipv4_mapped or one.sixtofour
        if one in NAT64:
            carried = ipaddress.IPv4Address(int(one) & 0xFFFF_FFFF)
        if carried is None:
            return one in UNICAST and one.is_global
        one = carried
    return one.is_global and not one.is_multicast
