"""The server, over HTTP, with nano in a process of its own."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from serving import ENDLESS, KILLER, NAP, NIGHT, SLOW, picture

from self1e import Segmenter
from self1e.segment.results import Segmentation
from self1e.serve import engine
from self1e.serve.engine import AT_A_TIME
from self1e.serve.native import Result, SegmentAnswer
from self1e.serve.problems import Problem

LAKESIDE = Path(__file__).parents[2] / "examples" / "pictures" / "lakeside.png"
PROMPTS = ["the red boat", "the largest tree", "the sun"]
ENCODED = r'self1e_pictures_total\{known="no"\}'
SEGMENT, CHAT, IMAGES = "/api/v1/segment", "/api/v1/chat", "/api/v1/images"


@pytest.fixture
def client(address: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=address, timeout=180) as client:
        yield client


def ask(content: bytes, prompt: str | list[str], **options: Any) -> dict[str, Any]:
    return {"image": base64.b64encode(content).decode(), "prompt": prompt, **options}


def problem(answer: httpx2.Response, status: int, words: str) -> None:
    """Errors are sentences in the form of RFC 9457."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == status and told["title"]
    assert re.search(words, told["detail"]), told["detail"]
    assert ("retry-after" in answer.headers) == (status in (429, 503))


def figure(client: httpx2.Client, name: str) -> float:
    """A figure of /metrics, over all its labels."""
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if re.match(rf"{name}[{{ ]", line))


def decoded(mask: dict[str, Any]) -> np.ndarray:
    return coco_mask.decode(mask["rle"]).astype(bool)


# ------------------------------------------------------------------------------------------------------------ answers


def test_masks_are_those_of_python(client: httpx2.Client, segmenter: Segmenter) -> None:
    answer = client.post(SEGMENT, json=ask(LAKESIDE.read_bytes(), PROMPTS))
    assert answer.status_code == 200, answer.text
    expected = segmenter.segment(LAKESIDE, PROMPTS)
    for result, ours in zip(answer.json()["results"], expected, strict=True):
        there = Segmentation.from_dict(result)
        assert ours.found and np.array_equal(there.mask, ours.mask)
        assert (there.prompt, there.text, there.model) == (ours.prompt, ours.text, "nano")
        assert there.score == pytest.approx(ours.score, abs=1e-4)


def test_each_form_of_masks(client: httpx2.Client, segmenter: Segmenter) -> None:
    asked = ask(LAKESIDE.read_bytes(), "the red boat", masks=["rle", "polygons", "png", "logits"])
    result = client.post(SEGMENT, json=asked).json()["results"][0]
    ours = segmenter.segment(LAKESIDE, "the red boat", logits=True)
    (mask,) = result["masks"]
    assert np.array_equal(decoded(mask), ours.mask)
    drawn = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(mask["polygons"], *ours.mask.shape)))
    assert np.array_equal(drawn.astype(bool), ours.mask)
    png = np.asarray(Image.open(io.BytesIO(base64.b64decode(mask["png"]))))
    assert np.array_equal(png == 255, ours.mask) and set(np.unique(png)) == {0, 255}
    halves = np.frombuffer(base64.b64decode(result["logits"]["data"]), "<f2").reshape(result["logits"]["shape"])
    assert ours.logits is not None and np.allclose(halves, ours.logits, atol=0.05)


def test_threshold_and_parts(client: httpx2.Client, segmenter: Segmenter) -> None:
    content = LAKESIDE.read_bytes()
    low, high = (
        client.post(SEGMENT, json=ask(content, "the red boat", threshold=threshold)).json()["results"][0]
        for threshold in (0.05, 0.95)
    )
    ours = segmenter.segment(LAKESIDE, "the red boat", logits=True)
    assert low["area"] == ours.at(0.05).area > ours.area > ours.at(0.95).area == high["area"]
    parts = client.post(SEGMENT, json=ask(content, "all boats", instances=True)).json()["results"][0]["masks"]
    expected = segmenter.segment(LAKESIDE, "all boats", logits=True).instances()
    assert [part["box"] for part in parts] == [list(part.box or ()) for part in expected] and len(parts) > 1


