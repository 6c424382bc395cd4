"""Whether `self1e segment` goes on with an earlier run, and what is left for it to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from self1e.cli.inputs import with_stems
from self1e.cli.output import check_writable, make_folder
from self1e.cli.segment_plan import Plan
from self1e.cli.segment_report import FAILED_NAME
from self1e.files import expand_user, remove_leftovers
from self1e.segment.journal import Journal, stamp_of
from self1e.segment.options import LoadOptions
from self1e.version import __version__


def identity(plan: Plan, model: str, template: str, loading: LoadOptions) -> dict[str, Any]:
    """All that results depend on but the pictures: what makes a command the same as an earlier one."""
    folder = expand_user(model) / (loading.subfolder or "")
    return {
        "version": __version__,
        "folder": str(plan.folder),
        "prompts": plan.prompts,
        "forms": [form.name for form in plan.forms],
        "instances": plan.instances,
        "tolerance": plan.tolerance,
        "template": template,
        "model": model,
        "weights": [[file.name, stamp_of(file)] for file in sorted(folder.glob("*.safetensors"))],
        **{name: str(getattr(loading, name)) for name in ("dtype", "revision", "subfolder", "max_tiles", "quantize")},
    }


def going_on(plan: Plan, journal: Journal, overwrite: bool) -> Plan:
    """The plan without what is done; the folders of what is not are there, and its files can be written.

    Raises:
        CliError: When there is a file that was not written by this command.
    """
    known = {name: entry["stem"] for name, entry in journal.done.items()}
    plan = replace(plan, pictures=with_stems(plan.pictures, known))
    todo = [i for i, picture in enumerate(plan.pictures) if not journal.stands(picture.name, picture.stamp())]
    own = [file for i in todo for file in plan.files(plan.pictures[i])]
    plan = replace(plan, todo=todo, spared=frozenset(file for file in own if not overwrite and journal.changed(file)))
    files = own + (plan.whole_files if todo else [])
    assert plan.out is not None
    for folder in {plan.out, *(file.parent for file in files)}:
        make_folder(folder)
        remove_leftovers(folder)
    if plan.todo and not journal.prompts:  # nothing of ours is in the folder
        files.append(plan.out / FAILED_NAME)
    mine = [file for file in files if journal.is_ours(file) and not journal.changed(file)]
    check_writable(sorted({*files} - plan.spared - {*mine}), overwrite)
    return plan
