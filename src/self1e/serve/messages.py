"""What goes through the pipe between the server and a process with the model. Importing this is cheap."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from self1e.conversation import Turn
from self1e.processing.prompts import Template

Form = Literal["rle", "polygons", "png", "logits"]


@dataclass(frozen=True)
class SentPicture:
    """A picture's file.

    Attributes:
        key: Of its bytes: the same picture has the same, others have others.
        content: The bytes.
        pixels: How many it has.
    """

    key: str
    content: bytes = field(repr=False)
    pixels: int


@dataclass(frozen=True)
class Forms:
    """How masks are wanted.

    Attributes:
        masks: Of each mask, any of: "rle" (COCO run lengths), "polygons", "png" (base64 of a grey picture), and
            "logits" (base64 of float16[H, W], little-endian).
        instances: Whether each connected part is to be a mask of its own.
        threshold: The probability above which a pixel is in a mask.
        tolerance: How far, in pixels, polygons may move to spare corners.
    """

    masks: frozenset[Form] = frozenset({"rle"})
    instances: bool = False
    threshold: float = 0.5
    tolerance: float = 0.0

    @property
    def need_logits(self) -> bool:
        """Whether logits have to be kept to make them."""
        return "logits" in self.masks or self.instances or self.threshold != 0.5


@dataclass(frozen=True)
class SegmentJob:
    """Masks for prompts about a picture. The answer is JSON: a list with a result for each prompt, as of `pack`."""

    picture: SentPicture
    prompts: tuple[str, ...]
    template: Template = "auto"
    forms: Forms = Forms()

    @property
    def memory(self) -> int:
        """Bytes that it takes: three bytes of a pixel, and for each prompt one of a mask and four of logits."""
        return self.picture.pixels * (3 + len(self.prompts) * (5 if self.forms.need_logits else 1))


@dataclass(frozen=True)
class ChatJob:
    """An answer in words, with masks. It comes in pieces of text, and at last as JSON: a result as of `pack`."""

    picture: SentPicture
    question: str
    history: tuple[Turn, ...] = ()
    max_new_tokens: int = 128
    temperature: float = 0.0
    seed: int | None = None
    forms: Forms = Forms()

    @property
    def memory(self) -> int:
        """Bytes that it takes, with one mask; see `SegmentJob.memory`."""
        return 8 * self.picture.pixels


@dataclass(frozen=True)
class ImageJob:
    """A picture to be read and encoded ahead of questions. The answer is its {"width", "height"}."""

    picture: SentPicture

    @property
    def memory(self) -> int:
        """Bytes that it takes; see `SegmentJob.memory`."""
        return 3 * self.picture.pixels


Job = SegmentJob | ChatJob | ImageJob


@dataclass(frozen=True)
class Asked:
    """A job, to the model, with the number that its answer will have."""

    number: int
    job: Job


@dataclass(frozen=True)
class Cancelled:
    """To the model: nobody waits for the answer of this number any more."""

    number: int


@dataclass(frozen=True)
class Ready:
    """From the model: it is loaded.

    Attributes:
        facts: What `/api/v1/models` says of it.
    """

    facts: dict[str, Any]


@dataclass(frozen=True)
class Text:
    """From the model: the next piece of a chat's answer."""

    number: int
    piece: str


@dataclass(frozen=True)
class Answer:
    """From the model: a job is done."""

    number: int
    value: Any


Kind = Literal["picture", "prompt", "too_much", "internal", "cancelled", "crash", "busy", "late", "stopped"]
"""Why a job is not done. The last four are the server's own: a process died at it, too many wait, its time was over, or
there is no model (any more)."""


@dataclass(frozen=True)
class Failure:
    """From the model: a job cannot be done, or was cancelled before it was."""

    number: int
    kind: Kind
    message: str


@dataclass(frozen=True)
class Pass:
    """From the model: jobs that came together were done. Of their pictures `encoded` were not known before."""

    jobs: int
    prompts: int
    encoded: int
    seconds: float


@dataclass(frozen=True)
class NotLoaded:
    """From the model: it cannot be loaded. The process ends."""

    message: str


Told = Ready | Text | Answer | Failure | Pass | NotLoaded
