"""The page in a real browser: Debian's Chromium, driven by playwright, without flags and without a network."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from serving import served
from showing import LAKESIDE, PICTURES, Counted

from self1e import Segmenter
from self1e.client import Client
from self1e.segment.results import Segmentation
from self1e.serve.limits import Limits
from self1e.web.models import LocalModel, ServedModel

page_app = pytest.importorskip("self1e.web.app", reason="needs gradio: pip install 'self1e[web]'")

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")

CHROMIUM = Path("/usr/bin/chromium")
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs a browser: {CHROMIUM} (apt install chromium)"),
]


class Held(Counted):
    """A model that can be made to wait."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__(segmenter)
        self.gate = threading.Event()
        self.gate.set()
        self.at_once = self.most_at_once = 0

    def segment(self, picture, prompts: list[str]) -> list[Segmentation]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        assert self.gate.wait(60)
        try:
            return super().segment(picture, prompts)
        finally:
            self.at_once -= 1


@pytest.fixture(scope="module")
def held(nano) -> Held:
    return Held(nano)


@pytest.fixture(scope="module")
def address(held) -> Iterator[str]:
    mini = LocalModel(Segmenter.from_pretrained("mini"))
    with served(page_app.make_app([held, mini], limits=Limits(body_bytes=3_000_000))) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=str(CHROMIUM),
            args=["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],  # a camera of its own
        )
        yield browser
        browser.close()


class Visitor:
    """Someone with the page open, who notes what goes wrong."""

    def __init__(self, browser, address: str, **how) -> None:
        self.context = browser.new_context(accept_downloads=True, permissions=["camera"], **how)
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("console", lambda said: said.type == "error" and self.wrong.append(f"console: {said.text}"))
        self.page.on("request", lambda asked: self._look(asked.url, address))
        self.page.goto(address)
        self.page.locator(".drop").wait_for()

    def _look(self, url: str, address: str) -> None:
        if not url.startswith((address, "data:", "blob:")):
            self.wrong.append(f"elsewhere: {url}")

    def send(self, path: Path) -> None:
        self.page.locator(".file").set_input_files(str(path))

    def ask(self, text: str) -> None:
        self.page.locator("#prompt input").fill(text)
        self.page.locator("#prompt input").press("Enter")

    def rows(self, count: int):
        """The legend, once it has so many rows."""
        rows = self.page.locator(".legend li")
        playwright.expect(rows).to_have_count(count, timeout=60_000)
        return rows

    def area(self, row: int = 0) -> int:
        return int(self.page.locator(".legend li").nth(row).get_attribute("data-area"))

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).click()

    def seen(self, selector: str = ".after") -> np.ndarray:
        """uint8[H, W, 3] of a picture on the page, as the browser has decoded it."""
        image = self.page.locator(selector)
        image.evaluate("image => image.decode()")
        url = image.evaluate(
            """image => { const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            canvas.getContext('2d').drawImage(image, 0, 0); return canvas.toDataURL(); }"""
        )
        return decoded(url)

    def downloaded(self, name: str) -> tuple[str, bytes]:
        with self.page.expect_download() as waiting:
            self.page.locator(".downloads").get_by_text(name, exact=True).click()
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def decoded(url: str) -> np.ndarray:
    import base64

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))


@pytest.fixture
def visit(browser, address) -> Iterator[Callable[..., Visitor]]:
    visitors: list[Visitor] = []

    def come(**how) -> Visitor:
        visitors.append(Visitor(browser, address, **how))
        return visitors[-1]

    yield come
    for each in visitors:
        each.context.close()
        assert each.wrong == []


