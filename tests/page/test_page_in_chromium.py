"""The page `docs/try` with the bundled model in a real browser: the masks are the package's, and nothing leaves.

Needs playwright (`pip install playwright`), a Chromium (`chromium` on the path, or its name in SELF1E_CHROMIUM), what
`self1e[export]` installs, and npm or the unpacked package of onnxruntime-web (its folder in SELF1E_ONNXRUNTIME_WEB).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from self1e import Segmentation, Segmenter
from self1e.processing.images import load_image

pytestmark = pytest.mark.slow

PICTURES = Path(__file__).parents[2] / "examples" / "pictures"
SOON, LATE = 20_000, 180_000
"""Milliseconds: for what is quick on any machine, and for loading the model on a busy one."""


@pytest.fixture(scope="session")
def engine(build_script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked package of onnxruntime-web."""
    given = os.environ.get("SELF1E_ONNXRUNTIME_WEB")
    try:
        return Path(given) if given else build_script.fetch_engine(tmp_path_factory.mktemp("engine"))
    except ValueError as error:
        pytest.skip(f"needs onnxruntime-web: {error}")


@pytest.fixture(scope="session")
def site(build_script: ModuleType, engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page, built as its command builds it."""
    return built(build_script, engine, tmp_path_factory.mktemp("page"), "float16")


def built(build_script: ModuleType, engine: Path, folder: Path, precision: str) -> Path:
    """Exports `mini` into `folder / "model"`, and makes the page of it."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="needs self1e[export]")
    model = build_script.exported("mini", precision, folder / "model")
    build_script.build(folder / "site", artefact=model, package=engine)
    return folder / "site"


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Any]]:
    """Starts a browser with some flags."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = os.environ.get("SELF1E_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs a Chromium")
    with playwright.sync_playwright() as started:
        yield lambda *flags: started.chromium.launch(executable_path=chromium, args=list(flags))


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Any]) -> Iterator[Any]:
    browser = launch()
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained("mini", device="cpu", dtype="float32")


@dataclass
class OpenPage:
    """The page as a person has it before them; `requests` are what it asked for: method, address and body."""

    page: Any
    address: str
    requests: list[tuple[str, str, bytes | None]]

    def expect(self, selector: str) -> Any:
        from playwright.sync_api import expect

        return expect(self.page.locator(selector))

    def show(self, picture: Path) -> None:
        self.page.set_input_files("#file", picture)

    def ask(self, prompt: str) -> None:
        self.page.fill("#prompt", prompt)
        self.page.keyboard.press("Enter")

    def forget_prompts(self) -> None:
        while self.page.locator("#prompts .remove").count():
            self.page.locator("#prompts .remove").first.click()

    def wait_for_masks(self, timeout: int = SOON) -> None:
        self.expect("#error").to_be_hidden(timeout=timeout)
        self.expect("#status").to_contain_text("s for the words", timeout=timeout)
        for result in self.page.locator("#prompts .result").all():
            from playwright.sync_api import expect

            expect(result).to_contain_text("found", timeout=timeout)

    def cutout(self) -> np.ndarray:
        """What "Save the cut-out" saves, uint8[H, W, 4]."""
        with self.page.expect_download(timeout=SOON) as download:
            self.page.get_by_role("button", name="Save the cut-out").click()
        with Image.open(download.value.path()) as image:
            assert image.mode == "RGBA"
            return np.array(image)


@contextmanager
def opened(
    browser: Any,
    build_script: ModuleType,
    site: Path,
    headers: dict[str, str] | None = None,
    query: str = "",
    without: str | None = None,
    **context: Any,
) -> Iterator[OpenPage]:
    """The page in a browser; a file `without` has no connection."""
    serving = build_script.server(site, 0, headers)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    surroundings = browser.new_context(**context)
    requests: list[tuple[str, str, bytes | None]] = []
    surroundings.on("request", lambda request: requests.append((request.method, request.url, request.post_data_buffer)))
    if without:
        surroundings.route(f"**/{without}", lambda route: route.abort())
    page = surroundings.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"the page failed: {error}"))
    address = f"http://127.0.0.1:{serving.server_port}/"
    try:
        page.goto(f"{address}?{query}")
        here = OpenPage(page, address, requests)
        here.expect("#status").to_contain_text("MB", timeout=SOON)
        yield here
    finally:
        surroundings.close()
        serving.shutdown()
        serving.server_close()


@pytest.fixture(scope="module")
def here(browser: Any, build_script: ModuleType, site: Path) -> Iterator[OpenPage]:
    with opened(browser, build_script, site) as page:
        yield page


def tell(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """Prints a line beside what pytest prints."""
    with capsys.disabled():
        print(f"\n{line}")


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def turned(folder: Path) -> Path:
    """The cat, whose file says that it lies on its side."""
    with Image.open(PICTURES / "cat.jpg") as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpg", exif=exif, quality=92)
    return folder / "turned.jpg"


def see_through(folder: Path) -> Path:
    """The astronaut as a PNG, transparent and half transparent in places."""
    with Image.open(PICTURES / "astronaut.jpg") as image:
        alpha = np.full(image.size[::-1], 255, np.uint8)
        alpha[:60], alpha[-80:, :200] = 0, 100
        Image.merge("RGBA", [*image.convert("RGB").split(), Image.fromarray(alpha)]).save(folder / "see-through.png")
    return folder / "see-through.png"


def tall(folder: Path) -> Path:
    """A narrow part of the astronaut, which Pillow shrinks in another order."""
    with Image.open(PICTURES / "astronaut.jpg") as image:
        image.crop((130, 0, 330, 512)).resize((300, 2000)).convert("L").save(folder / "tall.png")
    return folder / "tall.png"


CASES = [
    ("cat.jpg", "the cat"),
    ("astronaut.jpg", "the person"),
    ("coffee.jpg", "What is on the table?"),
    ("lakeside.png", "the sky"),
    (turned, "the cat"),
    (see_through, "the person"),
    (tall, "the woman"),
]


@pytest.mark.parametrize(("picture", "prompt"), CASES, ids=[getattr(case[0], "__name__", case[0]) for case in CASES])
def test_masks_are_pythons(
    here: OpenPage, segmenter: Segmenter, tmp_path: Path, picture: Any, prompt: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = PICTURES / picture if isinstance(picture, str) else picture(tmp_path)
    expected = segmenter.segment(path, prompt)
    assert expected.area > 1000
    here.forget_prompts()
    here.show(path)
    start = time.perf_counter()
    here.ask(prompt)
    here.wait_for_masks(LATE)
    seconds = time.perf_counter() - start
    found = here.cutout()
    tell(capsys, f"{path.name}, {prompt!r}: {seconds:.1f} s; {here.page.locator('#status').inner_text()}")
    assert found.shape[:2] == expected.mask.shape
    mask = found[..., 3] == 255
    assert set(np.unique(found[..., 3])) <= {0, 255}
    assert iou(mask, expected.mask) >= 0.99
    assert not found[~mask].any()
    pixels = np.asarray(load_image(path))
    assert np.abs(found[mask][:, :3].astype(int) - pixels[mask]).max() <= 2
    [said] = here.page.locator("#prompts .result").all_inner_texts()
    score = re.fullmatch(r"found.*: expected IoU (\d\.\d\d)", said)
    assert score is not None and float(score[1]) == pytest.approx(expected.score, abs=0.011)


def test_several_prompts_and_another_threshold(here: OpenPage, segmenter: Segmenter) -> None:
    prompts = ["the person", "hair", "the bus", "the xylophone"]
    here.forget_prompts()
    here.show(PICTURES / "astronaut.jpg")
    for prompt in prompts:
        here.ask(prompt)
    here.wait_for_masks(LATE)
    expected = segmenter.segment(PICTURES / "astronaut.jpg", prompts, logits=True)
    said = here.page.locator("#prompts .result").all_inner_texts()
    assert [text.startswith("found") for text in said] == [result.found for result in expected]
    remarks = here.page.locator("#prompts .remark:visible")
    assert remarks.all_inner_texts() == ["mini was not taught “the xylophone”: what it finds may be something else."]
    colours = here.page.locator("#prompts .swatch").evaluate_all(
        "swatches => swatches.map((each) => getComputedStyle(each).backgroundColor)"
    )
    assert len(set(colours)) == len(prompts)
    times = here.page.locator("#status").inner_text()
    for threshold in (0.5, 0.2):
        here.page.locator("#threshold").fill(str(round(100 * threshold) - 1))
        assert iou(here.cutout()[..., 3] > 0, union(expected, threshold)) >= 0.99
    here.page.get_by_role("button", name="Show the person").press("Space")
    assert iou(here.cutout()[..., 3] > 0, union(expected[1:], 0.2)) >= 0.99
    assert here.page.locator("#status").inner_text() == times  # no pass was needed for that
    here.page.locator("#threshold").fill("49")


def union(results: list[Segmentation], threshold: float) -> np.ndarray:
    return np.any([result.at(threshold).mask for result in results], axis=0)


def test_a_model_in_int8(browser: Any, build_script: ModuleType, engine: Path, tmp_path: Path) -> None:
    """Its masks are those of the same files in Python."""
    site = built(build_script, engine, tmp_path, "int8")
    exported = Segmenter.from_pretrained(tmp_path / "model", engine="onnxruntime")
    with opened(browser, build_script, site) as here:
        for picture, prompt in CASES[:3]:
            here.forget_prompts()
            here.show(PICTURES / picture)
            here.ask(prompt)
            here.wait_for_masks(LATE)
            assert iou(here.cutout()[..., 3] > 0, exported.segment(PICTURES / picture, prompt).mask) >= 0.99


def test_what_is_drawn_is_the_mask(here: OpenPage, segmenter: Segmenter) -> None:
    here.forget_prompts()
    here.show(PICTURES / "cat.jpg")
    here.ask("the cat")
    here.wait_for_masks(LATE)
    here.page.wait_for_timeout(300)
    address = here.page.evaluate("document.getElementById('marks').toDataURL('image/png')")
    with Image.open(BytesIO(b64decode(address.partition(",")[2]))) as image:
        drawn = np.array(image)
    expected = segmenter.segment(PICTURES / "cat.jpg", "the cat").mask_image().resize(drawn.shape[1::-1])
    assert iou(drawn[..., 2] > 128, np.asarray(expected) > 127) > 0.98  # azure, where the rest is a black shade


def test_nothing_leaves(here: OpenPage, site: Path) -> None:
    """Of this question, and of all that the tests before have done."""
    here.ask("the sky")
    here.wait_for_masks(LATE)
    assert any(address.endswith("/model/picture.onnx") for _, address, _ in here.requests)
    opening, *others = here.requests
    assert opening == ("GET", f"{here.address}?", None)
    for method, address, body in others:
        if not address.startswith(f"blob:{here.address}"):
            assert address.startswith(here.address)
            assert (method, body, urlsplit(address).query) == ("GET", None, ""), address
            name = address.removeprefix(here.address) or "index.html"
            assert (site / name).is_file(), name


def test_pasted_and_dropped_pictures(here: OpenPage) -> None:
    here.forget_prompts()
    for event in ("paste", "drop"):
        here.page.evaluate(
            """async (kind) => {
              const content = await (await fetch("pictures/coffee.jpg")).blob();
              const given = new DataTransfer();
              given.items.add(new File([content], `by-${kind}.jpg`, { type: "image/jpeg" }));
              const options = { bubbles: true, cancelable: true };
              document.body.dispatchEvent(kind === "drop"
                ? new DragEvent("drop", { ...options, dataTransfer: given })
                : new ClipboardEvent("paste", { ...options, clipboardData: given }));
            }""",
            event,
        )
        here.expect("#photo").to_have_attribute("aria-label", f"The picture by-{event}.jpg", timeout=SOON)


def test_errors_in_words(here: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    here.show(tmp_path / "notes.txt")
    here.expect("#error").to_have_text(
        "notes.txt is no picture that this browser can read: convert it to PNG or JPEG.", timeout=SOON
    )
    here.ask("  ")
    here.expect("#error").to_contain_text("The prompt is empty", timeout=SOON)
    here.ask("the table")
    here.expect("#error").to_be_hidden(timeout=SOON)


@pytest.mark.parametrize(
    ("lost", "says"),
    [
        ("masks.onnx", "masks.onnx could not be loaded (no connection)"),
        ("worker.js", "worker.js, or what it imports, could not be loaded: check the connection"),
        ("ort.wasm.min.mjs", "ort.wasm.min.mjs could not be loaded: check the connection"),
        ("ort-wasm-simd-threaded.mjs", "This browser cannot run the model: no available backend found"),
    ],
)
def test_what_could_not_be_loaded_can_be_tried_again(
    browser: Any, build_script: ModuleType, site: Path, lost: str, says: str
) -> None:
    with opened(browser, build_script, site, without=lost) as here:
        here.page.get_by_role("button", name="Find", exact=True).click()
        here.expect("#error").to_contain_text(says, timeout=LATE)
        here.expect("#progress").to_be_hidden()
        here.page.context.unroute(f"**/{lost}")
        here.page.get_by_role("button", name="Find", exact=True).click()
        here.wait_for_masks(LATE)


def bytes_of(site: Path) -> tuple[int, dict[str, int]]:
    """Of the model, and of what computes it on each device."""
    files = json.loads((site / "files.json").read_text("utf-8"))
    engines = {device: engine["binary"]["bytes"] for device, engine in files["engines"].items()}
    return sum(file["bytes"] for file in files["model"].values()), engines


def test_a_bar_shows_how_much_of_the_model_is_there(browser: Any, build_script: ModuleType, site: Path) -> None:
    done, engines = bytes_of(site)
    whole = done + engines["wasm"]
    with opened(browser, build_script, site) as here:
        held: list[Any] = []
        here.page.context.route("**/ort-wasm-simd-threaded.wasm", lambda route: held.append(route))
        here.page.get_by_role("button", name="Find", exact=True).click()
        here.expect("#amount").to_have_text(f"{done / 1e6:.1f} of {whole / 1e6:.1f} MB", timeout=LATE)
        here.expect("#progress").to_be_visible()
        here.expect("#bar").to_have_js_property("value", done)
        here.expect("#bar").to_have_js_property("max", whole)
        for route in held:
            route.continue_()
        here.wait_for_masks(LATE)
        here.expect("#progress").to_be_hidden()


def test_a_thread_that_failed_is_started_anew(browser: Any, build_script: ModuleType, site: Path) -> None:
    with opened(browser, build_script, site) as here:
        here.ask("the cat")
        here.wait_for_masks(LATE)
        [of_model] = [worker for worker in here.page.workers if worker.url.startswith("blob:")]
        of_model.evaluate("setTimeout(() => { throw new Error('out of memory') })")
        here.page.wait_for_timeout(300)
        here.ask("the eye")
        here.wait_for_masks(LATE)


LOST_GPU = """
export const env = { wasm: {} };
export class Tensor {}
let runs = 0;
const run = async () => {
  if (++runs > 2) throw new Error("device lost"); // the first two are those that try it out
  return { logits: { dims: [1, 1, 1], data: new Float32Array(1) } };
};
export const InferenceSession = { create: async () => ({ inputNames: [], run }) };
"""


def test_after_a_lost_gpu_the_model_is_started_without(browser: Any, build_script: ModuleType, site: Path) -> None:
    model, engines = bytes_of(site)
    sizes = {device: f"loads the model: {(model + engine) / 1e6:.1f} MB" for device, engine in engines.items()}
    with opened(browser, build_script, site, query="device=webgpu") as here:
        here.page.context.route(
            "**/ort.webgpu.min.mjs", lambda route: route.fulfill(body=LOST_GPU, content_type="text/javascript")
        )
        here.expect("#status").to_contain_text(sizes["webgpu"])
        here.page.get_by_role("button", name="Find", exact=True).click()
        here.expect("#error").to_contain_text("The model failed (device lost): ask again", timeout=LATE)
        here.expect("#status").to_contain_text(sizes["wasm"])
        here.page.get_by_role("button", name="Find", exact=True).click()
        here.wait_for_masks(LATE)
        here.expect("#status").to_contain_text("thread")


def test_a_question_before_the_first_picture_is_kept(browser: Any, build_script: ModuleType, site: Path) -> None:
    with opened(browser, build_script, site) as here:
        held: list[Any] = []
        here.page.route("**/cat.jpg", lambda route: held.append(route))
        with here.page.expect_request(lambda request: "cat.jpg" in request.url and request.resource_type == "fetch"):
            here.page.reload(wait_until="domcontentloaded")
        here.ask("the eye")
        here.page.fill("#prompt", "the e")
        here.expect("#prompts .text").to_have_text("the eye")
        for route in held:
            route.continue_()
        here.wait_for_masks(LATE)
        here.expect("#prompts .text").to_have_text("the eye")
        here.expect("#prompt").to_have_value("the e")


@pytest.mark.parametrize("slow", ["to load", "to decode"])
def test_the_last_picture_asked_for_is_shown(here: OpenPage, slow: str) -> None:
    """Though one before it comes later."""
    here.ask("the sky")
    here.wait_for_masks(LATE)
    held: list[Any] = []
    if slow == "to load":
        here.page.route("**/astronaut.jpg", lambda route: held.append(route))
    here.page.evaluate(
        """(slow) => {
          const decode = createImageBitmap;
          const release = new Promise((resolve) => { window.release = resolve; });
          window.createImageBitmap = async (...given) => {
            const bitmap = await decode(...given);
            if (slow === "to decode" && bitmap.width === 512) await release;
            document.body.dataset.decoded = bitmap.width;
            return bitmap;
          };
          window.restore = () => { window.createImageBitmap = decode; };
        }""",
        slow,
    )
    here.page.get_by_role("button", name="Example: an astronaut").click()
    here.page.get_by_role("button", name="Example: a cup of coffee").click()
    here.expect("#photo").to_have_attribute("aria-label", "The picture coffee.jpg", timeout=SOON)
    here.page.evaluate("release()")
    for route in held:
        route.continue_()
    here.expect("body").to_have_attribute("data-decoded", "512", timeout=SOON)
    here.page.wait_for_timeout(300)
    here.wait_for_masks(LATE)
    assert here.page.locator("#photo").get_attribute("aria-label") == "The picture coffee.jpg"
    assert here.page.locator("#prompts .text").all_inner_texts() == ["the cup"]
    here.page.evaluate("restore()")
    here.page.unroute("**/astronaut.jpg")


def test_an_error_leaves_what_is_said_of_loading(browser: Any, build_script: ModuleType, site: Path) -> None:
    with opened(browser, build_script, site) as here:
        here.ask(" ")
        here.expect("#error").to_contain_text("The prompt is empty", timeout=SOON)
        here.expect("#status").to_contain_text("The first question loads the model")
        here.show(PICTURES / "coffee.jpg")
        here.expect("#photo").to_have_attribute("aria-label", "The picture coffee.jpg", timeout=SOON)
        here.expect("#status").to_contain_text("The first question loads the model")


def test_several_tiles(browser: Any, build_script: ModuleType, site: Path, tmp_path: Path) -> None:
    """`mini` was trained with one; the settings of the model may say that there are more."""
    with Image.open(PICTURES / "coffee.jpg") as image:
        image.crop((0, 100, 600, 300)).save(tmp_path / "wide.png")
    settings = (site / "model" / "artefact.json").read_text("utf-8")
    more = settings.replace('"max_tiles": 1', '"max_tiles": 3')
    assert more != settings
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in (settings, more)]
    listed = (site / "files.json").read_text("utf-8").replace(*hashes)
    segmenter = Segmenter.from_pretrained("mini", device="cpu", dtype="float32", max_tiles=3)
    assert segmenter.encode(tmp_path / "wide.png").grid == (3, 1)
    with opened(browser, build_script, site) as here:
        here.page.route("**/artefact.json", lambda route: route.fulfill(body=more))
        here.page.route("**/files.json", lambda route: route.fulfill(body=listed))
        here.show(tmp_path / "wide.png")
        here.ask("the table")
        here.wait_for_masks(LATE)
        expected = segmenter.segment(tmp_path / "wide.png", "the table").mask
        assert iou(here.cutout()[..., 3] > 0, expected) >= 0.99


@pytest.mark.parametrize("service_workers", ["allow", "block"])
def test_on_a_plain_server(
    browser: Any,
    build_script: ModuleType,
    site: Path,
    segmenter: Segmenter,
    capsys: pytest.CaptureFixture[str],
    service_workers: str,
) -> None:
    """One that sends no headers. The page's own policy still holds, in the worker of the model as well."""
    with opened(browser, build_script, site, headers={}, service_workers=service_workers) as here:
        here.page.get_by_role("button", name="Find", exact=True).click()
        here.wait_for_masks(LATE)
        tell(capsys, f"cat.jpg: {here.page.locator('#status').inner_text()}")
        isolated = service_workers == "allow"
        assert here.page.evaluate("crossOriginIsolated") == isolated
        threads = here.page.evaluate("Math.min(8, navigator.hardwareConcurrency)") if isolated else 1
        here.expect("#status").to_contain_text("on one thread" if threads == 1 else f"on {threads} threads")
        assert iou(here.cutout()[..., 3] > 0, segmenter.segment(PICTURES / "cat.jpg", "the cat").mask) >= 0.99
        elsewhere = here.address.replace("127.0.0.1", "localhost")
        ask = "(address) => fetch(address, { mode: 'no-cors' }).then(() => 'sent', () => 'refused')"
        assert here.page.evaluate(ask, here.address) == "sent"
        [of_model] = [worker for worker in here.page.workers if worker.url.startswith("blob:")]
        for where in (here.page, of_model):
            assert where.evaluate(ask, elsewhere) == "refused"


