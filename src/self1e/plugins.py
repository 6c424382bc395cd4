"""What other packages add: data sets, benchmarks, losses and commands, found through Python's entry points.

A package announces what it adds in its `pyproject.toml`; nothing of it is imported before it is asked for by name:

    [project.entry-points."self1e.datasets"]
    photos = "my_package.photos:PhotoData"

docs/extending.md says what each group expects.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

DATASETS = "self1e.datasets"
BENCHMARKS = "self1e.benchmarks"
LOSSES = "self1e.losses"
COMMANDS = "self1e.commands"

_NOUNS = {DATASETS: "data set", BENCHMARKS: "benchmark", LOSSES: "loss", COMMANDS: "command"}


class PluginError(ValueError):
    """A plugin that is not installed, is there twice, or cannot be imported."""


def installed(group: str) -> list[str]:
    """Names of what is installed for a group, sorted."""
    return sorted({point.name for point in entry_points(group=group)})


def load(group: str, name: str) -> object:
    """Imports what is announced under a name.

    Args:
        group: One of the groups above.
        name: Of the plugin.

    Raises:
        PluginError: When there is none of this name, when two packages announce it, or when it cannot be imported.
    """
    noun = _NOUNS.get(group, "plugin")
    found = {point.value: point for point in entry_points(group=group, name=name)}
    if not found:
        known = ", ".join(installed(group)) or "none"
        raise PluginError(
            f"there is no {noun} {name!r}; installed are {known}. (After an update of an editable installation, run "
            "`pip install -e .` again.)"
        )
    if len(found) > 1:
        packages = ", ".join(sorted(map(_package, found.values())))
        raise PluginError(f"several packages bring a {noun} {name!r}: {packages}. Uninstall all but one of them")
    point = next(iter(found.values()))
    try:
        return point.load()
    except Exception as error:  # other people's code, which may fail in any way
        raise PluginError(
            f"the {noun} {name!r} of {_package(point)} cannot be loaded: {type(error).__name__}: {error}"
        ) from error


def _package(point: EntryPoint) -> str:
    """The package that announces an entry point, as it is written in `pip list`."""
    return point.dist.name if point.dist else point.value
