"""`self1e segment`: pictures and prompts in; overlays, masks and figures out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from self1e.cli.inputs import check_prompts, name_pictures, with_names
from self1e.cli.options import (
    DEFAULT_MODEL,
    Model,
    Overwrite,
    load_on_device,
    load_segmenter,
    no_garbage_collection,
    with_load_options,
)
from self1e.cli.output import make_folder
from self1e.cli.segment_plan import Kept, Plan, Wanted
from self1e.cli.segment_report import Report
from self1e.cli.segment_resume import going_on, identity, model_here
from self1e.cli.segment_server import connected, model_of, outcomes_of_server
from self1e.cli.terminal import CliError, above, progress_bar
from self1e.data.forms import FORMS, WRITTEN
from self1e.segment.journal import Journal
from self1e.segment.options import LoadOptions

if TYPE_CHECKING:
    from rich.progress import Progress

    from self1e.segment.files import Done
    from self1e.segment.segmenter import Segmenter

NAME = "segment"
EXAMPLES = """[dim]Examples:[/]

  self1e segment street.jpg -p 'the red car'

  self1e segment street.jpg -p 'the red car' -p 'What could hurt a cyclist?' --out results

  self1e segment photos/ --recursive -p 'the dog' --format overlay,mask,coco

  self1e segment 'photos/*.jpg' -p 'the dog' --format json | jq .score

  self1e segment street.jpg -p 'the red car' --model OWNER/NAME

  self1e segment photos/ -p 'the dog' --format coco --processes 2

  self1e segment photos/ -p 'the dog' --format parquet --ray auto

  self1e segment photos/ -p boats --instances --format yolo,labelme

  self1e segment pictures-and-prompts.csv --format json --out results

[dim]Exit code: 0 something was found, 1 nothing was found for any prompt, 2 bad usage or input, or a picture
that failed: the others are done.[/]"""

DEFAULT_OUT = Path("segmented")


class TemplateChoice(StrEnum):
    """How prompts are put to the model."""

    auto = "auto"
    phrase = "phrase"
    sentence = "sentence"
    none = "none"


class RefineChoice(StrEnum):
    """How masks get to the picture's size."""

    none = "none"
    guided = "guided"


@with_load_options
def command(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE",
            show_default=False,
            help="Picture files, folders, quoted patterns, lists (.csv, .jsonl or .parquet, with image and prompt), "
            "addresses (with --allow-urls), or - for standard input.",
        ),
    ],
    prompts: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt",
            "-p",
            metavar="TEXT",
            show_default=False,
            help="What to segment: a phrase or a sentence. Repeatable. A list of pictures may have prompts of its own.",
        ),
    ] = None,
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
            help=f"Any of {', '.join(WRITTEN)}, joined by commas; docs/forms.md says what they are. json alone, "
            "without --out, prints one line a result and writes no files.",
        ),
    ] = "overlay",
    template: Annotated[
        TemplateChoice, typer.Option(help="How to ask: as a phrase, as a sentence, as it stands (none), or auto.")
    ] = TemplateChoice.auto,
    refine: Annotated[
        RefineChoice | None,
        typer.Option(
            show_default=False,
            help="How masks get to the picture's size: resized (none), or along edges (guided). Default: the model's.",
        ),
    ] = None,
    votes: Annotated[
        int,
        typer.Option(
            min=1,
            max=4,
            metavar="N",
            help="Views of each picture, mirrored and moved, whose mean counts; N take N times as long.",
        ),
    ] = 1,
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
    allow_urls: Annotated[bool, typer.Option("--allow-urls", help="Fetch pictures at https:// addresses.")] = False,
    overwrite: Overwrite = False,
    batch: Annotated[
        int, typer.Option(min=1, metavar="N", help="Pictures in one forward pass: a GPU is used better by several.")
    ] = 1,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            show_default=False,
            help="Processes to share the pictures: each has a model, and a GPU where there are some. 1 by default; "
            "with --ray one for each GPU, or for each machine.",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            show_default=False,
            help="Share the pictures among the machines of a Ray cluster: auto where this is one of them, or "
            "HOST:PORT. docs/big-jobs.md says what they need.",
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            show_default=False,
            help="Have `self1e serve` on another machine segment them, with its model; a key goes into SELF1E_API_KEY.",
        ),
    ] = None,
) -> int:
    """Segment pictures by text.

    Each prompt gives one result a picture: a mask, a score and files called PICTURE.PROMPT.overlay.png and so on.

    The same command goes on where an earlier one was ended, with what is new, and with what failed (failed.csv).
    """
    client = None
    if server is not None:
        if model != DEFAULT_MODEL or loading != LoadOptions():
            raise CliError("--server has a model of its own: leave out --model and how to load it")
        if processes is not None or ray is not None or batch != 1:
            raise CliError("--server shares its passes by itself: leave out --processes, --ray and --batch")
        if refine is not None or votes != 1:
            raise CliError("--server has neither --refine nor --votes: leave them out")
        client = connected(server)
    wanted = Wanted(
        check_prompts(prompts or []),
        check_formats(formats),
        instances,
        tolerance,
        template.value,
        refine and refine.value,
        votes,
    )
    plan = make_plan(images, wanted, out, recursive, allow_urls)
    journal, before = None, list[str]()
    if plan.out is not None:
        settings = identity(plan, model_here(model, loading) if client is None else {"server": model_of(client)})
        make_folder(plan.out)
        journal = Journal(plan.out, settings, anew=overwrite)
        plan, before = going_on(plan, journal, overwrite)
    if loading.quantize_check is not None:
        loading = replace(
            loading, quantize_check=[(picture, plan.prompts) for picture in cast("list[Path]", loading.quantize_check)]
        )
    options = {
        "template": wanted.template,
        "refine": wanted.refine,
        "votes": votes,
        "batch": batch,
        "logits": instances,
    }
    report = Report(plan, journal, before)
    try:
        with progress_bar() as progress:
            task = progress.add_task("segmenting", total=len(plan.pictures))
            if client is None:
                outcome = outcomes(plan, model, loading, options, processes, ray, progress, journal)
            else:
                outcome = outcomes_of_server(plan, client)
            with closing(outcome) as all_done:
                for done in all_done:
                    with above(progress):
                        report.add(done)
                    progress.advance(task)
    finally:
        report.write_whole()  # what was found before an error stays found
    return report.finish()


