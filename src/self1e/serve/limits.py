"""What one request, and all of them together, may take."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """Of the server. What is beyond is refused before it costs anything.

    Attributes:
        body_bytes: Of a request.
        body_seconds: In which it must have arrived.
        pixels: Of a picture, which its file's head says.
        prompts: Of a request.
        letters: Of a prompt, or of a question with its history.
        tokens: Of a chat's answer.
        seconds: From the whole request to its answer.
        waiting: Requests that no process has yet.
        images: Pictures that are kept for questions by id, and...
        image_bytes: ...the bytes of all their files.
        known_bytes: Memory of each process for pictures that were encoded.
    """

    body_bytes: int = 20 * MIB
    body_seconds: float = 30.0
    pixels: int = 50_000_000
    prompts: int = 64
    letters: int = 2000
    tokens: int = 512
    seconds: float = 60.0
    waiting: int = 256
    images: int = 256
    image_bytes: int = 512 * MIB
    known_bytes: int = 512 * MIB

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"the limit {name} must be more than 0, not {value!r}")
