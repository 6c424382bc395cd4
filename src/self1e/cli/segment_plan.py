"""What `self1e segment` is to make of each picture, decided before a model is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from self1e.cli.inputs import Picture, slug
from self1e.cli.terminal import in_a_cell, printable
from self1e.data.forms import FORMS, Form
from self1e.files import distinct, write_atomically, write_json
from self1e.processing.sources import Address
from self1e.segment.journal import Stamp, stamp_of

if TYPE_CHECKING:
    from self1e.data.forms.marked import Marked, Writer
    from self1e.segment.results import Segmentation


@dataclass(frozen=True)
class Kept:
    """What is left of a picture's results when its files are written: no pixels.

    Attributes:
        found: Whether there is something, for each prompt.
        model: Its name.
        lines: What to print, for each prompt: the cells of a row, or one of JSON.
        whole: What files of the whole set need of the picture, by form.
        files: The picture's own files, and their stamps; None for those that are spared. Who writes a file takes its
            stamp: another machine may not see it at once.
    """

    found: list[bool]
    model: str
    lines: list[tuple[str, ...]]
    whole: dict[str, Any]
    files: dict[Path, Stamp | None]


@dataclass(frozen=True)
class Wanted:
    """What is asked of every picture: what makes a command the same as an earlier one.

    Attributes:
        prompts: What to segment in all of them.
        forms: What to write.
        instances: Whether each connected part is a thing of its own.
        tolerance: How far outlines of polygons may be moved, pixels.
        template: How to ask; this and the following: see `Segmenter.segment`.
        refine: How masks get to the picture's size. None: as the model's processor says.
        votes: Views of each picture.
    """

    prompts: list[str]
    forms: list[str]
    instances: bool
    tolerance: float
    template: str
    refine: str | None = None
    votes: int = 1


@dataclass(frozen=True)
class Plan:
    """What is to be made of each picture. Goes to other processes by pickle, without the pictures: see `common`.

    Attributes:
        wanted: What is asked of every picture.
        folder: Below which pictures are named.
        pictures: What to segment: those that are not done yet.
        prompts: All that is to be segmented in any of them, or ever was, in the order of their numbers.
        out: Folder for the files. None: JSON lines on stdout, and no files.
        spared: Files that are not written, as someone has changed them since they were.
    """

    wanted: Wanted
    folder: Path
    pictures: list[Picture]
    prompts: list[str]
    out: Path | None
    spared: frozenset[Path] = frozenset()

    @property
    def common(self) -> Plan:
        """What `keep` needs to know but the picture: a million of them do not go to every process."""
        return replace(self, pictures=[])

    @cached_property
    def forms(self) -> list[Form]:
        """What to write."""
        return [FORMS[name] for name in self.wanted.forms]

    @cached_property
    def slugs(self) -> dict[str, str]:
        """What stands for each prompt in names of files."""
        return dict(zip(self.prompts, distinct([slug(prompt) for prompt in self.prompts]), strict=True))

    @cached_property
    def writers(self) -> dict[str, Writer]:
        """What writes the forms that are not drawn by results themselves."""
        assert self.out is not None
        return {
            each.name: each.writer(self.out, self.prompts, self.wanted.tolerance)
            for each in self.forms
            if not each.suffix
        }

    def files(self, picture: Picture) -> list[Path]:
        """The files of a picture."""
        return [file for form in self.forms for file in self._files(form, picture)]

    def stamps(self, picture: Picture) -> dict[Path, Stamp | None]:
        """Of its files; None for those that are spared."""
        return {file: None if file in self.spared else stamp_of(file, link=True) or [] for file in self.files(picture)}

    @property
    def whole_files(self) -> list[Path]:
        """The files of the whole set."""
        return [] if self.out is None else [self.out / file for form in self.forms for file in form.whole]

    def _files(self, form: Form, picture: Picture) -> list[Path]:
        """One for each result, or those of the picture, or none."""
        if self.out is None:
            return []
        if form.suffix:
            return [form.path(self.out, picture.stem, self.slugs[prompt]) for prompt in picture.prompts]
        writer = self.writers[form.name]
        return [file for file in writer.files(picture.stem, picture.file) if not writer.is_there(file, picture.file)]

    @cached_property
    def columns(self) -> list[str]:
        """How the cells of a row are formatted."""
        names = ["picture", *(in_a_cell(picture.name) for picture in self.pictures)]
        prompts = ["prompt", *map(in_a_cell, self.prompts)]
        return [str(max(map(len, names))), str(max(map(len, prompts))), "9", ">5", ">7", ""]

    def row(self, *cells: str) -> str:
        """A row of the table of results: picture, prompt, verdict, score, area, file."""
        return printable("  ".join(map(format, cells, self.columns))).rstrip()

    def keep(self, picture: Picture, results: list[Segmentation]) -> Kept:
        """Writes the files of a picture. Runs in a thread, or in another process."""
        parts = [self._parts(result) for result in results]
        as_json = self.out is None or FORMS["json"] in self.forms
        about = {"image": str(picture.source), "file_name": picture.name}
        records = [about | part.to_dict() if as_json else about for part in parts]
        lines: list[tuple[str, ...]]
        whole: dict[str, Any] = {}
        if self.out is None:
            lines = [(json.dumps(record),) for record in records]  # in ASCII, whatever stdout can take
        else:
            for form in self.forms:
                if form.suffix:
                    for file, part, record in zip(self._files(form, picture), parts, records, strict=True):
                        if file not in self.spared:
                            write(form.name, file, part, record)
            lines, whole = list(self._rows(picture, results)), self._written(picture, results, parts)
        return Kept([result.found for result in results], results[0].model, lines, whole, self.stamps(picture))

    def _written(self, picture: Picture, results: list[Segmentation], parts: list[Segmentation]) -> dict[str, Any]:
        """Writes what results do not draw themselves; what files of the whole set need, by form."""
        whole = {}
        marked = self._marked(picture, results, parts)
        for name, writer in self.writers.items():
            file = writer.form.path(writer.folder, picture.stem)
            if writer.form.file and file not in self.spared:
                writer.write(file, marked)
            whole[name] = writer.kept(marked)
        return whole

    def _parts(self, result: Segmentation) -> Segmentation:
        """The masks that are to be told apart. Where all parts are small, together they may be found all the same."""
        if not self.wanted.instances or not result.found:
            return result
        parts = result.instances()
        return parts if len(parts) else result

    def _marked(self, picture: Picture, results: list[Segmentation], parts: list[Segmentation]) -> Marked:
        from self1e.data.forms.marked import Marked, Thing

        things: list[Thing] = []
        for result, of_result in zip(results, parts, strict=True):
            if not result.found:
                things.append(Thing(result.prompt, result.mask, result.score, there=False))
            elif self.wanted.instances:
                things += [Thing(part.prompt, part.mask, part.score) for part in of_result]
            else:
                things.append(Thing(result.prompt, result.mask, result.score))
        height, width = results[0].mask.shape
        return Marked(
            picture.name,
            tuple(things),
            picture.file,
            picture.stem,
            (height, width),
            results[0].image,
            str(picture.source) if isinstance(picture.source, Address) else "",
        )

    def _rows(self, picture: Picture, results: list[Segmentation]) -> Iterator[tuple[str, ...]]:
        of_forms = [(form, self._files(form, picture)) for form in self.forms]
        for number, result in enumerate(results):
            per_form = [files[number if form.suffix else 0] for form, files in of_forms if files]
            yield (
                in_a_cell(picture.name),
                in_a_cell(result.prompt),
                "found" if result.found else "not found",
                f"{result.score:.2f}",
                f"{100 * result.area / result.mask.size:.1f} %",
                str(next(iter(per_form), "")),
            )


def write(form: str, file: Path, result: Segmentation, record: dict[str, Any]) -> None:
    """Writes one result in a form that it has of itself, in place of what is there."""
    if form == "json":
        write_json(file, record, overwrite=True)
        return
    pictures = {"overlay": result.overlay, "mask": result.mask_image, "cutout": result.cutout}
    with write_atomically(file, overwrite=True) as out:
        pictures[form]().save(out, "PNG")
