"""What annotation tools ask of a server, and what they get: one server with nano for all."""

from __future__ import annotations

import asyncio
import base64
import http.server
import io
import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import cv2
import httpx2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from serving import load_fragile, served

from self1e.data.forms.shapes import shapes_of
from self1e.segment.results import Segmentation
from self1e.serve.app import make_app
from self1e.serve.brush import brush_rle
from self1e.serve.engine import Engine
from self1e.serve.fetch import Fetcher
from self1e.serve.guard import Keys
from self1e.serve.label_config import ConfigError, asks_of, read_config
from self1e.serve.label_studio import Access, there
from self1e.serve.limits import Limits

PICTURES = Path(__file__).parents[2] / "src" / "self1e" / "assets" / "check"
DUCK = (PICTURES / "toyland-7000001.jpg").read_bytes()
"""With a duck, a pink kite and a person, which nano finds."""

KEY = "a key of a server for tests"
LEGACY = "0123456789abcdef0123456789abcdef01234567"
PERSONAL = "head.payload.signature"

CONFIG = """
<View>
  <Image name="picture" value="$image"/>
  <KeyPointLabels name="point" toName="picture" smart="true"><Label value="kite"/></KeyPointLabels>
  <BrushLabels name="brush" toName="picture">
    <Label value="duck" predicted_values="the duck"/><Label value="kite" predicted_values="the pink kite"/>
  </BrushLabels>
  <PolygonLabels name="outline" toName="picture"><Label value="person"/><Label value="duck"/></PolygonLabels>
</View>
"""


class PicturesOnly(http.server.BaseHTTPRequestHandler):
    """As much of a Label Studio as pictures and tokens take."""

    asked: ClassVar[list[tuple[str, str]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization", "")))
        known = self.headers.get("Authorization") in (f"Token {LEGACY}", "Bearer for minutes")
        found = self.path.startswith("/data/upload/")
        self.send_response(200 if known and found else 404 if known else 401)
        self.end_headers()
        if known and found:
            self.wfile.write(DUCK)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body["refresh"]))
        self.send_response(200 if body == {"refresh": PERSONAL} else 401)
        self.end_headers()
        if body == {"refresh": PERSONAL}:
            self.wfile.write(b'{"access": "for minutes"}')

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def label_studio() -> Iterator[str]:
    """Its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), PicturesOnly)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def server(label_studio: str) -> Iterator[httpx2.Client]:
    """A client with the key, of a server in this process, its model in another."""
    limits = Limits(prompts=4, letters=200, pixels=1_000_000)
    engine = Engine(load_fragile, device="cpu", limits=limits)
    fetcher = Fetcher(limits=limits, trusted=label_studio, authorization=Access(label_studio, LEGACY))
    app = make_app(engine, keys=Keys([KEY]), fetcher=fetcher, model="nano")
    with served(app) as address, _client(address) as client:
        # While the model loads, Label Studio is answered within its three seconds.
        setup = client.post("/setup", json={"project": "1.1", "schema": CONFIG, "hostname": "", "access_token": "x"})
        assert client.get("/readyz").status_code == 503 and setup.status_code == 200
        assert client.get("/v1/models").status_code == 503
        while client.get("/readyz").status_code == 503:
            time.sleep(0.05)
        yield client


def _client(address: str) -> httpx2.Client:
    return httpx2.Client(base_url=address, headers={"Token": KEY}, timeout=120, trust_env=False)


@pytest.fixture(scope="module")
def masks(server: httpx2.Client) -> dict[str, np.ndarray]:
    """What our own API finds."""
    prompts = ["the duck", "the pink kite", "person"]
    asked = {"image": base64.b64encode(DUCK).decode(), "prompt": prompts}
    results = server.post("/api/v1/segment", json=asked).json()["results"]
    found = {result["prompt"]: Segmentation.from_dict(result) for result in results}
    assert all(found[prompt].found for prompt in prompts)
    return {prompt: found[prompt].mask for prompt in prompts}


def sentence(answer: httpx2.Response, status: int) -> str:
    """Of an error."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    return str(answer.json()["detail"])


def filled(shapes: list[dict[str, Any]], shape: tuple[int, ...]) -> np.ndarray:
    """As X-AnyLabeling and labelme do."""
    canvas = np.zeros(shape, np.uint8)
    for each in shapes:
        cv2.fillPoly(canvas, [np.array(each["points"]).astype(np.int32)], 1)
    return canvas == 1


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


