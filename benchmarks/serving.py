"""What a server takes from the bare model, and whether it lasts.

    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.serving    # 1, 4, 16, 64 clients; cold and known pictures
    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.serving --soak 20    # minutes of mixed and broken requests; memory

The variable keeps threads that wait from spinning, as `self1e serve` does: the two models share a machine.

The server is `self1e serve` as a process of its own; clients are coroutines of this one. The bare model is
`Segmenter.segment` in a loop, in this process, in rounds that alternate with the server's. Every answer is compared
with the bare model's mask. Cold pictures are each sent once, as a file; known ones were sent before, and are asked
about by id, beside `encode`d ones of the bare model. Writes `benchmarks/results/serving.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import httpx2
import numpy as np
import psutil
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from benchmarks.machine import ROOT, machine_facts
from self1e import Segmentation, Segmenter
from self1e.client import AsyncClient, ServerError
from self1e.files import write_json

RESULTS = ROOT / "benchmarks" / "results" / "serving.json"
PICTURES = sorted((ROOT / "examples" / "pictures").glob("*.jpg"))
PROMPTS = ("the cat", "the woman", "the cup", "the sky", "the person on the left", "what could one drink from?")
CLIENTS = (1, 4, 16, 64)
REQUESTS = 96
"""Of each round."""

ROUNDS = 2
MOST_DIFFERENT = 1e-4
"""Share of pixels of a mask that may differ: rows of other lengths round otherwise."""

_numbers = count()


@dataclass(frozen=True)
class Question:
    """A picture, a prompt, the bare model's mask, and perhaps the picture as a file."""

    picture: Image.Image
    prompt: str
    mask: np.ndarray
    file: bytes = b""

    def anew(self) -> Question:
        """The same, with a file that no server has seen."""
        note, file = PngInfo(), io.BytesIO()
        note.add_text("number", str(next(_numbers)))
        self.picture.save(file, "PNG", pnginfo=note, compress_level=1)
        return replace(self, file=file.getvalue())

    def check(self, answer: Segmentation) -> None:
        """Raises AssertionError at a wrong mask."""
        assert answer.mask.shape == self.mask.shape and answer.prompt == self.prompt
        assert np.mean(answer.mask != self.mask) <= MOST_DIFFERENT, f"another mask of {self.prompt!r}"


def questions(segmenter: Segmenter) -> list[Question]:
    """All pictures with all prompts."""
    pictures = [Image.open(path).convert("RGB") for path in PICTURES]
    return [
        Question(picture, prompt, segmenter.segment(picture, prompt).mask) for picture in pictures for prompt in PROMPTS
    ]


@contextlib.contextmanager
def server(model: str, *options: str) -> Iterator[tuple[str, psutil.Process]]:
    """Address and process of `self1e serve`."""
    command = [sys.executable, "-m", "self1e", "serve", "--port", "0", "--model", model, "--dtype", "float32", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found, "the server did not start"
        yield found[0], psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


async def in_parallel(
    clients: int, asked: Sequence[Question], ask: Callable[[Question], Awaitable[Segmentation]]
) -> tuple[float, list[float]]:
    """Seconds for all questions, and for each, when so many clients ask one after the other."""
    todo, seconds = iter(asked), list[float]()

    async def work() -> None:
        for question in todo:
            start = time.perf_counter()
            question.check(await ask(question))
            seconds.append(time.perf_counter() - start)

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(clients)))
    return time.perf_counter() - start, seconds


def bare(segmenter: Segmenter, asked: Sequence[Question], known: bool) -> float:
    """Seconds of the bare model, one question after the other."""
    encoded = {id(question.picture): segmenter.encode(question.picture) for question in asked} if known else {}
    start = time.perf_counter()
    for question in asked:
        picture = encoded[id(question.picture)] if known else io.BytesIO(question.file)
        question.check(segmenter.segment(picture, question.prompt))
    return time.perf_counter() - start