def test_a_form_is_as_good_as_json(client: httpx2.Client) -> None:
    content = LAKESIDE.read_bytes()
    by_json = client.post(SEGMENT, json=ask(content, PROMPTS[:2], masks=["polygons", "png"])).json()
    data = {"prompt": PROMPTS[:2], "masks": "polygons,png"}
    by_form = client.post(SEGMENT, files={"image": ("a.png", content)}, data=data).json()
    url = {
        **ask(b"", PROMPTS[:2], masks=["polygons", "png"]),
        "image": "data:image/png;base64," + ask(content, "")["image"],
    }
    by_url = client.post(SEGMENT, json=url).json()
    for answer in (by_json, by_form, by_url):
        del answer["seconds"]
    assert by_form == by_json == by_url


def test_a_picture_is_sent_once(client: httpx2.Client) -> None:
    content = LAKESIDE.read_bytes()
    kept = client.post(IMAGES, files={"image": content}).json()
    assert (kept["width"], kept["height"]) == (448, 448)
    encoded = figure(client, ENCODED)
    by_id = client.post(SEGMENT, json={"image_id": kept["image_id"], "prompt": "the sun"}).json()
    assert by_id["results"] == client.post(SEGMENT, json=ask(content, "the sun")).json()["results"]
    assert figure(client, ENCODED) == encoded
    for colour in ("red", "green", "blue"):  # as many as are kept
        client.post(IMAGES, files={"image": picture((20, 20), colour)})
    answer = client.post(SEGMENT, json={"image_id": kept["image_id"], "prompt": "the sun"})
    problem(answer, 404, "no image .* send it to /api/v1/images again")


def test_chat_comes_in_pieces(client: httpx2.Client, segmenter: Segmenter) -> None:
    asked = {"image": ask(LAKESIDE.read_bytes(), "")["image"], "question": "Show me the red boat."}
    events = []
    with client.stream("POST", CHAT, json=asked) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        events = [(line[7:], json.loads(next(lines)[6:])) for line in lines if line.startswith("event: ")]
    *pieces, (name, result) = events
    ours = segmenter.chat(LAKESIDE, asked["question"])
    assert {kind for kind, _ in pieces} == {"text"} and len(pieces) > 1 and name == "result"
    assert "".join(piece["text"] for _, piece in pieces) == result["text"] == ours.text
    assert len(ours) and np.array_equal(Segmentation.from_dict(result).mask, ours.mask)
    at_once = client.post(CHAT, json=asked | {"stream": False, "history": [["How many boats are there?", "Three."]]})
    there = segmenter.chat(LAKESIDE, asked["question"], [("How many boats are there?", "Three.")])
    assert at_once.json()["text"] == there.text
    assert np.array_equal(Segmentation.from_dict(at_once.json()).mask, there.mask)


def test_what_a_small_model_was_not_taught_is_remarked(client: httpx2.Client) -> None:
    strange, known = client.post(SEGMENT, json=ask(LAKESIDE.read_bytes(), ["the sextant", "the sun"])).json()["results"]
    assert "was not taught 'the sextant'" in strange["remark"] and "remark" not in known


def test_answers_are_what_openapi_says_and_as_results_are_saved(client: httpx2.Client, segmenter: Segmenter) -> None:
    content, prompts = LAKESIDE.read_bytes(), ["the red boat", "the elephant"]
    masks = ["rle", "polygons", "png", "logits"]
    answer = client.post(SEGMENT, json=ask(content, prompts, masks=masks)).json()
    SegmentAnswer.model_validate(answer)
    (no_box,) = (result for result in answer["results"] if not result["found"])
    assert no_box.keys() - {"remark", "logits"} == segmenter.segment(LAKESIDE, "the elephant").to_dict().keys()
    asked = {"image": ask(content, "")["image"], "question": "Where is the sun?", "stream": False}
    Result.model_validate(client.post(CHAT, json=asked).json())


