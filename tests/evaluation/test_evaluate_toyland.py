"""The toyland benchmark, on stand-ins that know all answers or none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from self1e.data.toyland import Scene, generate_scene
from self1e.data.toyland.dataset import TRAINING_SEEDS
from self1e.data.toyland.language.chat import EXPLAIN_SUFFIX, query_mask
from self1e.evaluation.toyland import (
    SCENES_PER_SEED,
    WEIGHTS,
    ToylandReport,
    evaluate_toyland,
    explains,
    scene_talks,
)
from self1e.results import Segmentation

SIZE, SEED, N = 224, 2, 8


class KnowsAll:
    """Answers as the ground truth of the benchmark's own scenes has it."""

    def __init__(self) -> None:
        self.model = SimpleNamespace(training=True, eval=lambda: None, train=self.was_training)
        self.mode_after: bool | None = None
        self.answers: dict[tuple[bytes, str], tuple[np.ndarray, str]] = {}
        for index in range(N):
            self.learn(generate_scene(SEED * SCENES_PER_SEED + index, SIZE))

    def was_training(self, mode: bool) -> None:
        self.mode_after = mode

    def learn(self, scene: Scene) -> None:
        for query, talk in scene_talks(scene):
            turn, key = talk.turns[0], scene.picture.tobytes()
            mask = query_mask(query, scene) > 0
            self.answers[key, turn.question] = mask, turn.answer if talk.segmenting else turn.answer.upper()
            self.answers[key, query.text + EXPLAIN_SUFFIX] = mask, f"It is [SEG]. {query.answer}"

    def encode(self, picture: Any) -> Any:
        return picture

    def reply(self, picture: Any, question: str) -> Segmentation:
        mask, text = self.answers[np.asarray(picture).tobytes(), question]
        return Segmentation(mask[None], [1.0], question, text)

    def segment(self, picture: Any, questions: list[str], **options: Any) -> list[Segmentation]:
        return [self.reply(picture, question) for question in questions]

    def chat(self, picture: Any, question: str, history: Any = (), **options: Any) -> Segmentation:
        for turn in history:  # is what was asked before, with its right answer
            assert self.reply(picture, turn.question).text == turn.answer.upper()
        return self.reply(picture, question)


class KnowsNothing(KnowsAll):
    """Points at nothing and has one word for everything."""

    def reply(self, picture: Any, question: str) -> Segmentation:
        height, width = np.asarray(picture).shape[:2]
        return Segmentation(np.zeros((0, height, width), bool), [], question, "Hm.")

    def chat(self, picture: Any, question: str, history: Any = (), **options: Any) -> Segmentation:
        return self.reply(picture, question)


def evaluate(segmenter: Any, **options: Any) -> ToylandReport:
    return evaluate_toyland(segmenter, SEED, N, size=SIZE, **options)


@pytest.mark.parametrize("answer", ["given", "generated"])
def test_the_right_answers_score_one(answer: Any) -> None:
    segmenter = KnowsAll()
    done: list[int] = []
    figures = evaluate(segmenter, answer=answer, on_scene=done.append).to_dict()
    for name in ("ciou", "giou", "n_acc", "t_acc", "vqa_accuracy"):
        assert figures[name] == 1.0, name
    chat = figures["chat"]
    assert chat["n"] > 0
    assert chat["explains"] == chat["points"] == 1.0
    assert figures["second_turn"]["accuracy"] == 1.0 and 0 < figures["second_turn"]["n"] < figures["questions"]
    assert figures["questions"] == 12 * N == sum(kind["n"] for kind in figures["kinds"].values())
    assert set(figures["kinds"]) <= set(WEIGHTS)
    assert done == list(range(1, N + 1))
    assert segmenter.mode_after is True


def test_saying_nothing_is_right_about_absent_things_only() -> None:
    report = evaluate(KnowsNothing())
    figures = report.to_dict()
    absent = figures["kinds"]["absent"]
    assert absent["giou"] == absent["n_acc"] == figures["n_acc"] == 1.0
    assert figures["ciou"] == figures["t_acc"] == figures["vqa_accuracy"] == figures["chat"]["both"] == 0.0
    assert figures["second_turn"]["accuracy"] == 0.0
    assert figures["giou"] == pytest.approx(absent["n"] / len(report.total))


def test_report_prints_every_kind() -> None:
    report = evaluate(KnowsAll())
    console = Console(record=True, width=100)
    console.print(report)
    text = console.export_text()
    for kind in [*report.masks, *report.words, "all that segment", "all in words", "chat: both", "chat: second turn"]:
        assert kind in text


def test_scenes_are_none_that_training_uses() -> None:
    for seed, n in ((-1, 1), (TRAINING_SEEDS // SCENES_PER_SEED, 1), (0, 0), (0, SCENES_PER_SEED + 1)):
        with pytest.raises(ValueError, match="must be from"):
            evaluate_toyland(KnowsAll(), seed, n)  # type: ignore[arg-type]


def test_the_same_questions_every_time() -> None:
    scene = generate_scene(11, SIZE)
    first, again = ([query for query, _ in scene_talks(scene)] for _ in range(2))
    assert first == again


def test_an_explanation_has_to_be_the_right_one() -> None:
    because = "The knife is made to cut."
    assert explains("It is [SEG]. The knife is made to CUT", because)
    assert not explains("It is [SEG]. The boat can be kicked and smell sweet.", because)
    assert not explains("It is [SEG].", because)
    assert not explains("It is [SEG]. Well.", "")
