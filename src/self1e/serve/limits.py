"""What one request, and all of them together, may take."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """Of the server. What is beyond is refused before it costs anything.

    Attributes:
        body_bytes: Of a request.
        bodies_bytes: Of all requests that are being answered.
        body_seconds: In which a request must have arrived, and in which the other side must take more of its answer.
        pixels: Of a picture, which its file's head says.
        prompts: Of a request; and turns of a history.
        letters: Of a prompt or a question; ten times as many of a history.
        tokens: Of a chat's answer.
        seconds: From the whole request to its answer.
        waiting: Requests that no process has yet.
        images: Pictures that are kept for questions by id, and...
        image_bytes: ...the bytes of all their files.
        known_bytes: Memory of each process for pictures that were encoded.
        job_bytes: Memory of a process for one request: its picture, and masks and logits for its prompts.
    """

    body_bytes: int = 20 * MIB
    bodies_bytes: int = 512 * MIB
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
    job_bytes: int = 1024 * MIB

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"the limit {name} must be more than 0, not {value!r}")
