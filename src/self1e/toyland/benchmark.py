"""How well a model does on toyland scenes that no training run has seen: the benchmark `Toyland`.

Segmenting questions are scored by their masks, questions answered in words by exact answers, and reasoning questions
asked freely ("... Explain.") by whether the explanation is the right one and whether the model points right. What is
answered in words is also asked as a second turn, behind another question and its right answer. Captions have no one
right answer and are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from rich import box
from rich.table import Table

from self1e.conversation import Conversation, Turn
from self1e.data.records import DataError
from self1e.data.wording import EXPLAIN_SUFFIX
from self1e.evaluation.base import Answer, Shown
from self1e.evaluation.run import ask_record
from self1e.evaluation.samples import MEASURED, RecordDone, Sample, mask_figures, measured_mask
from self1e.evaluation.vqa import exact_score
from self1e.metrics import GREFCOCO_MIN_AREA
from self1e.processing.prompts import PromptError
from self1e.segment.results import Segmentation
from self1e.segment.runner import EncodedPicture
from self1e.segment.segmenter import Segmenter
from self1e.toyland import DEFAULT_WEIGHTS, Scene, conversation, generate_scene, sample_queries
from self1e.toyland.example import TRAINING_SEEDS
from self1e.toyland.language import SEGMENTING, TEXTUAL, SceneQuery

SCENES_PER_SEED = 1_000_000
"""Scene `i` of seed `S` has the scene seed `S * SCENES_PER_SEED + i`, so that two seeds never share a scene."""

QUESTIONS_PER_SCENE = 12
LONGEST_ANSWER = 48
"""Tokens; toyland's longest explanations take about half."""

#: How often each kind is asked; a caption has no one right answer.
WEIGHTS = {kind: weight for kind, weight in DEFAULT_WEIGHTS.items() if kind != "caption"}
SCORED_IN_WORDS = tuple(kind for kind in TEXTUAL if kind in WEIGHTS)

CHAT, SECOND_TURN = "chat", "second_turn"
"""Kinds of samples beside those of queries: a reasoning question asked freely, and one in words behind another."""

MASK_FIGURES = ("ciou", "giou", "n_acc", "t_acc", "pr@0.5", "boundary")


