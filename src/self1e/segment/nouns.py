"""The nouns that a small model was taught. With them it can say that it was asked for something else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from self1e.checkpoints.errors import ModelError

NOUNS_NAME = "nouns.txt"
"""File in a model's folder: a noun a line, "dog: dogs, doggy", its other words behind the colon."""


class TaughtNouns:
    """Nouns, each with all words for it that the model was taught.

    Args:
        words: Name -> other words, plurals among them.

    >>> nouns = TaughtNouns({"dog": ["dogs"], "traffic light": []})
    >>> nouns.any_in("the Dogs on the left"), nouns.any_in("the traffic  light"), nouns.any_in("the hot-dog stand")
    (True, True, True)
    >>> nouns.any_in("the dogma"), list(nouns)
    (False, ['dog', 'traffic light'])
    """

    def __init__(self, words: Mapping[str, Sequence[str]]) -> None:
        self.words = dict(words)
        everything = [*words] + [word for others in words.values() for word in others]
        patterns = [r"\s+".join(map(re.escape, word.split())) for word in everything]
        self._any = re.compile(rf"\b(?:{'|'.join(patterns)})\b" if patterns else r"(?!)", re.IGNORECASE)

    @classmethod
    def read(cls, folder: Path) -> TaughtNouns | None:
        """Those of a model's folder; None where nothing is said of them.

        Raises:
            ModelError: When the file cannot be read as text.
        """
        path = folder / NOUNS_NAME
        if not path.is_file():
            return None
        try:
            lines = [line.partition(":") for line in path.read_text("utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{path} cannot be read ({error}): delete it to go without") from None
        return cls(
            {name.strip(): [word.strip() for word in rest.split(",") if word.strip()] for name, _, rest in lines}
        )

    def write(self, folder: Path) -> None:
        """Writes them into a model's folder."""
        lines = [f"{name}: {', '.join(others)}" if others else name for name, others in self.words.items()]
        (folder / NOUNS_NAME).write_text("".join(f"{line}\n" for line in lines), "utf-8")

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def __len__(self) -> int:
        return len(self.words)

    def any_in(self, text: str) -> bool:
        """Whether a text names one of them."""
        return self._any.search(text) is not None
