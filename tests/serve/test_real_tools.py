"""The tools themselves, as docs/integrations.md pins them, against `self1e serve` and the examples with nano.

Each is an environment of its own, whose Python a variable names (`TOOLS`); without it, it is looked for in this one.
"""

from __future__ import annotations

import base64
import http.server
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import httpx2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from self1e.segment.results import Segmentation

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "integrations"
PICTURE = ROOT / "src" / "self1e" / "assets" / "check" / "toyland-7000001.jpg"
PROMPTS = ("the duck", "the pink kite")
KEY = "a-key-of-a-server-for-tests"

TOOLS = {
    "anylabeling": "SELF1E_XANYLABELING",
    "label_studio": "SELF1E_LABEL_STUDIO",
    "cvat_cli": "SELF1E_CVAT",
    "fiftyone": "SELF1E_FIFTYONE",
}
"""Package -> variable with the Python of an environment that has it; for the last two it has to have self1e, too."""


def python_with(package: str) -> str:
    """The Python that has a tool; "" if there is none."""
    return os.environ.get(TOOLS[package]) or (sys.executable if find_spec(package) else "")


def needs(package: str) -> pytest.MarkDecorator:
    """Skips a test without a tool."""
    reason = f"{package} is not installed, nor is there {TOOLS[package]} (docs/integrations.md)"
    return pytest.mark.skipif(not python_with(package), reason=reason)


def run(*command: str | Path, home: Path, **variables: str) -> str:
    """What a command prints. Tools write into their home."""
    environment = {**os.environ, "HOME": str(home), **variables}
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def serving(folder: Path, *options: str, **variables: str) -> Iterator[httpx2.Client]:
    """`self1e serve` with a key, and a client that has it."""
    keys, log = folder / "keys.txt", folder / "serve.log"
    keys.write_text(KEY)
    command = [sys.executable, "-m", "self1e", "serve", "--model", "nano", "--port", "0", "--api-keys", str(keys)]
    with log.open("w") as file:
        server = subprocess.Popen([*command, *options], stdout=file, stderr=file, env={**os.environ, **variables})
        try:
            while not (found := re.search(r"answers at (\S+)", log.read_text())):
                assert server.poll() is None, log.read_text()
                time.sleep(0.1)
            with httpx2.Client(base_url=found[1], headers={"Token": KEY}, timeout=300, trust_env=False) as client:
                yield client
        finally:
            server.terminate()
            server.wait(60)


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What our own API finds."""
    asked = {"image": base64.b64encode(PICTURE.read_bytes()).decode(), "prompt": PROMPTS}
    with serving(tmp_path_factory.mktemp("server")) as client:
        results = client.post("/api/v1/segment", json=asked).json()["results"]
    return {result["prompt"]: Segmentation.from_dict(result).mask for result in results}


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether masks are the same, up to rounding in another process."""
    return bool((one != other).mean() < 1e-4) and bool(one.any())


# ------------------------------------------------------------------------------------------------------ X-AnyLabeling

X_ANYLABELING = """
import json, os, sys
os.environ["QT_QPA_PLATFORM"] = "offscreen"
folder, url, key, picture, prompt = sys.argv[1:]
import anylabeling.config as config
config.set_work_directory(folder)
config.current_config_file = folder + "/settings.yaml"
with open(config.current_config_file, "w") as file:
    json.dump({"remote_server_settings": {"server_url": url, "api_key": key}}, file)
from PyQt6.QtGui import QImage
from PyQt6.QtWidgets import QApplication
application = QApplication([])
from anylabeling.services.auto_labeling.remote_server import RemoteServer
told = []
server = RemoteServer({"type": "remote_server", "display_name": "R", "name": "r", "timeout": 60}, told.append)
models = server.get_available_models()
server.set_model_id(next(iter(models), None))
server.set_mask_fineness(0.0)
found = server.predict_shapes(QImage(picture), picture, text_prompt=prompt)
shapes = [[shape.label, shape.shape_type, [[p.x(), p.y()] for p in shape.points]] for shape in found.shapes]
mode = server.get_batch_processing_mode()
print("\\n" + json.dumps({"models": models, "mode": mode, "shapes": shapes, "told": told}))
"""


