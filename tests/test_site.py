"""The site holds all pages, shows them as GitHub does, and needs no network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import readme_commands
import yaml

ROOT = Path(__file__).parents[1]
ROOT_PAGES = {"README.md": "index", "CHANGELOG.md": "changelog", "CONTRIBUTING.md": "contributing"}
PAGES = sorted([*ROOT.glob("docs/*.md"), *(ROOT / name for name in ROOT_PAGES)])
FETCHED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^\s>]*")
LEFT_AS_MARKDOWN = re.compile(r"<p>(?:(?!</p>).)*?(?:```|\n- |\n\d\. |\n\|)", re.S)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make site` does, but for the page itself; any warning is an error."""
    pytest.importorskip("mkdocs", reason="needs the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    surroundings = os.environ | {"NO_COLOR": "1", "SITE_HAS_PAGE": "true"}
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=surroundings)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def html_of(site: Path, page: Path) -> str:
    return (site / f"{ROOT_PAGES.get(page.name, page.stem)}.html").read_text("utf-8")


@pytest.mark.slow
def test_nothing_is_fetched(site: Path) -> None:
    fetched = {page.name: FETCHED.findall(page.read_text("utf-8")) for page in site.rglob("*.html")}
    assert not {name: found for name, found in fetched.items() if found}
    assert FETCHED.search('<script src="https://example.org/a.js">')


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_look_as_on_github(site: Path, page: Path) -> None:
    html = html_of(site, page)
    blocks = readme_commands.all_blocks(page.read_text("utf-8"))
    assert len(re.findall(r"<pre[ >]", html)) == len(blocks)
    assert not LEFT_AS_MARKDOWN.findall(html)


@pytest.mark.slow
def test_the_reference_is_made_of_docstrings(site: Path) -> None:
    segment = (site / "reference" / "self1e.segment.html").read_text("utf-8")
    assert 'id="self1e.segment.segmenter.Segmenter.segment"' in segment
    assert "Segments what prompts name, each with one mask" in segment
    commands = (site / "reference" / "commands.html").read_text("utf-8")
    assert "self1e data convert" in commands and "--max-tiles" in commands


@pytest.mark.slow
@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "try.md"], ids=lambda page: page.name)
def test_the_page_that_segments_is_led_to(site: Path, page: Path) -> None:
    assert '<a href="try/index.html">' in html_of(site, page)


@pytest.mark.slow
def test_files_of_the_repository_come_along(site: Path) -> None:
    assert 'href="files/configs/clothing.yaml.html"' in html_of(site, ROOT / "docs" / "own-data.md")
    assert "runs/clothing" in (site / "files" / "configs" / "clothing.yaml.html").read_text("utf-8")


def test_every_page_is_in_the_navigation() -> None:
    # Not by mkdocs, which is no part of the ordinary tests. Its file has tags that only mkdocs knows.
    navigation = re.search(r"^nav:\n(?:[ ].*\n|\n)+", (ROOT / "mkdocs.yml").read_text("utf-8"), re.M)
    assert navigation is not None
    listed = set(re.findall(r"[\w/.-]+\.md", yaml.safe_dump(yaml.safe_load(navigation[0]))))
    assert {page.name for page in ROOT.glob("docs/*.md")} <= listed
