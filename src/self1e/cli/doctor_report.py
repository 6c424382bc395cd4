"""What `self1e doctor` tells: facts in sections, problems with what to do about each; as text, or for programs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Fact = str | int | float | Sequence[str] | Mapping[str, str | float]


@dataclass(frozen=True)
class Problem:
    """Something that is wrong, and what to do about it."""

    what: str
    do: str


@dataclass
class Report:
    """What is known so far.

    Attributes:
        sections: Facts by name, in named groups.
        problems: What was found to be wrong.
    """

    sections: dict[str, dict[str, Fact]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def tell(self, section: str, facts: Mapping[str, Fact]) -> None:
        """Adds facts to a section."""
        self.sections.setdefault(section, {}).update(facts)

    def complain(self, what: str, do: str) -> None:
        """Adds a problem."""
        self.problems.append(Problem(what, do))

    def tree(self) -> dict[str, Any]:
        """All of it, as JSON takes it."""
        return {**self.sections, "problems": [asdict(problem) for problem in self.problems]}

    def take(self, tree: dict[str, Any]) -> None:
        """Adds another report, of which this is the `tree`."""
        self.problems += [Problem(**problem) for problem in tree.pop("problems")]
        for section, facts in tree.items():
            self.tell(section, facts)


def as_text(tree: dict[str, Any]) -> str:
    """A report for people: a line a fact, and the problems at the end.

    >>> print(as_text({"disk": {"here": "9 GiB free"}, "problems": [{"what": "It is dark.", "do": "Light a candle."}]}))
    disk
      here  9 GiB free
    problems
      It is dark.
        -> Light a candle.
    """
    lines = []
    for section, facts in tree.items():
        if section != "problems":
            width = max(map(len, facts), default=0)
            lines.append(section if facts else f"{section}: none")
            lines += [f"  {name:{width}}  {_in_words(fact)}" for name, fact in facts.items()]
    lines.append("problems" if tree["problems"] else "problems: none")
    for problem in tree["problems"]:
        lines += [f"  {problem['what']}", f"    -> {problem['do']}"]
    return "\n".join(lines)


def _in_words(fact: Fact) -> str:
    if isinstance(fact, Mapping):
        return ", ".join(f"{name} {value}" for name, value in fact.items())
    return str(fact) if isinstance(fact, (str, int, float)) else " ".join(fact) or "none"


def gib(size: float | None) -> str:
    """Bytes in words.

    >>> gib(3 * 2**29), gib(None)
    ('1.5 GiB', 'unknown')
    """
    return "unknown" if size is None else f"{size / 2**30:,.1f} GiB"


def without_home(tree: Any, home: Path) -> Any:
    """The same with `~` for the home folder in all texts: a report does not tell what its user is called.

    >>> without_home({"in": ["/home/ann/a", "/home/anna"], "is": "/home/ann."}, Path("/home/ann"))
    {'in': ['~/a', '/home/anna'], 'is': '~.'}
    """
    if isinstance(tree, dict):
        return {name: without_home(value, home) for name, value in tree.items()}
    if isinstance(tree, list):
        return [without_home(value, home) for value in tree]
    if not isinstance(tree, str) or home == Path(home.anchor):
        return tree
    return re.sub(rf"(?<![\w.-]){re.escape(str(home))}(?![\w-])", "~", tree)