@needs("anylabeling")
def test_x_anylabelings_own_client(tmp_path: Path, masks: dict[str, np.ndarray]) -> None:
    python = python_with("anylabeling")
    with serving(tmp_path) as client:
        asked = (str(tmp_path), str(client.base_url).rstrip("/"))
        said = run(python, "-c", X_ANYLABELING, *asked, KEY, PICTURE, "the duck. the pink kite.", home=tmp_path)
        refused = run(python, "-c", X_ANYLABELING, *asked, "no key", PICTURE, "the duck", home=tmp_path)
    answer = json.loads(said.splitlines()[-1])
    assert (list(answer["models"]), answer["mode"], answer["told"]) == (["nano"], "text_prompt", [])
    for prompt, mask in masks.items():
        canvas = np.zeros(mask.shape, np.uint8)
        for label, kind, points in answer["shapes"]:
            if label == prompt:
                assert kind == "polygon"
                cv2.fillPoly(canvas, [np.array(points).astype(np.int32)], 1)
        assert alike(canvas == 1, mask), prompt
    assert json.loads(refused.splitlines()[-1])["models"] == {}


# -------------------------------------------------------------------------------------------------------- Label Studio

LEGACY = "0123456789abcdef0123456789abcdef01234567"
CONFIG = """
<View>
  <Image name="image" value="$image"/>
  <KeyPointLabels name="point" toName="image" smart="true"><Label value="duck"/></KeyPointLabels>
  <BrushLabels name="brush" toName="image"><Label value="duck" predicted_values="the duck"/></BrushLabels>
  <PolygonLabels name="outline" toName="image"><Label value="kite" predicted_values="the pink kite"/></PolygonLabels>
</View>
"""
DECODE = """
import json, sys
from label_studio_sdk.converter.brush import decode_rle
region = json.load(sys.stdin)
pixels = decode_rle(region["value"]["rle"]).reshape(region["original_height"], region["original_width"], 4)
print(json.dumps((pixels[..., 3] == 255).tolist()))
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a picture, in the one whose files Label Studio may serve."""
    folder = tmp_path_factory.mktemp("files") / "pictures"
    folder.mkdir()
    (folder / "a dück.jpg").write_bytes(PICTURE.read_bytes())
    return folder


@pytest.fixture(scope="module")
def label_studio(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Iterator[httpx2.Client]:
    """A client of a Label Studio of its own, new and empty."""
    python, folder = python_with("label_studio"), tmp_path_factory.mktemp("label-studio")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        "HOME": str(folder),
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"),
        "LABEL_STUDIO_USERNAME": "one@example.org",
        "LABEL_STUDIO_PASSWORD": "only for this test",
        "LABEL_STUDIO_USER_TOKEN": LEGACY,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(pictures.parent),
        "ML_BLOCK_LOCAL_IP": "false",
        "SSRF_PROTECTION_ENABLED": "false",
        "LATEST_VERSION_CHECK": "false",
        "COLLECT_ANALYTICS": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }
    program = Path(python).with_name("label-studio")
    options = ("--no-browser", "--data-dir", folder / "data", "--internal-host", "127.0.0.1", "-p", str(port))
    log = folder / "log.txt"
    with log.open("w") as file:
        studio = subprocess.Popen(
            [program, "start", *options], env=os.environ | settings, cwd=folder, stdout=file, stderr=file
        )
        authorization = {"Authorization": f"Token {LEGACY}"}
        with httpx2.Client(
            base_url=f"http://127.0.0.1:{port}", headers=authorization, timeout=200, trust_env=False
        ) as client:
            try:
                until = time.monotonic() + 400
                while not _is_up(client):
                    assert studio.poll() is None and time.monotonic() < until, log.read_text()[-2000:]
                    time.sleep(0.5)
                yield client
            finally:
                studio.terminate()
                studio.wait(60)


