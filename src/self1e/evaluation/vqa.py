"""Answers in words, scored as the VQA benchmarks do.

`vqa_score` is the soft score of VQAv2, OKVQA, TextVQA and VizWiz (Antol et al., 2015): ten people answered, and an
answer is right as far as three of them gave it. `exact_score` is that of GQA: the one answer, word for word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_COUNTED = "zero one two three four five six seven eight nine ten"
_CONTRACTED = """
    ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's i'd've
    i'm i've isn't it'd it'll let's ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't she'd
    she's should've shouldn't somebody'd somebody's someone'd someone'll someone's something'd something'll that'd
    that's there'd there're there's they'd they'll they're they've 'twas wasn't we'd we've weren't what'll what're
    what's what've when's where'd where's where've who'd who'll who's who've why'll why're why's won't would've
    wouldn't y'all you'd you'll you're you've"""

NUMBER_WORDS = {word: str(value) for value, word in enumerate(_COUNTED.split())} | {"none": "0"}
ARTICLES = frozenset({"a", "an", "the"})
#: Written with an apostrophe in the end, whether they come with one or without.
CONTRACTIONS = {word.replace("'", ""): word for word in _CONTRACTED.split()}
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"(\d),(\d)")
_PERIOD_OUTSIDE_NUMBER = re.compile(r"(?<!\d)\.|\.(?!\d)")


def normalised(answer: str) -> str:
    """An answer as the VQA evaluation compares it: small letters, digits for numbers, no articles, no punctuation.

    >>> [normalised(text) for text in ("The Red Car.", "two dogs", "dont know", "1,000", "3.5", "T-shirt", "x/y")]
    ['red car', '2 dogs', "don't know", '1000', '3.5', 't shirt', 'x y']
    """
    text = " ".join(answer.split()).lower()
    joined = _COMMA_IN_NUMBER.search(text) is not None
    for mark in _PUNCTUATION:
        # A mark beside a space goes without a trace; one inside a word parts it in two.
        alone = joined or f"{mark} " in text or f" {mark}" in text or text.startswith(mark) or text.endswith(mark)
        text = text.replace(mark, "" if alone else " ")
    words = _PERIOD_OUTSIDE_NUMBER.sub("", text).split()
    words = [NUMBER_WORDS.get(word, word) for word in words if word not in ARTICLES]
    return " ".join(CONTRACTIONS.get(word, word) for word in words)


def vqa_score(answer: str, given: Sequence[str]) -> float:
    """The VQA soft score: over all choices of all but one of the people, the mean of min(1, agreeing / 3).

    Args:
        answer: The model's.
        given: Those of people, ten as a rule.

    Raises:
        ValueError: When nobody answered.

    >>> vqa_score("Two", ["2"] * 10), vqa_score("2", ["2"] * 3 + ["3"] * 7), vqa_score("2", ["2"] + ["3"] * 9)
    (1.0, 0.9, 0.3)
    """
    if not given:
        raise ValueError("the VQA score compares with answers that people gave, and there are none")
    ours, theirs = normalised(answer), [normalised(each) for each in given]
    agreeing = sum(each == ours for each in theirs)
    # Without one of those who agree, or without one of the others.
    without_one = agreeing * min(1.0, (agreeing - 1) / 3) + (len(theirs) - agreeing) * min(1.0, agreeing / 3)
    return round(without_one / len(theirs), 12)


def exact_score(answer: str, given: str) -> float:
    """1 when the answer is the one given, letter case and a last period aside.

    >>> exact_score("Yes.", "yes"), exact_score("a dog", "dog")
    (1.0, 0.0)
    """
    ours, theirs = (" ".join(text.split()).casefold().removesuffix(".") for text in (answer, given))
    return float(ours == theirs)
