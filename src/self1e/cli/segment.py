"""`self1e segment`: pictures and prompts in; overlays, masks and figures out."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from self1e.cli.inputs import check_prompts, find_pictures, output_names
from self1e.cli.nano import notice_about_nano
from self1e.cli.options import (
    CalibrationFolder,
    Device,
    Dtype,
    MaxTiles,
    Model,
    Overwrite,
    Quantize,
    Revision,
    Subfolder,
    load_in_process,
    load_segmenter,
    no_garbage_collection,
    pictures_to_check,
)
from self1e.cli.output import check_writable, make_folder
from self1e.cli.terminal import CliError, above, complain, in_a_cell, printable, progress_bar, show
from self1e.files import write_atomically, write_json

if TYPE_CHECKING:
    from rich.progress import Progress

    from self1e.pipeline import Done
    from self1e.processing.images import ImageSource
    from self1e.results import Segmentation

NAME = "segment"
EXAMPLES = """[dim]Examples:[/]

  self1e segment street.jpg -p 'the red car'

  self1e segment street.jpg -p 'the red car' -p 'What could hurt a cyclist?' --out results

  self1e segment photos/ --recursive -p 'the dog' --format overlay,mask,coco

  self1e segment 'photos/*.jpg' -p 'the dog' --format json | jq .score

  self1e segment street.jpg -p 'the red car' --model OWNER/NAME

  self1e segment photos/ -p 'the dog' --format coco --processes 2