def _is_up(client: httpx2.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx2.HTTPError:
        return False


def made(answer: httpx2.Response) -> Any:
    """What Label Studio made."""
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


@needs("label_studio")
@pytest.mark.parametrize("token", ["legacy", "personal"])
def test_a_real_label_studio(
    tmp_path: Path, label_studio: httpx2.Client, pictures: Path, masks: dict[str, np.ndarray], token: str
) -> None:
    project = made(label_studio.post("/api/projects", json={"title": f"with {token}", "label_config": CONFIG}))["id"]
    files = {"file": ("duck.jpg", PICTURE.read_bytes(), "image/jpeg")}
    made(label_studio.post(f"/api/projects/{project}/import", files=files))
    storage = {"path": str(pictures), "project": project, "use_blob_urls": True}
    made(label_studio.post("/api/storages/localfiles", json=storage))
    tasks = [
        {"image": "/data/local-files/?d=pictures/a%20d%C3%BCck.jpg", "prompt": "the pink kite"},
        {"image": "/data/local-files/?d=pictures/none.jpg"},
        {"image": "https://example.org/elsewhere.jpg"},
    ]
    made(label_studio.post(f"/api/projects/{project}/import", json=tasks))
    key = LEGACY if token == "legacy" else made(label_studio.post("/api/token/", json={}))["token"]
    studio = str(label_studio.base_url).rstrip("/")
    with serving(tmp_path, "--label-studio", studio, LABEL_STUDIO_API_KEY=key) as server:
        url = str(server.base_url).rstrip("/")
        backend = {"url": url, "project": project, "title": "self1e", "is_interactive": True}
        backend |= {"auth_method": "BASIC_AUTH", "basic_auth_user": "anybody"}
        wrong = label_studio.post("/api/ml", json=backend | {"basic_auth_pass": "no key"})
        assert (wrong.status_code, "authentication" in wrong.text) == (400, True)
        connected = made(label_studio.post("/api/ml", json=backend | {"basic_auth_pass": KEY}))
        assert connected["state"] == "CO"
        for _ in range(2):  # what has a prediction is not asked for again
            retrieve = f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}"
            made(label_studio.post(retrieve, json={"selectedItems": {"all": True, "excluded": []}}))
            predictions = made(label_studio.get(f"/api/predictions/?project={project}"))
            assert len(predictions) == 2
        first, second = sorted(predictions, key=lambda prediction: int(prediction["task"]))
        assert {region["type"] for region in first["result"]} == {"brushlabels", "polygonlabels"}
        assert {region["from_name"] for region in second["result"]} == {"outline"}
        assert alike(_brushed(first["result"]), masks["the duck"])
        for prediction in (first, second):
            outlined, kite = _outlined(prediction["result"]), masks["the pink kite"]
            assert (outlined & kite).sum() / (outlined | kite).sum() > 0.93

        rows, columns = np.nonzero(masks["the duck"])
        height, width = masks["the duck"].shape
        place = {"x": columns[0] / width * 100 + 0.1, "y": rows[0] / height * 100 + 0.1, "width": 0.5}
        drawn = {"type": "keypointlabels", "from_name": "point", "to_name": "image"}
        drawn["value"] = place | {"keypointlabels": ["duck"]}
        asked = {"task": first["task"], "context": {"result": [drawn]}}
        clicked = made(label_studio.post(f"/api/ml/{connected['id']}/interactive-annotating", json=asked))
        assert alike(_brushed(clicked["data"]["result"]), masks["the duck"])

        other = "<View><Text name='t' value='$text'/><Choices name='c' toName='t'><Choice value='a'/></Choices></View>"
        text = made(label_studio.post("/api/projects", json={"title": "of texts", "label_config": other}))["id"]
        refused = label_studio.post("/api/ml", json=backend | {"project": text, "basic_auth_pass": KEY})
        assert (refused.status_code, "422" in refused.text) == (400, True)
    told = (tmp_path / "serve.log").read_text()
    assert "answers 404" in told and "--allow-host example.org" in told and "no <BrushLabels>" in told
    assert "pink" not in told and key not in told


def _brushed(regions: list[dict[str, Any]]) -> np.ndarray:
    """The brush's mask, read by Label Studio's own code."""
    (region,) = (region for region in regions if region["type"] == "brushlabels")
    command = [python_with("label_studio"), "-c", DECODE]
    done = subprocess.run(command, input=json.dumps(region), capture_output=True, text=True, check=True)
    return np.array(json.loads(done.stdout))


def _outlined(regions: list[dict[str, Any]]) -> np.ndarray:
    outlines = [region for region in regions if region["type"] == "polygonlabels"]
    width, height = outlines[0]["original_width"], outlines[0]["original_height"]
    flat = [(np.array(each["value"]["points"]) / 100 * (width, height)).ravel().tolist() for each in outlines]
    return np.asarray(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, height, width)))) == 1


# ---------------------------------------------------------------------------------------------------------------- CVAT


