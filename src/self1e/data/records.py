"""What a dataset says about one picture, before words and pixels are fixed: the step between files and `Example`.

    files --(a loader: refer, reason, semantic, vqa, own)--> Source of Records --(to_example, seed)--> Example

A loader knows a format and nothing about prompts; `to_example` knows prompts and no format. A record is cheap: pictures
are opened, and masks rasterised, only when it becomes an example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.random import Generator

from self1e.conversation import SEG, Conversation, Example, Turn
from self1e.processing.images import Head, load_image, read_head
from self1e.processing.prompts import (
    EVAL_ANSWER,
    PHRASE_QUESTIONS,
    SEG_ANSWERS,
    SENTENCE_QUESTIONS,
    fill_phrase,
    phrase_question,
    sentence_question,
)

Item = TypeVar("Item")


class DataError(ValueError):
    """A dataset, or one record of it, that cannot be used. The message says where and what to do."""


class NothingSaid(DataError):
    """A picture about which the data say nothing: no fault, but there is nothing to learn from it."""


DRAW_OUTLINES = (
    "Masks are learnt from outlines: draw them, or have them made of the boxes by a program that takes boxes, "
    "such as SAM"
)
"""What to do where all is boxes."""

UNSURE = "{!r} is not asked for: its score is below min_score"
"""Why something is left out of a record."""


@dataclass(frozen=True)
class Canvas:
    """What masks of a picture are drawn on: its head is read when one of them is made, once for all of them."""

    image: Path

    @cached_property
    def head(self) -> Head:
        """Raises OSError when there is no such picture."""
        return read_head(self.image)


@dataclass(frozen=True)
class Query:
    """Something to point at.

    Attributes:
        text: A noun phrase ("left guy") or a sentence, as `form` says.
        form: Chooses the prompt.
        mask: Makes uint8[H, W] of the picture's size: 1 inside, 0 outside, 255 ignored; no 1 when it is not there. Has
            to be picklable, as workers are processes: a `functools.partial` of a module's function.
        answer: An explanation in words, "" if there is none.
        kind: Name of the kind of query, for tables.
        absent: Whether the data say that it is not there. The mask of a tiny target has no pixel inside, either.
    """

    text: str
    form: Literal["phrase", "sentence"]
    mask: Callable[[], np.ndarray]
    answer: str = ""
    kind: str = ""
    absent: bool = False


@dataclass(frozen=True)
class Talk:
    """An exchange whose words are given.

    Attributes:
        turns: Questions and answers.
        masks: For each `[SEG]` in the answers, in order, what makes its mask; see `Query.mask`.
        kind: See `Query.kind`.
    """

    turns: tuple[Turn, ...]
    masks: tuple[Callable[[], np.ndarray], ...] = ()
    kind: str = ""


@dataclass(frozen=True)
class Record:
    """All that a dataset says about one picture.

    Attributes:
        id: Names it in reports, unique in its source.
        image: The picture's file.
        queries: What can be asked for by a mask, in words that `to_example` finds.
        talks: Exchanges whose words are given.
        dropped: What is left out as it is no mask or not sure enough, in words.
    """

    id: str
    image: Path
    queries: tuple[Query, ...] = ()
    talks: tuple[Talk, ...] = ()
    dropped: tuple[str, ...] = ()


class Source(Protocol):
    """A dataset: numbered records. `name` is what settings and reports call it."""

    name: str

    def __len__(self) -> int:
        """How many pictures there are."""

    def __getitem__(self, index: int) -> Record:
        """Reads the record, at most with its annotation file, never with its picture.

        Raises:
            DataError: When the record is broken.
        """

    def image_path(self, index: int) -> Path:
        """The picture of a record, without reading anything else."""


class FileSource(Source, Protocol):
    """A source that knows its files."""

    def files(self) -> Iterator[Path]:
        """Pictures, and files of masks, always in the same order, whether they are there or not."""


#: How an explained answer is asked for and given: mask and explanation, or the explanation alone.
EXPLAIN_QUESTIONS = (
    "{sentence} Please output segmentation mask and explain why.",
    "{sentence} Please output segmentation mask and explain the reason.",
)
EXPLAINED_ANSWER = f"It is {SEG}. {{answer}}"


def to_example(record: Record, rng: Generator, *, at_most: int = 3, training: bool = True) -> Example:
    """Opens the picture and puts questions and answers into words.

    Args:
        record: What there is.
        rng: Chooses among queries, talks and templates.
        at_most: How many queries, and how many talks, are taken; the recipe takes 3 (method, section 4).
        training: Whether words vary. Otherwise question and answer are those of the evaluation protocol.

    Raises:
        DataError: When the picture cannot be opened, or a mask does not fit it.
    """
    try:
        image = load_image(record.image)
    except (OSError, ValueError) as error:
        raise DataError(f"{record.id}: {error}") from error
    shape = (image.height, image.width)
    conversations = []
    for query in chosen(record.queries, at_most, rng):
        mask = fitting_mask(query.mask, shape, f"{record.id}, {query.text!r}")
        turn = training_turn(query, rng) if training else evaluation_turn(query.text, query.form)
        conversations.append(Conversation((turn,), (mask,) * turn.answer.count(SEG), query.kind))
    for talk in chosen(record.talks, at_most, rng):
        masks = [fitting_mask(mask, shape, f"{record.id}, {talk.turns[0].question!r}") for mask in talk.masks]
        conversations.append(Conversation(talk.turns, masks, talk.kind))
    return Example(image, tuple(conversations), record.id)


def fitting_mask(make: Callable[[], np.ndarray], shape: tuple[int, int], where: str) -> np.ndarray:
    """A mask of the picture's size.

    Args:
        make: See `Query.mask`.
        shape: (height, width) of the picture.
        where: Begins the message of an error.

    Raises:
        DataError: When it cannot be made, or has another size.
    """
    try:
        mask = make()
    except (OSError, ValueError) as error:
        raise DataError(f"{where}: {error}") from error
    if wrong := misfit(mask, shape):
        raise DataError(f"{where}: {wrong}")
    return mask


def misfit(mask: np.ndarray, shape: tuple[int, int]) -> str:
    """What is wrong with the size of a mask of a picture of (height, width); "" if it fits."""
    if mask.shape == shape:
        return ""
    hint = "; if EXIF turns the picture, set `exif: stored`" if mask.shape == shape[::-1] else ""
    return f"the mask is {mask.shape[1]} x {mask.shape[0]}, the picture {shape[1]} x {shape[0]} pixels{hint}"


def chosen(items: Sequence[Item], at_most: int, rng: Generator) -> list[Item]:
    """`at_most` of these in random order; all of them if there are no more."""
    return [items[i] for i in rng.permutation(len(items))[:at_most]]


def evaluation_turn(text: str, form: Literal["phrase", "sentence"]) -> Turn:
    """The published protocol: the last template, and the answer given (method, section 5)."""
    ask = phrase_question if form == "phrase" else sentence_question
    return Turn(ask(text), EVAL_ANSWER)


def training_turn(query: Query, rng: Generator) -> Turn:
    """A question from the training templates with its answer; of an explained query, mask, explanation, or both."""
    if query.answer:
        style = int(rng.integers(3))
        if style == 0:
            question = _one(EXPLAIN_QUESTIONS, rng).format(sentence=query.text)
            return Turn(question, EXPLAINED_ANSWER.format(answer=query.answer))
        if style == 1:
            return Turn(query.text, query.answer)
    if query.form == "phrase":
        return Turn(fill_phrase(_one(PHRASE_QUESTIONS, rng), query.text), _one(SEG_ANSWERS, rng))
    return Turn(_one(SENTENCE_QUESTIONS, rng).format(sentence=query.text), _one(SEG_ANSWERS, rng))


def _one(templates: Sequence[str], rng: Generator) -> str:
    return templates[int(rng.integers(len(templates)))]
