"""The nouns that a small model was taught. With them it can say that it was asked for something else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from self1e.checkpoints.errors import ModelError
from self1e.files import write_json

NOUNS_NAME = "nouns.json"
"""File in a model's folder: the attributes of its `TaughtNouns`."""

HARDLY = 0.2
"""A noun of a lower IoU is hardly found."""

_WORD = re.compile(r"[^\W_]+|[,;(]")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_PUNCTUATION = _set(", ; (")
_ARTICLES = _set("the a an")
_DETERMINERS = _ARTICLES | _set("this that these those all every each both some any my your his her its their")
_QUANTITIES = _set("all both each some any most one pair couple group crowd bunch row herd flock")

_LINKS = _set(
    "on in at of off to by from with without near behind beside between under over above below before after against "
    "along around inside outside through across beyond is are that which who whose wearing holding carrying here there"
)
"""What begins that which is said of a noun, behind it."""

_LOOSE = _set("next left right close closest nearest farthest furthest full asleep away made seen")
"""The same where no noun follows, as with "...ing" and "...ed": "the cat lying there", but not "the lying cat"."""

_OWN_PLURALS = _set("glasses heels")
"""Without their ending they are other things."""

_Words = tuple[str, ...]


class Doubt(NamedTuple):
    """Why a model may find something else: it `verb` what was asked for, because of `reason`.

    `kind` says what it was asked for: what it does not know, a word that it knows by others alone, or what it knows
    and is bad at.
    """

    kind: Literal["unknown", "near", "hardly"]
    verb: str
    reason: str