class OneTask(http.server.BaseHTTPRequestHandler):
    """As much of a CVAT as a task of one picture takes."""

    patches: list[Any]

    def do_GET(self) -> None:
        path, when = self.path.partition("?")[0].rstrip("/"), "2026-01-01T00:00:00Z"
        labels = [
            {"id": 10 + number, "name": name, "type": "any", "attributes": [], "sublabels": [], "has_parent": False}
            for number, name in enumerate(("kite", "duck"))
        ]
        frame = {"width": 448, "height": 448, "name": PICTURE.name, "related_files": 0}
        chunk = io.BytesIO()
        with zipfile.ZipFile(chunk, "w") as archive:
            archive.write(PICTURE, "000000.jpg")
        answers: dict[str, Any] = {
            "/api/server/about": {"name": "", "description": "", "version": "2.80.0", "logo_url": "", "subtitle": ""},
            "/api/tasks/7": {
                "id": 7,
                "size": 1,
                "data_chunk_size": 1,
                "data_original_chunk_type": "imageset",
                "organization": None,
                "updated_date": when,
                "jobs": {"count": 1, "completed": 0, "validation": 0, "url": ""},
                "labels": {"url": ""},
            },
            "/api/labels": {"count": 2, "next": None, "previous": None, "results": labels},
            "/api/tasks/7/data/meta": {
                "chunk_size": 1,
                "size": 1,
                "image_quality": 70,
                "start_frame": 0,
                "stop_frame": 0,
                "frame_filter": "",
                "frames": [frame],
                "deleted_frames": [],
                "included_frames": None,
                "chunks_updated_date": when,
            },
            "/api/tasks/7/data": chunk.getvalue(),
        }
        self._send(answers[path])

    def do_PATCH(self) -> None:
        self.patches.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        self._send({"version": 0, "tags": [], "shapes": [], "tracks": []})

    def _send(self, answer: Any) -> None:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/zip" if body is answer else "application/vnd.cvat+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@needs("cvat_cli")
@pytest.mark.parametrize("as_polygons", [False, True])
def test_cvats_own_command(tmp_path: Path, masks: dict[str, np.ndarray], as_polygons: bool) -> None:
    program = Path(python_with("cvat_cli")).with_name("cvat-cli")
    OneTask.patches = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), OneTask)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        run(
            *(program, "--server-host", f"http://127.0.0.1:{server.server_port}", "task", "auto-annotate", "7"),
            *("--function-file", EXAMPLES / "cvat_function.py", "-p", "model=str:nano", "-p", "device=str:cpu"),
            *("-p", "labels=str:duck = the duck; kite = the pink kite"),
            *(["--conv-mask-to-poly", "--conf-threshold", "0.01"] if as_polygons else []),
            home=tmp_path,
            CVAT_ACCESS_TOKEN="for this test",
        )
    finally:
        server.shutdown()
        server.server_close()
    ((path, sent),) = OneTask.patches
    assert path.startswith("/api/tasks/7/annotations/?") and "action=create" in path
    for label, prompt in ((11, "the duck"), (10, "the pink kite")):
        mask = masks[prompt]
        shapes = [shape for shape in sent["shapes"] if shape["label_id"] == label]
        if as_polygons:
            assert {shape["type"] for shape in shapes} == {"polygon"}
            codes = coco_mask.frPyObjects([shape["points"] for shape in shapes], *mask.shape)
            outlined = np.asarray(coco_mask.decode(coco_mask.merge(codes))) == 1
            assert (outlined & mask).sum() / (outlined | mask).sum() > 0.93
        else:
            (shape,) = shapes
            *runs, left, top, right, bottom = map(int, shape["points"])
            inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(bottom - top + 1, right - left + 1)
            canvas = np.zeros(mask.shape, bool)
            canvas[top : bottom + 1, left : right + 1] = inside
            assert shape["type"] == "mask" and alike(canvas, mask)


# ------------------------------------------------------------------------------------------------------------ FiftyOne

FIFTYONE = """
import json, sys
import fiftyone as fo
sys.path.insert(0, sys.argv[1])
from fiftyone_model import Prompted
data = fo.Dataset.from_images_dir(sys.argv[2])
data.apply_model(Prompted(["the duck", "the pink kite", "the train"], model="nano", device="cpu"), label_field="found")
data.apply_model(Prompted(["the pink kite"], model="nano", device="cpu", instances=True), label_field="parts")
sample = data.first()
found = [[d.label, d.bounding_box, d.mask.tolist(), d.confidence] for d in sample.found.detections]
print("\\n" + json.dumps({"found": found, "parts": len(sample.parts.detections)}))
"""


@needs("fiftyone")
def test_fiftyone(tmp_path: Path, masks: dict[str, np.ndarray]) -> None:
    python = python_with("fiftyone")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "duck.jpg").write_bytes(PICTURE.read_bytes())
    said = run(python, "-c", FIFTYONE, EXAMPLES, tmp_path / "pictures", home=tmp_path, FIFTYONE_DO_NOT_TRACK="true")
    answer = json.loads(said.splitlines()[-1])
    assert [label for label, *_ in answer["found"]] == list(PROMPTS)  # and no train
    for label, (x, y, *_), inside, confidence in answer["found"]:
        height, width = masks[label].shape
        canvas = np.zeros((height, width), bool)
        left, top = round(x * width), round(y * height)
        canvas[top : top + len(inside), left : left + len(inside[0])] = inside
        assert alike(canvas, masks[label]) and 0 < confidence <= 1
    assert answer["parts"] == len(Segmentation(masks["the pink kite"][None], [0.5]).instances())
