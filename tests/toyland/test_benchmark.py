"""The toyland benchmark, on stand-ins that know all answers or none, and on a tiny model with results on disk."""

from __future__ import annotations

import csv
import json
import re
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from self1e import Segmenter
from self1e.data.wording import EXPLAIN_SUFFIX
from self1e.evaluation.base import Benchmark
from self1e.evaluation.page import worst_samples, write_page
from self1e.evaluation.run import EvaluationError, evaluate, records_done, summarise
from self1e.evaluation.samples import Sample
from self1e.segment.results import Segmentation
from self1e.toyland import Scene, generate_scene
from self1e.toyland.benchmark import (
    CHAT,
    SCENES_PER_SEED,
    SCORED_IN_WORDS,
    SECOND_TURN,
    WEIGHTS,
    Toyland,
    ToylandReport,
    evaluate_toyland,
    explains,
    scene_questions,
    scene_talks,
)
from self1e.toyland.example import TRAINING_SEEDS
from self1e.toyland.language import SEGMENTING
from self1e.toyland.language.chat import query_mask

SIZE, SEED, N = 224, 2, 8


class KnowsAll:
    """Answers as the ground truth of the benchmark's own scenes has it."""

    writes_answers = True

    def __init__(self) -> None:
        self.model = SimpleNamespace(training=True, eval=lambda: None, train=self.was_training)
        self.mode_after: bool | None = None
        self.second_turns = 0
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
        self.second_turns += bool(history)
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


class PointsInPart(KnowsAll):
    """Says all that is right, and points at a share of what is right when asked freely."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def chat(self, picture: Any, question: str, history: Any = (), **options: Any) -> Segmentation:
        reply = self.reply(picture, question)
        part = np.zeros_like(reply.mask)
        inside = np.flatnonzero(reply.mask)
        part.flat[inside[: int(self.share * len(inside))]] = True
        return Segmentation(part[None], [1.0], question, reply.text)


def report_of(segmenter: Any, **options: Any) -> ToylandReport:
    return evaluate_toyland(segmenter, SEED, N, size=SIZE, **options)


@pytest.mark.parametrize("answer", ["given", "generated"])
def test_the_right_answers_score_one(answer: Any) -> None:
    segmenter = KnowsAll()
    done: list[int] = []
    figures = report_of(segmenter, answer=answer, on_scene=done.append).to_dict()
    for name in ("ciou", "giou", "n_acc", "t_acc", "boundary", "vqa_accuracy"):
        assert figures[name] == 1.0, name
    assert {row["boundary"] for row in figures["kinds"].values() if "boundary" in row} == {1.0}
    chat = figures["chat"]
    assert chat["n"] > 0
    assert chat["explains"] == chat["points"] == chat["both"] == 1.0
    assert figures["second_turn"] == {"n": segmenter.second_turns, "accuracy": 1.0}
    assert 0 < segmenter.second_turns < figures["questions"]
    assert figures["questions"] == 12 * N == sum(kind["n"] for kind in figures["kinds"].values())
    assert set(figures["kinds"]) <= set(WEIGHTS)
    assert done == list(range(1, N + 1))
    assert segmenter.mode_after is True


def test_saying_nothing_is_right_about_absent_things_only() -> None:
    figures = report_of(KnowsNothing()).to_dict()
    absent = figures["kinds"]["absent"]
    assert absent["giou"] == absent["n_acc"] == figures["n_acc"] == 1.0
    assert figures["ciou"] == figures["t_acc"] == figures["vqa_accuracy"] == figures["chat"]["both"] == 0.0
    assert figures["boundary"] == 0.0
    assert figures["second_turn"]["accuracy"] == 0.0
    segmenting = sum(row["n"] for kind, row in figures["kinds"].items() if kind in SEGMENTING)
    assert figures["giou"] == pytest.approx(absent["n"] / segmenting)


def test_a_model_that_only_segments_is_asked_for_masks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter, benchmark = KnowsAll(), Toyland(SEED, N, size=SIZE)
    every = benchmark.ask(segmenter, 0)
    monkeypatch.setattr(segmenter, "writes_answers", False)
    monkeypatch.delattr(KnowsAll, "chat")
    masks = [sample for sample in every if sample.kind in SEGMENTING]
    assert benchmark.ask(segmenter, 0) == masks and 0 < len(masks) < len(every)


@pytest.mark.parametrize(("share", "right"), [(0.0, 0.0), (0.45, 0.0), (0.55, 1.0)])
def test_a_free_answer_has_to_explain_and_to_point(share: float, right: float) -> None:
    chat = report_of(PointsInPart(share)).to_dict()["chat"]
    assert (chat["explains"], chat["points"], chat["both"]) == (1.0, right, right)


def test_report_prints_every_kind() -> None:
    report = report_of(KnowsAll())
    console = Console(record=True, width=100)
    console.print(report)
    text = console.export_text()
    for kind in [*report.to_dict()["kinds"], "all that segment", "all in words", "chat: both", "chat: second turn"]:
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


# --------------------------------------------------------------------------------------------------- results on disk


@pytest.fixture(scope="module")
def segmenter(tiny_model_folder: Path) -> Segmenter:
    return Segmenter.from_pretrained(tiny_model_folder, device="cpu")


def scenes(n: int = 3, seed: int = SEED) -> Toyland:
    """Six questions a scene, which all kinds are among."""
    return Toyland(seed, n, size=96, questions=6)


def figures_of(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """All figures but the time."""
    return {name: value for name, value in summarise(benchmark, folder).items() if name != "seconds"}


@pytest.fixture(scope="module")
def whole(segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of three scenes, done at once."""
    folder = tmp_path_factory.mktemp("toyland") / "whole"
    evaluate(segmenter, scenes(), folder)
    summarise(scenes(), folder)
    return folder