@dataclass(frozen=True)
class TaughtNouns:
    """Nouns, each with all words for it that the model was taught.

    Attributes:
        words: Name -> other words. Plurals and singulars need not be among them where they are regular.
        near: Name -> words that were not taught, and are understood because they mean nearly the same.
        iou: Name -> IoU on photographs that were not trained on, 0 to 1, of each noun that was measured.
        groups: Words for several of them at once ("animals").
        others: What was not taught, though it ends in a word that was ("traffic light").

    >>> nouns = TaughtNouns({"dog": ["pooch"], "light": []}, near={"dog": ["puppy"]}, others=["traffic light"])
    >>> [nouns.doubt(text) for text in ("the Dogs on the left", "a light", "the pooch's light", "the dog lying there")]
    [None, None, None, None]
    >>> [nouns.doubt(text).kind for text in ("the traffic lights", "the dog house", "the dogma", "the small puppies")]
    ['unknown', 'unknown', 'unknown', 'near']
    """

    words: Mapping[str, Sequence[str]]
    near: Mapping[str, Sequence[str]] = field(default_factory=dict)
    iou: Mapping[str, float] = field(default_factory=dict)
    groups: Sequence[str] = ()
    others: Sequence[str] = ()

    @classmethod
    def read(cls, folder: Path) -> TaughtNouns | None:
        """Those of a model's folder; None where nothing is said of them.

        Raises:
            ModelError: When the file cannot be read.
        """
        path = folder / NOUNS_NAME
        if not path.is_file():
            return None
        try:
            return cls.from_dict(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, RecursionError) as error:
            raise ModelError(f"{path} cannot be read ({error}): delete it to go without") from None

    def write(self, folder: Path) -> None:
        """Writes them into a model's folder, in place of others."""
        write_json(folder / NOUNS_NAME, self.to_dict(), overwrite=True, indent=1)

    @classmethod
    def from_dict(cls, tree: Any) -> TaughtNouns:
        """Reads what `to_dict` gives.

        Raises:
            ValueError: When it is not of that form.
        """
        unknown = set(tree) - {each.name for each in fields(cls)} if isinstance(tree, dict) else {""}
        if unknown or not all(_fits(name, part) for name, part in tree.items()) or "words" not in tree:
            raise ValueError('nouns must have the form {"words": {"dog": ["pooch"]}}, see TaughtNouns')
        return cls(**tree)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: all attributes that are not empty."""
        return {"words": dict(self.words)} | {
            each.name: getattr(self, each.name) for each in fields(self) if getattr(self, each.name)
        }

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def __len__(self) -> int:
        return len(self.words)

    @property
    def found(self) -> list[str]:
        """Nouns that are found, as far as it was measured; all if none was."""
        return [noun for noun in self if not self.iou or self.iou.get(noun, 0) >= HARDLY]

    @property
    def hardly(self) -> list[str]:
        """The others: nouns that are hardly found, or were never measured."""
        found = set(self.found)
        return [noun for noun in self if noun not in found]

    def doubt(self, text: str) -> Doubt | None:
        """What makes it doubtful whether a noun phrase names something that the model finds; None if nothing does."""
        return next((doubt for part in _parts(text) if (doubt := self._doubt_of(part)) is not None), None)

    def _doubt_of(self, words: Sequence[str]) -> Doubt | None:
        """The same of one noun with what is said of it."""
        known = self._named(self._head(words))
        if known is None or known.kind == "other":
            return Doubt("unknown", "was not taught", "what it finds may be something else")
        if known.kind == "near":
            return Doubt("near", "was not taught", f"it goes by words that mean nearly the same, such as {known.noun}")
        if self.iou.get(known.noun, 1) < HARDLY:
            percent = round(100 * self.iou[known.noun])
            return Doubt("hardly", "hardly finds", f"on photographs to test it, its masks overlap by {percent} %")
        return None

    def _head(self, words: Sequence[str]) -> Sequence[str]:
        """A noun with what stands before it: "the small dog" of "the small dog on the left"."""
        begun = False
        for place, word in enumerate(words):
            after = words[place + 1] if place + 1 < len(words) else None
            no_noun = after is None or after in _LINKS or after in _DETERMINERS
            loose = no_noun and _is_loose(word) and self._named(words[: place + 1]) is None
            if begun and (word in _LINKS or loose):
                return words[:place]
            begun = begun or word not in _DETERMINERS
        return words

    def _named(self, words: Sequence[str]) -> _Known | None:
        """What the last of some words name: as many as are known together."""
        singular = tuple(map(_singular, words))
        return next((self._known[singular[at:]] for at in range(len(words)) if singular[at:] in self._known), None)

    @cached_property
    def _known(self) -> dict[_Words, _Known]:
        """All there are words for. What was taught counts before what resembles it."""
        known = {_words_of(text): _Known("other", text) for text in self.others}
        known |= {_words_of(text): _Known("near", noun) for noun, texts in self.near.items() for text in texts}
        known |= {_words_of(text): _Known("taught", text) for text in self.groups}
        return known | {
            _words_of(text): _Known("taught", noun) for noun, texts in self.words.items() for text in (noun, *texts)
        }


class _Known(NamedTuple):
    kind: Literal["taught", "near", "other"]
    noun: str


def _parts(text: str) -> list[list[str]]:
    """Words of each noun that is asked for, with what is said of it.

    >>> _parts("The car's wheel, and the tree"), _parts("all of the black and white cats")
    ([['the', 'car', 'wheel'], ['the', 'tree']], [['the', 'black', 'and', 'white', 'cats']])
    """
    words = [word for word in _WORD.findall(text.lower()) if word != "s"]  # "the car's"
    parts: list[list[str]] = [[]]
    for place, word in enumerate(words):
        after = words[place + 1] if place + 1 < len(words) else ""
        if word in _PUNCTUATION or (word in ("and", "or") and after in _ARTICLES):
            parts.append([])
        elif word == "of" and parts[-1] and parts[-1][-1] in _QUANTITIES:
            parts[-1] = []
        else:
            parts[-1].append(word)
    first, *more = [part for part in parts if part] or [[]]
    return [first, *(part for part in more if part[0] in _ARTICLES)]  # others say more of the noun before: "(brown)"


def _is_loose(word: str) -> bool:
    return word in _LOOSE or word.endswith(("ing", "ed"))


def _words_of(text: str) -> _Words:
    return tuple(map(_singular, _WORD.findall(text.lower())))


def _singular(word: str) -> str:
    """A word without the ending of a plural; what that makes of other words does not matter, as they get it, too.

    >>> [_singular(word) for word in ("boots", "buses", "bus", "puppies", "grass", "glasses")]
    ['boot', 'bus', 'bus', 'puppy', 'grass', 'glasses']
    """
    if word in _OWN_PLURALS or not word.endswith("s") or word.endswith(("ss", "us")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return re.sub(r"(?:(?<=[sxz])|(?<=[cs]h))es$|s$", "", word)


def _fits(name: str, part: Any) -> bool:
    """Whether a part of `TaughtNouns.to_dict` has its form."""

    def are_texts(texts: Any) -> bool:
        return isinstance(texts, list) and all(isinstance(text, str) for text in texts)

    if name in ("groups", "others"):
        return are_texts(part)
    if name == "iou":
        return isinstance(part, dict) and all(isinstance(each, int | float) for each in part.values())
    return isinstance(part, dict) and all(map(are_texts, part.values()))