# ------------------------------------------------------------------------------------------------------ X-AnyLabeling


def predict(server: httpx2.Client, **params: Any) -> httpx2.Response:
    image = "data:image/jpeg;base64," + base64.b64encode(DUCK).decode()
    return server.post("/v1/predict", json={"model": "nano", "image": image, "params": params})


def test_the_window_shows_what_text_needs_and_keeps_what_is_there(server: httpx2.Client) -> None:
    (name, model), *_ = server.get("/v1/models").json()["data"].items()
    widgets = {widget["name"]: widget["value"] for widget in model["widgets"]}
    assert (name, model["batch_processing_mode"]) == ("nano", "text_prompt")
    assert {"edit_text", "button_send"} <= widgets.keys() and widgets["toggle_preserve_existing_annotations"] is True


def test_shapes_fill_to_the_masks(server: httpx2.Client, masks: dict[str, np.ndarray]) -> None:
    answer = predict(server, text_prompt="the duck, the pink kite. person", marks=None, iou_threshold=0.5).json()
    shapes = answer["data"]["shapes"]
    assert {shape["label"] for shape in shapes} == set(masks)
    groups: dict[str, set[int | None]] = {}
    for prompt, mask in masks.items():
        of_prompt = [shape for shape in shapes if shape["label"] == prompt]
        np.testing.assert_array_equal(filled(of_prompt, mask.shape), mask)
        groups[prompt] = {shape["group_id"] for shape in of_prompt}
        assert len(groups[prompt]) == 1 and (None in groups[prompt]) == (len(of_prompt) == 1)
        assert all(0 < shape["score"] <= 1 for shape in of_prompt)
    assert groups["the pink kite"] not in (groups["the duck"], groups["person"])  # it has several parts


def test_epsilon_spares_points_and_the_threshold_masks(server: httpx2.Client, masks: dict[str, np.ndarray]) -> None:
    exact = predict(server, text_prompt="the duck").json()["data"]["shapes"]
    spared = predict(server, text_prompt="the duck", epsilon_factor=0.001).json()["data"]["shapes"]
    assert sum(len(shape["points"]) for shape in spared) < sum(len(shape["points"]) for shape in exact) / 2
    assert iou(filled(spared, masks["the duck"].shape), masks["the duck"]) > 0.93
    score = exact[0]["score"]
    assert predict(server, text_prompt="the duck", conf_threshold=score - 1e-6).json()["data"]["shapes"] == exact
    assert predict(server, text_prompt="the duck", conf_threshold=score + 1e-6).json()["data"]["shapes"] == []


def test_what_is_absent_has_no_shape(server: httpx2.Client) -> None:
    assert predict(server, text_prompt="the train").json() == {"data": {"shapes": [], "description": ""}}


def test_x_anylabeling_is_told_what_was_wrong(server: httpx2.Client) -> None:
    assert "there is none" in sentence(predict(server, text_prompt=" , "), 422)
    assert "5 are more than 4" in sentence(predict(server, text_prompt="a,b,c,d,e"), 413)
    assert "too long" in sentence(predict(server, text_prompt="a" * 201), 414)
    assert "conf_threshold" in sentence(predict(server, text_prompt="a", conf_threshold=7), 422)
    asked = {"model": "other", "image": "", "params": {"text_prompt": "a"}}
    assert "choose 'nano'" in sentence(server.post("/v1/predict", json=asked), 404)
    assert "empty" in sentence(server.post("/v1/predict", json=asked | {"model": "nano"}), 422)
    assert "no base64" in sentence(server.post("/v1/predict", json=asked | {"model": "nano", "image": "?"}), 422)
    for path in ("/v1/models", "/health"):
        assert "a key is needed" in sentence(httpx2.get(f"{server.base_url}{path}"), 401)


def test_an_outline_does_not_pass_its_first_point_again() -> None:
    # These programs take a point like the first for the end, and leave it out.
    mask = np.zeros((9, 9), bool)
    mask[1, 1:6] = mask[1:6, 1] = True  # lines one pixel wide, walked out and back from the corner
    mask[7, 7] = True  # a pixel
    shapes = shapes_of(mask, "T", None, number=0)
    for shape in shapes:
        assert len(shape["points"]) >= 3 and shape["points"].count(shape["points"][0]) == 1
    np.testing.assert_array_equal(filled(shapes, mask.shape), mask)


