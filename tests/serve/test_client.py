"""Python's client against a server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serving import picture

from self1e import Segmentation, Segmenter
from self1e.client import AsyncClient, Client, ServerError, _Asked
from self1e.processing.images import ImageError
from self1e.segment.calibration import Calibration
from self1e.serve.messages import Forms
from self1e.serve.model_process import pack

LAKESIDE = Path(__file__).parents[2] / "examples" / "pictures" / "lakeside.png"
BOAT = "the red boat"


def test_results_are_those_of_a_segmenter(address: str, segmenter: Segmenter) -> None:
    with Client(address) as client:
        there, here = client.segment(LAKESIDE, BOAT, logits=True), segmenter.segment(LAKESIDE, BOAT, logits=True)
        assert (
            here.found and np.array_equal(there.mask, here.mask) and there.score == pytest.approx(here.score, abs=1e-4)
        )
        assert (
            there.logits is not None and here.logits is not None and np.allclose(there.logits, here.logits, atol=0.05)
        )
        assert there.image is not None and np.array_equal(np.asarray(there.image), np.asarray(here.image))
        several = client.segment(LAKESIDE, [BOAT, "the sun"])
        assert [each.prompt for each in several] == [BOAT, "the sun"] and np.array_equal(several[0].mask, here.mask)
        assert several[0].logits is None


def test_what_is_withheld_stays_so_at_every_threshold() -> None:
    logits = np.full((1, 20, 30), 0.5, np.float32)
    result = Segmentation.from_logits(logits, calibration=Calibration(least=0.9, withheld=0.7), keep_logits=True)
    [packed] = pack([result], Forms(frozenset({"rle", "logits"}), threshold=0.3))
    read = _Asked("/segment", Image.new("RGB", (30, 20)), {}).read(json.loads(json.dumps(packed)))
    assert read.withheld is not None and read.withheld.all() and not read.found and read.score == pytest.approx(0.7)
    assert read.logits is not None and (read.logits > 0).all() and not read.at(0.1).mask.any()


def test_each_kind_of_picture(address: str, segmenter: Segmenter, tmp_path: Path) -> None:
    turned = tmp_path / "turned.png"
    upright = Image.open(LAKESIDE).convert("RGB").crop((0, 0, 448, 400))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(turned, exif=exif)
    mask = segmenter.segment(upright, BOAT).mask
    with Client(address) as client, turned.open("rb") as file:
        for kind in (turned, str(turned), turned.read_bytes(), file, upright, np.asarray(upright)):
            result = client.segment(kind, BOAT)
            assert result.image is not None and result.image.size == upright.size
            assert np.array_equal(result.mask, mask)
        sent = client.send(turned)
        assert np.array_equal(client.segment(sent, BOAT).mask, mask) and repr(sent) == "SentPicture(448x400 pixels)"


def test_chat(address: str, segmenter: Segmenter) -> None:
    pieces: list[str] = []
    with Client(address) as client:
        there = client.chat(LAKESIDE, "Show me the red boat.", on_text=pieces.append)
    here = segmenter.chat(LAKESIDE, "Show me the red boat.")
    assert "".join(pieces) == there.text == here.text and len(here) and np.array_equal(there.mask, here.mask)


def test_asyncio(address: str, segmenter: Segmenter) -> None:
    async def ask() -> None:
        async with AsyncClient(address) as client:
            sent = await client.send(LAKESIDE)
            answers = await asyncio.gather(*(client.segment(sent, BOAT) for _ in range(4)), client.chat(sent, "Boats?"))
            assert (await client.models())[0]["name"] == "nano"
            assert all(np.array_equal(each.mask, segmenter.segment(LAKESIDE, BOAT).mask) for each in answers[:4])
            with pytest.raises(ServerError, match="the prompt is empty"):
                await client.segment(sent, "")

    asyncio.run(ask())


def test_errors(address: str, tmp_path: Path) -> None:
    with Client(address) as client:
        with pytest.raises(ImageError, match="nowhere"):
            client.segment(tmp_path / "nowhere.png", BOAT)
        with pytest.raises(ServerError, match="2000x2000 are more than") as refused:
            client.segment(picture((2000, 2000)), BOAT)
        assert refused.value.status == 413 and refused.value.retry_after is None
        with pytest.raises(ServerError, match="max_new_tokens: at most 512"):
            client.chat(picture((20, 20)), "What?", max_new_tokens=9999)
    with (
        Client("http://127.0.0.1:9") as nobody,
        pytest.raises(ServerError, match="does `self1e serve` run there") as none,
    ):
        nobody.models()
    assert none.value.status is None


def test_it_needs_no_torch() -> None:
    code = "import sys, self1e.client; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