def test_models_and_openapi(client: httpx2.Client) -> None:
    (model,) = client.get("/api/v1/models").json()["models"]
    assert (model["name"], model["device"]) == ("nano", "cpu")
    paths = client.get("/openapi.json").json()["paths"]
    assert paths.keys() >= {SEGMENT, CHAT, IMAGES, "/api/v1/models", "/healthz", "/readyz", "/metrics"}
    bodies = paths[SEGMENT]["post"]["requestBody"]["content"]
    assert bodies.keys() == {"application/json", "multipart/form-data"}
    assert "$ref" not in json.dumps(bodies)  # nothing that is not there


# --------------------------------------------------------------------------------------------- many at a time, faults


async def together(address: str, bodies: list[dict[str, Any]], **options: Any) -> list[httpx2.Response | Exception]:
    """Answers to requests that are sent at once."""
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=address, timeout=180, limits=limits) as client:
        sent = (client.post(SEGMENT, json=body, **options) for body in bodies)
        return await asyncio.gather(*sent, return_exceptions=True)


def test_what_comes_together_shares_passes(address: str, client: httpx2.Client, segmenter: Segmenter) -> None:
    contents = [LAKESIDE.read_bytes(), *(picture((60, 40), colour) for colour in ("red", "green"))]
    bodies = [ask(content, prompt) for content in contents for prompt in PROMPTS] * 2
    before = figure(client, "self1e_pass_jobs_count")
    answers = asyncio.run(together(address, [ask(picture(SLOW), "the sun"), *bodies]))[1:]
    # One is slow, and meanwhile the others gather.
    assert figure(client, "self1e_pass_jobs_count") - before < len(bodies) / 2
    for body, answer in zip(bodies, answers, strict=True):
        assert isinstance(answer, httpx2.Response)
        there = Segmentation.from_dict(answer.json()["results"][0])
        ours = segmenter.segment(base64.b64decode(body["image"]), body["prompt"])
        assert there.prompt == body["prompt"]
        assert np.count_nonzero(there.mask != ours.mask) <= 2  # rows of other lengths round otherwise
    assert sum(Segmentation.from_dict(answer.json()["results"][0]).found for answer in answers) >= 6  # type: ignore[union-attr]


def test_one_that_kills_is_told_so_and_others_are_answered(address: str, client: httpx2.Client) -> None:
    bodies = [ask(LAKESIDE.read_bytes(), prompt) for prompt in PROMPTS]
    bodies.insert(1, ask(picture(KILLER), "the sun"))
    restarts = figure(client, "self1e_restarts_total")
    answers = asyncio.run(together(address, bodies))
    killer = answers.pop(1)
    assert isinstance(killer, httpx2.Response)
    problem(killer, 500, "was killed by signal 9 at this request; it is not tried again")
    assert [answer.status_code for answer in answers if isinstance(answer, httpx2.Response)] == [200] * 3
    assert 1 <= figure(client, "self1e_restarts_total") - restarts <= 2
    assert client.get("/readyz").status_code == 200


def test_time_and_those_who_leave(address: str, client: httpx2.Client) -> None:
    slow = ask(picture(SLOW, "blue"), "the sun", timeout=NAP / 4)
    problem(client.post(SEGMENT, json=slow), 503, r"not done within 0\.175 seconds")
    while figure(client, "self1e_in_work"):  # what nobody waits for any more
        time.sleep(0.05)
    prompts = figure(client, "self1e_prompts_total")

    # While one is slow, five wait whose senders hang up: they are not done.
    async def hang_up() -> None:
        first = asyncio.create_task(together(address, [ask(picture(SLOW, "green"), "the sun")]))
        await asyncio.sleep(NAP / 4)
        gone = await together(address, [ask(picture((30, 30)), "the sun")] * 5, timeout=NAP / 4)
        assert all(isinstance(each, httpx2.TimeoutException) for each in gone)
        await first

    asyncio.run(hang_up())
    assert client.post(SEGMENT, json=ask(picture((31, 30)), "the sun")).status_code == 200
    assert figure(client, "self1e_prompts_total") - prompts == 2


