"""A server as tests need it: with nano, in a thread, and with a model that can be killed by a picture."""

from __future__ import annotations

import io
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from PIL import Image

from self1e.segment.nouns import TaughtNouns
from self1e.segment.runner import EncodedPicture, TiledPicture
from self1e.segment.segmenter import Segmenter
from self1e.serve.limits import Limits

KILLER, SLOW, ENDLESS, STRANGE = (13, 11), (17, 11), (19, 11), (23, 11)
"""Sizes of pictures at which `Fragile` dies, sleeps for `NAP` or `NIGHT` seconds, or meets what nobody thought of."""

NAP, NIGHT = 0.7, 600
SECRET = "the secret zebra"


LIMITS = Limits(
    body_bytes=2_000_000,
    bodies_bytes=20_000_000,
    job_bytes=30_000_000,
    pixels=1_000_000,
    body_seconds=1,
    seconds=60,
    prompts=8,
    letters=300,
    waiting=8,
    images=3,
)


class Fragile(Segmenter):
    """A segmenter that dies at one picture and is slow at another."""

    def read(self, image: Any) -> TiledPicture:
        tiled = super().read(image)
        if tiled.image.size == KILLER:
            os.kill(os.getpid(), signal.SIGKILL)
        return tiled

    def encode(self, image: Any) -> EncodedPicture:
        time.sleep({SLOW: NAP, ENDLESS: NIGHT}.get(image.image.size, 0))
        if image.image.size == STRANGE:
            raise KeyError(SECRET)
        return super().encode(image)


def load_fragile(device: Any) -> Segmenter:
    """In the model's process. In one thread, as all tests."""
    import torch

    torch.set_num_threads(1)
    segmenter = Fragile.from_pretrained("nano", device=device)
    segmenter.nouns = TaughtNouns({name: [] for name in ("sun", "boat", "tree")})
    return segmenter


def picture(size: tuple[int, int], colour: str | int = "red") -> bytes:
    """A PNG of one colour; a number makes one of many different ones."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The address of an app that is served as `self1e serve` does."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
