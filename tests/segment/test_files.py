"""Many files, in threads and in processes, on a tiny random model."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from self1e.checkpoints.weights import ModelError
from self1e.processing.images import ImageError
from self1e.processing.prompts import PromptError
from self1e.segment import files as pipeline
from self1e.segment.files import AHEAD, ProcessError, segment_in_processes
from self1e.segment.results import Segmentation
from self1e.segment.runner import NumbersError
from self1e.segment.segmenter import Segmenter

PROMPT = "the red ball"


@pytest.fixture(scope="module")
def segmenter(tiny_model_folder: Path) -> Segmenter:
    return Segmenter.from_pretrained(tiny_model_folder)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Eight pictures of different sizes; number 2 is broken."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{number}.png" for number in range(8)]
    for number, path in enumerate(paths):
        pixels = np.random.default_rng(number).integers(0, 256, (40 + number, 60, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    paths[2].write_bytes(paths[2].read_bytes()[:100])
    return paths


def area(index: int, result: Segmentation) -> tuple[int, int]:
    return index, result.area


def killed_at_3(index: int, result: Segmentation) -> tuple[int, int]:
    if index == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return area(index, result)


def finished_before_the_first(folder: Path, index: int, result: Segmentation) -> int:
    """Makes the first picture wait for the others, and counts these."""
    (folder / str(index)).touch()
    if index == 0:
        time.sleep(3)
    return len(list(folder.iterdir()))


class AwkwardError(Exception):
    """Pickle writes it, and cannot read it."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} in {where}")


def load_cut_short(device: object) -> Segmenter:
    raise EOFError("cut short")


def load_awkwardly(device: object) -> Segmenter:
    raise AwkwardError("a hole", "the bucket")


@pytest.mark.parametrize("batch", [1, 3])
def test_results_in_order_as_one_by_one(segmenter: Segmenter, pictures: list[Path], batch: int) -> None:
    outcomes = list(segmenter.segment_files(iter(pictures), [PROMPT, "blue"], batch=batch, logits=True))
    assert [(done.index, done.source) for done in outcomes] == list(enumerate(pictures))
    for done in outcomes:
        if done.index == 2:
            assert done.value is None and "2.png" in str(done.error)
            continue
        assert done.error is None
        for ours, alone in zip(done.value, segmenter.segment(done.source, [PROMPT, "blue"], logits=True), strict=True):
            assert ours.prompt == alone.prompt
            np.testing.assert_allclose(ours.logits, alone.logits, atol=1e-4)


def test_prompts_of_each_picture(segmenter: Segmenter, pictures: list[Path]) -> None:
    pairs = [(pictures[0], ["blue", PROMPT]), (pictures[1], PROMPT)]
    first, second = segmenter.segment_files(pairs, None)
    assert [result.prompt for result in first.value] == ["blue", PROMPT] and second.value.prompt == PROMPT
    assert (first.source, second.source) == (pictures[0], pictures[1])
    triples = [(pictures[0], "blue", "what finish is told"), (pictures[1], PROMPT)]
    told = segmenter.segment_files(triples, None, finish=lambda about, result: (about, result.prompt))
    assert [(done.index, done.value) for done in told] == [(0, ("what finish is told", "blue")), (1, (1, PROMPT))]
    for sources, prompts in ((pictures[:1], None), (pairs, PROMPT)):
        with pytest.raises(ValueError, match="give prompts for all pictures, or None and pairs"):
            list(segmenter.segment_files(sources, prompts))


