"""Looks at what is to be published: `python .ci/check_release.py dist --tag v0.2.0`.

A wheel and a source archive have to be there, and a wheel of self1e-runtime, with the version of the tag and of the
changelog, with all that belongs to each and nothing else, and no larger than PyPI takes. Exit status 1, and a line for
each fault, if not.
"""

from __future__ import annotations

import argparse
import re
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "self1e"
MOST_BYTES = 100_000_000
"""Of a file on PyPI, without asking for more."""
IN_SOURCE = ("LICENSE", "README.md", "pyproject.toml", "src/self1e/assets/mini/model.safetensors")
DATA_OF_RUNTIME = ("self1e/py.typed", "self1e/assets/classes/")
LEFT_OUT = ("__pycache__", ".pyc")


def version_of_package() -> str:
    found = re.search(r'__version__ = "([^"]+)"', (PACKAGE / "version.py").read_text("utf-8"))
    assert found is not None
    return found[1]


def faults(folder: Path, tag: str | None) -> list[str]:
    """What is wrong with the files of a folder, in sentences; nothing, when they may be published."""
    version, found = version_of_package(), []
    if tag is not None and tag != f"v{version}":
        found.append(f"the tag is {tag}, but src/self1e/version.py says {version}")
    if f"## [{version}]" not in (ROOT / "CHANGELOG.md").read_text("utf-8"):
        found.append(f"CHANGELOG.md has no section [{version}]")
    wheel, runtime = (folder / f"{name}-{version}-py3-none-any.whl" for name in ("self1e", "self1e_runtime"))
    source = folder / f"self1e-{version}.tar.gz"
    wanted = {wheel, runtime, source}
    if set(folder.iterdir()) != wanted:
        held, meant = (sorted(path.name for path in paths) for paths in (folder.iterdir(), wanted))
        return [*found, f"{folder} should have {meant}, it has {held}"]
    for path in sorted(wanted):
        if path.stat().st_size > MOST_BYTES:
            found.append(f"{path.name} has {path.stat().st_size / 1e6:.0f} MB, PyPI takes {MOST_BYTES / 1e6:.0f}")
    own = files_of_package()
    found += faults_of_wheel(wheel, own) + faults_of_wheel(runtime, files_of_runtime(own))
    return found + faults_of_source(source)


def files_of_package() -> set[str]:
    """As they are called in wheels."""
    files = (path for path in PACKAGE.rglob("*") if path.is_file())
    return {
        path.relative_to(PACKAGE.parent).as_posix() for path in files if not any(part in str(path) for part in LEFT_OUT)
    }


def files_of_runtime(own: set[str]) -> set[str]:
    """Those of the package's files that self1e-runtime has as well."""
    left_out = (ROOT / "runtime" / "left_out.txt").read_text("utf-8").replace(".", "/").split()
    without = tuple(f"{module}{end}" for module in left_out for end in (".py", "/"))
    modules = {name for name in own if name.endswith(".py") and not name.startswith(without)}
    return modules | {name for name in own if name.startswith(DATA_OF_RUNTIME)}


def faults_of_wheel(path: Path, own: set[str]) -> list[str]:
    """Whether all of its own files are in it, and nothing but these and what is said about them."""
    with zipfile.ZipFile(path) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
        about = {name.partition(".dist-info/")[2] for name in wheel.namelist()}
        metadata = wheel.read(next(name for name in wheel.namelist() if name.endswith("/METADATA"))).decode()
    found = [f"{path.name} lacks {name}" for name in sorted(own - held)]
    found += [f"{path.name} has {name}, which does not belong there" for name in sorted(held - own)]
    if "Requires-Python: >=3.11" not in metadata or "License-Expression: MIT" not in metadata:
        found.append(f"{path.name} does not say which Python it needs, or its licence")
    if "licenses/LICENSE" not in about:
        found.append(f"{path.name} lacks the text of the licence")
    return found


def faults_of_source(path: Path) -> list[str]:
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    return [f"the source archive lacks {name}" for name in IN_SOURCE if name not in names]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with the wheels and the source archive")
    parser.add_argument("--tag", help="of the commit that they were built from")
    arguments = parser.parse_args()
    found = faults(arguments.folder, arguments.tag)
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