def test_results_on_disk_are_those_in_memory(segmenter: Segmenter, whole: Path) -> None:
    in_memory = evaluate_toyland(segmenter, SEED, 3, size=96, questions=6).to_dict()
    on_disk = json.loads((whole / "figures.json").read_text())
    assert {name: on_disk[name] for name in in_memory} | {"seconds": 0} == in_memory | {"seconds": 0}
    assert on_disk["seconds"] > 0 and in_memory["seconds"] > 0
    assert on_disk["benchmark"] == "toyland" and on_disk["records"] == 3 and on_disk["broken"] == []


def test_an_interrupted_evaluation_goes_on(segmenter: Segmenter, whole: Path, tmp_path: Path) -> None:
    evaluate(segmenter, scenes(2), tmp_path)
    file = tmp_path / "samples-0.jsonl"
    first = file.read_text().splitlines(keepends=True)[0]
    file.write_text(file.read_text()[:-20])  # killed while it wrote the second scene
    with pytest.raises(EvaluationError, match=r"2 records of .* are not done"):
        summarise(scenes(), tmp_path)
    evaluate(segmenter, scenes(), tmp_path)  # with one scene more
    assert file.read_text().startswith(first)
    assert figures_of(scenes(), tmp_path) == figures_of(scenes(), whole)
    assert (tmp_path / "samples.csv").read_text() == (whole / "samples.csv").read_text()
    assert figures_of(scenes(1), tmp_path)["n"] == 1


def test_processes_share_the_scenes(segmenter: Segmenter, whole: Path, tmp_path: Path) -> None:
    for process in (0, 1):
        evaluate(segmenter, scenes(), tmp_path, process=process, processes=2)
    assert len((tmp_path / "samples-1.jsonl").read_text().splitlines()) == 1
    assert figures_of(scenes(), tmp_path) == figures_of(scenes(), whole)
    assert (tmp_path / "samples.csv").read_text() == (whole / "samples.csv").read_text()


def test_the_table_has_a_row_for_each_question(whole: Path) -> None:
    with (whole / "samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    figures = json.loads((whole / "figures.json").read_text())
    first = SEED * SCENES_PER_SEED
    for index in range(3):
        of_scene = [row for row in rows if row["picture"] == f"toyland-{first + index}.png"]
        asked = scene_questions(generate_scene(first + index, 96), 6, WEIGHTS)
        assert [(row["kind"], row["question"]) for row in of_scene] == [(each.kind, each.text) for each in asked]
        assert [int(row["number"]) for row in of_scene] == list(range(len(asked)))
        assert [int(row["target"]) for row in of_scene] == [
            0 if each.target is None else each.target.sum() for each in asked
        ]
    assert len(rows) == figures["questions"] + figures["chat"]["n"] + figures["second_turn"]["n"] > 18


def test_another_seed_is_another_evaluation(segmenter: Segmenter, whole: Path) -> None:
    with pytest.raises(EvaluationError, match="seed: 2 there, 3 now"):
        evaluate(segmenter, scenes(seed=3), whole)
    with pytest.raises(EvaluationError, match="questions_per_scene: 6 there, 12 now"):
        evaluate(segmenter, Toyland(SEED, 3, size=96), whole)
    assert scenes().folder != scenes(seed=3).folder


def test_the_page_shows_the_worst(segmenter: Segmenter, whole: Path) -> None:
    """Of each way to ask one, with what was said; masks are drawn on the scene."""
    samples = [sample for each in records_done(whole) for sample in each.samples]
    kinds: dict[str, Sample] = {}
    for sample in chain.from_iterable(worst_samples(samples, len(samples)).values()):
        kinds.setdefault(sample.kind, sample)
    asked = {CHAT, SECOND_TURN, "absent"} & kinds.keys()
    assert asked >= {CHAT} and SECOND_TURN in kinds and kinds.keys() & set(SCORED_IN_WORDS)
    text = write_page(segmenter, scenes(), whole, list(kinds.values()), len(kinds)).read_text()
    sections = [each for each in text.split("<section>")[1:] if "</section>" in each]
    for kind, sample in kinds.items():
        of_kind = next(each for each in sections if f"{sample.picture} · {kind}" in each)
        shown = ["marked", "predicted"] if kind in SEGMENTING or kind == CHAT else ["picture"]
        assert re.findall(r'alt="(\w+)" src="data:image/webp;base64,', of_kind) == shown


def test_masks_on_the_page_are_those_that_were_scored(segmenter: Segmenter, whole: Path) -> None:
    for done in records_done(whole):
        numbers = [sample.number for sample in done.samples]
        shown = scenes().shown(segmenter, done.record, numbers)
        assert np.array_equal(shown.picture, generate_scene(SEED * SCENES_PER_SEED + done.record, 96).picture)
        for sample in done.samples:
            masks = shown.masks.get(sample.number, {})
            assert bool(masks) == (sample.kind in SEGMENTING or sample.kind == CHAT)
            if masks:
                assert (masks["marked"].sum(), masks["predicted"].sum()) == (sample.target, sample.predicted)
