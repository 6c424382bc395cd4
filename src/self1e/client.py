"""A server of `self1e serve`, from Python, with the results that `Segmenter` gives. Needs no torch.

    client = Client("http://gpu-machine:8000", key=KEY)
    client.segment("street.jpg", "the red car")                      -> Segmentation
    street = client.send("street.jpg")                               a picture that stays there for a while
    client.segment(street, ["the tallest tree", "the sky"])          -> list of them
    client.chat(street, "Which car could carry a piano?")            -> Segmentation; its text is the answer

`AsyncClient` has the same methods, to be awaited.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, overload

import numpy as np
from PIL import Image

from self1e.files import expand_user
from self1e.processing.images import ImageSource, load_image
from self1e.processing.prompts import Template
from self1e.segment.results import Segmentation

try:
    import httpx2
except ImportError as error:
    raise ImportError("self1e.client needs another package: pip install 'self1e[serve]'") from error

DEFAULT_URL = "http://127.0.0.1:8000"
API = "/api/v1"
OnText = Callable[[str], object]
History = Sequence[tuple[str, str]]


class ServerError(RuntimeError):
    """The server could not be reached, or did not do what it was asked.

    Attributes:
        status: Of HTTP; None when there was no answer.
        retry_after: Seconds after which to try again, when the server says so.
    """

    def __init__(self, message: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


@dataclass(frozen=True, eq=False, repr=False)
class SentPicture:
    """A picture that the server has; stands for the image in other methods, as long as the server keeps it.

    Attributes:
        id: Its name there.
        image: RGB, upright.
    """

    id: str
    image: Image.Image

    def __repr__(self) -> str:
        return "SentPicture({}x{} pixels)".format(*self.image.size)


Picture = ImageSource | SentPicture
Prompts = list[str] | tuple[str, ...]


@dataclass(frozen=True)
class _Asked:
    """A request, and the picture it is about."""

    path: str
    image: Image.Image
    data: dict[str, Any]

    def read(self, result: dict[str, Any]) -> Segmentation:
        """A result of the server, with the picture and the logits."""
        segmentation = Segmentation.from_dict(result, self.image)
        if "logits" not in result:
            return segmentation
        raw = base64.b64decode(result["logits"]["data"])
        logits = np.frombuffer(raw, "<f2").reshape(result["logits"]["shape"]).astype(np.float32)
        return Segmentation(**vars(segmentation) | {"logits": logits})


def _asked(path: str, image: Picture, data: dict[str, Any]) -> _Asked:
    if isinstance(image, SentPicture):
        return _Asked(path, image.image, {"image_id": image.id, **data})
    content, picture = _file_of(image)
    return _Asked(path, picture, {"image": base64.b64encode(content).decode("ascii"), **data})


def _file_of(image: ImageSource) -> tuple[bytes, Image.Image]:
    """The file's own bytes where there is one, so that the server reads what is in it; and the picture.

    Raises:
        ImageError: If it is no picture.
    """
    if not isinstance(image, str | os.PathLike | bytes | np.ndarray | Image.Image):
        image = image.read()
    picture = load_image(image)
    if isinstance(image, bytes):
        return image, picture
    if isinstance(image, str | os.PathLike):
        return expand_user(image).read_bytes(), picture
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue(), picture


def _segment(image: Picture, prompt: str | Prompts, template: Template, logits: bool) -> _Asked:
    prompts = prompt if isinstance(prompt, str) else list(prompt)
    masks = ["rle", "logits"] if logits else ["rle"]
    return _asked("/segment", image, {"prompt": prompts, "template": template, "masks": masks})


def _chat(
    image: Picture, question: str, history: History, max_new_tokens: int, temperature: float, seed: int | None
) -> _Asked:
    data = {"question": question, "history": [list(turn) for turn in history], "max_new_tokens": max_new_tokens}
    return _asked("/chat", image, {**data, "temperature": temperature, "seed": seed})


def _checked(answer: httpx2.Response, content: bytes) -> Any:
    """What an answer holds.

    Raises:
        ServerError: If it is a problem, or none of our server's.
    """
    try:
        tree = json.loads(content)
    except ValueError:
        tree = None
    if answer.status_code == 200 and isinstance(tree, dict):
        return tree
    detail = tree.get("detail") if isinstance(tree, dict) else None
    waits = answer.headers.get("retry-after", "")
    raise ServerError(
        f"{answer.url.host} answers {answer.status_code}: {detail or 'not in the form of self1e serve'}",
        answer.status_code,
        float(waits) if waits.isdecimal() else None,
    )


class _Events:
    """Reads the events of a chat, line by line."""

    def __init__(self, on_text: OnText | None) -> None:
        self.on_text, self.name = on_text, ""
        self.result: dict[str, Any] | None = None

    def line(self, line: str) -> None:
        """One line of the answer."""
        field, _, value = line.partition(": ")
        if field == "event":
            self.name = value
        elif field == "data":
            tree = json.loads(value)
            if self.name == "text" and self.on_text is not None:
                self.on_text(tree["text"])
            elif self.name == "problem":
                raise ServerError(tree["detail"], tree["status"])
            elif self.name == "result":
                self.result = tree

    def whole(self) -> dict[str, Any]:
        """The result, once all lines were read."""
        if self.result is None:
            raise ServerError("the answer broke off")
        return self.result


def _headers(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _unreachable(url: str, error: Exception) -> ServerError:
    return ServerError(f"{url} does not answer ({error or type(error).__name__}): does `self1e serve` run there?")


class Client:
    """A server. Any number of threads may use one; use it as a context manager, or close it.

    Args:
        url: Of the server.
        key: If it asks for one.
        timeout: Seconds to wait for an answer.
    """

    def __init__(self, url: str = DEFAULT_URL, *, key: str | None = None, timeout: float = 120.0) -> None:
        self.url = url.rstrip("/")
        self._http = httpx2.Client(base_url=self.url + API, headers=_headers(key), timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def models(self) -> list[dict[str, Any]]:
        """What the server says of its model."""
        return self._get("GET", "/models")["models"]

    def send(self, image: ImageSource) -> SentPicture:
        """Sends a picture once, for any number of questions.

        Raises:
            ImageError: If it cannot be read.
            ServerError: If the server does not take it.
        """
        asked = _asked("/images", image, {})
        return SentPicture(self._get("POST", asked.path, asked.data)["image_id"], asked.image)

    @overload
    def segment(self, image: Picture, prompt: str, *, template: Template = ..., logits: bool = ...) -> Segmentation: ...
    @overload
    def segment(
        self, image: Picture, prompt: Prompts, *, template: Template = ..., logits: bool = ...
    ) -> list[Segmentation]: ...
    def segment(
        self, image: Picture, prompt: str | Prompts, *, template: Template = "auto", logits: bool = False
    ) -> Segmentation | list[Segmentation]:
        """As `Segmenter.segment`; logits come in half precision.

        Raises:
            ImageError: If the picture cannot be read.
            ServerError: If the server cannot be reached, or refuses.
        """
        asked = _segment(image, prompt, template, logits)
        results = [asked.read(result) for result in self._get("POST", asked.path, asked.data)["results"]]
        return results[0] if isinstance(prompt, str) else results

    def chat(
        self,
        image: Picture,
        question: str,
        history: History = (),
        *,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        seed: int | None = None,
        on_text: OnText | None = None,
    ) -> Segmentation:
        """As `Segmenter.chat`; `on_text` is given the answer as it is written.

        Raises:
            ImageError: If the picture cannot be read.
            ServerError: If the server cannot be reached, or refuses.
        """
        asked = _chat(image, question, history, max_new_tokens, temperature, seed)
        events = _Events(on_text)
        for line in self._lines(asked):
            events.line(line)
        return asked.read(events.whole())

    def _get(self, method: str, path: str, data: dict[str, Any] | None = None) -> Any:
        try:
            answer = self._http.request(method, path, json=data)
        except httpx2.TransportError as error:
            raise _unreachable(self.url, error) from error
        return _checked(answer, answer.content)

    def _lines(self, asked: _Asked) -> Iterator[str]:
        try:
            with self._http.stream("POST", asked.path, json=asked.data) as answer:
                if answer.status_code != 200:
                    _checked(answer, answer.read())
                yield from answer.iter_lines()
        except httpx2.TransportError as error:
            raise _unreachable(self.url, error) from error


class AsyncClient:
    """`Client` for asyncio: the same methods, to be awaited."""

    def __init__(self, url: str = DEFAULT_URL, *, key: str | None = None, timeout: float = 120.0) -> None:
        self.url = url.rstrip("/")
        self._http = httpx2.AsyncClient(base_url=self.url + API, headers=_headers(key), timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes its connections."""
        await self._http.aclose()

    async def models(self) -> list[dict[str, Any]]:
        """See `Client.models`."""
        return (await self._get("GET", "/models"))["models"]

    async def send(self, image: ImageSource) -> SentPicture:
        """See `Client.send`."""
        asked = await asyncio.to_thread(_asked, "/images", image, {})
        return SentPicture((await self._get("POST", asked.path, asked.data))["image_id"], asked.image)

    @overload
    async def segment(
        self, image: Picture, prompt: str, *, template: Template = ..., logits: bool = ...
    ) -> Segmentation: ...
    @overload
    async def segment(
        self, image: Picture, prompt: Prompts, *, template: Template = ..., logits: bool = ...
    ) -> list[Segmentation]: ...
    async def segment(
        self, image: Picture, prompt: str | Prompts, *, template: Template = "auto", logits: bool = False
    ) -> Segmentation | list[Segmentation]:
        """See `Client.segment`."""
        asked = await asyncio.to_thread(_segment, image, prompt, template, logits)
        answer = await self._get("POST", asked.path, asked.data)
        results = await asyncio.to_thread(lambda: [asked.read(result) for result in answer["results"]])
        return results[0] if isinstance(prompt, str) else results

    async def chat(
        self,
        image: Picture,
        question: str,
        history: History = (),
        *,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        seed: int | None = None,
        on_text: OnText | None = None,
    ) -> Segmentation:
        """See `Client.chat`."""
        asked = await asyncio.to_thread(_chat, image, question, history, max_new_tokens, temperature, seed)
        events = _Events(on_text)
        async with aclosing(self._lines(asked)) as lines:
            async for line in lines:
                events.line(line)
        return await asyncio.to_thread(asked.read, events.whole())

    async def _get(self, method: str, path: str, data: dict[str, Any] | None = None) -> Any:
        try:
            answer = await self._http.request(method, path, json=data)
        except httpx2.TransportError as error:
            raise _unreachable(self.url, error) from error
        return _checked(answer, answer.content)

    async def _lines(self, asked: _Asked) -> AsyncGenerator[str, None]:
        try:
            async with self._http.stream("POST", asked.path, json=asked.data) as answer:
                if answer.status_code != 200:
                    _checked(answer, await answer.aread())
                async for line in answer.aiter_lines():
                    yield line
        except httpx2.TransportError as error:
            raise _unreachable(self.url, error) from error
