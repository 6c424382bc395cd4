"""Words and small phrases that several kinds of question share."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.random import Generator

from self1e.data.wording import chance, pick
from self1e.photos.nouns import Word

P_PLAIN = 0.6


def word_of(rng: Generator, words: Sequence[Word]) -> Word:
    """One of these words; the first, which is the plain one, most often."""
    if len(words) == 1 or chance(rng, P_PLAIN):
        return words[0]
    return pick(rng, words[1:])


def is_plural(word: Word) -> bool:
    """Whether the word itself is a plural ("shoes", "stairs"); stuff ("grass") and "sheep" are not.

    >>> [is_plural(Word.parse(text)) for text in ("shoes/shoes", "stairs", "bus/buses", "grass", "sheep/sheep")]
    [True, True, False, False, False]
    """
    singular, plural = word
    return singular.endswith("s") and not singular.endswith("ss") and plural in ("", singular)


def indefinite(word: Word) -> str:
    """The word with an article, or with "any" where it takes none.

    >>> [indefinite(Word.parse(text)) for text in ("dog/dogs", "apple/apples", "grass", "shoes/shoes")]
    ['a dog', 'an apple', 'any grass', 'any shoes']
    """
    if is_plural(word) or not word.plural:
        return f"any {word.singular}"
    return f"{'an' if word.singular[0] in 'aeiou' else 'a'} {word.singular}"


def verb(plural: bool) -> str:
    """ "are" or "is"."""
    return "are" if plural else "is"