@dataclass(frozen=True)
class Question:
    """A question about a scene, as it is put to the model.

    Attributes:
        kind: Of the query, `CHAT` or `SECOND_TURN`.
        text: What is asked for, or asked.
        turn: The question, and what counts as the right answer in words, "" if none does.
        target: uint8[H, W]: 1 on what is asked for; None for a question that is answered in words alone.
        history: The turns before.
    """

    kind: str
    text: str
    turn: Turn
    target: np.ndarray | None = None
    history: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class Toyland:
    """Scenes that no training run sees; see `Benchmark` for the methods.

    Predictions of fewer than `GREFCOCO_MIN_AREA` pixels count as empty, in all figures.

    Attributes:
        seed: Which scenes; see `SCENES_PER_SEED`.
        n: How many scenes.
        answer: Whose answer masks are read behind.
        size: Side of the pictures in pixels.
        questions: How many a scene, of all kinds.
        weights: How often each kind is asked.

    Raises:
        ValueError: When these scenes reach into those of another seed, or into those that training uses.
    """

    seed: int
    n: int
    answer: Answer = "given"
    size: int = 448
    questions: int = QUESTIONS_PER_SCENE
    weights: Mapping[str, float] = field(default_factory=lambda: WEIGHTS)
    name: ClassVar[str] = "toyland"

    def __post_init__(self) -> None:
        scene_seeds(self.seed, self.n)

    @property
    def folder(self) -> str:
        """Each seed has its own, as an evaluation goes on with more scenes, but not with others."""
        return f"{self.name}-{self.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "size": self.size,
            "questions_per_scene": self.questions,
            "kind_weights": dict(self.weights),
            "min_area": GREFCOCO_MIN_AREA,
            "longest_answer": LONGEST_ANSWER,
            **MEASURED,
        }

    def __len__(self) -> int:
        return self.n

    def ask(self, segmenter: Segmenter, index: int) -> list[Sample]:
        scene = self._scene(index)
        every = enumerate(scene_questions(scene, self.questions, self.weights))
        asked = {number: each for number, each in every if segmenter.writes_answers or self._is_given(each)}
        replies = self._replies(segmenter, segmenter.encode(Image.fromarray(scene.picture)), list(asked.values()))
        # The picture's name is the one that `self1e toyland draw` gives it.
        return [
            _scored(Sample(index, number, f"toyland-{scene.seed}.png", each.text, each.kind, reply.text), each, reply)
            for (number, each), reply in zip(asked.items(), replies, strict=True)
        ]

    def shown(self, segmenter: Segmenter, index: int, numbers: Sequence[int]) -> Shown:
        scene = self._scene(index)
        picture = Image.fromarray(scene.picture)
        asked = scene_questions(scene, self.questions, self.weights)
        targets = {number: target for number in numbers if (target := asked[number].target) is not None}
        replies = self._replies(segmenter, segmenter.encode(picture), [asked[number] for number in targets])
        masks = {
            number: {"marked": target, "predicted": reply.mask.astype(np.uint8)}
            for (number, target), reply in zip(targets.items(), replies, strict=True)
        }
        return Shown(picture, masks)

    def figures(self, done: Sequence[RecordDone]) -> dict[str, Any]:
        return ToylandReport(self.seed, self.answer, done).to_dict()

    def summary(self, figures: Mapping[str, Any]) -> Table:
        """A row for each kind, in percent."""
        return _table(figures)

    def _scene(self, index: int) -> Scene:
        return generate_scene(scene_seeds(self.seed, self.n)[index], self.size)

    def _replies(self, segmenter: Segmenter, picture: EncodedPicture, asked: Sequence[Question]) -> list[Segmentation]:
        """The model's answer to each question; given ones are asked all at once.

        Raises:
            DataError: When a question is longer than the model can read.
        """
        try:
            return self._asked(segmenter, picture, asked)
        except PromptError as error:
            raise DataError(str(error)) from error

    def _asked(self, segmenter: Segmenter, picture: EncodedPicture, asked: Sequence[Question]) -> list[Segmentation]:
        given = [each.turn.question for each in asked if self._is_given(each)]
        masks = iter(segmenter.segment(picture, given, template="none") if given else ())
        replies = []
        for each in asked:
            if self._is_given(each):
                replies.append(next(masks))
            else:
                turn = each.turn.question
                replies.append(segmenter.chat(picture, turn, each.history, max_new_tokens=LONGEST_ANSWER))
        return replies

    def _is_given(self, asked: Question) -> bool:
        return self.answer == "given" and asked.kind in SEGMENTING


def open_toyland(arguments: Sequence[str], root: Path, answer: Answer) -> Toyland:
    """The benchmark `toyland`, or `toyland|seed=2|scenes=400`; see `self1e.evaluation.benchmarks.OpenBenchmark`.

    Raises:
        DataError: When an argument is not one of these two.
    """
    chosen = {"seed": 1, "scenes": 200}
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name not in chosen or not value.isdecimal():
            raise DataError(
                f"toyland takes seed=NUMBER and scenes=NUMBER, as in toyland|seed=2|scenes=400: {argument!r}"
            )
        chosen[name] = int(value)
    try:
        return Toyland(chosen["seed"], chosen["scenes"], answer)
    except ValueError as error:
        raise DataError(f"toyland: {error}") from error


