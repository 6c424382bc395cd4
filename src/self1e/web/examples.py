"""Pictures to begin with: those that come with the package, and scenes that were never drawn before."""

from __future__ import annotations

import io
from functools import cache
from typing import Any, NamedTuple

from self1e.plugins import DATASETS, PluginError, load
from self1e.processing.images import PICTURES, load_image
from self1e.web.state import PageError, Source
from self1e.web.views import small

SCENE_DATA = "toyland"
"""The data set that scenes come from: a plugin, which need not be there."""

SCENE_MODEL = "nano"
"""The model that was raised on it."""


class Example(NamedTuple):
    """A picture of the package.

    Attributes:
        file: In `PICTURES`.
        model: That knows what is in it, if it is a bundled one.
        prompts: To try.
    """

    file: str
    model: str
    prompts: tuple[str, ...]


EXAMPLES = (
    Example("cat.jpg", "mini", ("the cat", "the bus")),
    Example("astronaut.jpg", "mini", ("the person", "the hair", "the skin")),
    Example("coffee.jpg", "mini", ("the cup", "the table")),
    Example("lakeside.png", "nano", ("the house with the blue roof", "the red boat", "Where could I swim?")),
)


def example(file: str) -> tuple[Source, Example]:
    """One of `EXAMPLES`.

    Raises:
        PageError: If there is none of this name.
    """
    for each in EXAMPLES:
        if each.file == file:
            return Source((PICTURES / file).read_bytes(), file, each.prompts), each
    raise PageError(f"There is no example {file!r}.")


@cache
def thumbnail(file: str) -> bytes:
    """An example, small."""
    return small(load_image(example(file)[0].content))


def scene(number: int) -> Source:
    """A scene of toyland with phrases for what is in it; the same number gives the same one.

    Raises:
        PageError: If toyland is not there.
    """
    try:
        data: Any = load(DATASETS, SCENE_DATA)
    except PluginError as error:
        raise PageError(str(error)) from None
    settings = data(seed=number, segmenting=4, textual_share=0.0, terse=1.0)
    drawn = settings.examples(1, training=False)[0]
    file = io.BytesIO()
    drawn.image.save(file, "PNG")
    prompts = tuple(dict.fromkeys(talk.turns[0].question for talk in drawn.conversations))
    return Source(file.getvalue(), f"{drawn.id}.png", prompts)
