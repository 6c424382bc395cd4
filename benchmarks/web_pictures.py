"""Makes docs/pictures/web.webp and web-why.webp: the page of `self1e web` after some questions, of what is bundled now.

    python -m benchmarks.web_pictures

Needs `pip install 'self1e[web]' playwright` and a Chromium: `chromium` on the path, or its name in SELF1E_CHROMIUM.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import uvicorn
from PIL import Image
from playwright.sync_api import Locator, Page, expect, sync_playwright

from benchmarks.machine import ROOT
from self1e import Segmenter
from self1e.web.app import make_app
from self1e.web.models import LocalModel

PICTURES = ROOT / "docs" / "pictures"
PAGODA = ROOT / "examples" / "pictures" / "pagoda.jpg"
PROMPTS = ("the building", "the sky", "the trees", "the bus")
SIZE = (1440, 900)
PORT = 7861
LATE = 120_000
"""Milliseconds, for a model on a busy machine."""


def main() -> None:
    chromium = os.environ.get("SELF1E_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        sys.exit("error: there is no chromium: install it, or name one in SELF1E_CHROMIUM")
    models = [LocalModel(Segmenter.from_pretrained(name)) for name in ("mini", "nano")]
    server = uvicorn.Server(uvicorn.Config(make_app(models), port=PORT, log_level="error"))
    serving = threading.Thread(target=server.run, daemon=True)
    serving.start()
    while not server.started:
        if not serving.is_alive():
            sys.exit(f"error: the page cannot be served on port {PORT}")
        time.sleep(0.1)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]}, color_scheme="light")
        page.goto(f"http://127.0.0.1:{PORT}/")
        ask(page)
        save(page, PICTURES / "web.webp")
        page.get_by_role("tab", name="Why", exact=True).click()
        page.locator('[data-do="why"]').first.click()
        expect(page.locator(".why figure")).to_have_count(5, timeout=LATE)
        save(page.locator(".why"), PICTURES / "web-why.webp")
        browser.close()
    server.should_exit = True
    serving.join()


def ask(page: Page) -> None:
    """Has the page show the tower, and what is around it."""
    page.locator(".drop").wait_for()
    page.locator(".file").set_input_files(str(PAGODA))
    page.locator(".viewport").wait_for()
    page.locator("#prompt input").fill("; ".join(PROMPTS))
    page.locator("#prompt input").press("Enter")
    expect(page.locator(".legend li")).to_have_count(len(PROMPTS), timeout=LATE)


def save(shown: Page | Locator, path: Path) -> None:
    """Once it is drawn."""
    page = shown if isinstance(shown, Page) else shown.page
    page.wait_for_timeout(1000)
    with Image.open(io.BytesIO(shown.screenshot())) as shot:
        shot.convert("RGB").save(path, quality=85, method=6)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