[dim]Exit code: 0 something was found, 1 nothing was found for any prompt, 2 bad usage or input.[/]"""

FORMATS = {
    "overlay": "the picture with the masks drawn on it",
    "mask": "black and white, the size of the picture",
    "cutout": "what was found, on a transparent background",
    "json": "all figures, masks as COCO run lengths",
    "coco": "one annotation file for the whole run, coco.json",
}
SUFFIXES = {"overlay": ".overlay.png", "mask": ".mask.png", "cutout": ".cutout.png", "json": ".json"}
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
    """What is to be made of each picture, decided before the model is loaded."""

    pictures: list[Path]
    prompts: list[str]
    names: list[list[str]]
    formats: list[str]
    out: Path | None
    overwrite: bool

    @property
    def to_stdout(self) -> bool:
        """Whether stdout is for JSON lines, and no file is written."""
        return self.out is None

    def files(self, picture: int, prompt: int) -> dict[str, Path]:
        """The files of one result by format."""
        if self.out is None:
            return {}
        name = self.names[picture][prompt]
        return {each: self.out / f"{name}{SUFFIXES[each]}" for each in self.formats if each in SUFFIXES}

    def all_files(self) -> list[Path]:
        """Every file of the run."""
        if self.out is None:
            return []
        pairs = ((picture, prompt) for picture in range(len(self.pictures)) for prompt in range(len(self.prompts)))
        files = [path for picture, prompt in pairs for path in self.files(picture, prompt).values()]
        return files + [self.out / COCO_NAME] * ("coco" in self.formats)

    def keep(self, start: int, index: int, results: list[Segmentation]) -> list[Kept]:
        """Writes the files of picture `start + index`. Runs in a thread, or in another process."""
        picture = start + index
        kept = []
        for prompt, result in enumerate(results):
            files = self.files(picture, prompt)
            record = {}
            if self.to_stdout or "json" in files:
                record = {"image": str(self.pictures[picture]), **result.to_dict()}
            for form, file in files.items():
                write(form, file, result, record, self.overwrite)
            annotated = "coco" in self.formats and result.found  # what was not found has no annotation
            kept.append(
                Kept(
                    prompt=result.prompt,
                    model=result.model,
                    size=result.size,
                    found=result.found,
                    score=result.score,
                    area=result.area,
                    file=str(next(iter(files.values()), "")),
                    record=json.dumps(record) if self.to_stdout else "",  # in ASCII, whatever stdout can take
                    annotation=result.to_coco_annotation(picture + 1, prompt + 1, 0) if annotated else None,
                )
            )
        return kept


@dataclass(frozen=True)
class Kept:
    """What is left to print of a result when its files are written: no pixels.

    Attributes:
        file: The first of its files.
        record: Its line of JSON, if stdout is for that.
        annotation: Its entry in the annotation file, if it is to have one; the id is given later.
    """

    prompt: str
    model: str
    size: tuple[int, int]
    found: bool
    score: float
    area: int
    file: str
    record: str
    annotation: dict[str, Any] | None


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
    model: Model = "nano",
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
            help="Any of overlay, mask, cutout, json, coco, joined by commas. json alone, without --out, prints one "
            "line a result and writes no files.",
        ),
    ] = "overlay",
    template: Annotated[
        TemplateChoice, typer.Option(help="How to ask: as a phrase, as a sentence, as it stands (none), or auto.")
    ] = TemplateChoice.auto,
    device: Device = "auto",
    dtype: Dtype = "auto",
    max_tiles: MaxTiles = 1,
    quantize: Quantize = None,
    calibration: CalibrationFolder = None,
    revision: Revision = None,
    subfolder: Subfolder = None,
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
    check = pictures_to_check(quantize, calibration)
    asked = None if check is None else [(picture, plan.prompts) for picture in check]
    if plan.out is not None:
        make_folder(plan.out)
        check_writable(plan.all_files(), overwrite)

    loading: dict[str, Any] = {
        "dtype": dtype,
        "revision": revision,
        "subfolder": subfolder,
        "max_tiles": max_tiles,
        "quantize": quantize,
        "quantize_check": asked,
    }
    settings = {"template": template.value, "batch": batch}
    run = Run(plan, model, loading, settings, processes=processes, device=device)
    run.all_pictures()
    return run.exit_code


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
    pictures = find_pictures(images, recursive)
    if out is None and chosen != ["json"]:
        out = DEFAULT_OUT
    return Plan(pictures, checked, output_names(pictures, checked), chosen, out, overwrite)


class Run:
    """The work of one command line, from the first picture to the last line.

    Args:
        plan: What to do.
        model: Its name, folder or Hub id. It is loaded when there is a picture that can be read.
        loading: How to load it, but for `device`; see `Segmenter.from_pretrained`.
        settings: Of `Segmenter.segment_files`.
        device: As the user gave it.
        processes: How many processes share the pictures.
    """

    def __init__(
        self,
        plan: Plan,
        model: str,
        loading: dict[str, Any],
        settings: dict[str, Any],
        *,
        device: str,
        processes: int,
    ) -> None:
        self.plan = plan
        self.model = model
        self.loading = loading
        self.settings = settings
        self.processes = processes
        self.device = device
        self.warn_about_nano = model == "nano"
        self.model_name: str | None = None
        self.failures = 0
        self.results = 0
        self.found = 0
        self.coco_images: list[dict[str, Any]] = []
        self.coco_annotations: list[dict[str, Any]] = []
        self.widths = [
            max(map(len, [head, *cells]))
            for head, cells in (
                ("picture", [in_a_cell(path.name) for path in plan.pictures]),
                ("prompt", [in_a_cell(prompt) for prompt in plan.prompts]),
            )
        ]

    @property
    def exit_code(self) -> int:
        """See `EXAMPLES`."""
        if self.failures:
            return 2
        return 0 if self.found else 1

    def all_pictures(self) -> None:
        """Segments all pictures. One that cannot be read is reported and passed over."""
        with progress_bar() as progress:
            task = progress.add_task("segmenting", total=len(self.plan.pictures))
            with closing(self.outcomes(progress)) as outcomes:
                for done in outcomes:
                    with above(progress):
                        if done.value is None:
                            self.failures += 1
                            complain(str(done.error))
                        else:
                            self.report(done.index, done.value)
                    progress.update(task, completed=done.index + 1)
        self.finish()

    def outcomes(self, progress: Progress) -> Generator[Done[list[Kept]], None, None]:
        """What becomes of each picture, in order. Where none can be read, no model is loaded."""
        with no_garbage_collection():
            from self1e.pipeline import Done, segment_in_processes
            from self1e.processing.images import ImageError, load_image

            sources: list[ImageSource] = list(self.plan.pictures)
            for start, path in enumerate(self.plan.pictures):
                try:
                    image = load_image(path)
                    break
                except ImageError as error:
                    yield Done(start, path, error=error)
            else:
                return
            several = min(self.processes, len(sources) - start) > 1
            if not several:
                with above(progress):
                    segmenter = load_segmenter(self.model, device=self.device, **self.loading)
                sources[start] = image  # it has been read
        rest = sources[start:]
        if several:
            # No file of this run was there when it began: one that is there now is by a process that was killed.
            plan = replace(self.plan, overwrite=True)
            done_by = segment_in_processes(
                partial(load_in_process, self.model, **self.loading),
                rest,
                self.plan.prompts,
                processes=self.processes,
                device=self.device,
                finish=partial(plan.keep, start),
                **self.settings,
            )
        else:
            done_by = segmenter.segment_files(
                rest, self.plan.prompts, finish=partial(self.plan.keep, start), **self.settings
            )
        with closing(done_by):
            for done in done_by:
                yield replace(done, index=start + done.index)

    def report(self, picture: int, results: list[Kept]) -> None:
        """Prints the results of one picture."""
        path = self.plan.pictures[picture]
        if self.warn_about_nano:
            self.warn_about_nano = not notice_about_nano(path, "segment")
        if not self.results and not self.plan.to_stdout:
            show(self.line("picture", "prompt", "", "score", "area", "", "dim"))
        width, height = results[0].size
        self.coco_images.append({"id": picture + 1, "file_name": str(path), "width": width, "height": height})
        for result in results:
            self.model_name = result.model
            self.results += 1
            self.found += result.found
            if result.annotation is not None:
                self.coco_annotations.append(result.annotation | {"id": len(self.coco_annotations) + 1})
            if self.plan.to_stdout:
                print(result.record, flush=True)
                continue
            area = f"{100 * result.area / (width * height):.1f} %"
            verdict = "found" if result.found else "not found"
            style = "" if result.found else "dim"
            names = in_a_cell(path.name), in_a_cell(result.prompt)
            show(self.line(*names, verdict, f"{result.score:.2f}", area, result.file, style))

    def line(self, picture: str, prompt: str, verdict: str, score: str, area: str, file: str, style: str) -> Text:
        """One line of the table of results."""
        names = [f"{picture:{self.widths[0]}}", f"{prompt:{self.widths[1]}}"]
        cells = [*names, f"{verdict:9}", f"{score:>5}", f"{area:>7}", file]
        return Text(printable("  ".join(cells)).rstrip(), style)

    def finish(self) -> None:
        """Writes the annotation file and the last line."""
        if self.model_name is None or self.plan.out is None:
            return
        if "coco" in self.plan.formats:
            path = self.plan.out / COCO_NAME
            categories = [{"id": index, "name": prompt} for index, prompt in enumerate(self.plan.prompts, start=1)]
            tree = {
                "info": {"description": "segmented by self1e", "model": self.model_name},
                "images": self.coco_images,
                "annotations": self.coco_annotations,
                "categories": categories,
            }
            write_json(path, tree, overwrite=self.plan.overwrite)
            show(f"annotations: {path}")
        show(f"{self.found} of {self.results} found by {self.model_name}")


def write(form: str, path: Path, result: Segmentation, record: dict[str, Any], overwrite: bool) -> None:
    """Writes one result in one of `SUFFIXES`' forms."""
    if form == "json":
        write_json(path, record, overwrite=overwrite)
        return
    pictures = {"overlay": result.overlay, "mask": result.mask_image, "cutout": result.cutout}
    with write_atomically(path, overwrite) as file:
        pictures[form]().save(file, "PNG")