def test_from_a_file_to_a_download(visit, nano):
    visitor = visit()
    visitor.send(LAKESIDE)
    visitor.page.locator(".viewport").wait_for()
    visitor.ask("the red boat; the bus")
    rows = visitor.rows(2)
    boat = nano.segment(LAKESIDE, "the red boat", logits=True)
    assert visitor.area() == boat.area and rows.nth(1).get_attribute("data-found") == "false"
    playwright.expect(rows.nth(1)).to_contain_text("not found")

    changed = np.abs(visitor.seen(".after").astype(int) - visitor.seen(".before")).sum(axis=2)
    blue = visitor.seen(".after").astype(int)[boat.mask][:, 2] - visitor.seen(".before").astype(int)[boat.mask][:, 2]
    assert changed.mean() > 20 and blue.mean() > 25  # azure lies on the mask

    before = visitor.seen()
    visitor.page.locator("#threshold input[type=number]").fill("0.9")
    playwright.expect(rows.nth(0)).to_have_attribute("data-area", str(boat.at(0.9).area))
    assert boat.at(0.9).area < boat.area
    visitor.page.wait_for_timeout(500)
    assert (visitor.seen() != before).any()

    name, content = visitor.downloaded("COCO")
    (annotation,) = json.loads(content)["annotations"]
    assert name == "lakeside.coco.json"
    assert np.array_equal(coco_mask.decode(annotation["segmentation"]) == 1, boat.at(0.9).mask)
    name, content = visitor.downloaded("Cut-out")
    cutout = np.asarray(Image.open(io.BytesIO(content)))
    assert name == "lakeside.cutout.png" and np.array_equal(cutout[..., 3] == 255, boat.at(0.9).mask)
    name, content = visitor.downloaded("LabelMe")
    assert [shape["label"] for shape in json.loads(content)["shapes"]] and name == "lakeside.labelme.json"
    for what in ("Overlay", "Mask"):
        assert Image.open(io.BytesIO(visitor.downloaded(what)[1])).size == (448, 448)


def test_a_slider_is_followed_without_a_pass(visit, held):
    visitor = visit()
    visitor.page.locator('[data-file="lakeside.png"]').click()
    visitor.page.locator(".viewport").wait_for()
    visitor.page.locator('[data-do="suggest"]').first.click()
    visitor.rows(1)
    passes, first = held.passes, visitor.area()
    slider = visitor.page.locator("#threshold input[type=range]")
    box = slider.bounding_box()
    visitor.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    visitor.page.mouse.down()
    for step in range(1, 9):
        visitor.page.mouse.move(box["x"] + box["width"] * (0.5 + 0.05 * step), box["y"] + box["height"] / 2)
    visitor.page.wait_for_timeout(1500)  # still held
    assert visitor.area() < first
    visitor.page.mouse.up()
    assert held.passes == passes


def test_what_is_no_picture(visit, tmp_path):
    visitor = visit()
    broken = tmp_path / "holiday.jpg"
    broken.write_bytes(b"not a picture at all")
    visitor.send(broken)
    toast = visitor.page.locator(".toast-body")
    playwright.expect(toast).to_contain_text("Holiday.jpg is no picture that Pillow can read")
    visitor.page.locator(".toast-close").click()
    large = tmp_path / "large.png"
    large.write_bytes((PICTURES / "cat.jpg").read_bytes() + bytes(3_000_000))
    visitor.send(large)
    playwright.expect(toast).to_contain_text("may have 3,000,000")
    assert visitor.wrong.pop() and not visitor.wrong  # the browser tells the console of the 413, too
    visitor.page.locator(".toast-close").click()
    visitor.ask("the cat")
    playwright.expect(toast).to_contain_text("There is no picture yet")
    visitor.send(LAKESIDE)  # and all goes on
    visitor.page.locator(".viewport").wait_for()


def test_two_at_once(visit, held):
    one, other = visit(), visit()
    for visitor, file in ((one, "lakeside.png"), (other, "cat.jpg")):
        visitor.page.locator(f'[data-file="{file}"]').click()
        visitor.page.locator(".viewport").wait_for()
    other.page.get_by_label("nano").check()
    other.page.locator(".head", has_text="nano").wait_for()
    held.gate.clear()
    held.most_at_once = 0
    one.ask("the sky")
    other.ask("the tree; the cow")
    one.page.wait_for_timeout(1500)
    assert one.page.locator(".legend li").count() == other.page.locator(".legend li").count() == 0
    other.page.locator("[data-tool=compare]").click()  # meanwhile the page can be used
    held.gate.set()
    one.rows(1)
    other.rows(2)
    assert held.most_at_once == 1  # one after the other
    assert "the sky" in one.page.locator(".legend").inner_text()
    assert "the sky" not in other.page.locator(".legend").inner_text()