def test_the_model_runs_here_and_the_rest_in_threads(
    segmenter: Segmenter, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[str, set[threading.Thread]] = defaultdict(set)

    def recorded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            threads[name].add(threading.current_thread())
            return function(*arguments, **options)

        return call

    for name in ("read", "segment"):
        monkeypatch.setattr(segmenter, name, recorded(name, getattr(segmenter, name)))
    list(segmenter.segment_files(pictures, PROMPT, finish=recorded("finish", area)))
    here = {threading.current_thread()}
    assert threads["segment"] == here
    assert threads["read"] and threads["finish"]
    assert not here & (threads["read"] | threads["finish"])


def test_a_whole_batch_is_read_while_the_model_is_at_another(
    segmenter: Segmenter, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, taken, at_passes = AHEAD + 2, 0, []
    original = segmenter.segment

    def sources() -> Iterator[Path]:
        nonlocal taken
        for taken in range(1, 3 * batch + 1):  # noqa: B007
            yield pictures[0]

    def segment(*arguments: Any, **options: Any) -> Any:
        at_passes.append(taken)
        return original(*arguments, **options)

    monkeypatch.setattr(segmenter, "segment", segment)
    list(segmenter.segment_files(sources(), PROMPT, batch=batch))
    assert at_passes == [2 * batch, 3 * batch, 3 * batch]


def test_few_pictures_are_in_memory(segmenter: Segmenter, pictures: list[Path]) -> None:
    taken = 0

    def sources() -> Iterator[Path]:
        nonlocal taken
        for taken in range(1, 41):  # noqa: B007
            yield pictures[0]

    for fetched, _ in enumerate(segmenter.segment_files(sources(), PROMPT)):
        # Read ahead, with the model, being finished, here.
        assert taken - fetched <= AHEAD + 1 + AHEAD + 1
    assert taken == 40


def test_stopping_early_drops_what_has_not_begun(segmenter: Segmenter, pictures: list[Path]) -> None:
    before = set(threading.enumerate())
    finished = []
    files = segmenter.segment_files(pictures[:1] * 40, PROMPT, finish=lambda index, _: finished.append(index))
    next(files)
    files.close()
    assert 1 <= len(finished) < 40
    assert set(threading.enumerate()) <= before


def test_errors_of_finishing_come_out(segmenter: Segmenter, pictures: list[Path]) -> None:
    def finish(index: int, result: Segmentation) -> Path:
        return result.save(pictures[0])

    with pytest.raises(FileExistsError):
        list(segmenter.segment_files(pictures, PROMPT, finish=finish))


def test_arguments_are_checked_at_once(segmenter: Segmenter) -> None:
    for batch in (0, 1.5):
        with pytest.raises(ValueError, match=f"batch={batch}"):
            segmenter.segment_files([], PROMPT, batch=batch)  # type: ignore[arg-type]
    for call in (segmenter.segment_files, partial(segment_in_processes, Segmenter.from_pretrained, processes=1)):
        with pytest.raises(ValueError, match=r"give \['one\.png'\]"):
            call("one.png", PROMPT)  # type: ignore[operator]
    with pytest.raises(ValueError, match="processes=0"):
        segment_in_processes(Segmenter.from_pretrained, [], PROMPT, processes=0)
    assert list(segment_in_processes(Segmenter.from_pretrained, [], PROMPT, processes=2)) == []


def test_a_killed_process_costs_one_picture(
    segmenter: Segmenter, pictures: list[Path], tiny_model_folder: Path
) -> None:
    load = partial(Segmenter.from_pretrained, tiny_model_folder)
    outcomes = list(segment_in_processes(load, pictures, PROMPT, processes=2, device="cpu", finish=killed_at_3))
    assert [(done.index, done.source) for done in outcomes] == list(enumerate(pictures))
    assert [type(done.error) for done in outcomes if done.error] == [ImageError, ProcessError]
    assert "2.png" in str(outcomes[2].error)
    assert "killed by signal 9" in str(outcomes[3].error) and str(pictures[3]) in str(outcomes[3].error)
    for done in outcomes:
        if done.error is None:
            assert done.value == area(done.index, segmenter.segment(done.source, PROMPT))


@pytest.mark.parametrize("batch", [1, 4])
def test_a_prompt_that_is_too_long_costs_one_picture(segmenter: Segmenter, pictures: list[Path], batch: int) -> None:
    asked = [(pictures[0], PROMPT), (pictures[1], "a ball " * 5000), (pictures[2], PROMPT), (pictures[3], [PROMPT])]
    fine, too_long, broken, several = segmenter.segment_files(asked, None, batch=batch)
    assert isinstance(too_long.error, PromptError) and "too long" in str(too_long.error) and too_long.value is None
    assert isinstance(broken.error, ImageError) and fine.value.prompt == PROMPT == several.value[0].prompt


def test_numbers_that_overflow_cost_one_picture(tiny_model_folder: Path, pictures: list[Path]) -> None:
    segmenter = Segmenter.from_pretrained(tiny_model_folder)
    with torch.no_grad():
        segmenter.model.model.language_model.norm.weight.fill_(3e38)  # which is finite
    for done in segmenter.segment_files(pictures[:2], PROMPT, batch=2):
        assert isinstance(done.error, NumbersError) and "overflow in torch.float32" in str(done.error)


def test_what_processes_warn_of(segmenter: Segmenter, tiny_model_folder: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for path in paths:
        Image.fromarray(np.full((40, 60), 4095, np.uint16)).save(path)
    load = partial(Segmenter.from_pretrained, tiny_model_folder, max_tiles=1)
    several = segment_in_processes(load, paths, PROMPT, processes=2, device="cpu", finish=area)
    for done in (segmenter.segment_files(paths, PROMPT), several):
        with pytest.warns(UserWarning, match="holds uint16") as told:
            list(done)
        assert sorted(str(each.message).split()[0] for each in told if "holds" in str(each.message)) == [
            *map(str, paths)
        ]


def test_too_many_killed(pictures: list[Path], tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("self1e.parallel.MOST_DEATHS", 0)
    load = partial(Segmenter.from_pretrained, tiny_model_folder)
    files = segment_in_processes(load, pictures, PROMPT, processes=1, device="cpu", finish=killed_at_3)
    with pytest.raises(ProcessError, match=r"killed by signal 9.*are not done"):
        list(files)


@pytest.mark.slow
def test_no_process_runs_far_ahead_of_another(
    pictures: list[Path], tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the results that wait for its pictures would fill the memory."""
    monkeypatch.setattr(pipeline, "CHUNK", 2)
    load = partial(Segmenter.from_pretrained, tiny_model_folder)
    finish = partial(finished_before_the_first, tmp_path)
    files = segment_in_processes(load, pictures[:1] * 200, PROMPT, processes=2, device="cpu", finish=finish)
    finished = [done.value for done in files]
    assert len(finished) == 200
    assert finished[0] <= 2 * 2 * 2 + 2


@pytest.mark.parametrize(
    ("load", "error", "message", "in_traceback"),
    [
        (partial(Segmenter.from_pretrained, "no-such-model"), ModelError, "no-such-model", "open_checkpoint"),
        (load_cut_short, EOFError, "cut short", "load_cut_short"),
        (load_awkwardly, ProcessError, "AwkwardError: a hole in the bucket", "load_awkwardly"),
    ],
)
def test_what_a_process_raises_comes_out(
    pictures: list[Path], load: Callable[..., Segmenter], error: type[Exception], message: str, in_traceback: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        list(segment_in_processes(load, pictures, PROMPT, processes=1, device="cpu"))
    assert in_traceback in caught.value.__notes__[0]
