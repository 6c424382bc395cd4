"""Pictures of requests: looked at before they are decoded, and kept for questions by id."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import io
from collections import OrderedDict

from PIL import Image

from self1e.files import register_heif
from self1e.serve.limits import Limits
from self1e.serve.messages import SentPicture
from self1e.serve.problems import Problem


class KeptPictures:
    """Files that were sent, by id; those that were asked about longest ago go first."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.bytes = 0
        self._kept: OrderedDict[str, SentPicture] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, picture: SentPicture) -> None:
        """Keeps one, as long as there is room."""
        if picture.key in self._kept:
            self._kept.move_to_end(picture.key)
            return
        self._kept[picture.key] = picture
        self.bytes += len(picture.content)
        while len(self._kept) > self.limits.images or (self.bytes > self.limits.image_bytes and len(self._kept) > 1):
            self.bytes -= len(self._kept.popitem(last=False)[1].content)

    def get(self, key: str) -> SentPicture:
        """One that is kept.

        Raises:
            Problem: If it is not, or not any more.
        """
        if key not in self._kept:
            raise Problem(404, f"there is no image {key[:80]!r} here (any more): send it to /api/v1/images again")
        self._kept.move_to_end(key)
        return self._kept[key]


async def looked_at(content: bytes | str, limits: Limits) -> SentPicture:
    """A picture whose head was read, so that nothing large is decoded.

    Args:
        content: The file, or what JSON has of it: base64, with or without "data:image/png;base64," before it.
        limits: Of its pixels.

    Raises:
        Problem: If it is no picture, or has too many pixels.
    """
    return await asyncio.to_thread(_looked_at, content, limits)


def _looked_at(content: bytes | str, limits: Limits) -> SentPicture:
    if isinstance(content, str):
        content = _from_base64(content)
    if not content:
        raise Problem(422, "image: it is empty")
    width, height = _size(content)
    if width * height > limits.pixels:
        raise Problem(413, f"image: {width}x{height} are more than {limits.pixels:,} pixels: send it smaller")
    return SentPicture(hashlib.sha256(content).hexdigest(), content, width * height)


def _from_base64(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem(422, f"image: no base64 ({error}): send the file's bytes in base64, or as multipart") from None


def _size(content: bytes) -> tuple[int, int]:
    register_heif()
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.size
    except Image.DecompressionBombError as error:
        raise Problem(413, f"image: {error}: send it smaller") from None
    except Exception as error:  # decoders raise anything
        raise Problem(422, f"image: no picture that can be read ({type(error).__name__}): send PNG or JPEG") from None
