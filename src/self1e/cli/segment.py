"""`self1e segment`: pictures and prompts in; overlays, masks and figures out."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.text import Text

from self1e.cli.inputs import SUFFIXES, Picture, check_prompts, name_pictures, output_names
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
from self1e.cli.terminal import CliError, above, complain, in_a_cell, printable, progress_bar, show
from self1e.files import write_atomically, write_json
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

FORMATS = (*SUFFIXES, "coco")
COCO_NAME = "coco.json"
DEFAULT_OUT = Path("segmented")


class TemplateChoice(StrEnum):
    """How prompts are put to the model."""

    auto = "auto"
    phrase = "phrase"
    sentence = "sentence"
    none = "none"


@dataclass(frozen=True)
class Plan:
    """What is to be made of each picture, decided before the model is loaded.

    Attributes:
        folder: Below which pictures are named.
        pictures: What to segment.
        prompts: What to segment there.
        names: For each picture and prompt what its files are called, without suffixes.
        formats: Some of `FORMATS`.
        out: Folder for the files. None: JSON lines on stdout, and no files.
        overwrite: Whether files may be replaced.
    """

    folder: Path
    pictures: list[Picture]
    prompts: list[str]
    names: list[list[str]]
    formats: list[str]
    out: Path | None
    overwrite: bool

    def files(self, picture: int, prompt: int) -> dict[str, Path]:
        """The files of one result by format."""
        if self.out is None:
            return {}
        name = self.names[picture][prompt]
        return {form: self.out / f"{name}{SUFFIXES[form]}" for form in self.formats if form in SUFFIXES}

    def all_files(self) -> list[Path]:
        """Every file of the run."""
        if self.out is None:
            return []
        pairs = product(range(len(self.pictures)), range(len(self.prompts)))
        files = [path for picture, prompt in pairs for path in self.files(picture, prompt).values()]
        return files + [self.out / COCO_NAME] * ("coco" in self.formats)

    @cached_property
    def columns(self) -> list[str]:
        """How the cells of a row are formatted."""
        names = ["picture", *(in_a_cell(picture.name) for picture in self.pictures)]
        prompts = ["prompt", *map(in_a_cell, self.prompts)]
        return [str(max(map(len, names))), str(max(map(len, prompts))), "9", ">5", ">7", ""]

    def row(self, *cells: str) -> str:
        """A row of the table of results: picture, prompt, verdict, score, area, file."""
        return printable("  ".join(map(format, cells, self.columns))).rstrip()

    def keep(self, start: int, index: int, results: list[Segmentation]) -> list[Kept]:
        """Writes the files of picture `start + index`. Runs in a thread, or in another process."""
        picture = start + index
        name, path = self.pictures[picture].name, self.pictures[picture].source
        kept = []
        for prompt, result in enumerate(results):
            files = self.files(picture, prompt)
            record = {"image": str(path), "file_name": name, **result.to_dict()} if "json" in self.formats else {}
            for form, file in files.items():
                write(form, file, result, record, self.overwrite)
            if self.out is None:
                line = json.dumps(record)  # in ASCII, whatever stdout can take
            else:
                line = self.row(
                    in_a_cell(name),
                    in_a_cell(result.prompt),
                    "found" if result.found else "not found",
                    f"{result.score:.2f}",
                    f"{100 * result.area / result.mask.size:.1f} %",
                    str(next(iter(files.values()), "")),
                )
            annotation = None
            if "coco" in self.formats and result.found:  # what was not found has no annotation
                annotation = result.to_coco_annotation(picture + 1, prompt + 1, 0)
            kept.append(Kept(result.found, result.model, result.size, line, annotation))
        return kept


@dataclass(frozen=True)
class Kept:
    """What is left of a result when its files are written: no pixels.

    Attributes:
        line: What to print.
        annotation: Its entry in the annotation file, if it is to have one; the id is given later.
    """

    found: bool
    model: str
    size: tuple[int, int]
    line: str
    annotation: dict[str, Any] | None


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
            help="Any of overlay (the picture with the masks drawn in), mask (black and white), cutout, json, coco, "
            "joined by commas. json alone, without --out, prints one line a result and writes no files.",
        ),
    ] = "overlay",
    template: Annotated[
        TemplateChoice, typer.Option(help="How to ask: as a phrase, as a sentence, as it stands (none), or auto.")
    ] = TemplateChoice.auto,
    *,
    loading: LoadOptions,
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
    plan = make_plan(images, prompts, formats, out, recursive, overwrite)
    if plan.out is not None:
        files = plan.all_files()
        for folder in {plan.out, *(file.parent for file in files)}:
            make_folder(folder)
        check_writable(files, overwrite)
    if loading.quantize_check is not None:
        loading = replace(
            loading, quantize_check=[(picture, plan.prompts) for picture in cast("list[Path]", loading.quantize_check)]
        )
    settings = {"template": template.value, "batch": batch}
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
                report.write_annotations()
            raise
    report.write_annotations()
    return report.finish()


def make_plan(
    images: list[str], prompts: list[str], formats: str, out: Path | None, recursive: bool, overwrite: bool
) -> Plan:
    """What a command line asks for.

    Raises:
        CliError: When it names no picture, an empty prompt, or an unknown format.
    """
    checked = check_prompts(prompts)
    chosen = list(dict.fromkeys(each.strip() for each in formats.split(",") if each.strip()))
    unknown = [each for each in chosen if each not in FORMATS]
    if unknown or not chosen:
        raise CliError(f"unknown format {', '.join(unknown) or repr(formats)}: use any of {', '.join(FORMATS)}")
    if out is None and chosen != ["json"]:
        out = DEFAULT_OUT
    folder, pictures = name_pictures(images, recursive, out)
    names = output_names([picture.name for picture in pictures], checked)
    return Plan(folder, pictures, checked, names, chosen, out, overwrite)


def outcomes(
    plan: Plan,
    model: str,
    loading: LoadOptions,
    settings: dict[str, Any],
    processes: int,
    progress: Progress,
) -> Generator[Done[list[Kept]], None, None]:
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
        # No file of this run was there when it began: one that is there now is by a process that was killed.
        finish = partial(replace(plan, overwrite=True).keep, start)
        load = partial(load_in_process, model, loading)
        work = segment_in_processes(
            load, rest, plan.prompts, processes=processes, device=str(loading.device), finish=finish, **settings
        )
    else:
        work = segmenter.segment_files(rest, plan.prompts, finish=partial(plan.keep, start), **settings)
    try:
        with closing(work):
            for done in work:
                yield replace(done, index=start + done.index)
    except ProcessError as error:
        raise CliError(str(error)) from None


class Report:
    """Prints what becomes of the pictures, and counts.

    Args:
        plan: What to do.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.failures = self.results = self.found = 0
        self.model_name: str | None = None
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def add(self, done: Done[list[Kept]]) -> None:
        """Prints the results of one picture, or why it was passed over."""
        if done.value is None:
            self.failures += 1
            complain(str(done.error))
            return
        if not self.results and self.plan.out is not None:
            show(Text(self.plan.row("picture", "prompt", "", "score", "area", ""), "dim"))
        width, height = done.value[0].size
        self.images.append(
            {"id": done.index + 1, "file_name": self.plan.pictures[done.index].name, "width": width, "height": height}
        )
        for result in done.value:
            self.model_name = result.model
            self.results += 1
            self.found += result.found
            if result.annotation is not None:
                self.annotations.append(result.annotation | {"id": len(self.annotations) + 1})
            if self.plan.out is None:
                print(result.line, flush=True)
            else:
                show(Text(result.line, "" if result.found else "dim"))

    def write_annotations(self) -> None:
        """Writes the annotation file of all results so far, if there is to be one."""
        if not self.results or self.plan.out is None or "coco" not in self.plan.formats:
            return
        path = self.plan.out / COCO_NAME
        tree = {
            "info": {
                "description": "segmented by self1e",
                "model": self.model_name,
                "images": str(self.plan.folder),  # where the file names begin
            },
            "images": self.images,
            "annotations": self.annotations,
            "categories": [{"id": id, "name": name} for id, name in enumerate(self.plan.prompts, start=1)],
        }
        write_json(path, tree, overwrite=self.plan.overwrite)
        show(f"annotations: {path}")

    def finish(self) -> int:
        """Writes the last line, and returns the exit code; see `EXAMPLES`."""
        if self.results and self.plan.out is not None:
            show(f"{self.found} of {self.results} found by {self.model_name}")
        if self.failures:
            return 2
        return 0 if self.found else 1


def write(form: str, path: Path, result: Segmentation, record: dict[str, Any], overwrite: bool) -> None:
    """Writes one result in one of `SUFFIXES`' forms."""
    if form == "json":
        write_json(path, record, overwrite=overwrite)
        return
    pictures = {"overlay": result.overlay, "mask": result.mask_image, "cutout": result.cutout}
    with write_atomically(path, overwrite) as file:
        pictures[form]().save(file, "PNG")
