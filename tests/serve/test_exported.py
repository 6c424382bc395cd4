"""The server with an exported model."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import httpx2
import numpy as np
from gpus import WithGpus
from noise import Exported, Models
from serving import served

from self1e import Segmenter
from self1e.cli.options import load_in_process
from self1e.segment.options import LoadOptions
from self1e.segment.results import Segmentation
from self1e.serve.app import make_app
from self1e.serve.engine import Engine

LAKESIDE = Path(__file__).parents[2] / "examples" / "pictures" / "lakeside.png"
PROMPTS = ["the red boat", "the sun"]


def test_masks_of_an_exported_model_are_those_of_the_model(exported: Exported, models: Models) -> None:
    """On a machine with GPUs, too, which it does not use."""
    artefact = exported(False)
    engine = Engine(WithGpus(partial(load_in_process, artefact, LoadOptions())), device="auto")
    with served(make_app(engine, model=artefact.name)) as url, httpx2.Client(base_url=url, timeout=60) as client:
        ends = time.monotonic() + 60
        while client.get("/readyz").status_code != 200:
            assert engine.failed is None and time.monotonic() < ends, engine.failed
            time.sleep(0.1)
        with LAKESIDE.open("rb") as file:
            answer = client.post("/api/v1/segment", files={"image": file}, data={"prompt": PROMPTS})
        (facts,) = client.get("/api/v1/models").json()["models"]
    assert answer.status_code == 200, answer.text
    assert (facts["name"], facts["engine"], facts["device"]) == (artefact.name, "onnxruntime", "cpu")
    expected = Segmenter.from_pretrained(models(False), device="cpu").segment(LAKESIDE, PROMPTS, logits=True)
    for result, ours in zip(answer.json()["results"], expected, strict=True):
        there = Segmentation.from_dict(result)
        assert ours.found and ours.logits is not None
        sure = np.abs(ours.logits[0]) > 1e-3
        assert np.array_equal(there.mask & sure, ours.mask & sure)