# -------------------------------------------------------------------------------------------------------- Label Studio


def ask(server: httpx2.Client, *data: dict[str, Any], config: str = CONFIG, drawn: Any = None) -> httpx2.Response:
    tasks = [{"id": number, "data": of_task, "project": 1} for number, of_task in enumerate(data)]
    params = {"login": None, "password": None, "context": drawn and {"result": [drawn]}}
    return server.post("/predict", json={"tasks": tasks, "project": "1.1", "label_config": config, "params": params})


def results(answer: httpx2.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


def painted(region: dict[str, Any]) -> np.ndarray:
    """The mask of a region of the brush, read as thi.ng/rle-pack says."""
    bits = "".join(f"{byte:08b}" for byte in region["value"]["rle"])
    place = 0

    def read(size: int) -> int:
        nonlocal place
        place += size
        return int(bits[place - size : place], 2)

    count, word, sizes = read(32), read(5) + 1, [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        is_run, length = read(1), read(sizes[read(2)]) + 1
        values += [read(word)] * length if is_run else [read(word) for _ in range(length)]
    pixels = np.reshape(values, (region["original_height"], region["original_width"], 4))
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 3] == 255


def outlined(regions: list[dict[str, Any]]) -> np.ndarray:
    """The mask of polygons."""
    width, height = regions[0]["original_width"], regions[0]["original_height"]
    flat = [(np.array(region["value"]["points"]) / 100 * (width, height)).ravel().tolist() for region in regions]
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, height, width))) == 1


def test_labels_become_regions_of_brush_and_polygons(server: httpx2.Client, masks: dict[str, np.ndarray]) -> None:
    (prediction,) = results(ask(server, {"image": "/data/upload/1/duck.jpg"}))
    regions = prediction["result"]
    brush = {region["value"]["brushlabels"][0]: region for region in regions if region["type"] == "brushlabels"}
    person = [region for region in regions if region["type"] == "polygonlabels"]
    np.testing.assert_array_equal(painted(brush["duck"]), masks["the duck"])
    np.testing.assert_array_equal(painted(brush["kite"]), masks["the pink kite"])
    assert {label for region in person for label in region["value"]["polygonlabels"]} == {"person"}  # duck: once
    assert iou(outlined(person), masks["person"]) > 0.93
    assert {(region["from_name"], region["to_name"]) for region in person} == {("outline", "picture")}
    assert 0 < prediction["score"] <= 1 and prediction["model_version"].startswith("nano (self1e ")


def test_a_task_says_what_to_find(server: httpx2.Client, masks: dict[str, np.ndarray]) -> None:
    image = "data:image/jpeg;base64," + base64.b64encode(DUCK).decode()
    one, several = results(
        ask(server, {"image": image, "prompt": "the duck"}, {"image": image, "text": ["the duck", "person"]})
    )
    assert [region["value"]["brushlabels"] for region in one["result"]] == [["duck"]]
    np.testing.assert_array_equal(painted(one["result"][0]), masks["the duck"])
    assert {region["type"] for region in several["result"]} == {"brushlabels", "polygonlabels"}


def test_a_failed_task_does_not_cost_the_others_and_is_told(
    server: httpx2.Client, label_studio: str, caplog: pytest.LogCaptureFixture
) -> None:
    wide = io.BytesIO()
    Image.new("L", (1001, 1000)).save(wide, "PNG")
    bad = (
        {
            "image": "/data/gone.jpg",
            "prompt": "the duck",
        },
        {"image": "https://example.org/a.jpg"},
        {"image": label_studio.replace("127.0.0.1", "localhost") + "/data/upload/1/duck.jpg"},
        {"image": "//example.org/data/upload/1/duck.jpg"},
        {"image": None},
        {"image": "data:image/png;base64," + base64.b64encode(wide.getvalue()).decode()},
        {"image": "/data/upload/1/duck.jpg", "prompt": "something else"},
        {"image": "/data/upload/1/duck.jpg", "prompt": {"a": 1}},
    )
    PicturesOnly.asked.clear()
    with caplog.at_level(logging.WARNING):
        good, *failed, last = results(
            ask(server, {"image": "/data/upload/1/duck.jpg"}, *bad, {"image": label_studio + "/data/upload/1/duck.jpg"})
        )
    assert len(good["result"]) == len(last["result"]) >= 3
    reasons = [
        "answers 404",
        "--allow-host example.org",
        "not fetched from",
        "not fetched from",
        "no picture in",
        "1,000,000 pixels",
        "none of the labels",
        "neither a text",
    ]
    for number, (prediction, reason) in enumerate(zip(failed, reasons, strict=True), start=1):
        assert "result" not in prediction and reason in prediction["error"]
        assert f"task {number} has no prediction: " in caplog.text
    assert "something else" not in caplog.text  # no prompts in logs
    assert {authorization for _, authorization in PicturesOnly.asked} == {f"Token {LEGACY}"}


