"""Pictures that are no files: at an address, in a table, or bytes from somewhere. `load_image` reads all of them."""

from __future__ import annotations

import hashlib
import string
import time
from dataclasses import dataclass, field
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from self1e.version import __version__

SCHEME = "https"
"""Of addresses that are read, and of those that they may lead to."""

LARGEST = 100 * 2**20
"""Bytes of a picture that are fetched at most."""

LONGEST, PATIENCE = 60.0, 15.0
"""Seconds that fetching a picture may take, and for which nothing may come."""

_AT_A_TIME = 2**16


@dataclass(frozen=True)
class Address:
    """A picture at an address, which is fetched when it is read, and each time that it is.

    Attributes:
        url: It begins with https://. Spaces and letters beyond ASCII may stand in it as they are.
    """

    url: str

    @property
    def name(self) -> str:
        """What errors call it."""
        return self.url

    def __str__(self) -> str:
        return self.url

    @property
    def origin(self) -> str:
        """What tells it from others."""
        return self.url

    def stamp(self) -> list[Any]:
        """Whether the picture behind it has changed is not known."""
        return [self.url]

    def read(self) -> bytes:
        """Fetches it.

        Raises:
            ImageError: When it cannot be had, is too large, takes too long, or leads to another kind of address.
        """
        try:
            _check(self.url)
            request = Request(_in_ascii(self.url), headers={"User-Agent": f"self1e/{__version__}"})
            with build_opener(_Redirects).open(request, timeout=PATIENCE) as answer:
                return _content(answer)
        except (OSError, HTTPException, ValueError) as error:  # ValueError: what is no address at all
            from self1e.processing.images import ImageError  # with torch, which the command line does not wait for

            raise ImageError(f"cannot fetch {self.url}: {error}") from error


@dataclass(frozen=True)
class Given:
    """A picture whose bytes are there already."""

    content: bytes = field(repr=False)
    name: str = "standard input"

    def __str__(self) -> str:
        return "-"

    @property
    def origin(self) -> str:
        """What tells it from others."""
        return f"{self.name}, {hashlib.blake2b(self.content, digest_size=16).hexdigest()}"

    def stamp(self) -> list[Any]:
        """What tells whether it has changed."""
        return [self.origin]

    def read(self) -> bytes:
        """The bytes."""
        return self.content


@dataclass(frozen=True)
class Row:
    """A picture in the column `image` of a Parquet table: bytes, alone or with others' names for them.

    Attributes:
        file: The table.
        number: Of its row, from 0.
        group: The row group that it is in.
        place: Its place there.
    """

    file: Path
    number: int
    group: int
    place: int

    @property
    def name(self) -> str:
        """What errors call it."""
        return str(self)

    def __str__(self) -> str:
        return f"{self.file}, row {self.number}"

    @property
    def origin(self) -> str:
        """What tells it from others."""
        return f"{self.file.absolute()}, row {self.number}"

    def stamp(self) -> list[Any]:
        """What tells the table from what it was."""
        status = self.file.stat()
        return [status.st_size, status.st_mtime_ns, self.number]

    def read(self) -> bytes:
        """The bytes. Its row group stays in memory until another one is read.

        Raises:
            ImageError: When the table cannot be read, or holds none there.
        """
        from self1e.processing.images import ImageError

        try:
            with _reading:
                content = _pictures(self.file, self.group)[self.place].as_py()
        except (OSError, ValueError, IndexError) as error:
            raise ImageError(f"cannot read {self}: {error}") from error
        content = content.get("bytes") if isinstance(content, dict) else content
        if not content:
            raise ImageError(f"{self} holds no picture")
        return content


_reading = Lock()  # threads that read ahead want the same row group


@lru_cache(maxsize=1)
def _pictures(file: Path, group: int) -> Any:
    from pyarrow.parquet import ParquetFile

    with ParquetFile(file) as table:
        return table.read_row_group(group, ["image"]).column(0)


class _Redirects(HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        _check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _in_ascii(url: str) -> str:
    """An address as it is sent.

    >>> _in_ascii("https://bücher.org/a b%20é.png?q=ü")
    'https://xn--bcher-kva.org/a%20b%20%C3%A9.png?q=%C3%BC'
    """
    parts = urlsplit(url)
    host = parts.netloc.encode("idna").decode("ascii")
    return quote(urlunsplit((parts.scheme, host, *parts[2:])), safe=string.punctuation)


def _check(url: str) -> None:
    scheme = urlsplit(url).scheme
    if scheme != SCHEME:
        raise ValueError(f"it leads to {url}, but only {SCHEME}:// is fetched")


def _content(answer: Any) -> bytes:
    """What an answer holds, unless it is too much or comes too slowly."""
    ends = time.monotonic() + LONGEST
    content = bytearray()
    while part := answer.read1(_AT_A_TIME):
        content += part
        if len(content) > LARGEST:
            raise ValueError(f"it has more than {LARGEST:,} bytes")
        if time.monotonic() > ends:
            raise ValueError(f"it takes more than {LONGEST:.0f} seconds")
    return bytes(content)