def test_more_than_may_wait(address: str) -> None:
    bodies = [ask(picture(SLOW, "yellow"), "the sun")] + [ask(picture((20, 20)), "the sun")] * (AT_A_TIME + 16)
    answers = asyncio.run(together(address, bodies))
    refused = [each for each in answers if isinstance(each, httpx2.Response) and each.status_code != 200]
    assert 0 < len(refused) < 20
    for answer in refused:
        problem(answer, 429, "8 requests wait already")


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"prompt": "the sun"}, 422, "give the picture in one way"),
        ({"image": "", "image_id": "x", "prompt": "a"}, 422, "give the picture in one way"),
        ({"image": "@@", "prompt": "the sun"}, 422, "no base64"),
        ({"image": "", "prompt": "the sun"}, 422, "is empty"),
        ({"image": "bm8gcGljdHVyZQ==", "prompt": "the sun"}, 422, "no picture that can be read"),
        ({"image_url": "https://example.org/a.png", "prompt": "a"}, 403, "not fetched from https://example.org"),
        (ask(picture((20, 20)), ""), 422, "the prompt is empty"),
        (ask(picture((20, 20)), []), 422, "there is none"),
        (ask(picture((20, 20)), ["the sun"] * 9), 413, "9 are more than 8"),
        (ask(picture((20, 20)), "sun " * 100), 414, "400 letters"),
        (ask(picture((2000, 2000)), "the sun"), 413, "2000x2000 are more than 1,000,000 pixels"),
        (ask(picture((20, 20)), "the sun", threshold=1), 422, "threshold: .*less than 1"),
        (ask(picture((20, 20)), "the sun", masks=["svg"]), 422, "masks"),
        (ask(picture((20, 20)), "the sun", colour="red"), 422, "colour: extra inputs"),
        (ask(picture((20, 20))[:60], "the sun"), 422, "picture"),
        ([], 422, "dictionary"),
        ({"image": "/etc/passwd", "prompt": "the sun"}, 422, "no base64"),
        ({"image_url": "/etc/passwd", "prompt": "the sun"}, 422, "'/etc/passwd' is no address like https://"),
        (ask(picture((20, 20)), "\ud800"), 422, r"prompt: '\\ud800' is half of a character"),
        (ask(picture((1000, 1000)), ["the sun"] * 8, masks=["logits"]), 413, "43,000,000 bytes of memory, more than"),
        ({str(number): 1 for number in range(100_000)}, 422, "has 100000 fields, and there are image, image_id"),
        ({"image": "", "prompt": [1] * 100_000}, 422, "prompt"),
        (ask(picture((20, 20)), "the sun", masks=[1] * 100_000), 422, "masks"),
    ],
)
def test_what_does_not_fit(client: httpx2.Client, body: Any, status: int, words: str) -> None:
    start = time.monotonic()
    answer = client.post(SEGMENT, content=json.dumps(body), headers={"content-type": "application/json"})
    problem(answer, status, words)
    assert len(answer.content) < 1000 and time.monotonic() - start < 5


def test_a_history_that_is_too_long(client: httpx2.Client) -> None:
    asked = {"image": "", "question": "What?"}
    turns = client.post(CHAT, json=asked | {"history": [["", ""]] * 9})
    problem(turns, 413, "9 turns are more than 8: send the last ones")
    problem(client.post(CHAT, json=asked | {"history": [["x" * 3000, "y"]]}), 414, "3,001 letters are more than 3,000")


