"""Exported models in several processes, on machines with GPUs, which they do not use."""

from __future__ import annotations

import os
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import Cli
from gpus import GPUS, WithGpus
from noise import Exported, noise
from PIL import Image

from self1e import Segmenter
from self1e.cli import segment
from self1e.cli.segment_ray import device_there, load_there
from self1e.evaluation.samples import SampleFile
from self1e.segment import share
from self1e.segment.files import begin_work
from self1e.segment.options import LoadOptions
from self1e.version import __version__

PROMPT = "the ball"


@pytest.fixture
def gpus(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch finds them, and this process has not taken one yet."""
    exported(False)  # while torch finds none, as there are none
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: GPUS)
    monkeypatch.setattr("self1e.segment.share._own_gpu", None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.slow
def test_commands_share_pictures(exported: Exported, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        noise(seed=number).save(path)
    monkeypatch.setattr(segment, "load_on_device", WithGpus(segment.load_on_device))
    folder, out = exported(False).folder, tmp_path / "out"
    outcome = cli("segment", *paths, "-p", PROMPT, "--model", folder, "--processes", 2, "--format", "mask", "-o", out)
    assert outcome.code in (0, 1), outcome.err
    segmenter = Segmenter.from_pretrained(folder)
    for path in paths:
        written = np.asarray(Image.open(out / f"{path.stem}.the-ball.mask.png")) > 0
        assert np.array_equal(written, segmenter.segment(path, PROMPT).mask)


def test_threads_are_shared_and_gpus_left_alone(
    exported: Exported, gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    told: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    load = partial(Segmenter.from_pretrained, exported(False).folder)
    work = begin_work(4, "auto", load, PROMPT, None, 1, {}, number=1)
    (done,) = work(iter([(0, noise())]))
    assert done.error is None and told == [2] and os.environ["OMP_NUM_THREADS"] == "2"


@pytest.mark.parametrize(("given", "shared"), [("8", "4"), ("1", "1"), (None, "3")])
def test_threads_are_shared_where_there_is_no_torch(
    monkeypatch: pytest.MonkeyPatch, given: str | None, shared: str
) -> None:
    monkeypatch.setattr(share, "has_torch", lambda: False)
    monkeypatch.setattr(share, "_own_gpu", None)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setenv("OMP_NUM_THREADS", given or "")
    share.take_share(1, 2)
    assert os.environ["OMP_NUM_THREADS"] == shared


def test_evaluations_by_torchrun(
    exported: Exported, cli: Cli, gpus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two processes; the first is not there, and so not waited for."""
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("self1e.cli.evaluate._process_group", lambda processes: nullcontext())
    monkeypatch.setattr(torch.distributed, "barrier", lambda: None)
    outcome = cli("eval", exported(False).folder, "toyland|scenes=2", "--out", tmp_path)
    assert outcome.code == 0, outcome.err
    [samples] = tmp_path.rglob("samples-1.jsonl")
    [done] = SampleFile(samples)
    assert done.record == 1 and done.samples and not done.broken


def test_a_cluster_keeps_no_gpus_for_it(exported: Exported, gpus: None) -> None:
    folder = str(exported(False).folder)
    assert device_there(folder, LoadOptions()) == "cpu"
    assert device_there(folder, LoadOptions(device="cuda")) == "cuda"  # which is refused there
    assert device_there("nano", LoadOptions()) == "auto"
    load = partial(load_there, folder, LoadOptions(), Path.cwd(), [], __version__)
    assert begin_work(1, "cpu", load, PROMPT, None, 1, {}, number=0)
