"""Wheels and source archives as `python -m build` makes them, but in this environment, and so without the network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def copy_sources(folder: Path) -> Path:
    """What both distributions are built from, in a new folder: building leaves files beside it."""
    folder.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("src", "runtime"):
        strays = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
        shutil.copytree(ROOT / name, folder / name, ignore=strays)
    return folder


def build(project: Path, kind: str, out: Path) -> Path:
    """The "wheel" or "sdist" of a project."""
    out.mkdir(exist_ok=True)
    backend = f"import sys, setuptools.build_meta as backend; print(backend.build_{kind}(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", backend, str(out)], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out / done.stdout.splitlines()[-1]
