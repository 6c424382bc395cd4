"""`self1e segment`: pictures and prompts in; overlays, masks and figures out."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from self1e.cli.inputs import check_prompts, distinct, name_pictures, output_stems, slug
from self1e.cli.options import (
    DEFAULT_MODEL,
    Model,
    Overwrite,
    load_in_process,
    load_segmenter,
    no_garbage_collection,
    with_load_options,
)
from self1e.cli.output import check_writable, make_folder
from self1e.cli.segment_plan import Kept, Plan
from self1e.cli.segment_report import Report
from self1e.cli.terminal import CliError, above, progress_bar
from self1e.data.forms import FORMS
from self1e.segment.options import LoadOptions

if TYPE_CHECKING:
    from rich.progress import Progress

    from self1e.segment.files import Done
    from self1e.segment.results import Segmentation

NAME = "segment"
EXAMPLES = """[dim]Examples:[/]

  self1e segment street.jpg -p 'the red car'

  self1e segment street.jpg -p 'the red car' -p 'What could hurt a cyclist?' --out results

  self1e segment photos/ --recursive -p 'the dog' --format overlay,mask,coco

  self1e segment 'photos/*.jpg' -p 'the dog' --format json | jq .score

  self1e segment street.jpg -p 'the red car' --model OWNER/NAME

  self1e segment photos/ -p 'the dog' --format coco --processes 2

[dim]Exit code: 0 something was found, 1 nothing was found for any prompt, 2 bad usage or input.[/]"""

DEFAULT_OUT = Path("segmented")


class TemplateChoice(StrEnum):
    """How prompts are put to the model."""

    auto = "auto"
    phrase = "phrase"
    sentence = "sentence"
    none = "none"


@with_load_options
def command(
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE", show_default=False, help="Picture files, folders, or quoted patterns."),
    ],
    prompts: Annotated[
        list[str],
        typer.Option(
            "--prompt",
            "-p",
            metavar="TEXT",
            show_default=False,
            help="What to segment: a phrase or a sentence. Repeatable.",
        ),
    ],
    model: Model = DEFAULT_MODEL,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", show_default=False, help="Folder for the results; 'segmented' by default."
        ),
    ] = None,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            metavar="LIST",
            help=f"Any of {', '.join(FORMS)}, joined by commas; docs/forms.md says what they are. json alone, without "
            "--out, prints one line a result and writes no files.",
        ),
    ] = "overlay",
    template: Annotated[
        TemplateChoice, typer.Option(help="How to ask: as a phrase, as a sentence, as it stands (none), or auto.")
    ] = TemplateChoice.auto,
    *,
    loading: LoadOptions,
    instances: Annotated[
        bool,
        typer.Option(
            "--instances",
            help="Make each connected part of a mask an annotation of its own. Parts are not recognised things: what "
            "touches is one.",
        ),
    ] = False,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="PIXELS",
            help="How far outlines of polygons may be moved to spare corners; 0 gives masks back exactly.",
        ),
    ] = 0.0,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look into subfolders too.")] = False,
    overwrite: Overwrite = False,
    batch: Annotated[
        int, typer.Option(min=1, metavar="N", help="Pictures in one forward pass: a GPU is used better by several.")
    ] = 1,
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Processes to share the pictures: each has a model, and a GPU where there are some.",
        ),
    ] = 1,
) -> int:
    """Segment pictures by text.

    Each prompt gives one result a picture: a mask, a score and files called PICTURE.PROMPT.overlay.png and so on.
    """
    plan = make_plan(images, prompts, formats, out, recursive, instances, tolerance)
    if plan.out is not None:
        files = [*(file for picture in range(len(plan.pictures)) for file in plan.files(picture)), *plan.whole_files]
        for folder in {plan.out, *(file.parent for file in files)}:
            make_folder(folder)
        check_writable(files, overwrite)
    if loading.quantize_check is not None:
        loading = replace(
            loading, quantize_check=[(picture, plan.prompts) for picture in cast("list[Path]", loading.quantize_check)]
        )
    settings = {"template": template.value, "batch": batch, "logits": instances}
    report = Report(plan)
    with progress_bar() as progress:
        task = progress.add_task("segmenting", total=len(plan.pictures))
        try:
            with closing(outcomes(plan, model, loading, settings, processes, progress)) as all_done:
                for done in all_done:
                    with above(progress):
                        report.add(done)
                    progress.update(task, completed=done.index + 1)
        except BaseException:  # what was found before it stays found
            with suppress(Exception):
                report.write_whole()
            raise
    report.write_whole()
    return report.finish()


def make_plan(
    images: list[str],
    prompts: list[str],
    formats: str,
    out: Path | None,
    recursive: bool,
    instances: bool,
    tolerance: float,
) -> Plan:
    """What a command line asks for.

    Raises:
        CliError: When it names no picture, an empty prompt, or an unknown format.
    """
    checked = check_prompts(prompts)
    chosen = list(dict.fromkeys(each.strip() for each in formats.split(",") if each.strip()))
    unknown = [each for each in chosen if each not in FORMS]
    if unknown or not chosen:
        raise CliError(f"unknown format {', '.join(unknown) or repr(formats)}: use any of {', '.join(FORMS)}")
    if out is None and chosen != ["json"]:
        out = DEFAULT_OUT
    folder, pictures = name_pictures(images, recursive, out)
    stems, slugs = output_stems([picture.name for picture in pictures]), distinct([slug(each) for each in checked])
    return Plan(folder, pictures, checked, stems, slugs, [FORMS[each] for each in chosen], out, instances, tolerance)


def outcomes(
    plan: Plan,
    model: str,
    loading: LoadOptions,
    settings: dict[str, Any],
    processes: int,
    progress: Progress,
) -> Generator[Done[Kept], None, None]:
    """What becomes of each picture, in order. Where none can be read, no model is loaded.

    Args:
        plan: What to do.
        model: Its name.
        loading: How to load it.
        settings: Of `Segmenter.segment_files`.
        processes: How many processes share the pictures.
        progress: Is taken off the terminal while the model loads.

    Raises:
        CliError: When processes die.
    """
    with no_garbage_collection():
        from self1e.processing.images import ImageError, load_image
        from self1e.segment.files import Done, ProcessError, segment_in_processes

        sources = [picture.source for picture in plan.pictures]
        for start, path in enumerate(sources):
            try:
                load_image(path)
                break
            except ImageError as error:
                yield Done(start, path, error=error)
        else:
            return
        rest = sources[start:]
        several = min(processes, len(rest)) > 1
        if not several:
            with above(progress):
                segmenter = load_segmenter(model, loading)
    if several:
        finish = partial(keep_from, plan, start)
        load = partial(load_in_process, model, loading)
        work = segment_in_processes(
            load, rest, plan.prompts, processes=processes, device=str(loading.device), finish=finish, **settings
        )
    else:
        work = segmenter.segment_files(rest, plan.prompts, finish=partial(keep_from, plan, start), **settings)
    try:
        with closing(work):
            for done in work:
                yield replace(done, index=start + done.index)
    except ProcessError as error:
        raise CliError(str(error)) from None


def keep_from(plan: Plan, start: int, index: int, results: list[Segmentation]) -> Kept:
    """`Plan.keep` of picture `start + index`."""
    return plan.keep(start + index, results)