@dataclass(frozen=True)
class ToylandReport:
    """The figures of one evaluation. Prints as a table with rich.

    Attributes:
        seed: Which scenes.
        answer: Whose answer masks were read behind.
        done: The scenes.
    """

    seed: int
    answer: Answer
    done: Sequence[RecordDone]

    def to_dict(self) -> dict[str, Any]:
        """All figures as shares from 0 to 1, ready for JSON; None where no question bears on one.

        `seconds` is the time that all scenes took, which several processes do at once.
        """
        of_kind: dict[str, list[Sample]] = {}
        for sample in (sample for each in self.done for sample in each.samples):
            of_kind.setdefault(sample.kind, []).append(sample)
        masks = {kind: of_kind[kind] for kind in SEGMENTING if kind in of_kind}
        words = {kind: of_kind[kind] for kind in SCORED_IN_WORDS if kind in of_kind}
        all_masks, all_words = ([each for samples in kinds.values() for each in samples] for kinds in (masks, words))
        chat, second_turns = of_kind.get(CHAT, []), of_kind.get(SECOND_TURN, [])
        figures = _figures(all_masks)
        kinds: dict[str, dict[str, Any]] = {}
        for kind, samples in masks.items():
            of_this = _figures(samples)
            kinds[kind] = {"n": len(samples)} | {name: of_this[name] for name in MASK_FIGURES if name in of_this}
        for kind, samples in words.items():
            kinds[kind] = {"n": len(samples), "accuracy": _accuracy(samples)}
        return {
            "seed": self.seed,
            "n": len(self.done),
            "answer": self.answer,
            "questions": len(all_masks) + len(all_words),
            "samples": len(all_masks) + len(all_words) + len(chat) + len(second_turns),
            **{name: figures.get(name) for name in (*MASK_FIGURES, "pr@0.9")},
            "vqa_accuracy": _accuracy(all_words),
            "chat": {
                "n": len(chat),
                "explains": _share([explains(sample.answer, sample.given) for sample in chat]),
                "points": _share([_points(sample) for sample in chat]),
                "both": _accuracy(chat),
            },
            "second_turn": {"n": len(second_turns), "accuracy": _accuracy(second_turns)},
            "kinds": kinds,
            "seconds": round(sum(each.seconds for each in self.done), 1),
        }

    def __rich__(self) -> Table:
        return _table(self.to_dict())


def evaluate_toyland(
    segmenter: Segmenter,
    seed: int,
    n: int,
    *,
    answer: Answer = "given",
    size: int = 448,
    questions: int = QUESTIONS_PER_SCENE,
    weights: Mapping[str, float] = WEIGHTS,
    on_scene: Callable[[int], None] | None = None,
) -> ToylandReport:
    """Asks a model about scenes it has not been trained on, and keeps nothing on disk.

    Args:
        segmenter: The model. One that is being trained is put into eval mode meanwhile.
        seed: Which scenes; see `SCENES_PER_SEED`.
        n: How many scenes.
        answer: Whose answer masks are read behind.
        size: Side of the pictures in pixels.
        questions: How many a scene, of all kinds.
        weights: How often each kind is asked.
        on_scene: Called after each scene with the number of scenes done.

    Raises:
        ValueError: When these scenes reach into those of another seed, or into those that training uses.
    """
    benchmark = Toyland(seed, n, answer, size, questions, weights)
    done: list[RecordDone] = []
    training = segmenter.model.training
    segmenter.model.eval()
    try:
        for index in range(n):
            done.append(ask_record(segmenter, benchmark, index))
            if on_scene is not None:
                on_scene(len(done))
    finally:
        segmenter.model.train(training)
    return ToylandReport(seed, answer, done)


def scene_seeds(seed: int, n: int) -> range:
    """The first `n` scenes of a seed, by the numbers that `generate_scene` takes.

    Raises:
        ValueError: When they reach into those of another seed, or into those that training uses.
    """
    if not 1 <= n <= SCENES_PER_SEED:
        raise ValueError(f"the number of scenes must be from 1 to {SCENES_PER_SEED:,}, not {n:,}")
    if not 0 <= seed < TRAINING_SEEDS // SCENES_PER_SEED:
        raise ValueError(f"the seed must be from 0 to {TRAINING_SEEDS // SCENES_PER_SEED - 1:,}, not {seed:,}")
    return range(seed * SCENES_PER_SEED, seed * SCENES_PER_SEED + n)


def scene_talks(
    scene: Scene, questions: int = QUESTIONS_PER_SCENE, weights: Mapping[str, float] = WEIGHTS
) -> list[tuple[SceneQuery, Conversation]]:
    """What the evaluation asks about a scene, in its fixed wording: a function of seed and arguments."""
    asked = sample_queries(scene, np.random.default_rng([scene.seed, 3]), questions, weights)
    rng = np.random.default_rng(0)  # chooses nothing, as the wording does not vary
    return [(query, conversation(query, scene, rng, training=False)) for query in asked]


