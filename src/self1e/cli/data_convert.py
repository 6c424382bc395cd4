"""`self1e data convert`: a data set in another form."""

from __future__ import annotations

import re
from contextlib import suppress
from difflib import get_close_matches
from typing import Annotated

import typer

from self1e.cli.options import Overwrite
from self1e.cli.output import check_writable, make_folder
from self1e.cli.terminal import CliError, busy, complain, counted, progress_bar, show
from self1e.data.forms import FORMS, read_entry
from self1e.files import expand_user

TARGETS = [name for name, form in FORMS.items() if form.written and not form.suffix]
HELP = (
    "Write a data set in another form.\n\n"
    f"FROM is an entry of `own` in settings: its paths, joined by commas. TO is a form ({', '.join(TARGETS)}) and a "
    "folder. What cannot be carried over is counted. Pictures stay where they are; YOLO's form has links to them. "
    "docs/forms.md has all forms."
)
EXAMPLES = """[dim]Examples:[/]

  self1e data convert labelme=photos coco=dataset

  self1e data convert coco=instances.json,images=photos yolo=dataset

  self1e data convert results=segmented,images=photos,min_score=0.8 labelme=to-correct

[dim]Exit code: 0 all pictures were written, 2 some could not be read, or bad usage or input.[/]"""

_KEYS = {key for form in FORMS.values() for key in form.allowed}


def convert(
    source: Annotated[str, typer.Argument(metavar="FROM", show_default=False, help="KEY=PATH[,KEY=PATH...]")],
    target: Annotated[str, typer.Argument(metavar="TO", show_default=False, help="FORM=FOLDER")],
    tolerance: Annotated[
        float, typer.Option(min=0.0, metavar="PIXELS", help="How far outlines of polygons may be moved; 0: exact.")
    ] = 0.0,
    overwrite: Overwrite = False,
) -> None:
    """See `HELP`."""
    entry = entry_of(source)
    name, equals, place = target.partition("=")
    if name not in TARGETS or not equals or not place:
        raise CliError(
            f"{target!r} is no form and folder: give, for example, coco=FOLDER; forms are {', '.join(TARGETS)}"
        )
    try:
        read = read_entry(entry)
        if read.absent_classes:
            raise ValueError("`absent_classes` means nothing here")
    except ValueError as error:
        raise CliError(f"{source!r} cannot be read: {error}") from None
    out = expand_user(place)

    from self1e.data.forms.convert import convert as converted
    from self1e.data.forms.convert import layout

    with busy("reading"):
        marked = read.open()
        writer = FORMS[name].writer(out, marked.labels, tolerance)
        stems, files = layout(marked, writer)
    if FORMS[name] is read.form and out.resolve().is_relative_to(read.paths[read.form.entry[0]].resolve()):
        raise CliError(f"{out} is in what is read, and would be read with it the next time: write elsewhere")
    for folder in {out, *(file.parent for file in files)}:
        make_folder(folder)
    check_writable(files, overwrite)
    with progress_bar() as progress:
        task = progress.add_task("converting", total=len(stems))
        done = converted(marked, writer, stems, min_score=read.min_score, on_picture=lambda: progress.advance(task))
    show(f"{counted(done.pictures, 'picture')} with {counted(done.things, 'thing')}: {out}")
    if lost := +done.lost:
        show("not carried over:\n" + "\n".join(f"{count:8,}  {what}" for what, count in lost.most_common()))
    for picture, reason in done.broken:
        complain(f"{picture}: {reason}")
    if done.broken:
        raise typer.Exit(2)


def entry_of(text: str) -> dict[str, str | float]:
    """An entry of `own` as it is written on a command line.

    >>> entry_of("coco=a,b.json, images=photos,min_score=0.5")
    {'coco': 'a,b.json', 'images': 'photos', 'min_score': 0.5}

    Raises:
        CliError: When it is none.
    """
    entry: dict[str, str | float] = {}
    for part in re.split(rf",\s*(?=(?:{'|'.join(sorted(_KEYS))})=)", text):
        key, _, value = part.partition("=")
        if key not in _KEYS or not value:
            raise CliError(f"{text!r} is no data set: give, for example, labelme=FOLDER or coco=FILE,images=FOLDER")
        if key in entry:
            raise CliError(f"{text!r} says {key} twice")
        for word in re.findall(r",\s*(\w+)=", value):
            if meant := get_close_matches(word, _KEYS, 1, 0.8):
                raise CliError(f"{text!r} says {word}=: did you mean {meant[0]}=?")
        entry[key] = value
        with suppress(ValueError):
            entry[key] = {"min_score": float, "absent_classes": int}.get(key, str)(value)
    return entry