def test_on_a_plain_server_that_redirects(
    browser: Any, build_script: ModuleType, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some hosts lead from index.html to its folder, which a service worker has to let through."""

    class Redirecting(build_script.Handler):
        def do_GET(self) -> None:
            if not self.path.startswith("/index.html"):
                return super().do_GET()
            self.send_response(301)
            self.send_header("Location", "/")
            self.send_header("Content-Length", "0")
            return self.end_headers()

    monkeypatch.setattr(build_script, "Handler", Redirecting)
    with opened(browser, build_script, site, headers={}) as here:
        assert here.page.evaluate("crossOriginIsolated")
        here.page.goto(f"{here.address}index.html")
        here.expect("#status").to_contain_text("MB", timeout=SOON)
        assert here.page.url == here.address


def test_on_a_phone(browser: Any, build_script: ModuleType, site: Path) -> None:
    with opened(browser, build_script, site, viewport={"width": 390, "height": 844}, device_scale_factor=3) as here:
        here.page.get_by_role("button", name="Find", exact=True).click()
        here.wait_for_masks(LATE)
        assert here.page.evaluate("document.documentElement.scrollWidth") == 390
        for button in here.page.locator("button:visible, input:visible").all():
            box = button.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= 390
        here.ask(f"the {100 * 'z'}")
        here.wait_for_masks(LATE)
        assert here.page.evaluate("document.documentElement.scrollWidth") == 390
        here.page.get_by_text("What mini is, and what it is not").click()
        here.page.get_by_role("button", name="sky", exact=True).click()
        here.expect("#stage").to_be_in_viewport()


@pytest.mark.heavy
def test_on_a_gpu_in_software(
    launch: Callable[..., Any], build_script: ModuleType, site: Path, segmenter: Segmenter
) -> None:
    """Chromium's own adapter, which is very slow: to see that WebGPU computes the same. Takes minutes."""
    browser = launch("--enable-unsafe-webgpu")
    with opened(browser, build_script, site, query="device=webgpu") as here:
        if not here.page.evaluate("navigator.gpu?.requestAdapter().then(Boolean)"):
            pytest.skip("this Chromium has no adapter for WebGPU")
        here.page.get_by_role("button", name="Find", exact=True).click()
        here.wait_for_masks(20 * LATE)
        here.expect("#status").to_contain_text("on the GPU")
        assert iou(here.cutout()[..., 3] > 0, segmenter.segment(PICTURES / "cat.jpg", "the cat").mask) >= 0.99
    browser.close()