def scene_questions(scene: Scene, questions: int, weights: Mapping[str, float]) -> list[Question]:
    """All that is put to the model about a scene: `scene_talks`, and what of these is also asked freely or again."""
    asked: list[Question] = []
    before: tuple[Turn, ...] = ()  # at most one: the question in words that was asked last
    for query, talk in scene_talks(scene, questions, weights):
        turn = talk.turns[0]
        if not talk.segmenting:
            asked.append(Question(query.kind, turn.question, turn))
            if before:
                said = f"{before[0].question} {before[0].answer} {turn.question}"
                asked.append(Question(SECOND_TURN, said, turn, history=before))
            before = (turn,)
            continue
        target = talk.masks[0]
        asked.append(Question(query.kind, query.text, Turn(turn.question, ""), target))
        if query.kind == "reasoning":
            freely = query.text + EXPLAIN_SUFFIX
            asked.append(Question(CHAT, freely, Turn(freely, query.answer), target))
    return asked


def explains(answer: str, reason: str) -> bool:
    """Whether an answer gives the reason that the scene has for it.

    >>> explains("It is [SEG]. The kite can fly in the wind.", "The kite can fly in the wind.")
    True
    >>> explains("Sure, the segmentation result is [SEG].", "The kite can fly in the wind.")
    False
    """
    return bool(reason) and _normalised(reason) in _normalised(answer)


def _normalised(answer: str) -> str:
    return " ".join(answer.casefold().split()).removesuffix(".")


def _scored(sample: Sample, asked: Question, reply: Segmentation) -> Sample:
    """The sample with its score: that of the mask, of the words, or 1 for a free answer when both are right."""
    right = asked.turn.answer
    if asked.target is None:
        return replace(sample, score=exact_score(reply.text, right), given=right)
    mask = measured_mask(reply.mask, asked.target, GREFCOCO_MIN_AREA)
    sample = replace(sample, given=right, absent=not asked.target.any(), **mask)
    if asked.kind == CHAT:
        return replace(sample, score=float(explains(sample.answer, right) and _points(sample)))
    return replace(sample, confidence=reply.score)


def _points(sample: Sample) -> bool:
    """Whether a free answer points right."""
    return 2 * sample.intersection > sample.union


def _figures(samples: Sequence[Sample]) -> dict[str, Any]:
    return mask_figures(samples, classes=False, min_area=GREFCOCO_MIN_AREA)


def _accuracy(samples: Iterable[Sample]) -> float | None:
    """Of samples that are right or wrong."""
    return _share([sample.score == 1 for sample in samples])


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None


def _table(figures: Mapping[str, Any]) -> Table:
    """The figures of `ToylandReport.to_dict`."""
    title = f"toyland, {figures['n']} scenes of seed {figures['seed']}, answers {figures['answer']}"
    title += f" ({figures['seconds']:.0f} s)"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    table.add_column("kind")
    for name in ("n", "cIoU", "gIoU", "N-acc", "T-acc", "right"):
        table.add_column(name, justify="right")
    masks = {kind: row for kind, row in figures["kinds"].items() if kind in SEGMENTING}
    words = {kind: row for kind, row in figures["kinds"].items() if kind in SCORED_IN_WORDS}
    for kind, row in masks.items():
        table.add_row(kind, *_mask_cells(row))
    table.add_row("all that segment", *_mask_cells({**figures, "n": _count(masks)}), style="bold")
    table.add_section()
    for kind, row in words.items():
        table.add_row(kind, *_word_cells(row["n"], row["accuracy"]))
    table.add_row("all in words", *_word_cells(_count(words), figures["vqa_accuracy"]), style="bold")
    chat, second_turn = figures["chat"], figures["second_turn"]
    table.add_section()
    for name in ("explains", "points", "both"):
        table.add_row(f"chat: {name}", *_word_cells(chat["n"], chat[name]))
    table.add_row("chat: second turn", *_word_cells(second_turn["n"], second_turn["accuracy"]))
    return table


def _count(rows: Mapping[str, Mapping[str, Any]]) -> int:
    return sum(row["n"] for row in rows.values())


def _mask_cells(row: Mapping[str, Any]) -> list[str]:
    return [str(row["n"]), *(_percent(row.get(name)) for name in ("ciou", "giou", "n_acc", "t_acc")), ""]


def _word_cells(n: int, right: float | None) -> list[str]:
    return [str(n), "", "", "", "", _percent(right)]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"
