"""Answers in words, scored as the VQA benchmarks do.

`vqa_score` is the soft score of VQAv2, OKVQA, TextVQA and VizWiz (Antol et al., 2015): ten people answered, and an
answer is right as far as three of them gave it. `exact_score` is that of GQA: the one answer, word for word.

What counts as the same answer is what the official evaluation says, `vqaEval.py` of github.com/GT-Vision-Lab/VQA
(commit a013f00), oddities included: a table of the tests lists them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_COUNTED = "zero one two three four five six seven eight nine ten"
_CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
    o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've"""

NUMBER_WORDS = {word: str(value) for value, word in enumerate(_COUNTED.split())} | {"none": "0"}
ARTICLES = frozenset({"a", "an", "the"})
#: Words that lack one apostrophe -> with it. "im", "ive", "shed" and "wed" are not among them; the last is reversed.
CONTRACTIONS = {
    word[:place] + word[place + 1 :]: word
    for word in _CONTRACTED.split()
    for place, letter in enumerate(word)
    if letter == "'"
} | {"somebody'd": "somebodyd"}
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")


def normalised(answer: str) -> str:
    """An answer in small letters, with digits for numbers, without articles and punctuation.

    A mark becomes a space. Where it stands beside a space anywhere in the answer it is taken out everywhere, and so are
    all marks of an answer with a comma between digits. A period is taken out unless a digit follows.

    >>> [normalised(text) for text in ("The Red Car.", "two dogs", "dont know", "1,000", "3.5", "T-shirt", "x/y")]
    ['red car', '2 dogs', "don't know", '1000', '3.5', 't shirt', 'x y']
    """
    answer = _on_one_line(answer)
    joined = _COMMA_IN_NUMBER.search(answer) is not None
    text = answer
    for mark in _PUNCTUATION:
        text = text.replace(mark, "" if joined or f"{mark} " in answer or f" {mark}" in answer else " ")
    words = (NUMBER_WORDS.get(word, word) for word in _PERIOD.sub("", text).lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def vqa_score(answer: str, given: Sequence[str]) -> float:
    """The VQA soft score: over all choices of all but one of the people, the mean of min(1, agreeing / 3).

    Answers are compared as `normalised` where people disagree. Where all of them said the same, down to the letter, the
    answer has to be that, as the official evaluation has it (for questions about writing in the picture).

    Args:
        answer: The model's.
        given: Those of people, ten as a rule.

    Raises:
        ValueError: When nobody answered.

    >>> vqa_score("Two", ["2"] * 9 + ["3"]), vqa_score("2", ["2"] * 3 + ["3"] * 7), vqa_score("2", ["2"] + ["3"] * 9)
    (1.0, 0.9, 0.3)
    >>> vqa_score("2", ["2"] * 10), vqa_score("Two", ["2"] * 10)
    (1.0, 0.0)
    """
    if not given:
        raise ValueError("the VQA score compares with answers that people gave, and there are none")
    ours, theirs = _on_one_line(answer), [_on_one_line(each) for each in given]
    if len(set(theirs)) > 1:
        ours, theirs = normalised(ours), [normalised(each) for each in theirs]
    agreeing = theirs.count(ours)
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


def _on_one_line(answer: str) -> str:
    return answer.replace("\n", " ").replace("\t", " ").strip()
