"""The packages that self1e needs, as their own metadata tell: which are there, and whether they suit one another.

Nothing of them is imported, so that it is known of those that cannot be.
"""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from self1e.cli.doctor_report import Report
from self1e.version import __version__

if TYPE_CHECKING:
    from packaging.requirements import Requirement

OURS = "self1e"
EXTRAS = {
    "train": "self1e train and merge",
    "eval": "self1e.evaluation.torch_metrics",
    "heif": "pictures in HEIC",
    "plot": "figures of benchmarks",
    "docs": "building the site, and notebooks",
    "quantize": "--quantize on CUDA",
    "onnx": "exported models in ONNX Runtime",
    "openvino": "exported models in OpenVINO",
    "export": "self1e export",
    "serve": "self1e serve, and self1e.client",
    "web": "self1e web",
    "forms": "reading LabelMe, YOLO and CVAT, and to_supervision()",
    "parquet": "tables of pictures and of results",
    "ray": "self1e segment --ray",
    "dev": "work on self1e itself",
}
"""What each extra of this package is for."""

TORCHVISION = "torchvision"
BESIDE = (TORCHVISION, "deepspeed")
"""Required by none of these: transformers imports the one where it is installed, the other is an engine of training."""

WITHOUT = f"pip uninstall {TORCHVISION}: self1e needs none. Or install the one that was made for your torch."
"""What to do about one that does not suit torch. (To upgrade it would replace torch.)"""


def look_at_packages(report: Report) -> None:
    """Versions, extras, and requirements that are not met."""
    report.tell("versions", {"python": f"{platform.python_version()}, {sys.executable}"})
    report.tell("versions", {OURS: f"{__version__}, {Path(__file__).parents[1]}"})
    if version_of(OURS) is None:
        report.complain(
            "self1e is used from a folder and not installed: its plugins, and what it needs, are not known.",
            "In its clone: pip install -e .",
        )
        return
    core = requirements(OURS)
    report.tell("versions", {each.name: _state(each) for each in core})
    report.tell("versions", {name: version for name in BESIDE if (version := version_of(name))})
    names = {OURS, *BESIDE, *(each.name for each in core)}
    for extra in metadata.metadata(OURS).get_all("Provides-Extra", []):
        needed = [each for each in requirements(OURS, extra) if each.name != OURS]
        names |= {each.name for each in needed}
        states = {each.name: _state(each) for each in needed}
        how = "" if all(map(_met, needed)) else f": pip install 'self1e[{extra}]'"
        report.tell("extras", {extra: states | {"for": EXTRAS.get(extra, "?") + how}})
    for name in sorted(names, key=str.lower):
        for each in requirements(name):
            if not _met(each):
                wanted = f"{each.name}{each.specifier}"
                upgrade = f"pip install --upgrade {name}" if name != OURS and each.name in names else ""
                report.complain(
                    f"{name} {version_of(name)} needs {wanted}, and there is {version_of(each.name) or 'none'}.",
                    WITHOUT if name == TORCHVISION else upgrade or f"pip install '{wanted}'",
                )


def requirements(package: str, extra: str = "") -> list[Requirement]:
    """What a package requires on this machine, or what one of its extras adds to that; nothing where it is missing."""
    from packaging.requirements import Requirement

    try:
        listed = list(map(Requirement, metadata.requires(package) or []))
    except metadata.PackageNotFoundError:
        return []
    always, with_extra = (
        [each for each in listed if each.marker is None or each.marker.evaluate({"extra": name})]
        for name in ("", extra)
    )
    return [each for each in with_extra if each not in always] if extra else always


def version_of(package: str) -> str | None:
    """The version that is installed; None where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _met(requirement: Requirement) -> bool:
    version = version_of(requirement.name)
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _state(requirement: Requirement) -> str:
    version = version_of(requirement.name)
    if version is None:
        return "missing"
    return version if _met(requirement) else f"{version} (needs {requirement.specifier})"