def test_talk_and_why_and_history(visit, nano):
    visitor = visit()
    visitor.page.locator('[data-file="lakeside.png"]').click()
    visitor.page.locator(".viewport").wait_for()
    visitor.ask("the red boat")
    visitor.rows(1)

    visitor.tab("Talk")
    visitor.page.locator("#question input").fill("I would like to cross the lake. Explain.")
    visitor.page.locator("#question input").press("Enter")
    visitor.page.locator(".answer img").wait_for(timeout=60_000)
    said = nano.chat(LAKESIDE, "I would like to cross the lake. Explain.")
    assert visitor.page.locator(".it").inner_text().split() == said.text.strip().split()
    visitor.page.locator(".answer").click()
    visitor.tab("Masks")
    visitor.rows(2)

    visitor.tab("Why")
    visitor.page.locator('[data-do="why"]').first.click()
    playwright.expect(visitor.page.locator(".why figure")).to_have_count(5, timeout=60_000)
    mean = visitor.seen(".why figure:nth-child(1) img")
    visitor.page.locator('[data-do="look"]').last.click()
    playwright.expect(visitor.page.locator('[data-do="look"]').last).to_have_attribute("aria-pressed", "true")
    visitor.page.wait_for_timeout(500)
    assert (visitor.seen(".why figure:nth-child(1) img") != mean).any()

    visitor.page.locator('[data-do="close"]').click()
    visitor.page.locator('[data-do="scene"]').click()
    visitor.page.locator(".viewport").wait_for()
    visitor.tab("History")
    visitor.page.locator('[data-do="restore"]').click()
    visitor.page.locator(".bar", has_text="lakeside.png").wait_for(timeout=60_000)
    visitor.tab("Masks")
    visitor.rows(2)


