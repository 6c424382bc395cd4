"""Whether `self1e segment` goes on with an earlier run, and what is left for it to do."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from self1e.cli.inputs import with_names
from self1e.cli.output import check_writable, make_folder
from self1e.cli.segment_plan import Plan
from self1e.cli.segment_report import FAILED_NAME
from self1e.cli.terminal import CliError
from self1e.engines.artefact import SETTINGS, Artefact
from self1e.files import remove_leftovers
from self1e.segment.journal import Journal, is_whole, stamp_of
from self1e.segment.opened import open_model
from self1e.segment.options import LoadOptions
from self1e.version import __version__

if TYPE_CHECKING:
    from self1e.checkpoints.hub import Checkpoint


def identity(plan: Plan, model: dict[str, Any]) -> dict[str, Any]:
    """All that results depend on but the pictures, and what a list asks of each; `model`: see `model_here`."""
    return {
        "version": __version__,
        "folder": str(plan.folder),
        **asdict(plan.wanted),
        "prompts": sorted(plan.wanted.prompts),
        **model,
    }


def model_here(model: str, loading: LoadOptions) -> dict[str, Any]:
    """What results depend on of a model, and how it is loaded.

    Raises:
        ModelError: When there is no such model.
    """
    opened = open_model(model, loading)
    # The settings of an exported model have the SHA-256 of its files, and with others it is not loaded.
    files = [opened.folder / SETTINGS] if isinstance(opened, Artefact) else _files_of(opened)
    options = ["dtype", "revision", "subfolder", "max_tiles", "quantize", *(["engine"] if loading.engine else [])]
    return {
        "model": model,
        "files": [[str(file), stamp_of(file)] for file in files],
        **{name: str(getattr(loading, name)) for name in options},
    }


def _files_of(checkpoint: Checkpoint) -> list[Path]:
    from self1e.checkpoints.hub import BUNDLED, PATTERNS

    return [
        file
        for part in checkpoint.parts()
        if part.folder not in BUNDLED.values()  # which the version tells
        for file in sorted(file for pattern in PATTERNS for file in part.folder.glob(pattern))
    ]


def going_on(plan: Plan, journal: Journal, overwrite: bool) -> tuple[Plan, list[str]]:
    """The plan without what is done, and the names of that; folders of its files are there, and these can be written.

    Raises:
        CliError: When there is a file that was not written by this command, or another picture of a name.
    """
    out = journal.folder
    labels = [*journal.labels, *(prompt for prompt in plan.prompts if prompt not in journal.labels)]
    plan = replace(plan, pictures=with_names(plan.pictures, journal.done), prompts=labels)
    for picture in plan.pictures:
        before = journal.done.get(picture.name)
        if before and before["source"] != picture.origin:
            raise CliError(f"{picture.name} in {out} came from {before['source']}: give another --out, or --overwrite")
    todo, done = [], []
    for picture in plan.pictures:
        if journal.stands(picture.name, picture.stamp()):
            done.append(picture.name)
        else:
            todo.append(picture)
    plan = replace(plan, pictures=todo)
    states = {file: journal.state(file) for picture in todo for file in plan.files(picture)}
    plan = replace(plan, spared=frozenset(file for file, of in states.items() if of == "corrected" and not overwrite))
    own = [[file for file in plan.files(picture) if file not in plan.spared] for picture in todo]
    failed = out / FAILED_NAME
    whole = {file: journal.state(file) for file in plan.whole_files}
    if not todo and journal.holds == journal.digest(journal.in_order({*done})) and all(map(is_whole, whole)):
        whole = {}
    elif todo:
        whole[failed] = journal.state(failed, of_any=True)
    for folder in {out, *(file.parent for file in (*states, *whole))}:
        make_folder(folder)
        remove_leftovers(folder)
    others = [file for file, of in (states | whole).items() if of != "ours" and file not in plan.spared]
    check_writable(sorted(others), overwrite)
    journal.prepare(labels, (*own, [file for file, of in whole.items() if of not in ("free", "ours")]))
    return plan, done
