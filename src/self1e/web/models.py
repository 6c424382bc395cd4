"""What answers: a `Segmenter` in this process, or a server of `self1e serve`. The page does not know which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image

from self1e.segment.results import Segmentation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from self1e.client import Client, SentPicture
    from self1e.segment.explain import Explanation
    from self1e.segment.segmenter import Segmenter

LIMITS = {
    "mini": "Knows photographs, and the nouns that it was taught. Small and thin things are hard for it.",
    "nano": "Knows drawn scenes of toyland, and nothing else.",
}
"""What bundled models can do, in a line."""

Turns = list[tuple[str, str]]


class Model(Protocol):
    """What the page asks. All methods may be called by several threads at a time.

    Attributes:
        name: Of the model.
        size: How large it is and where it runs, in a few words.
        nouns: What it was taught and finds; empty where that has no end.
        explains: Whether it has an `explain`.
    """

    name: str
    size: str
    nouns: tuple[str, ...]
    explains: bool

    def open(self, image: Image.Image) -> Any:
        """Does once what depends on the picture alone; what it gives stands for the picture in the other methods."""

    def segment(self, picture: Any, prompts: list[str]) -> list[Segmentation]:
        """A mask for each prompt, with its logits."""

    def chat(self, picture: Any, question: str, turns: Turns, on_text: Callable[[str], object]) -> Segmentation:
        """An answer in words and masks; `on_text` is given it as it is written."""

    def remark(self, prompt: str) -> str | None:
        """What to say of a prompt that the model was not taught."""

    def explain(self, picture: Any, prompt: str) -> Explanation:
        """The steps to a mask."""


def limits_of(model: Model) -> str:
    """What a model can do, in a line; "" if nothing is known."""
    return LIMITS.get(model.name, "")


class LocalModel:
    """A `Segmenter` of this process. One of an exported model cannot explain."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self.name = segmenter.model_name
        facts = segmenter.runner.facts()
        self.size = f"{_short(facts['parameters'])} parameters on {segmenter.runner.device}"
        self.nouns = tuple(segmenter.nouns.found) if segmenter.nouns else ()
        self.explains = hasattr(segmenter.runner, "model")  # the engine torch runs exported models as well

    def open(self, image: Image.Image) -> Any:
        """See `Model`."""
        return self.segmenter.encode(image)

    def segment(self, picture: Any, prompts: list[str]) -> list[Segmentation]:
        """See `Model`."""
        return self.segmenter.segment(picture, prompts, logits=True)

    def chat(self, picture: Any, question: str, turns: Turns, on_text: Callable[[str], object]) -> Segmentation:
        """See `Model`."""
        return self.segmenter.chat(picture, question, turns, logits=True, on_text=on_text)

    def remark(self, prompt: str) -> str | None:
        """See `Model`."""
        return self.segmenter.remark(prompt)

    def explain(self, picture: Any, prompt: str) -> Explanation:
        """See `Model`."""
        return self.segmenter.explain(picture, prompt)


class ServedModel:
    """The model of a server.

    Raises:
        ServerError: When it does not answer.
    """

    explains = False

    def __init__(self, client: Client) -> None:
        facts = client.models()[0]
        self.client = client
        self.name = str(facts["name"])
        self.size = f"{_short(int(facts['parameters']))} parameters on {facts['device']} at {client.url}"
        self.nouns = tuple(facts["nouns"] or ())

    def open(self, image: Image.Image) -> Any:
        """See `Model`."""
        return self.client.send(image)

    def segment(self, picture: Any, prompts: list[str]) -> list[Segmentation]:
        """See `Model`. A picture that the server does not have any more is sent again."""
        return self._again(picture, lambda sent: self.client.segment(sent, prompts, logits=True))

    def chat(self, picture: Any, question: str, turns: Turns, on_text: Callable[[str], object]) -> Segmentation:
        """See `Model`; without logits, which the client does not ask for in a chat."""
        return self._again(picture, lambda sent: self.client.chat(sent, question, turns, on_text=on_text))

    def _again(self, picture: SentPicture, ask: Callable[[SentPicture], Any]) -> Any:
        from self1e.client import ServerError

        try:
            return ask(picture)
        except ServerError as error:
            if error.status != 404:
                raise
        return ask(self.client.send(picture.image))

    def remark(self, prompt: str) -> str | None:
        """See `Model`: the client hands on none."""
        return None

    def explain(self, picture: Any, prompt: str) -> Explanation:
        """Is not to be had from a server.

        Raises:
            ValueError: Always.
        """
        raise ValueError("a server does not tell how it comes to a mask: start `self1e web` without --server")


def _short(count: int) -> str:
    """A number of parameters.

    >>> _short(12_960_000), _short(2_090_000_000)
    ('13 M', '2.1 B')
    """
    return f"{count / 1e9:.1f} B" if count >= 1e9 else f"{count / 1e6:.0f} M"


def known(models: Sequence[Model], name: str) -> Model:
    """The model of a name.

    Raises:
        ValueError: If there is none.
    """
    for model in models:
        if model.name == name:
            return model
    raise ValueError(f"there is no model {name!r} here: {', '.join(model.name for model in models)}")
