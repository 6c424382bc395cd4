"""What the site has beside the pages of docs/, made when it is built (a hook of mkdocs; see mkdocs.yml).

- README, CHANGELOG, CONTRIBUTING and SECURITY, which lie where GitHub looks for them.
- The reference: commands from typer, modules from their docstrings.
- Notebooks as pages.
- With SITE_HAS_PAGE=true (`make site`), links to the page that segments in a browser, which is built beside.
- Files of the repository that a page leads to, and lists of folders. GitHub shows these by itself; the site brings them
  along, so that a link is the same in both places, and leads somewhere without the network.
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

import typer.cli
import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

import self1e
from self1e.cli import app

ROOT = Path(__file__).resolve().parents[1]
ROOT_PAGES = {"README.md": "index.md"} | {
    name: name.lower() for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
}
"""Pages outside of docs/ -> their names on the site."""
FILES = "files"
"""Where the site has files of the repository."""
PACKAGE = ROOT / "src" / "self1e"
UNDOCUMENTED = {"assets", "cli"}
"""Parts of the package that are no Python interface: the commands have a page of their own."""

IF_PAGE = re.compile(r"<!-- on a site with the page: (.*?) -->")
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)(?=[)#])")
CODE_IN_TABLE = re.compile(r"`[^`\n]*`")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".sh": "bash", ".json": "json", ".toml": "toml", "": "dockerfile"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds all pages that are made here, and puts the reference into the navigation."""
    for name, address in ROOT_PAGES.items():
        files.append(File.generated(config, address, content=(ROOT / name).read_text("utf-8")))
    files.append(File.generated(config, "reference/commands.md", content=commands_page()))
    modules = module_pages()
    for address, text in modules.items():
        files.append(File.generated(config, address, content=text))
    assert config.nav is not None
    reference = next(part["Reference"] for part in config.nav if "Reference" in part)
    reference.extend(address for address in modules if {"": address} not in reference)
    for notebook in sorted((ROOT / "docs").glob("notebooks/*.ipynb")):
        add_notebook(files, config, notebook)
    for file in files.documentation_pages():
        for target in outside_files(file):
            if files.get_file_from_path(address := file_page(target)) is None:
                page = File.generated(config, address, content=show_file(target), inclusion=InclusionLevel.NOT_IN_NAV)
                files.append(page)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Has the links of a page lead to the site, and its tables read as GitHub reads them."""
    if os.environ.get("SITE_HAS_PAGE") == "true":
        markdown = IF_PAGE.sub(r"\1", markdown)
    return in_site(markdown, page.file.src_uri)


# ------------------------------------------------------------------------------------------------------------- links


def source_folder(address: str) -> str:
    """The folder, from the root of the repository, from which the links of a page of the site lead."""
    if address in ROOT_PAGES.values():
        return ""
    return str(PurePosixPath("docs", address).parent)


def in_site(markdown: str, address: str) -> str:
    """The text of a page with links as the site needs them, which has other addresses than the repository.

    Args:
        markdown: Of the page.
        address: Of the page on the site, such as "serving.md".
    """
    folder = source_folder(address)

    def lead(link: re.Match[str]) -> str:
        target = site_address(normpath(f"{folder}/{link[1]}".lstrip("/")))
        return relpath(target, str(PurePosixPath(address).parent))

    lines = (LINK.sub(lead, line) for line in markdown.split("\n"))
    return "\n".join(plain_bars(line) if line.lstrip().startswith("|") else line for line in lines)


def site_address(path: str) -> str:
    """Where the site has a file of the repository: 'docs/serving.md' -> 'serving.md'."""
    if path in ROOT_PAGES:
        return ROOT_PAGES[path]
    if path.startswith("docs/"):
        return re.sub(r"\.ipynb$", ".md", path.removeprefix("docs/"))
    return file_page(path)


def file_page(path: str) -> str:
    """The address of a page that shows a file or a folder of the repository."""
    return f"{FILES}/{path}.md"


def outside_files(file: File) -> set[str]:
    """Files and folders outside of docs/ that a page leads to, from the root of the repository."""
    folder = source_folder(file.src_uri)
    targets = {normpath(f"{folder}/{link}".lstrip("/")) for link in LINK.findall(file.content_string)}
    return {path for path in targets if site_address(path) == file_page(path) and (ROOT / path).exists()}


def show_file(path: str) -> str:
    """A page with what is in a file, or the list of what is in a folder."""
    source = ROOT / path
    if source.is_dir():
        names = sorted(each.name for each in source.iterdir() if not each.name.startswith(("_", ".")))
        return "\n".join([f"# {path}", "", *(f"- `{name}`" for name in names)])
    text = source.read_text("utf-8")
    if source.suffix == ".md":
        return text
    fence = "`" * 5
    return f"# {path}\n\n{fence}{LANGUAGES.get(source.suffix, 'text')}\n{text}\n{fence}\n"


def plain_bars(line: str) -> str:
    r"""A line of a table without the backslash that GitHub needs before a bar in code: `a\|b` -> `a|b`."""
    return CODE_IN_TABLE.sub(lambda code: code[0].replace(r"\|", "|"), line)


# --------------------------------------------------------------------------------------------------------- reference


def commands_page() -> str:
    """All commands with their options, as `--help` has them."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="self1e")
    text = typer.cli.get_docs_for_click(obj=command, ctx=context, name="self1e", title="Commands")
    text = re.sub(r"\[/?(?:dim|bold)?\]", "", text)  # rich's colours
    return re.sub(r"^  (?=\S)", "    ", text, flags=re.M)  # examples, as code


