"""What a question about a photograph is, before it is dressed in a prompt, and the draft it is written from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from numpy.random import Generator

from self1e.data.wording import Form, Written

#: Kinds that are answered by a mask.
SEGMENTING = (
    "noun",
    "group",
    "union",
    "part",
    "ordinal",
    "size",
    "place",
    "relation",
    "colour",
    "use",
    "absent",
)
#: Kinds that are answered in words.
TEXTUAL = ("vqa_yesno", "vqa_count", "vqa_colour", "vqa_where")
KINDS = SEGMENTING + TEXTUAL


class Target(NamedTuple):
    """What a mask shows: single things, or all of some nouns. Neither: what is asked for is not there.

    Pixels of nouns that are `unsure` count neither way.
    """

    nouns: tuple[str, ...] = ()
    things: tuple[int, ...] = ()
    unsure: tuple[str, ...] = ()


NOWHERE = Target()


@dataclass(frozen=True)
class PhotoQuery:
    """One question about a photograph.

    Attributes:
        kind: One of `KINDS`.
        form: How it is worded: "phrase" ("the red car"), "sentence" ("What could I ride?"), or "question", which is
            answered in words only.
        text: The words.
        target: What to point at.
        answer: The reply to a "question", or why the target fits a "sentence"; "" if there is none.
        plural: Whether a phrase takes "are".
    """

    kind: str
    form: Form
    text: str
    target: Target = NOWHERE
    answer: str = ""
    plural: bool = False


@dataclass(frozen=True)
class Draft:
    """A query whose words are not chosen yet, so that only the ones that are used cost anything.

    `variety` is the sub-kind: drafts are drawn evenly over varieties. `write` takes the source of chance; the words of
    a draft may differ at each call, its meaning may not.
    """

    kind: str
    variety: str
    form: Form
    write: Callable[[Generator], Written]
    target: Target = NOWHERE

    def query(self, rng: Generator) -> PhotoQuery:
        """Choose the words."""
        text, answer, plural = self.write(rng)
        return PhotoQuery(self.kind, self.form, text, self.target, answer, plural)


def drawn(rng: Generator, weights: dict[str, float], count: int) -> list[str]:
    """At most `count` different keys, each with a chance in proportion to its weight."""
    names = [name for name, weight in weights.items() if weight > 0]
    # The order of exponential times with these rates is that of drawing without putting back.
    times = rng.exponential(size=len(names)) / [weights[name] for name in names]
    return [names[place] for place in times.argsort()[:count]]
