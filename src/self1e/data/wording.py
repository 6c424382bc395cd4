"""How questions are worded that a program asks about pictures whose content it knows; for data sets that write their
own language. Their order of random numbers is part of what they are: a chance of 0 takes none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeVar

from numpy.random import Generator

from self1e.conversation import Turn
from self1e.data.records import EXPLAIN_QUESTIONS, EXPLAINED_ANSWER, evaluation_turn
from self1e.processing.prompts import EVAL_ANSWER, PHRASE_QUESTIONS, SEG_ANSWERS, SENTENCE_QUESTIONS, fill_phrase

Item = TypeVar("Item")

Form = Literal["phrase", "sentence", "question"]
"""A noun phrase ("the red car"), a sentence ("What could I ride?"), or a question that is answered in words only."""

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")
ORDINALS = ("first", "second", "third", "fourth", "fifth")

CHAT_QUESTIONS = ("Where {is} {phrase}?", "Show me {phrase}.", "Find {phrase}.", "Point at {phrase}.")
EXPLAIN_SUFFIX = " Explain."


class Written(NamedTuple):
    """The words of a query: what is asked, the answer or explanation in words, and whether a phrase takes "are"."""

    text: str
    answer: str = ""
    plural: bool = False


class Asked(Protocol):
    """A query whose words are chosen. `answer` is the reply to a "question", or why a target fits a "sentence"."""

    @property
    def kind(self) -> str: ...
    @property
    def form(self) -> Form: ...
    @property
    def text(self) -> str: ...
    @property
    def answer(self) -> str: ...
    @property
    def plural(self) -> bool: ...


@dataclass(frozen=True)
class Manner:
    """How often training asks in which way; chances of 0 to 1.

    Attributes:
        chat: Phrases are asked for as in talk ("Where is the dog?").
        bare: Other phrases lose their article.
        terse: Other phrases are the whole question.
        evaluation: Other phrases are asked for in the words of the evaluation protocol.
        explain: Sentences ask for an explanation, where there is one.
        alone: Sentences are the whole question, and the model has to see that a mask is wanted.
        explain_alone: Of those, how many ask for an explanation.
        refuse: What to answer to talk about something that is not there, or None where the answer is a mask; called
            for all talk, with the source of chance and the query.
    """

    chat: float = 0.1
    bare: float = 0.3
    terse: float = 0.0
    evaluation: float = 0.0
    explain: float = 0.35
    alone: float = 0.35
    explain_alone: float = 0.0
    refuse: Callable[[Generator, Asked], str | None] = lambda rng, query: None


def worded(query: Asked, manner: Manner, rng: Generator, *, training: bool) -> Turn:
    """The turn that asks a query.

    Args:
        query: What to ask.
        manner: In which words.
        rng: Chooses templates; unused unless training.
        training: Whether to vary question and answer. Otherwise both are the fixed ones of the evaluation protocol.
    """
    if query.form == "question":
        return Turn(query.text, query.answer)
    if not training:
        return evaluation_turn(query.text, query.form)
    return _phrase_turn(query, manner, rng) if query.form == "phrase" else _sentence_turn(query, manner, rng)


def _phrase_turn(query: Asked, manner: Manner, rng: Generator) -> Turn:
    if chance(rng, manner.chat):
        question = pick(rng, CHAT_QUESTIONS).format(phrase=query.text, **{"is": "are" if query.plural else "is"})
        return Turn(question, manner.refuse(rng, query) or pick(rng, SEG_ANSWERS))
    phrase = query.text.removeprefix("the ") if chance(rng, manner.bare) else query.text
    if chance(rng, manner.terse):
        return Turn(phrase, EVAL_ANSWER)
    if chance(rng, manner.evaluation):
        return Turn(fill_phrase(PHRASE_QUESTIONS[-1], phrase), EVAL_ANSWER)
    return Turn(fill_phrase(pick(rng, PHRASE_QUESTIONS), phrase), pick(rng, SEG_ANSWERS))


def _sentence_turn(query: Asked, manner: Manner, rng: Generator) -> Turn:
    style = rng.random()
    explained = EXPLAINED_ANSWER.format(answer=query.answer) if query.answer else ""
    if style < manner.explain and explained:
        return Turn(EXPLAIN_QUESTIONS[0].format(sentence=query.text), explained)
    if style > 1 - manner.alone:
        explain = chance(rng, manner.explain_alone)
        question = query.text + EXPLAIN_SUFFIX if explain else query.text
        refusal = manner.refuse(rng, query)
        return Turn(question, refusal or (explained if explain and explained else pick(rng, SEG_ANSWERS)))
    return Turn(pick(rng, SENTENCE_QUESTIONS).format(sentence=query.text), pick(rng, SEG_ANSWERS))


def pick(rng: Generator, items: Sequence[Item]) -> Item:
    """One of these, evenly. (`rng.choice` makes an array first, which is slow and loses the type.)"""
    return items[int(rng.random() * len(items))]


def chance(rng: Generator, probability: float) -> bool:
    """True with this probability; 0 takes no random number."""
    return probability > 0 and bool(rng.random() < probability)


def shuffled(rng: Generator, items: Sequence[Item]) -> list[Item]:
    """These in a random order."""
    return [items[i] for i in rng.permutation(len(items))]