def public_parts() -> list[str]:
    """Modules and packages right below `self1e`, without those that are no interface."""
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    return sorted(part for part in parts - UNDOCUMENTED if not part.startswith("_"))


def module_pages() -> dict[str, str]:
    """A page for each part of the package: its address -> what mkdocstrings makes of its modules."""
    pages = {"reference/self1e.md": front_page()}
    for part in public_parts():
        modules = [part] if (PACKAGE / f"{part}.py").exists() else modules_in(PACKAGE / part)
        blocks = [f"::: self1e.{module}" for module in modules]
        pages[f"reference/self1e.{part}.md"] = "\n\n".join([f"# self1e.{part}", *blocks, ""])
    return pages


def front_page() -> str:
    """What `self1e` itself has, and its parts, each with the first sentence about it."""
    homes = {name: f"{home}.{name}" for name, home in self1e._HOME_OF.items()}
    names = [f"| [`{name}`][{home}] | {summary(home)} |" for name, home in homes.items()]
    parts = [f"| [`self1e.{part}`](self1e.{part}.md) | {summary(f'self1e.{part}')} |" for part in public_parts()]
    table = "| | |\n|---|---|"
    lines = [
        "# self1e\n\n`from self1e import Segmenter`, and so on:\n",
        table,
        *names,
        "\nAll parts, in the order of the alphabet; README.md has that of imports:\n",
        table,
        *parts,
    ]
    return "\n".join(lines) + "\n"


def summary(name: str) -> str:
    """The first sentence of the docstring of a module or class, read from its file."""
    path = PACKAGE.parent.joinpath(*name.split("."))
    tree: ast.Module | ast.ClassDef
    if name.rpartition(".")[2][0].isupper():
        module = ast.parse(path.parent.with_suffix(".py").read_text("utf-8"))
        tree = next((each for each in module.body if isinstance(each, ast.ClassDef) and each.name == path.name), module)
    else:
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        tree = ast.parse(file.read_text("utf-8"))
    first, _, _ = (ast.get_docstring(tree) or "").partition("\n\n")
    return " ".join(first.split())


def modules_in(folder: Path) -> list[str]:
    """Dotted names, below `self1e`, of the modules of a part that hold anything, the part itself first."""
    paths = sorted(path for path in folder.rglob("*.py") if path.stat().st_size)
    names = [".".join(path.relative_to(folder.parent).with_suffix("").parts) for path in paths]
    return sorted(name.removesuffix(".__init__") for name in names)


# --------------------------------------------------------------------------------------------------------- notebooks


def add_notebook(files: Files, config: MkDocsConfig, path: Path) -> None:
    """A notebook as a page, with the pictures of its outputs beside it."""
    text, resources = MarkdownExporter().from_filename(str(path))
    folder = path.relative_to(ROOT / "docs").parent.as_posix()
    for name, picture in resources["outputs"].items():
        new = f"{path.stem}-{name}"
        text = text.replace(f"]({name})", f"]({new})")
        files.append(File.generated(config, f"{folder}/{new}", content=picture))
    heading, _, rest = text.partition("\n")
    text = f"{heading}\n\n*This page is a notebook: `docs/{folder}/{path.name}`.*\n{rest}"
    files.append(File.generated(config, f"{folder}/{path.stem}.md", content=text))