def test_by_keyboard_alone(visit):
    visitor = visit()
    page = visitor.page
    page.locator('[data-file="lakeside.png"]').focus()
    page.keyboard.press("Enter")
    page.locator(".viewport").wait_for()
    page.locator("body").press("/")
    page.keyboard.type("the red boat; the sky")
    page.keyboard.press("Enter")
    visitor.rows(2)
    page.locator("#prompt input").evaluate("input => input.blur()")
    page.keyboard.press("1")
    playwright.expect(page.locator(".legend li").first).to_have_class("off")
    page.keyboard.press("Shift+Digit1")
    playwright.expect(page.locator(".legend li").first).to_have_class("solo")
    page.keyboard.press("+")
    scale = "element => new DOMMatrix(getComputedStyle(element).transform).a"
    assert page.locator(".pane").evaluate(scale) == pytest.approx(1.6)
    page.keyboard.press("f")
    assert page.locator(".pane").evaluate(scale) == 1
    page.keyboard.press("c")
    assert "inset" in page.locator(".after").evaluate("image => getComputedStyle(image).clipPath")
    page.keyboard.press("c")
    page.keyboard.down("b")
    playwright.expect(page.locator(".after")).to_be_hidden()
    page.keyboard.up("b")
    playwright.expect(page.locator(".after")).to_be_visible()
    page.keyboard.press("?")
    playwright.expect(page.locator("dialog.keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    page.locator(".drop").wait_for()


def test_before_and_after_follow_the_zoom(visit):
    visitor = visit()
    page = visitor.page
    page.locator('[data-file="lakeside.png"]').click()
    page.locator(".viewport").wait_for()
    box = page.locator(".viewport").bounding_box()
    page.mouse.dblclick(box["x"] + 10, box["y"] + 10)
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 100, box["y"] + 150)
    page.mouse.up()
    place = page.locator(".pane").evaluate(
        "element => { const m = new DOMMatrix(getComputedStyle(element).transform); return [m.a, m.e, m.f]; }"
    )
    assert place == pytest.approx([2.5, -15 - 100, -15 - 50], abs=1)
    page.locator("[data-tool=compare]").click()
    page.locator(".split").fill("30")
    line = page.locator(".line").bounding_box()
    assert line["x"] + 1 == pytest.approx(box["x"] + 0.3 * box["width"], abs=1)
    cut = page.locator(".after").evaluate("image => parseFloat(getComputedStyle(image).clipPath.split(' ').at(-1))")
    assert cut == pytest.approx(100 * (0.3 * box["width"] - place[1]) / 2.5 / box["width"], abs=0.1)


def test_paste_drop_and_camera(visit):
    visitor = visit()
    give = """([bytes, kind, name]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], name, {type: 'image/jpeg'}));
        const how = {bubbles: true, cancelable: true};
        document.dispatchEvent(kind === 'paste' ? new ClipboardEvent(kind, {...how, clipboardData: data})
                                                : new DragEvent(kind, {...how, dataTransfer: data}));
    }"""
    content = list((PICTURES / "cat.jpg").read_bytes())
    for kind, name in (("paste", "pasted.jpg"), ("drop", "dropped.jpg")):
        visitor.page.evaluate(give, [content, kind, name])
        visitor.page.locator(".bar", has_text=name).wait_for()
    visitor.page.locator('[data-do="close"]').click()
    visitor.page.locator('[data-tool="camera"]').click()
    visitor.page.wait_for_function("document.querySelector('.camera video').videoWidth > 0")
    visitor.page.locator('[data-tool="shoot"]').click()
    visitor.page.locator(".bar", has_text="camera.png").wait_for()
    assert visitor.seen(".before").std() > 5  # the browser's test picture, not black


def test_on_a_phone(visit):
    visitor = visit(**PHONE)
    page = visitor.page
    page.locator('[data-file="cat.jpg"]').tap()
    page.locator(".viewport").wait_for()
    visitor.ask("the cat")
    visitor.rows(1)
    assert visitor.area() > 50_000
    for name in ("Masks", "Talk", "Why", "History"):
        visitor.tab(name)
        assert page.evaluate("document.documentElement.scrollWidth") == 390  # nothing to scroll sideways
    visitor.tab("Masks")
    for tool in page.locator(".tool:visible").all():
        box = tool.bounding_box()
        assert min(box["width"], box["height"]) >= 40  # for fingers
    box = page.locator(".viewport").bounding_box()
    assert box["width"] >= 360 and box["y"] < 250  # the picture comes first


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read(visit, scheme):
    visitor = visit(color_scheme=scheme)
    visitor.page.locator('[data-file="lakeside.png"]').click()
    visitor.page.locator(".viewport").wait_for()
    visitor.ask("the red boat; the bus")
    visitor.rows(2)
    shades = visitor.page.evaluate(
        """selectors => { const rgb = (colour) => {
            const pixel = document.createElement('canvas').getContext('2d');
            pixel.fillStyle = colour; pixel.fillRect(0, 0, 1, 1);
            return [...pixel.getImageData(0, 0, 1, 1).data].slice(0, 3); };
        return selectors.map((each) => rgb(getComputedStyle(document.querySelector(each)).color))
            .concat([rgb(getComputedStyle(document.body).backgroundColor)]); }""",
        WORDS,
    )
    *words, ground = map(luminance, shades)
    ratios = {
        name: (max(word, ground) + 0.05) / (min(word, ground) + 0.05) for name, word in zip(WORDS, words, strict=True)
    }
    assert min(ratios.values()) >= 4.5, ratios  # WCAG AA


def test_a_server_segments(browser, tmp_path):
    """`self1e serve` in a process of its own, asked from the page."""
    log = tmp_path / "serve.log"
    command = [sys.executable, "-m", "self1e", "serve", "--model", "nano", "--port", "0"]
    with log.open("w") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        while not (found := re.search(r"answers at (\S+)", log.read_text())):
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
        with served(page_app.make_app([ServedModel(Client(found[1]))])) as address:
            visitor = Visitor(browser, address)
            visitor.send(LAKESIDE)
            visitor.page.locator(".viewport").wait_for()
            visitor.ask("the red boat; the bus")
            visitor.rows(2)
            boat = Segmenter.from_pretrained("nano").segment(LAKESIDE, "the red boat")
            assert abs(visitor.area(0) - boat.area) <= 5
            assert visitor.wrong == []
            visitor.context.close()
    finally:
        server.terminate()
        server.wait(60)


WORDS = [".head h1", ".limits", ".what b", ".facts", ".bar p", ".timing", "#threshold .head span", ".downloads a"]


def luminance(rgb: list[int]) -> float:
    """Relative luminance, as WCAG has it."""
    linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in (value / 255 for value in rgb)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))
