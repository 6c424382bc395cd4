"""`self1e segment`: pictures and prompts in; overlays, masks and figures out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from self1e.cli.inputs import check_prompts, find_pictures, output_names
from self1e.cli.nano import notice_about_nano
from self1e.cli.options import Device, Dtype, MaxTiles, Model, Overwrite, Revision, Subfolder, load_segmenter
from self1e.cli.output import check_writable, make_folder
from self1e.cli.terminal import CliError, above, complain, printable, progress_bar, show
from self1e.files import write_atomically, write_json

if TYPE_CHECKING:
    from self1e.processing.prompts import Template
    from self1e.results import Segmentation
    from self1e.segmenter import Segmenter

NAME = "segment"
EXAMPLES = """[dim]Examples:[/]

  self1e segment street.jpg -p 'the red car'

  self1e segment street.jpg -p 'the red car' -p 'What could hurt a cyclist?' --out results

  self1e segment photos/ --recursive -p 'the dog' --format overlay,mask,coco

  self1e segment 'photos/*.jpg' -p 'the dog' --format json | jq .score

  self1e segment street.jpg -p 'the red car' --model OWNER/NAME

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
    revision: Revision = None,
    subfolder: Subfolder = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look into subfolders too.")] = False,
    overwrite: Overwrite = False,
) -> int:
    """Segment pictures by text.

    Each prompt gives one result a picture: a mask, a score and files called PICTURE.PROMPT.overlay.png and so on.
    """
    plan = make_plan(images, prompts, formats, out, recursive, overwrite)
    if plan.out is not None:
        make_folder(plan.out)
        check_writable(plan.all_files(), overwrite)

    def load() -> Segmenter:
        return load_segmenter(
            model, device=device, dtype=dtype, revision=revision, subfolder=subfolder, max_tiles=max_tiles
        )

    run = Run(plan, load, template.value, is_nano=model == "nano")
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
    """The work of one command line, picture by picture.

    Args:
        plan: What to do.
        load: Loads the model; called when the first picture has been read.
        template: See `Segmenter.segment`.
        is_nano: Whether the model knows toyland only.
    """

    def __init__(self, plan: Plan, load: Callable[[], Segmenter], template: Template, *, is_nano: bool) -> None:
        self.plan = plan
        self.load = load
        self.template = template
        self.warn_about_nano = is_nano
        self.segmenter: Segmenter | None = None
        self.failures = 0
        self.results = 0
        self.found = 0
        self.coco_images: list[dict[str, Any]] = []
        self.coco_annotations: list[dict[str, Any]] = []
        self.widths = [
            max(map(len, [head, *cells]))
            for head, cells in (("picture", [path.name for path in plan.pictures]), ("prompt", plan.prompts))
        ]

    @property
    def exit_code(self) -> int:
        """See `EXAMPLES`."""
        if self.failures:
            return 2
        return 0 if self.found else 1

    def all_pictures(self) -> None:
        """Segments all pictures. One that cannot be read is reported and passed over."""
        from self1e.processing.images import ImageError, load_image

        with progress_bar() as progress:
            task = progress.add_task("segmenting", total=len(self.plan.pictures))
            for index, path in enumerate(self.plan.pictures):
                try:
                    image = load_image(path)
                except ImageError as error:
                    self.failures += 1
                    with above(progress):
                        complain(str(error))
                else:
                    if self.segmenter is None:
                        with above(progress):
                            self.segmenter = self.load()
                    results = self.segmenter.segment(image, self.plan.prompts, template=self.template)
                    with above(progress):
                        self.report(index, results)
                progress.update(task, completed=index + 1)
        self.finish()

    def report(self, picture: int, results: list[Segmentation]) -> None:
        """Writes and prints the results of one picture."""
        path = self.plan.pictures[picture]
        if self.warn_about_nano:
            self.warn_about_nano = not notice_about_nano(path, "segment")
        if not self.results and not self.plan.to_stdout:
            show(self.line("picture", "prompt", "", "score", "area", "", "dim"))
        self.note_coco(picture, results)
        for prompt, result in enumerate(results):
            self.results += 1
            self.found += result.found
            record = {"image": str(path), **result.to_dict()}
            if self.plan.to_stdout:
                print(json.dumps(record), flush=True)  # in ASCII, whatever stdout can take
                continue
            files = self.plan.files(picture, prompt)
            for form, file in files.items():
                write(form, file, result, record, self.plan.overwrite)
            area = f"{100 * result.area / (result.size[0] * result.size[1]):.1f} %"
            verdict = "found" if result.found else "not found"
            first = str(next(iter(files.values()), ""))
            style = "" if result.found else "dim"
            show(self.line(path.name, result.prompt, verdict, f"{result.score:.2f}", area, first, style))

    def line(self, picture: str, prompt: str, verdict: str, score: str, area: str, file: str, style: str) -> Text:
        """One line of the table of results."""
        names = [f"{picture:{self.widths[0]}}", f"{prompt:{self.widths[1]}}"]
        cells = [*names, f"{verdict:9}", f"{score:>5}", f"{area:>7}", file]
        return Text(printable("  ".join(cells)).rstrip(), style)

    def note_coco(self, picture: int, results: list[Segmentation]) -> None:
        """Keeps what the annotation file needs; what was not found has no annotation."""
        width, height = results[0].size
        entry = {"id": picture + 1, "file_name": str(self.plan.pictures[picture]), "width": width, "height": height}
        self.coco_images.append(entry)
        for category, result in enumerate(results, start=1):
            if result.found:
                number = len(self.coco_annotations) + 1
                self.coco_annotations.append(result.to_coco_annotation(picture + 1, category, number))

    def finish(self) -> None:
        """Writes the annotation file and the last line."""
        if self.segmenter is None or self.plan.out is None:
            return
        if "coco" in self.plan.formats:
            path = self.plan.out / COCO_NAME
            categories = [{"id": index, "name": prompt} for index, prompt in enumerate(self.plan.prompts, start=1)]
            tree = {
                "info": {"description": "segmented by self1e", "model": self.segmenter.model_name},
                "images": self.coco_images,
                "annotations": self.coco_annotations,
                "categories": categories,
            }
            write_json(path, tree, overwrite=self.plan.overwrite)
            show(f"annotations: {path}")
        show(f"{self.found} of {self.results} found by {self.segmenter.model_name}")


def write(form: str, path: Path, result: Segmentation, record: dict[str, Any], overwrite: bool) -> None:
    """Writes one result in one of `SUFFIXES`' forms."""
    if form == "json":
        write_json(path, record, overwrite=overwrite)
        return
    pictures = {"overlay": result.overlay, "mask": result.mask_image, "cutout": result.cutout}
    with write_atomically(path, overwrite) as file:
        pictures[form]().save(file, "PNG")