def test_more_labels_than_prompts_of_a_request(server: httpx2.Client) -> None:
    labels = "".join(f'<Label value="{label}"/>' for label in ("the duck", "train", "boat", "cup", "person"))
    config = f'<View><Image name="i" value="$image"/><BrushLabels name="b" toName="i">{labels}</BrushLabels></View>'
    (prediction,) = results(ask(server, {"image": "/data/upload/1/a.jpg"}, config=config))
    assert {"the duck", "person"} <= {region["value"]["brushlabels"][0] for region in prediction["result"]}


def test_a_click_finds_the_part_that_is_there(server: httpx2.Client, masks: dict[str, np.ndarray]) -> None:
    kite = masks["the pink kite"]
    height, width = kite.shape
    parts = Segmentation(kite[None], [0.5]).instances()
    rows, columns = np.nonzero(parts.masks[0])
    value = {"x": (columns[0] + 0.5) / width * 100, "y": (rows[0] + 0.5) / height * 100, "width": 1.5}
    drawn = {"type": "keypointlabels", "from_name": "point", "value": value | {"keypointlabels": ["kite"]}}
    ((region,),) = [
        prediction["result"] for prediction in results(ask(server, {"image": "/data/upload/1/a"}, drawn=drawn))
    ]
    np.testing.assert_array_equal(painted(region), parts.masks[0])
    drawn["value"] = {"x": 0, "y": 99, "width": 1.5, "keypointlabels": ["kite"]}
    assert results(ask(server, {"image": "/data/upload/1/a"}, drawn=drawn))[0]["result"] == []
    drawn["value"] = {"text": ["the duck"]}
    assert results(ask(server, {"image": "/data/upload/1/a"}, drawn=drawn))[0]["result"][0]["value"]["brushlabels"] == [
        "duck"
    ]
    drawn["value"] = {"x": 0, "y": 0, "keypointlabels": ["other"]}
    assert "has a label that no" in sentence(ask(server, {"image": "/data/upload/1/a"}, drawn=drawn), 422)


def test_a_rectangle_takes_the_parts_that_are_mostly_in_it() -> None:
    masks = np.zeros((3, 10, 20), bool)
    masks[0, 2:4, 2:4] = masks[1, 2:4, 8:12] = masks[2, 8:, 18:] = True
    found = Segmentation(masks, [0.5, 0.6, 0.7])
    assert there(found, (5, 10, 48, 60)).scores.tolist() == pytest.approx([0.5])  # less than half of the second
    assert there(found, (5, 10, 60, 60)).scores.tolist() == pytest.approx([0.5, 0.6])
    assert there(found, (100, 100, 100, 100)).scores.tolist() == pytest.approx([0.7])


