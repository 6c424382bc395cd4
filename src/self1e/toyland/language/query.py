"""What a question about a scene is, before it is dressed in a prompt, and the draft it is written from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from numpy.random import Generator

from self1e.data.wording import Form, Written

#: Kinds that are answered by a mask.
SEGMENTING = (
    "stuff",
    "class",
    "attribute",
    "size",
    "ordinal",
    "spatial",
    "part",
    "plural",
    "absent",
    "reasoning",
)
#: Kinds that are answered in words.
TEXTUAL = ("vqa_colour", "vqa_count", "vqa_where", "vqa_yesno", "caption")
KINDS = SEGMENTING + TEXTUAL


@dataclass(frozen=True)
class SceneQuery:
    """One question about a scene.

    `form` says how it is worded: "phrase" ("the red car"), "sentence" (a reasoning sentence or an instruction) or
    "question" (answered in words only). The mask is the union of `things`, or of `parts`; both are empty when what is
    asked for is not there. `answer` is the reply to a "question", or why the target fits a "sentence" ("" if unknown).
    """

    kind: str
    form: Form
    text: str
    things: tuple[int, ...] = ()
    parts: tuple[int, ...] = ()
    answer: str = ""

    @property
    def plural(self) -> bool:
        """Whether a phrase takes "are"."""
        return self.kind == "plural" or self.text.split()[0] in ("all", "both")


@dataclass(frozen=True)
class Draft:
    """A query whose words are not chosen yet, so that only the ones that are used cost anything.

    `variety` is the sub-kind (a relation, a question type): drafts are drawn evenly over varieties. The words of a
    draft may differ at each `write`, its meaning may not.
    """

    kind: str
    variety: str
    form: Form
    write: Callable[[Generator], Written]
    things: tuple[int, ...] = ()
    parts: tuple[int, ...] = ()

    def query(self, rng: Generator) -> SceneQuery:
        """Choose the words."""
        text, answer, _ = self.write(rng)
        return SceneQuery(self.kind, self.form, text, self.things, self.parts, answer)
