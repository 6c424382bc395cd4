"""What `Segmenter.segment` is asked: its arguments become requests, their prompts jobs, and these full passes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from self1e.model.rows import Row
from self1e.processing.images import ImageSource
from self1e.processing.prompts import Template, question_for
from self1e.processing.tokens import EncodedConversation, pack_tightly, single
from self1e.segment.runner import EncodedPicture, TiledPicture
from self1e.segment.votes import View, Vote

Picture = ImageSource | TiledPicture | EncodedPicture
Prompts = list[str] | tuple[str, ...]

SEPARATE, PACKED = 8, 32
"""Default `batch_size`. A prompt in a row of its own costs as much memory as a picture, a packed one next to none."""

TOKENS_PER_PASS = 4096
"""Where this many tokens have come together, pictures included, a forward pass is full with fewer prompts."""


@dataclass(frozen=True)
class Request:
    """What is asked about one picture.

    Attributes:
        picture: Encoded or not.
        prompts: As they were given, and what the model is asked, for each.
        as_list: Whether the results are wanted as a list, rather than the one there is.
    """

    picture: Picture
    prompts: list[tuple[str, str]]
    as_list: bool


def requests_of(
    image: Picture | Sequence[tuple[Picture, str | Prompts]] | None, prompt: str | Prompts | None, template: Template
) -> list[Request]:
    """What the arguments of `Segmenter.segment` ask for. All prompts are looked at before any work is done.

    Raises:
        PromptError: If a prompt is empty.
        ValueError: If something is missing, or of a wrong type.
    """
    if isinstance(image, list | tuple):
        if prompt is not None:
            raise ValueError("each of several pictures needs its own prompts: segment([(picture, prompts), ...])")
        pairs = [_pair(number, pair) for number, pair in enumerate(image)]
    elif prompt is None or image is None:
        raise ValueError("there is no prompt: segment(picture, prompt), or segment(prompt=...) after set_image")
    else:
        pairs = [(image, prompt)]  # type: ignore[list-item]  # no pairs here
    return [_request(picture, prompts, template) for picture, prompts in pairs]


def _pair(number: int, pair: object) -> tuple[Picture, str | Prompts]:
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise ValueError(f"entry {number} of the list is no pair: give [(picture, prompt or list of prompts), ...]")
    return pair[0], pair[1]


def _request(picture: Picture, prompts: str | Prompts, template: Template) -> Request:
    if not isinstance(prompts, str | list | tuple):
        raise ValueError(f"a prompt is text or a list of texts, not {type(prompts).__name__}")
    given = [prompts] if isinstance(prompts, str) else prompts
    return Request(
        picture, [(prompt, question_of(prompt, template)) for prompt in given], as_list=not isinstance(prompts, str)
    )


def question_of(prompt: str, template: Template) -> str:
    """What the model is asked for a prompt.

    Raises:
        PromptError: If it is empty.
        ValueError: If it is no text, or the template is unknown.
    """
    if not isinstance(prompt, str):
        raise ValueError(f"a prompt is text, not {type(prompt).__name__}")
    return question_for(prompt, template)


@dataclass(frozen=True)
class Job:
    """One question; its conversation is `prefix` + `words`.

    Attributes:
        request: Number of the pair that asks.
        vote: What is asked, about which view of the pair's picture.
        picture: That view.
        prefix: What all conversations about it begin with.
        words: What follows.
        ends_block: Whether it is the last of those whose prompts are asked together.
    """

    request: int
    vote: Vote
    picture: EncodedPicture
    prefix: EncodedConversation
    words: EncodedConversation
    ends_block: bool

    @property
    def about(self) -> tuple[int, View]:
        """What jobs about the same picture have in common."""
        return self.request, self.vote.view


def checked_size(batch_size: int | None, packed: bool) -> int:
    """Most jobs of a pass; None stands for the default.

    Raises:
        ValueError: If it is less than 1, or no whole number.
    """
    if batch_size is None:
        return PACKED if packed else SEPARATE
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number of at least 1, not {batch_size!r}")
    return batch_size


def passes(jobs: Iterable[Job], batch_size: int, packed: bool) -> Iterator[list[Job]]:
    """Consecutive jobs for one forward pass each.

    Args:
        jobs: In the order of their requests.
        batch_size: Most of them in a pass.
        packed: Whether jobs about one picture share a row.
    """
    batch: list[Job] = []
    tokens = 0
    for job in jobs:
        shares_prefix = packed and bool(batch) and batch[-1].about == job.about
        cost = len(job.words) + (0 if shares_prefix else len(job.prefix))
        if batch and (len(batch) == batch_size or tokens + cost > TOKENS_PER_PASS):
            yield batch
            batch, tokens = [], 0
            cost = len(job.words) + len(job.prefix)
        batch.append(job)
        tokens += cost
    if batch:
        yield batch


def rows_of(jobs: Sequence[Job], picture: int, packed: bool) -> list[Row]:
    """The conversations about one picture: a row each, or one behind the other in one row."""
    if packed and len(jobs) > 1:
        return [pack_tightly(jobs[0].prefix, [job.words for job in jobs], picture)]
    return [single(job.prefix + job.words, picture) for job in jobs]