def test_bodies_that_are_too_large_or_strange(client: httpx2.Client) -> None:
    problem(client.post(SEGMENT, content=b" " * 2_000_001), 413, "2,000,001 bytes or more")
    headers = {"content-type": "application/json"}
    problem(client.post(SEGMENT, content=b"a: 1", headers={"content-type": "text/yaml"}), 415, "text/yaml")
    problem(client.post(SEGMENT, content=b"{", headers=headers), 422, "no JSON")
    problem(client.post(SEGMENT, content=b"[" * 100_000, headers=headers), 422, "no JSON")
    problem(client.post("/v1/predict", content=b"{", headers=headers), 422, "^the body is no JSON: Expecting property")
    problem(client.post(SEGMENT, files={"photo": picture((20, 20))}, data={"prompt": "a"}), 422, "field 'image'")
    problem(client.get("/api/v2/segment"), 404, "/openapi.json lists")
    problem(client.get(SEGMENT), 405, "^GET is not for /api/v1/segment: use POST$")


@pytest.mark.parametrize("path", [SEGMENT, "/v1/predict", "/predict"])
def test_bodies_are_limited_as_they_come(client: httpx2.Client, address: str, path: str) -> None:
    parts = (b" " * 100_000 for _ in range(30))  # of no announced length
    headers = {"content-type": "application/json"}
    problem(client.post(path, content=parts, headers=headers), 413, "may have 2,000,000")
    place = urlsplit(address)
    with socket.create_connection((place.hostname, place.port)) as connection:
        lines = [f"POST {path} HTTP/1.1", f"Host: {place.netloc}", "Content-Type: application/json"]
        connection.sendall("\r\n".join([*lines, "Content-Length: 999", "", '{"image"']).encode())
        connection.settimeout(10)
        answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()  # to the end: the connection is closed
    assert answer.startswith("HTTP/1.1 408") and "did not arrive in 1 seconds" in answer


def test_an_answer_that_nobody_takes_is_not_held(address: str) -> None:
    place = urlsplit(address)
    body = json.dumps(ask(picture((1000, 1000)), ["the sun"] * 5, masks=["logits"]))
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        connection.settimeout(30)
        connection.connect((place.hostname, place.port))
        lines = [f"POST {SEGMENT} HTTP/1.1", f"Host: {place.netloc}", "Content-Type: application/json"]
        connection.sendall("\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]).encode())
        head = connection.recv(1000).decode()
        time.sleep(2)  # longer than it may take nothing
        rest = b"".join(iter(lambda: connection.recv(2**20), b""))
    announced = re.search(r"content-length: (\d+)", head)
    assert announced and len(rest) < int(announced[1]) - 1_000_000


@pytest.mark.slow
def test_a_process_that_hangs_is_replaced(address: str, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "GRACE", 0.5)
    restarts = figure(client, "self1e_restarts_total")
    problem(client.post(SEGMENT, json=ask(picture(ENDLESS), "the sun", timeout=0.5)), 503, "not done within")
    start = time.monotonic()
    assert client.post(SEGMENT, json=ask(LAKESIDE.read_bytes(), "the sun")).status_code == 200
    assert figure(client, "self1e_restarts_total") == restarts + 1
    assert time.monotonic() - start < NIGHT


def load_for_ever(device: Any) -> Segmenter:
    time.sleep(NIGHT)
    raise AssertionError


def test_it_ends_at_once_while_it_loads() -> None:
    async def start_and_stop() -> float:
        loading = engine.Engine(load_for_ever)
        await loading.start()
        await asyncio.sleep(1)
        start = time.monotonic()
        await loading.stop()
        return time.monotonic() - start

    assert asyncio.run(start_and_stop()) < 5


def test_who_has_left_is_answered_without_a_fault() -> None:
    assert Problem(499, "gone").response.status_code == 499  # a status that HTTP itself does not have
