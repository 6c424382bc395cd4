"""What the pages and docstrings name is there: modules, classes, files, links, commands and their options."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer.main

from self1e import plugins
from self1e.cli import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
CURRENT = [page for page in PAGES if page.name != "CHANGELOG.md"]  # which also tells of what is gone
SOURCES = sorted(
    path for folder in ("src", "benchmarks", "tests", "examples") for path in ROOT.glob(f"{folder}/**/*.py")
)

SPAN = re.compile(r"`+([^`\n]+)`+")
DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
PATH = re.compile(r"(?:src|tests|docs|benchmarks|configs|examples)/[\w./-]*[\w/]")
NOTEBOOKS = sorted(ROOT.glob("docs/notebooks/*.ipynb"))
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
BENCHMARK = re.compile(r"python -m (benchmarks\.\w+)([^\n`#]*)")
COMMAND = re.compile(r"(?:^|`|-m )self1e ((?:[^\n`#]|\\\n)+)", re.M)
FOREIGN = {"configs/referring_R50.yaml"}
"""Files of other repositories that docs/evaluation.md names."""

CLASSES = {
    name: ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
    for path in ROOT.glob("src/**/*.py")
    for name in re.findall(r"^class (\w+)", path.read_text("utf-8"), re.M)
}
"""The name of each class -> its module."""
GROUPS = {plugins.DATASETS, plugins.BENCHMARKS, plugins.LOSSES, plugins.COMMANDS}
"""Groups of entry points, which are called like modules."""
PARTS = {path.stem for path in (ROOT / "src" / "self1e").iterdir() if not path.name.startswith("_")}
"""What `self1e` consists of; how-it-works.md leaves out the `self1e.` before them."""


def resolve(name: str) -> None:
    """Finds what a dotted name stands for, from `self1e`, one of its parts, or a class on.

    Raises:
        LookupError: If there is no such thing.
    """
    first, *rest = name.removeprefix("self1e.").split(".")
    found: Any = getattr(import_module(CLASSES[first]), first) if first in CLASSES else import_module(f"self1e.{first}")
    for part in rest:
        if isinstance(found, type):
            fields = {field for each in found.__mro__ for field in getattr(each, "__annotations__", {})}
            if part not in fields and not hasattr(found, part):
                raise LookupError(name)
            return
        if not hasattr(found, part) and not (hasattr(found, "__path__") and find_spec(f"{found.__name__}.{part}")):
            raise LookupError(name)
        found = getattr(found, part, None) or import_module(f"{found.__name__}.{part}")


def unknown_names(text: str, parts: Iterable[str] = ()) -> list[str]:
    """Dotted names in code spans that begin as ours do, and stand for nothing."""
    unknown = []
    for span in sorted({span for span in SPAN.findall(text) if DOTTED.fullmatch(span)}):
        if span in GROUPS:
            continue
        if span.partition(".")[0] in {"self1e", *CLASSES, *parts}:
            try:
                resolve(span)
            except (LookupError, ModuleNotFoundError):
                unknown.append(span)
    return unknown


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.name)
def test_names_are_there(page: Path) -> None:
    assert not unknown_names(page.read_text("utf-8"), PARTS if page.name == "how-it-works.md" else ())


def test_docstrings_name_what_is_there() -> None:
    unknown = {path: unknown_names(path.read_text("utf-8")) for path in SOURCES}
    assert not {str(path.relative_to(ROOT)): names for path, names in unknown.items() if names}


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.name)
def test_files_are_there(page: Path) -> None:
    spans = [span.split()[0] for span in SPAN.findall(page.read_text("utf-8"))]
    named = {span for span in spans if PATH.fullmatch(span)} - FOREIGN
    assert not [path for path in sorted(named) if not (ROOT / path).exists()]


def test_settings_name_files_that_are_there() -> None:
    texts = {path: path.read_text("utf-8") for path in ROOT.glob("configs/**/*.*")}
    missing = {
        path: [name for name in PATH.findall(text) if not (ROOT / name).exists()] for path, text in texts.items()
    }
    assert not {str(path.relative_to(ROOT)): names for path, names in missing.items() if names}


def test_every_picture_is_shown() -> None:
    shown = {Path(link).name for page in PAGES for link in LINK.findall(page.read_text("utf-8"))}
    assert {path.name for path in ROOT.glob("docs/pictures/*")} <= shown


def words(page: Path) -> str:
    """The Markdown of a page, or of a notebook's cells."""
    text = page.read_text("utf-8")
    if page.suffix != ".ipynb":
        return text
    return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")


def anchors(page: Path) -> set[str]:
    """What GitHub makes of headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(words(page)):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.name)
def test_benchmarks_take_these_options(page: Path) -> None:
    for module, arguments in BENCHMARK.findall(page.read_text("utf-8")):
        path = ROOT / f"{module.replace('.', '/')}.py"
        assert path.exists(), module
        source = path.read_text("utf-8") + (ROOT / "benchmarks" / "subjects.py").read_text("utf-8")
        for option in re.findall(r"--[a-z-]+", arguments):
            assert f'"{option}"' in source, f"{module} has no {option}"


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.name)
def test_commands_take_these_options(page: Path) -> None:
    unknown = []
    for line in COMMAND.findall(page.read_text("utf-8")):
        words = [word for word in re.split(r"\s+", line.replace("\\\n", " ").strip()) if word]
        command: Any = typer.main.get_command(app)
        while hasattr(command, "get_command") and words and (below := command.get_command(None, words[0])):
            command = below
            words = words[1:]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        known |= {"--help", "-h"}
        unknown += [(line, word) for word in words if re.fullmatch(r"-[a-z]|--[a-z-]+", word) and word not in known]
    assert not unknown
