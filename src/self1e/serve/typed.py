"""Several prompts in one text, as people type them into an annotation tool."""

from __future__ import annotations

import re

from self1e.processing.prompts import reads_as_sentence

_ALWAYS = re.compile(r"[;；\n]")
# A comma before one of these goes on with a phrase: "the man on the left, in red".
_GOES_ON = (
    r"(?:in|on|at|by|of|with|without|near|next|beside|behind|under|above|below|between|wearing|holding"
    r"|who|which|not|but)"
)
_BETWEEN_PHRASES = re.compile(rf"(?:(?<!\d)[,.]|[,.](?!\d)|[，、。])(?!\s*{_GOES_ON}\b)", re.IGNORECASE)
_AND = re.compile(r"^(?:and|or)\s+", re.IGNORECASE)


def prompts_of(text: str) -> list[str]:
    """The prompts of a text, each once.

    Semicolons and new lines always stand between prompts. Where there are none, commas and full stops do, as in other
    models' servers, except in a question or an instruction, in a number, and before a word that goes on with a phrase.

    >>> prompts_of("cat, dog. and the bird."), prompts_of("the man on the left, in red, car")
    (['cat', 'dog', 'the bird'], ['the man on the left, in red', 'car'])
    >>> prompts_of("Which of them, if any, could I ride?"), prompts_of("the dog, a brown one; What could I ride?")
    (['Which of them, if any, could I ride?'], ['the dog, a brown one', 'What could I ride?'])
    """
    parts = _ALWAYS.split(text)
    if len(parts) == 1 and not reads_as_sentence(text.rstrip(" .")):
        parts = [_AND.sub("", phrase.strip(), count=1) for phrase in _BETWEEN_PHRASES.split(text)]
    return list(dict.fromkeys(part.strip() for part in parts if re.search(r"\w", part)))
