"""Makes docs/pictures/try.webp: the page as it looks after a question, of what is bundled now.

    python docs/try/picture.py site/try          of the folder that build.py made (make try)

Needs `pip install playwright` and a Chromium: `chromium` on the path, or its name in SELF1E_CHROMIUM.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
import threading
from pathlib import Path

from build import server
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

PICTURE = Path(__file__).resolve().parents[1] / "pictures" / "try.webp"
SIZE = (1200, 740)
LATE = 180_000
"""Milliseconds, for loading the model on a busy machine."""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, metavar="DIR", help="the page, as build.py made it")
    given = parser.parse_args()
    chromium = os.environ.get("SELF1E_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        sys.exit("error: there is no chromium: install it, or name one in SELF1E_CHROMIUM")
    if not (given.page / "files.json").is_file():
        sys.exit(f"error: {given.page} is not the page: build it by docs/try/build.py")
    with sync_playwright() as playwright, server(given.page, 0) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(executable_path=chromium)
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]}, color_scheme="light")
        page.goto(f"http://127.0.0.1:{serving.server_port}/")
        ask_for_the_person(page)
        with Image.open(io.BytesIO(page.screenshot())) as shot:
            shot.convert("RGB").save(PICTURE, quality=85, method=6)
        browser.close()
        serving.shutdown()
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1e3:.0f} kB")


def ask_for_the_person(page: Page) -> None:
    """Has the page show the astronaut with her mask."""
    page.get_by_role("button", name="Example: an astronaut").click()
    expect(page.get_by_label("What should it find?")).to_have_value("the person")
    page.get_by_role("button", name="Find", exact=True).click()
    expect(page.locator("#status")).to_contain_text("s for the words", timeout=LATE)
    page.wait_for_timeout(300)  # until it is drawn


if __name__ == "__main__":
    main()
