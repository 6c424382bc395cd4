"""Looks at what is to be published: `python .ci/check_release.py dist --tag v0.2.0`.

A wheel and a source archive have to be there, with the version of the tag and of the changelog, with all that belongs
to the package and nothing else, and no larger than PyPI takes. Exit status 1, and a line for each fault, if not.
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
    wheels, sources = list(folder.glob("*.whl")), list(folder.glob("*.tar.gz"))
    names = sorted(path.name for path in folder.iterdir())
    if len(wheels) != 1 or len(sources) != 1 or len(names) != 2:
        return [*found, f"{folder} should have one wheel and one source archive, it has {names}"]
    for path in (*wheels, *sources):
        if not path.name.startswith(f"self1e-{version}"):
            found.append(f"{path.name} is not of version {version}")
        if path.stat().st_size > MOST_BYTES:
            found.append(f"{path.name} has {path.stat().st_size / 1e6:.0f} MB, PyPI takes {MOST_BYTES / 1e6:.0f}")
    return found + faults_of_wheel(wheels[0]) + faults_of_source(sources[0])


def faults_of_wheel(path: Path) -> list[str]:
    """Whether all files of the package are in it, and nothing but these and what is said about them."""
    with zipfile.ZipFile(path) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
        metadata = wheel.read(next(name for name in wheel.namelist() if name.endswith("/METADATA"))).decode()
    own = {
        each.relative_to(PACKAGE.parent).as_posix()
        for each in PACKAGE.rglob("*")
        if each.is_file() and not any(part in str(each) for part in LEFT_OUT)
    }
    found = [f"the wheel lacks {name}" for name in sorted(own - held)]
    found += [f"the wheel has {name}, which is not of the package" for name in sorted(held - own)]
    if "Requires-Python: >=3.11" not in metadata or "License-Expression: MIT" not in metadata:
        found.append("the wheel does not say which Python it needs, or its licence")
    return found


def faults_of_source(path: Path) -> list[str]:
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    return [f"the source archive lacks {name}" for name in IN_SOURCE if name not in names]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with the wheel and the source archive")
    parser.add_argument("--tag", help="of the commit that they were built from")
    arguments = parser.parse_args()
    found = faults(arguments.folder, arguments.tag)
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
