"""How well a model does on toyland scenes that no training run has seen: `evaluate_toyland`.

Segmenting questions are scored by their masks, questions answered in words by exact answers, and reasoning questions
asked freely ("... Explain.") by whether the explanation is the right one and whether the model points right. What is
answered in words is also asked as a second turn, behind another question and its right answer. Captions have no one
right answer and are left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from PIL import Image
from rich import box
from rich.table import Table

from self1e.data.example import Conversation, Turn
from self1e.data.toyland import DEFAULT_WEIGHTS, Scene, conversation, generate_scene, sample_queries
from self1e.data.toyland.dataset import TRAINING_SEEDS
from self1e.data.toyland.language import SEGMENTING, TEXTUAL, Query
from self1e.data.toyland.language.chat import EXPLAIN_SUFFIX, query_mask
from self1e.evaluation.metrics import GREFCOCO_MIN_AREA, MaskScores, intersection_and_union
from self1e.inference import EncodedPicture
from self1e.segmenter import Segmenter

SCENES_PER_SEED = 1_000_000
"""Scene `i` of seed `S` has the scene seed `S * SCENES_PER_SEED + i`, so that two seeds never share a scene."""

QUESTIONS_PER_SCENE = 12
LONGEST_ANSWER = 48
"""Tokens; toyland's longest explanations take about half."""

#: How often each kind is asked; a caption has no one right answer.
WEIGHTS = {kind: weight for kind, weight in DEFAULT_WEIGHTS.items() if kind != "caption"}
SCORED_IN_WORDS = tuple(kind for kind in TEXTUAL if kind in WEIGHTS)

Answer = Literal["given", "generated"]


@dataclass
class ToylandReport:
    """The figures of one evaluation. Prints as a table with rich.

    Attributes:
        seed: Which scenes; see `SCENES_PER_SEED`.
        n: How many scenes.
        answer: "given" when every segmenting question was scored with the answer `[SEG].`, "generated" when the model
            wrote its own.
        masks: Scores of each kind of segmenting question.
        words: For each kind of question answered in words, whether each answer was right.
        chat: For each reasoning question asked freely, whether the answer explains and whether it points right.
        second_turns: For each question in words asked behind another, whether the answer was right.
        seconds: How long it took.
    """

    seed: int
    n: int
    answer: Answer = "given"
    masks: dict[str, MaskScores] = field(default_factory=dict)
    words: dict[str, list[bool]] = field(default_factory=dict)
    chat: list[tuple[bool, bool]] = field(default_factory=list)
    second_turns: list[bool] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def total(self) -> MaskScores:
        """All segmenting questions together, those about absent things included."""
        total = MaskScores(GREFCOCO_MIN_AREA)
        for scores in self.masks.values():
            total.merge(scores)
        return total

    def to_dict(self) -> dict[str, Any]:
        """All figures as shares from 0 to 1, ready for JSON; None where no question bears on one."""
        figures = self.total.compute()
        kinds = {kind: {"n": len(scores), **_mask_figures(scores.compute())} for kind, scores in self.masks.items()}
        right = [each for answers in self.words.values() for each in answers]
        vqa = {kind: {"n": len(answers), "accuracy": _share(answers)} for kind, answers in self.words.items()}
        return {
            "seed": self.seed,
            "n": self.n,
            "answer": self.answer,
            "questions": len(self.total) + len(right),
            **{name: figures.get(name) for name in ("ciou", "giou", "n_acc", "t_acc", "pr@0.5", "pr@0.9")},
            "vqa_accuracy": _share(right),
            "chat": {
                "n": len(self.chat),
                "explains": _share([explains for explains, _ in self.chat]),
                "points": _share([points for _, points in self.chat]),
                "both": _share([explains and points for explains, points in self.chat]),
            },
            "second_turn": {"n": len(self.second_turns), "accuracy": _share(self.second_turns)},
            "kinds": kinds | vqa,
            "seconds": round(self.seconds, 1),
        }

    def __rich__(self) -> Table:
        figures = self.to_dict()
        table = Table(box=box.SIMPLE_HEAD, title=self._title(), title_justify="left", title_style="bold")
        table.add_column("kind")
        for name in ("n", "cIoU", "gIoU", "N-acc", "T-acc", "right"):
            table.add_column(name, justify="right")
        for kind in SEGMENTING:
            if kind in self.masks:
                table.add_row(kind, *_mask_cells(figures["kinds"][kind]), "")
        table.add_row("all that segment", *_mask_cells({**figures, "n": len(self.total)}), "", style="bold")
        table.add_section()
        for kind in SCORED_IN_WORDS:
            if kind in self.words:
                row = figures["kinds"][kind]
                table.add_row(kind, str(row["n"]), "", "", "", "", _percent(row["accuracy"]))
        answered = sum(map(len, self.words.values()))
        table.add_row("all in words", str(answered), "", "", "", "", _percent(figures["vqa_accuracy"]), style="bold")
        chat = figures["chat"]
        table.add_section()
        for name in ("explains", "points", "both"):
            table.add_row(f"chat: {name}", str(chat["n"]), "", "", "", "", _percent(chat[name]))
        second = figures["second_turn"]
        table.add_row("chat: second turn", str(second["n"]), "", "", "", "", _percent(second["accuracy"]))
        return table

    def _title(self) -> str:
        return f"toyland, {self.n} scenes of seed {self.seed}, answers {self.answer} ({self.seconds:.0f} s)"


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
    """Asks a model about scenes it has not been trained on.

    Predictions of fewer than `GREFCOCO_MIN_AREA` pixels count as empty, in all figures.

    Args:
        segmenter: The model. One that is being trained is put into eval mode meanwhile.
        seed: Which scenes.
        n: How many scenes.
        answer: "given": masks are read behind the answer `[SEG].`, the protocol of the published figures. "generated":
            the model answers by itself; all masks of an answer count together, and none counts as an empty one.
        size: Side of the pictures in pixels.
        questions: How many a scene, of all kinds.
        weights: How often each kind is asked.
        on_scene: Called after each scene with the number of scenes done.

    Raises:
        ValueError: When these scenes reach into those of another seed, or into those that training uses.
    """
    scenes = scene_seeds(seed, n)
    report = ToylandReport(seed, n, answer)
    started = time.perf_counter()
    training = segmenter.model.training
    segmenter.model.eval()
    try:
        for done, scene_seed in enumerate(scenes, start=1):
            scene = generate_scene(scene_seed, size)
            _score_scene(report, segmenter, scene, scene_talks(scene, questions, weights))
            if on_scene is not None:
                on_scene(done)
    finally:
        segmenter.model.train(training)
    report.seconds = time.perf_counter() - started
    report.masks = {kind: report.masks[kind] for kind in SEGMENTING if kind in report.masks}
    report.words = {kind: report.words[kind] for kind in SCORED_IN_WORDS if kind in report.words}
    return report


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
) -> list[tuple[Query, Conversation]]:
    """What the evaluation asks about a scene, in its fixed wording: a function of seed and arguments."""
    asked = sample_queries(scene, np.random.default_rng([scene.seed, 3]), questions, weights)
    rng = np.random.default_rng(0)  # chooses nothing, as the wording does not vary
    return [(query, conversation(query, scene, rng, training=False)) for query in asked]


