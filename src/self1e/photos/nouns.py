"""The table of nouns, `nouns.toml`: what photographs are labelled with, and the words for it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple, get_args

Kind = Literal["thing", "stuff", "part"]

NOTHING = 0
"""Number of pixels that are none of the nouns a picture is annotated with."""

UNKNOWN = -1
"""Number of pixels of which nobody knows what they are."""


class NounError(ValueError):
    """A noun, or an entry of the table, that makes no sense. The message names it."""


class Word(NamedTuple):
    """One word in both numbers. `plural` is "" where the word has none, or is one."""

    singular: str
    plural: str = ""

    @classmethod
    def parse(cls, text: str) -> Word:
        """
        >>> Word.parse("dog/dogs"), Word.parse("grass")
        (Word(singular='dog', plural='dogs'), Word(singular='grass', plural=''))
        """
        singular, _, plural = text.partition("/")
        return cls(singular, plural)


@dataclass(frozen=True)
class Noun:
    """What photographs can be labelled with.

    Attributes:
        name: As class lists have it.
        number: In label maps, from 1.
        words: The plain word first.
        held_out: Words that no training text may hold.
        groups: Names of the groups it belongs to.
        near: Nouns that people would not tell from it for certain.
        striking: Nobody overlooks one.
        kind: "thing", "stuff" (which has no number), or "part" (of a thing).
    """

    name: str
    number: int
    words: tuple[Word, ...]
    held_out: tuple[Word, ...]
    groups: tuple[str, ...]
    near: tuple[str, ...]
    striking: bool
    kind: Kind

    @property
    def plain(self) -> Word:
        """The word that evaluation uses."""
        return self.words[0]

    @property
    def phrase(self) -> str:
        """How evaluation asks for it."""
        return f"the {self.plain.singular}"


@dataclass(frozen=True)
class Group:
    """Words for several nouns at once.

    Attributes:
        name: As `Noun.groups` has it.
        words: The plain word first.
        members: Nouns that belong to it.
        core: Those of them of which it has to be known whether they are there.
        beside: Nouns that are neither in the group nor surely out of it.
    """

    name: str
    words: tuple[Word, ...]
    members: frozenset[str]
    core: tuple[str, ...]
    beside: tuple[str, ...]


@dataclass(frozen=True)
class Use:
    """What things are for, asked in whole sentences.

    Attributes:
        fits: Nouns that answer the sentences.
        doubtful: Nouns that some people would say answer them.
        sentences: Equally good ways to ask.
        because: Why, with "{the}" for what is pointed at.
        owner: What the things are parts of; "" if they are not.
    """

    fits: tuple[str, ...]
    doubtful: tuple[str, ...]
    sentences: tuple[str, ...]
    because: str
    owner: str = ""


class Nouns:
    """All nouns, by name and by number.

    Args:
        table: As in `nouns.toml`.

    Raises:
        NounError: When an entry has unknown keys, no words, or an unknown kind.
    """

    def __init__(self, table: Mapping[str, Mapping[str, object]]) -> None:
        self._nouns = {name: _noun(name, number, entry) for number, (name, entry) in enumerate(table.items(), start=1)}
        for noun in tuple(self._nouns.values()):  # nearness goes both ways
            for name in noun.near:
                other = self[name]
                self._nouns[name] = replace(other, near=tuple(dict.fromkeys((*other.near, noun.name))))
        self._numbered = tuple(self._nouns.values())

    def __len__(self) -> int:
        return len(self._nouns)

    def __iter__(self) -> Iterator[Noun]:
        return iter(self._numbered)

    def __contains__(self, name: str) -> bool:
        return name in self._nouns

    def __getitem__(self, name: str) -> Noun:
        if name not in self._nouns:
            raise NounError(f"there is no noun {name!r} in nouns.toml: add it, with its words")
        return self._nouns[name]

    def of(self, number: int) -> Noun:
        """The noun of a number in a label map."""
        return self._numbered[number - 1]


@cache
def nouns() -> Nouns:
    """The table that comes with the package."""
    return Nouns(noun_file()["nouns"])


@cache
def noun_file() -> dict[str, Any]:
    """All of `nouns.toml`."""
    return tomllib.loads(files(__package__).joinpath("nouns.toml").read_text("utf-8"))


@cache
def groups() -> dict[str, Group]:
    """The groups of the table."""
    found = {}
    for name, entry in noun_file()["groups"].items():
        words = tuple(map(Word.parse, _texts(name, entry, "words")))
        core, beside = (tuple(nouns()[each].name for each in _texts(name, entry, key)) for key in ("core", "beside"))
        members = frozenset(noun.name for noun in nouns() if name in noun.groups) | set(core)
        found[name] = Group(name, words, members, core, beside)
    return found


@cache
def uses() -> tuple[Use, ...]:
    """The uses of the table."""
    return tuple(
        Use(
            tuple(nouns()[name].name for name in entry["fits"]),
            tuple(nouns()[name].name for name in entry["doubtful"]),
            tuple(entry["sentences"]),
            entry["because"],
            entry.get("owner", ""),
        )
        for entry in noun_file()["uses"]
    )


def _noun(name: str, number: int, entry: Mapping[str, object]) -> Noun:
    unknown = sorted(set(entry) - {"words", "held_out", "groups", "near", "striking", "kind"})
    if unknown:
        raise NounError(f"noun {name!r} has unknown keys: {', '.join(unknown)}")
    words = _texts(name, entry, "words")
    kind = entry.get("kind", "thing")
    if not words:
        raise NounError(f"noun {name!r} has no words")
    if kind not in get_args(Kind):
        raise NounError(f"noun {name!r} is of kind {kind!r}: there are {', '.join(get_args(Kind))}")
    held_out = _texts(name, entry, "held_out")
    return Noun(
        name,
        number,
        tuple(map(Word.parse, words)),
        tuple(map(Word.parse, held_out)),
        tuple(_texts(name, entry, "groups")),
        tuple(_texts(name, entry, "near")),
        bool(entry.get("striking", False)),
        kind,  # type: ignore[arg-type]
    )


def _texts(name: str, entry: Mapping[str, object], key: str) -> Sequence[str]:
    texts = entry.get(key, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise NounError(f"noun {name!r}: {key} has to be a list of words, not {texts!r}")
    return texts
