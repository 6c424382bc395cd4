"""What is published, and what builds it: the check of wheels, the container's recipe, the citation, the workflow."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from building import build, copy_sources

from self1e.version import __version__

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("check_release", ROOT / ".ci" / "check_release.py")
assert spec and spec.loader
check_release = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_release)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the workflow of releases builds."""
    folder = tmp_path_factory.mktemp("build")
    sources = copy_sources(folder / "sources")
    for project, kind in ((sources, "wheel"), (sources, "sdist"), (sources / "runtime", "wheel")):
        build(project, kind, folder / "dist")
    return folder / "dist"


@pytest.mark.slow
def test_what_is_built_may_be_published(dist: Path) -> None:
    assert check_release.faults(dist, f"v{__version__}") == []


def change(wheel: Path, *, without: str, added: str) -> None:
    """Takes a file out of a wheel, and puts another in."""
    with zipfile.ZipFile(wheel) as full:
        held = {name: full.read(name) for name in full.namelist() if name != without}
    with zipfile.ZipFile(wheel, "w") as other:
        for name, content in (held | {added: b""}).items():
            other.writestr(name, content)


@pytest.mark.slow
def test_faults_are_found(dist: Path, tmp_path: Path) -> None:
    assert "the tag is v9.9" in check_release.faults(dist, "v9.9")[0]
    broken = shutil.copytree(dist, tmp_path / "dist")
    name = f"self1e-{__version__}-py3-none-any.whl"
    change(broken / name, without="self1e/py.typed", added="tests/stray.py")
    runtime = f"self1e_runtime-{__version__}-py3-none-any.whl"
    change(broken / runtime, without="self1e/assets/classes/coco_stuff.txt", added="self1e/training/__init__.py")
    assert check_release.faults(broken, None) == [
        f"{name} lacks self1e/py.typed",
        f"{name} has tests/stray.py, which does not belong there",
        f"{runtime} lacks self1e/assets/classes/coco_stuff.txt",
        f"{runtime} has self1e/training/__init__.py, which does not belong there",
    ]
    (broken / "more.txt").touch()
    assert "it has" in check_release.faults(broken, None)[0]


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == __version__
    assert f"version = {{{__version__}}}" in (ROOT / "docs" / "cite.md").read_text("utf-8")


@pytest.mark.slow
def test_the_citation_is_valid() -> None:
    cffconvert = pytest.importorskip("cffconvert", reason="needs the extra `docs`")
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    cffconvert.Citation(text, src="CITATION.cff").validate()
    with pytest.raises(Exception, match="title"):
        cffconvert.Citation(text.replace("title:", "heading:", 1), src="CITATION.cff").validate()


@pytest.mark.slow
def test_the_dockerfile_has_no_faults(tmp_path: Path) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("needs the extra `docs`")
    found = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
    (tmp_path / "Dockerfile").write_text("FROM python:latest\nRUN cd /tmp\n")
    assert subprocess.run([hadolint, tmp_path / "Dockerfile"], capture_output=True).returncode == 1


def test_containers_get_what_the_dockerfile_knows() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    arguments = {name for service in compose["services"].values() for name in service["build"].get("args", {})}
    assert arguments <= set(re.findall(r"^ARG (\w+)", dockerfile, re.M))
    copied = {name for line in re.findall(r"^COPY (?!--)(.+) \S+$", dockerfile, re.M) for name in line.split()}
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert copied <= {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)


def test_both_distributions_have_the_same_licence() -> None:
    assert (ROOT / "runtime" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_only_a_tag_publishes() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8"))
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML reads `on` as true
    assert workflow["permissions"] == {"contents": "read"}
    publish = workflow["jobs"]["publish"]
    assert publish["needs"] == "build" and publish["if"] == "vars.PUBLISH == 'true'"
    assert publish["permissions"] == {"id-token": "write"}