def _score_scene(
    report: ToylandReport, segmenter: Segmenter, scene: Scene, talks: Sequence[tuple[Query, Conversation]]
) -> None:
    picture = segmenter.encode(Image.fromarray(scene.picture))
    segmenting = [talk for _, talk in talks if talk.segmenting]
    for talk, mask in zip(segmenting, _masks(report.answer, segmenter, picture, segmenting), strict=True):
        report.masks.setdefault(talk.kind, MaskScores(GREFCOCO_MIN_AREA)).update(mask, talk.masks[0])
    before: list[Turn] = []  # at most one: the question in words that was asked last
    for query, talk in talks:
        if not talk.segmenting:
            turn = talk.turns[0]
            report.words.setdefault(query.kind, []).append(_answers(segmenter, picture, turn))
            if before:
                report.second_turns.append(_answers(segmenter, picture, turn, before))
            before = [turn]
        elif query.kind == "reasoning":
            reply = segmenter.chat(picture, query.text + EXPLAIN_SUFFIX, max_new_tokens=LONGEST_ANSWER)
            intersection, union = intersection_and_union(reply.mask, query_mask(query, scene))
            report.chat.append((explains(reply.text, query.answer), 2 * intersection > union))


def _answers(segmenter: Segmenter, picture: EncodedPicture, turn: Turn, history: Sequence[Turn] = ()) -> bool:
    """Whether the model gives the answer of a turn."""
    reply = segmenter.chat(picture, turn.question, history, max_new_tokens=LONGEST_ANSWER)
    return _normalised(reply.text) == _normalised(turn.answer)


def _masks(
    answer: Answer, segmenter: Segmenter, picture: EncodedPicture, talks: Sequence[Conversation]
) -> Iterator[np.ndarray]:
    """bool[H, W] for each conversation: everything that the answer points at."""
    questions = [talk.turns[0].question for talk in talks]
    if answer == "given":
        yield from (result.mask for result in segmenter.segment(picture, questions, template="none"))
    else:
        for question in questions:
            yield segmenter.chat(picture, question, max_new_tokens=LONGEST_ANSWER).mask


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


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None


def _mask_figures(figures: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if name in ("ciou", "giou", "n_acc", "t_acc", "pr@0.5")}


def _mask_cells(figures: dict[str, Any]) -> list[str]:
    return [str(figures["n"]), *(_percent(figures.get(name)) for name in ("ciou", "giou", "n_acc", "t_acc"))]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"