HOSTILE = {
    "a DTD": '<!DOCTYPE v [<!ENTITY a "aaa">]><View>&a;</View>',
    "a file": '<!DOCTYPE v [<!ENTITY a SYSTEM "file:///etc/passwd">]><View>&a;</View>',
}


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        *((config, "DTD or entities") for config in HOSTILE.values()),
        ("<View>", "no XML"),
        ("", "no XML"),
        ("\0", "no XML"),
        ("<a>" * 60_000, "no XML"),
        (" " * 200_001, "more than 200,000 letters"),
        ("<View><Text name='t' value='$text'/></View>", "no <BrushLabels> or <PolygonLabels>"),
        ("<View><BrushLabels name='b' toName='i'><Label value='a'/></BrushLabels></View>", "toName of an <Image>"),
        (CONFIG.replace("$image", "https://a/b.png"), "toName of an <Image>"),
        (CONFIG.replace('<Label value="person"/><Label value="duck"/>', ""), "needs a <Label"),
        (CONFIG.replace('name="outline"', 'name="outline" model_score_threshold="much"'), "not 'much'"),
    ],
)
def test_a_configuration_that_cannot_be_served_is_refused_at_once(
    server: httpx2.Client, config: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        read_config(config)
    assert reason in sentence(ask(server, {"image": "x"}, config=config), 422)
    if config:  # a new project has none yet
        assert reason in sentence(server.post("/setup", json={"project": "1.1", "schema": config}), 422)


def test_labels_of_prompts() -> None:
    controls = read_config(CONFIG)
    said = {
        prompt: asks_of(controls, {"prompt": prompt})[0].label
        for prompt in ("the yellow Ducks", "persons", "the Pink Kite there")
    }
    assert said == {"the yellow Ducks": "duck", "persons": "person", "the Pink Kite there": "kite"}
    with pytest.raises(ConfigError, match="none of the labels"):
        asks_of(controls, {"prompt": "duckling"})
    only = read_config(
        CONFIG.replace('<Label value="person"/>', "").replace(
            '<Label value="kite" predicted_values="the pink kite"/>', ""
        )
    )
    assert asks_of(only, {"prompt": "a bird; a boat"})[1].label == "duck"
    chinese = read_config(CONFIG.replace('value="duck"', 'value="鸭子"'))
    assert asks_of(chinese, {"prompt": "黄色的鸭子"})[0].label == "鸭子"
    for many in (["duck"] * 65, "duck " * 500, [1]):
        with pytest.raises(ConfigError, match=r"more than 64 texts|list of texts"):
            asks_of(controls, {"prompt": many})
    assert [ask.prompt for ask in asks_of(controls, {"prompt": " "})] == ["the duck", "the pink kite", "person"]


def test_the_least_score_of_a_tag(server: httpx2.Client) -> None:
    config = CONFIG.replace('name="brush"', 'name="brush" model_score_threshold="0.999"')
    (prediction,) = results(ask(server, {"image": "/data/upload/1/a"}, config=config))
    assert {region["type"] for region in prediction["result"]} == {"polygonlabels"}


def test_what_else_label_studio_asks(server: httpx2.Client) -> None:
    basic = httpx2.get(f"{server.base_url}/health", auth=("anybody", KEY))
    assert basic.json() == {"status": "UP"}
    assert server.post("/webhook", json={"action": "ANNOTATION_CREATED"}).json() == {"status": "ignored"}
    assert server.get("/versions").json()["versions"][0].startswith("nano")
    assert "tasks" in sentence(server.post("/predict", json={"label_config": CONFIG}), 422)
    many = {"label_config": CONFIG, "tasks": [0] * 100_000}
    assert len(sentence(server.post("/predict", json=many), 422)) < 200


def test_a_personal_token_is_changed_once_and_kept(label_studio: str) -> None:
    async def headers() -> list[str]:
        access = Access(label_studio, PERSONAL)
        return await asyncio.gather(access(), access(), Access(label_studio, LEGACY)())

    PicturesOnly.asked.clear()
    assert asyncio.run(headers()) == ["Bearer for minutes", "Bearer for minutes", f"Token {LEGACY}"]
    assert PicturesOnly.asked == [("/api/token/refresh", PERSONAL)]
    with pytest.raises(ValueError, match="401 to the token in LABEL_STUDIO_API_KEY"):
        asyncio.run(Access(label_studio, "a.b.c")())


def test_brush_runs_of_every_length() -> None:
    generator = np.random.default_rng(0)
    lengths = [1, 2, 4, 5, 64, 65, 16383, 16384, 16385, 40000, 3]
    runs = np.repeat(np.arange(len(lengths)) % 2 == 0, lengths)
    for mask in (runs[None], runs[:, None], generator.random((9, 7)) > 0.5, np.zeros((1, 1), bool)):
        region = {"value": {"rle": brush_rle(mask)}, "original_height": mask.shape[0], "original_width": mask.shape[1]}
        np.testing.assert_array_equal(painted(region), mask)