def check_formats(formats: str) -> list[str]:
    """The formats of a list, each once.

    Raises:
        CliError: When one is unknown, or there is none.
        MissingPackage: When one needs something that is not installed.
    """
    chosen = list(dict.fromkeys(each.strip() for each in formats.split(",") if each.strip()))
    unknown = [each for each in chosen if each not in WRITTEN]
    if unknown or not chosen:
        raise CliError(f"unknown format {', '.join(unknown) or repr(formats)}: use any of {', '.join(WRITTEN)}")
    for each in chosen:
        FORMS[each].check()
    return chosen


def make_plan(images: list[str], wanted: Wanted, out: Path | None, recursive: bool, allow_urls: bool) -> Plan:
    """What a command line asks for.

    Raises:
        CliError: When it names no picture, or there is nothing to segment in one.
    """
    if out is None and wanted.forms != ["json"]:
        out = DEFAULT_OUT
    folder, pictures = name_pictures(images, wanted.prompts, recursive, out, allow_urls)
    asked = list(dict.fromkeys(prompt for picture in pictures for prompt in picture.prompts))
    return Plan(wanted, folder, with_names(pictures), asked, out)


def outcomes(
    plan: Plan,
    model: str,
    loading: LoadOptions,
    settings: dict[str, Any],
    processes: int | None,
    ray: str | None,
    progress: Progress,
    journal: Journal | None,
) -> Generator[Done[Kept], None, None]:
    """What becomes of each picture, in order. Where none can be read, no model is loaded.

    Args:
        plan: What to do.
        model: Its name.
        loading: How to load it.
        settings: Of `Segmenter.segment_files`.
        processes: How many processes share the pictures; None if nobody says.
        ray: Address of the cluster that they are on, if they are on one.
        progress: Is taken off the terminal while the model loads.
        journal: Is told when files are going to be written.

    Raises:
        CliError: When processes die, or a cluster cannot be used.
    """
    with no_garbage_collection():
        from self1e.processing.images import ImageError, load_image
        from self1e.segment.files import Done, ProcessError, segment_in_processes

        unread = 0
        for picture in plan.pictures:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of what is read again
                    if isinstance(picture.source, Path):
                        load_image(picture.source)
                break
            except ImageError as error:
                yield Done(unread, str(picture.source), error=error)
                unread += 1
        pictures = plan.pictures[unread:]
        if not pictures:
            return
        # An address is read like an open file.
        rest: list[Any] = [(picture.source, list(picture.prompts), picture) for picture in pictures]
        settings = {**settings, "finish": plan.common.keep}
        alone = ray is None and min(processes or 1, len(rest)) == 1
        if alone:
            with above(progress):
                segmenter = load_segmenter(model, loading)
    with ExitStack() as stack:
        if alone:
            work = segmenter.segment_files(rest, None, **settings)
        elif ray is None:
            load: Callable[..., Segmenter] = partial(load_on_device, model, loading)
            settings |= {"processes": processes, "device": str(loading.device)}
            work = segment_in_processes(load, rest, None, **settings)
        else:
            from self1e.cli.segment_ray import device_there, on_cluster
            from self1e.segment.on_ray import segment_on_ray

            load = stack.enter_context(on_cluster(ray, plan, pictures, model, loading))
            settings |= {"processes": processes, "device": device_there(model, loading)}
            work = segment_on_ray(load, rest, None, **settings)
        if journal is not None:
            journal.begin()
        try:
            for done in stack.enter_context(closing(work)):
                yield replace(done, index=unread + done.index)
        except ProcessError as error:
            raise CliError(str(error)) from None
