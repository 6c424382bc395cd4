"""What one page knows: its picture, what was found in it, what was said, and what came before.

Everything is in memory, and bounded: `Sessions` drops those that were left alone for longest. A picture of the past is
kept as the file that it came from, with the words that were asked about it; its masks are made again.
"""

from __future__ import annotations

import io
import queue
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Any
from zlib import crc32

from PIL import Image

from self1e.processing.images import ImageError, load_image
from self1e.segment.results import Segmentation
from self1e.serve.limits import Limits
from self1e.web.models import Model, known

if TYPE_CHECKING:
    from self1e.segment.explain import Explanation

MOST_LAYERS = 16
"""Prompts of a picture; there are half as many colours."""

MOST_PAST = 12
"""Pictures of a page's history."""

MOST_BYTES = 2 * 2**30
"""Of all pages together."""

MOST_SESSIONS = 256
"""Pages that are open at a time."""

SEPARATOR = ";"
"""Between prompts that are typed in one line."""


class PageError(ValueError):
    """Something that cannot be done, in words for the one who asked."""


class NamedFile(io.BytesIO):
    """A file's bytes, with the name that errors say."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


@dataclass(frozen=True)
class Source:
    """A picture as it came.

    Attributes:
        content: Of its file.
        name: Of its file.
        suggestions: What one could ask about it.
    """

    content: bytes
    name: str
    suggestions: tuple[str, ...] = ()

    @cached_property
    def stamp(self) -> int:
        """That of its content: part of addresses, so that a browser never shows another picture."""
        return crc32(self.content)


@dataclass
class Layer:
    """A prompt and its mask.

    Attributes:
        result: With logits, where the model gave them.
        colour: Its place in the palette.
        shown: Whether it is on the picture.
        remark: What the model says of a prompt that it was not taught.
    """

    result: Segmentation
    colour: int
    shown: bool = True
    remark: str | None = None

    @property
    def prompt(self) -> str:
        """What was asked."""
        return self.result.prompt

    def at(self, threshold: float) -> Segmentation:
        """The result at another threshold; where there are no logits, as it is."""
        return self.result if self.result.logits is None else self.result.at(threshold)


@dataclass(frozen=True)
class Opened:
    """The picture of a page.

    Attributes:
        source: As it came.
        image: RGB, upright.
        handle: What stands for it at the model.
        seconds: That the model took for it.
    """

    source: Source
    image: Image.Image
    handle: Any
    seconds: float

    @property
    def nbytes(self) -> int:
        """Of its pixels, and of what the model made of it here."""
        width, height = self.image.size
        return len(self.source.content) + max(3 * width * height, int(getattr(self.handle, "nbytes", 0)))


@dataclass(frozen=True)
class Past:
    """A picture of before, and what was asked about it.

    Attributes:
        source: As it came.
        prompts: What was segmented.
        thumbnail: JPEG.
    """

    source: Source
    prompts: tuple[str, ...]
    thumbnail: bytes


@dataclass
class Session:
    """One page.

    Attributes:
        models: What there is to ask.
        model: What is asked.
        limits: Of pictures and texts.
        key: Nobody can guess it: addresses of the page's pictures have it.
        threshold: Probability above which a pixel is in a mask.
        opacity: Of masks on the picture.
        picture: What is looked at.
        layers: What was found in it.
        solo: The only layer to be shown; None: all whose `shown` says so.
        talk: Questions and answers about the picture.
        past: Earlier pictures, the last one first.
        explanation: How the mask that was asked about came to be.
        sought: Prompts that the model is being asked for.
        looked_at: Layer of the LLM whose attention is shown, from 1 on; 0: the mean of all.
        sent: A picture that has arrived and is not looked at yet.
        seconds: That the last masks took.
        version: Counts changes of what is seen: part of addresses, so that a browser never shows what was before.
    """

    models: Sequence[Model]
    limits: Limits = field(default_factory=Limits)
    key: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    threshold: float = 0.5
    opacity: float = 0.4
    picture: Opened | None = None
    layers: list[Layer] = field(default_factory=list)
    solo: Layer | None = None
    talk: list[Segmentation] = field(default_factory=list)
    past: list[Past] = field(default_factory=list)
    explanation: Explanation | None = None
    sought: tuple[str, ...] = ()
    looked_at: int = 0
    seconds: float = 0.0
    version: int = 0
    sent: Source | None = None
    model: Model = field(init=False)

    def __post_init__(self) -> None:
        self.model = self.models[0]

    @property
    def nbytes(self) -> int:
        """Of everything large that it keeps. Masks that an answer and a layer share count once."""
        results = {id(result): result for result in [*self.talk, *(layer.result for layer in self.layers)]}
        return (
            sum(_nbytes(result) for result in results.values())
            + sum(len(one.source.content) + len(one.thumbnail) for one in self.past)
            + (self.picture.nbytes if self.picture else 0)
            + (self.explanation.nbytes if self.explanation else 0)
            + (len(self.sent.content) if self.sent else 0)
        )

    @property
    def opened(self) -> Opened:
        """The picture, where there has to be one.

        Raises:
            PageError: If there is none.
        """
        if self.picture is None:
            raise PageError("There is no picture yet: choose one, drop one, or take an example.")
        return self.picture

    @property
    def shown(self) -> list[Layer]:
        """The layers that are on the picture."""
        return [layer for layer in self.layers if (layer is self.solo if self.solo else layer.shown)]

    # ------------------------------------------------------------------------------------------------------ pictures

    def open(self, source: Source, thumbnail: Callable[[Session], bytes]) -> None:
        """Looks at another picture. After an error everything is as it was.

        Args:
            source: The picture.
            thumbnail: Draws that of the picture which becomes the past.

        Raises:
            ImageError: If it cannot be read, or has too many pixels.
        """
        opened = self._read(source, self.model)
        self._remember(thumbnail)
        self._look_at(opened)

    def _read(self, source: Source, model: Model) -> Opened:
        image = load_image(NamedFile(source.content, source.name))
        if image.width * image.height > self.limits.pixels:
            raise ImageError(
                f"{source.name} has {image.width}x{image.height} pixels, more than {self.limits.pixels:,}: "
                "scale it down first"
            )
        begun = perf_counter()
        return Opened(source, image, model.open(image), perf_counter() - begun)

    def _look_at(self, opened: Opened | None) -> None:
        self.picture, self.layers, self.talk, self.solo, self.seconds = opened, [], [], None, 0.0
        self.explanation, self.looked_at, self.sought = None, 0, ()
        self._changed()

    def _remember(self, thumbnail: Callable[[Session], bytes]) -> None:
        if self.picture is None:
            return
        prompts = dict.fromkeys([*(layer.prompt for layer in self.layers), *self.sought])
        before = Past(self.picture.source, tuple(prompts), thumbnail(self))
        others = [one for one in self.past if one.source.content != before.source.content]
        self.past = [before, *others][:MOST_PAST]

    def close(self, thumbnail: Callable[[Session], bytes]) -> None:
        """Puts the picture away; see `open`."""
        self._remember(thumbnail)
        self._look_at(None)

    def restore(self, number: int, thumbnail: Callable[[Session], bytes]) -> None:
        """Takes up a picture of the past with its prompts.

        Raises:
            PageError: If there is none of this number.
        """
        if not 0 <= number < len(self.past):
            raise PageError("this picture is not in the history any more: open it again")
        past = self.past[number]
        self.open(past.source, thumbnail)
        self.past = [one for one in self.past if one is not past]
        if past.prompts:
            self.find(list(past.prompts))

    def use(self, name: str) -> None:
        """Asks another model: the same picture, the same prompts. If it cannot read the picture, all stays as it was.

        If the picture is put away meanwhile, it stays so.

        Raises:
            ValueError: If there is no such model.
        """
        model = known(self.models, name)
        if model is self.model:
            return
        picture = self.picture
        opened = self._read(picture.source, model) if picture else None
        prompts, self.model = [layer.prompt for layer in self.layers], model
        if self.picture is not picture:
            self._changed()
            return
        self._look_at(opened)
        if prompts:
            self.find(prompts)

    # --------------------------------------------------------------------------------------------------------- masks

    def segment(self, text: str) -> None:
        """Segments what a line names: one prompt, or several with ";" between them.

        Raises:
            PageError: If there is no picture, no prompt, or too many of them.
            PromptError: If the model cannot read one.
        """
        prompts = list(dict.fromkeys(part.strip() for part in text.split(SEPARATOR) if part.strip()))
        if not prompts:
            raise PageError("Say what to find: for example “the cat”, or several things with “;” between them.")
        if max(map(len, prompts)) > self.limits.letters:
            raise PageError(f"A prompt has at most {self.limits.letters:,} letters.")
        self.find(prompts)

    def find(self, prompts: list[str]) -> None:
        """Adds a layer for each prompt; those that are there already are shown.

        If the picture is put away meanwhile, what was found in it goes as well.

        Raises:
            PageError: If there is no picture, or no room.
            PromptError: If the model cannot read a prompt.
        """
        picture = self.opened
        new = self._missing(prompts)
        if new:
            begun, self.sought = perf_counter(), tuple(prompts)
            try:
                results = self.model.segment(picture.handle, new)
            finally:
                if self.picture is picture:
                    self.sought = ()
            if self.picture is not picture:
                return
            self.seconds = perf_counter() - begun
            missing = self._missing(new)  # answers may have been put on the picture meanwhile
            for result in results:
                if result.prompt in missing:
                    self._add(result)
        for layer in self.layers:
            layer.shown = layer.shown or layer.prompt in prompts
        self.solo = None
        self._changed()

    def _missing(self, prompts: list[str]) -> list[str]:
        """Those that have no layer yet; there has to be room for them."""
        there = {layer.prompt for layer in self.layers}
        missing = [prompt for prompt in prompts if prompt not in there]
        if len(there) + len(missing) > MOST_LAYERS:
            raise PageError(f"There are {MOST_LAYERS} masks at most: remove one first.")
        return missing

    def _add(self, result: Segmentation) -> None:
        taken = [layer.colour for layer in self.layers]
        colour = next(number for number in range(MOST_LAYERS) if number not in taken)
        self.layers.append(Layer(result, colour, remark=self.model.remark(result.prompt)))

    def toggle(self, number: int) -> None:
        """Shows or hides a layer."""
        layer = self._layer(number)
        layer.shown, self.solo = layer not in self.shown, None
        self._changed()

    def alone(self, number: int) -> None:
        """Shows one layer only, or all again."""
        layer = self._layer(number)
        self.solo = None if layer is self.solo else layer
        self._changed()

    def remove(self, number: int) -> None:
        """Takes a layer away."""
        self.layers.remove(self._layer(number))
        self.solo = None
        self._changed()

    def clear(self) -> None:
        """Takes all layers away."""
        self.layers, self.solo = [], None
        self._changed()

    def set(self, threshold: float, opacity: float) -> None:
        """Changes how masks are drawn; the model is not asked again."""
        self.threshold, self.opacity = min(max(threshold, 0.01), 0.99), min(max(opacity, 0.0), 1.0)
        self._changed()

    def _layer(self, number: int) -> Layer:
        if not 0 <= number < len(self.layers):
            raise PageError("This mask is not there any more.")
        return self.layers[number]

    def explain(self, number: int) -> None:
        """Asks how the mask of a layer comes to be.

        Raises:
            PageError: If there is no such layer.
            ValueError: If the model cannot tell.
        """
        picture = self.opened
        explanation = self.model.explain(picture.handle, self._layer(number).prompt)
        if self.picture is not picture:
            return
        self.looked_at, self.explanation = 0, explanation  # in this order: it may be drawn meanwhile
        self._changed()

    def look_at(self, layer: int) -> None:
        """Chooses the layer of the LLM whose attention is shown; see `looked_at`."""
        if self.explanation is None or not 0 <= layer <= len(self.explanation.attention):
            raise PageError("This is not there any more: ask why again.")
        self.looked_at = layer
        self._changed()

    # ---------------------------------------------------------------------------------------------------------- talk

    def ask(self, question: str) -> Iterator[str]:
        """Asks about the picture; gives the answer as far as it is written, again and again, until it is in `talk`.

        Raises:
            PageError: If there is no picture or no question, or it is too long.
            PromptError: If the conversation is longer than the model can read.
        """
        picture, question = self.opened, question.strip()
        if not question:
            raise PageError("Ask something: for example “What is in the picture?”")
        if len(question) > self.limits.letters:
            raise PageError(f"A question has at most {self.limits.letters:,} letters.")
        talk, written = self.talk, ""
        turns = [(reply.prompt, reply.text) for reply in talk]
        for piece in _as_it_comes(lambda tell: self.model.chat(picture.handle, question, turns, tell)):
            if self.talk is not talk:  # another picture, or a new conversation
                return
            if isinstance(piece, Segmentation):
                talk.append(piece)
            else:
                written += piece
                yield written
        self._changed()

    def keep(self, number: int) -> None:
        """Makes the masks of an answer a layer.

        Raises:
            PageError: If there is no such answer, no room, or a layer of its name.
        """
        if not 0 <= number < len(self.talk):
            raise PageError("This answer is not there any more.")
        reply = self.talk[number]
        if not self._missing([reply.prompt]):
            raise PageError("The masks of this answer are on the picture already.")
        self._add(reply)
        self._changed()

    def forget_talk(self) -> None:
        """Begins the conversation anew."""
        self.talk = []

    def _changed(self) -> None:
        self.version += 1


def _nbytes(result: Segmentation) -> int:
    """Of its masks and logits."""
    return result.masks.nbytes + (0 if result.logits is None else result.logits.nbytes)


def _as_it_comes(work: Callable[[Callable[[str], None]], Segmentation]) -> Iterator[str | Segmentation]:
    """What some work in a thread of its own tells on the way, and at last its result."""
    told: queue.SimpleQueue[str | Segmentation | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            told.put(work(told.put))
        except Exception as error:  # is raised where the answer is waited for
            told.put(error)

    threading.Thread(target=run, name="self1e-chat", daemon=True).start()
    while not isinstance(piece := told.get(), Segmentation):
        if isinstance(piece, Exception):
            raise piece
        yield piece
    yield piece


class Sessions:
    """All pages that are open.

    Args:
        models: What there is to ask.
        limits: Of pictures and texts.
        most_bytes: Of all pages together; a page alone may have more.
    """

    def __init__(self, models: Sequence[Model], limits: Limits | None = None, most_bytes: int = MOST_BYTES) -> None:
        self.models = models
        self.limits = limits or Limits()
        self.most_bytes = most_bytes
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def new(self) -> Session:
        """A page that was just opened."""
        session = Session(self.models, self.limits)
        with self._lock:
            self._open[session.key] = session
        self.tidy()
        return session

    def get(self, key: str | None) -> Session:
        """The page of a key.

        Raises:
            PageError: If there is none any more.
        """
        with self._lock:
            session = self._open.get(key or "")
            if session is None:
                raise PageError("This page was left alone for so long that its pictures were dropped: reload it.")
            self._open.move_to_end(session.key)
            return session

    def drop(self, key: str | None) -> None:
        """Forgets a page."""
        with self._lock:
            self._open.pop(key or "", None)

    def tidy(self) -> None:
        """Forgets pages that were left alone for longest, where all together are too many or too large."""
        with self._lock:
            while len(self._open) > 1 and (
                len(self._open) > MOST_SESSIONS or sum(each.nbytes for each in self._open.values()) > self.most_bytes
            ):
                self._open.popitem(last=False)