async def measure(address: str, segmenter: Segmenter, everything: list[Question]) -> list[dict[str, Any]]:
    """Rows of the table."""
    rows = []
    async with httpx2.AsyncClient(base_url=f"{address}/api/v1", timeout=300) as client:
        sent = {
            id(question.picture): (await client.post("/images", files={"image": question.anew().file})).json()[
                "image_id"
            ]
            for question in everything
        }
        for known in (False, True):
            for clients in CLIENTS:
                ours, theirs, latencies = list[float](), list[float](), list[float]()
                for round_ in range(ROUNDS):
                    asked = [each.anew() for each in random.Random(round_).choices(everything, k=REQUESTS)]

                    async def ask(question: Question, known: bool = known) -> Segmentation:
                        data = {"prompt": question.prompt}
                        if known:
                            body: dict[str, Any] = {"json": data | {"image_id": sent[id(question.picture)]}}
                        else:
                            body = {"data": data, "files": {"image": question.file}}
                        answer = await client.post("/segment", **body)
                        return Segmentation.from_dict(answer.raise_for_status().json()["results"][0])

                    theirs.append(bare(segmenter, [each.anew() for each in asked], known))
                    whole, each = await in_parallel(clients, asked, ask)
                    ours.append(whole)
                    latencies += each
                p50, p95, p99 = (float(np.percentile(latencies, share)) for share in (50, 95, 99))
                rows.append(
                    {
                        "pictures": "known" if known else "cold",
                        "clients": clients,
                        "per_second": REQUESTS / statistics.median(ours),
                        "bare_per_second": REQUESTS / statistics.median(theirs),
                        "ratio": statistics.median(b / a for a, b in zip(ours, theirs, strict=True)),
                        "p50": p50,
                        "p95": p95,
                        "p99": p99,
                    }
                )
                print(rows[-1], flush=True)
    return rows


async def soak(address: str, process: psutil.Process, everything: list[Question], minutes: float) -> dict[str, Any]:
    """Mixed requests for so long: counts of what became of them, and memory in each twentieth of the time."""
    outcome: Counter[str] = Counter()
    memory: list[float] = []
    ends = time.monotonic() + 60 * minutes
    choose = random.Random(0)

    async def good(client: AsyncClient) -> None:
        question = choose.choice(everything)
        question.check(await client.segment(question.anew().file, question.prompt))
        outcome["right"] += 1

    async def aborted(client: AsyncClient) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(choose.uniform(0.001, 0.2)):
                await good(client)
                return
        outcome["aborted"] += 1

    async def refused(kind: str, status: int, body: dict[str, Any] | bytes) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        async with httpx2.AsyncClient(timeout=60) as plain:
            answer = await plain.post(f"{address}/api/v1/segment", content=content, headers=headers)
        assert answer.status_code == status, (kind, answer.status_code, answer.text)
        outcome[kind] += 1

    async def slow() -> None:
        place = httpx2.URL(address)
        reader, writer = await asyncio.open_connection(place.host, place.port)
        head = f"POST /api/v1/segment HTTP/1.1\r\nHost: {place.host}\r\nContent-Type: application/json\r\n"
        head += "Content-Length: 999\r\n\r\n"
        writer.write(head.encode())
        await writer.drain()
        answer = (await reader.read(100)).decode()
        assert " 408 " in answer, answer
        writer.close()
        outcome["slow"] += 1

    async def work(client: AsyncClient) -> None:
        while time.monotonic() < ends:
            drawn = choose.random()
            try:
                if drawn < 0.7:
                    await good(client)
                elif drawn < 0.85:
                    await aborted(client)
                elif drawn < 0.9:
                    await refused("malformed", 422, b'{"image": "AAAA", "prompt": ')
                elif drawn < 0.95:
                    await refused("no picture", 422, {"image": "AAAA", "prompt": "the cat"})
                elif drawn < 0.98:
                    await refused("oversized", 413, b" " * 21_000_000)
                else:
                    await slow()
            except ServerError as error:
                outcome[f"refused {error.status}"] += 1

    async def watch() -> None:
        while time.monotonic() < ends:
            await asyncio.sleep(3 * minutes)
            memory.append(sum(each.memory_info().rss for each in [process, *process.children(recursive=True)]) / 2**20)

    async with AsyncClient(address) as client:
        await asyncio.gather(watch(), *(work(client) for _ in range(16)))
    return {"minutes": minutes, "outcome": dict(outcome), "memory_mib": [round(each) for each in memory]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="instead of the table")
    chosen = parser.parse_args()
    segmenter = Segmenter.from_pretrained(chosen.model, dtype="float32", device="cpu")
    everything = questions(segmenter)
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    facts = machine_facts() | {"threads": torch.get_num_threads(), "model": chosen.model}
    with server(chosen.model) as (address, process):
        if chosen.soak:
            results["soak"] = facts | asyncio.run(soak(address, process, everything, chosen.soak))
        else:
            results["table"] = facts | {"rows": asyncio.run(measure(address, segmenter, everything))}
    write_json(RESULTS, results, overwrite=True, indent=1)
    print(json.dumps(results["soak" if chosen.soak else "table"], indent=1))


if __name__ == "__main__":
    main()
