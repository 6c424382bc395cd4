"""`self1e data`: a look at the data of a training run before it starts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from self1e.cli import data_convert
from self1e.cli.options import Overwrite
from self1e.cli.output import check_writable, make_folder
from self1e.cli.terminal import CliError, busy, counted, notice, progress_bar, show
from self1e.cli.train import need_training_extra, parse_override
from self1e.files import write_atomically, write_json

if TYPE_CHECKING:
    from rich.table import Table

    from self1e.data.check import CheckReport
    from self1e.data.members import Member
    from self1e.data.parallel import Progress
    from self1e.data.readable import Reader
    from self1e.data.settings import MixtureData
    from self1e.data.stats import SourceStats, Spread
    from self1e.training.config import TrainConfig

# A paragraph in one line each: the terminal wraps them.
CHECK_HELP = (
    "Read all data of a training run, and say what is wrong.\n\n"
    "Opens each picture and makes every mask, once, of training and validation. Tells of broken records, of masks that "
    "are empty for no stated reason, of texts that are too long for the model, of pictures that are there twice, and "
    "of pictures that validation or test splits of the RefCOCO family hold, which should not be trained on. "
    "Counts the class names, and draws examples."
)
STATS_HELP = (
    "Describe the data of a training run in numbers.\n\n"
    "For each source: queries, their kinds and words, how large masks are, and how often the run draws from it. "
    "Pictures stay closed, which makes this quicker than a check."
)
CHECK_EXAMPLES = """[dim]Examples:[/]

  self1e data check my-run.yaml

  self1e data check my-run.yaml --out checked --workers 8

  self1e data check my-run.yaml --limit 200

[dim]Exit code: 0 training may start, 1 it should not (the last lines say why), 2 unusable settings or input.[/]"""
STATS_EXAMPLES = """[dim]Examples:[/]

  self1e data stats my-run.yaml

  self1e data stats my-run.yaml --limit 2000 --json stats.json"""

FOLDER, REPORT, SHEET = "data-check", "report.json", "contact-sheet.jpg"
SHOWN = 10
"""Faults of each sort that the screen shows."""
LONGEST_PHRASE = 40
"""Letters of a phrase that the screen shows."""
TOP_PHRASES = 10
"""Phrases of a source that the screen shows."""
RARE_PHRASES = 3
"""Phrases that the screen shows even if each is asked for once."""

Config = Annotated[
    Path, typer.Argument(metavar="CONFIG", show_default=False, help="YAML file with the settings of a training run.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", show_default=False, help="Change a setting, with dots for levels. Repeatable."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=0, metavar="N", show_default="one a CPU core", help="Processes that read; 0 for this one alone."),
]
Limit = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", show_default="all", help="Most records to read of a source, drawn at random."),
]

app = typer.Typer(no_args_is_help=True, help="Look at the data of a training run before it starts, or convert data.")
app.command("convert", help=data_convert.HELP, epilog=data_convert.EXAMPLES)(data_convert.convert)


@app.callback()
def root() -> None:
    """Look at the data of a training run before it starts, or convert data."""


@app.command("check", help=CHECK_HELP, epilog=CHECK_EXAMPLES)
def check(
    config: Config,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="DIR", help=f"Folder for {REPORT} (every fault, all class counts) and {SHEET}."
        ),
    ] = Path(FOLDER),
    workers: Workers = None,
    limit: Limit = None,
    sheet: Annotated[int, typer.Option(min=0, metavar="N", help=f"Examples on {SHEET}; 0 for no sheet.")] = 24,
    overrides: Overrides = None,
    overwrite: Overwrite = False,
) -> None:
    """See `CHECK_HELP`."""
    settings, data = _mixture_settings(config, overrides)
    make_folder(out)
    check_writable([out / REPORT, *([out / SHEET] if sheet else [])], overwrite)

    from self1e.data.check import check as check_members
    from self1e.data.refer import held_out_pictures

    members, held_out = _opened(data)
    members += _validation_members(settings)
    reader = _reader(settings)
    with _progress() as on_progress:
        report = check_members(
            members,
            held_out=held_out,
            held_out_files=held_out_pictures(Path(data.root), held_out) if data.root is not None else (),
            broken_share=data.broken_share,
            limit=limit,
            seed=data.seed,
            workers=_workers(workers),
            reader=reader,
            on_progress=on_progress,
        )
    show(_check_table(report))
    show(_classes_table(report))
    _show_faults(report)
    for source in report.sources:
        for remark in source.remarks:
            notice(remark)
    write_json(out / REPORT, {"config": str(config), **report.to_dict()}, overwrite=overwrite, indent=1)
    written = [out / REPORT]
    if sheet and any(report.usable):
        from self1e.data.contact_sheet import contact_sheet

        with busy("drawing the contact sheet"):
            picture = contact_sheet(members, report.usable, sheet, data.seed)
        with write_atomically(out / SHEET, overwrite) as file:
            picture.save(file, "JPEG", quality=90)
        written.append(out / SHEET)
    show(f"written: {', '.join(map(str, written))}")
    objections = report.objections
    if not objections:
        show("training may start" if limit is None else "training may start, by the records that were read")
        return
    show("training should not start:\n" + "\n".join(f"  {each}" for each in objections))
    raise typer.Exit(1)


@app.command("stats", help=STATS_HELP, epilog=STATS_EXAMPLES)
def stats(
    config: Config,
    sample: Annotated[int, typer.Option(min=0, metavar="N", help="Records of a source whose masks are made.")] = 500,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures there too.", show_default=False)
    ] = None,
    workers: Workers = None,
    limit: Limit = None,
    overrides: Overrides = None,
    overwrite: Overwrite = False,
) -> None:
    """See `STATS_HELP`."""
    settings, data = _mixture_settings(config, overrides)
    if json_file is not None:
        check_writable([json_file], overwrite)

    from self1e.data.stats import statistics

    members, held_out = _opened(data)
    length = settings.optimisation.pictures()
    with _progress() as on_progress:
        found = statistics(
            members,
            length,
            held_out=held_out,
            sample=sample,
            limit=limit,
            seed=data.seed,
            workers=_workers(workers),
            on_progress=on_progress,
        )
    show(_drawing_table(found, length))
    show(_queries_table(found))
    show(_areas_table(found))
    show(_words_table(found))
    if json_file is not None:
        tree = {"config": str(config), "examples": length, "sources": [each.to_dict() for each in found]}
        write_json(json_file, tree, overwrite=overwrite, indent=1)
        show(f"figures: {json_file}")


# --------------------------------------------------------------------------------------------------------- opening


def _mixture_settings(config: Path, overrides: Sequence[str] | None) -> tuple[TrainConfig, MixtureData]:
    """The settings, and their data.

    Raises:
        CliError: When the data are no mixture, or packages are missing.
        ConfigError: When the settings cannot be used.
    """
    changes = dict(map(parse_override, overrides or []))
    need_training_extra("looking at training data")
    from self1e.data.settings import MixtureData
    from self1e.training.config import load_config

    settings = load_config(config, changes)
    if not isinstance(settings.data, MixtureData):
        raise CliError(f"{config} trains on {settings.data.name}: its files are not known here (no `data.parts`)")
    return settings, settings.data


def _opened(data: MixtureData) -> tuple[list[Member], frozenset[int]]:
    """The sources that a run would draw from, and ids of the COCO pictures that are tested on.

    Raises:
        DataError: When a source is missing or unreadable, or there is none.
    """
    from self1e.data.refer import held_out_images

    held_out: frozenset[int] = frozenset()
    with busy("opening the data"):
        if data.root is not None:
            held_out = held_out_images(Path(data.root))
        members = _members(data, data.hold_out)
    for name, part in data.parts.items():
        if not part.rate:
            notice(f"the part {name!r} is left out: its rate is 0")
    if data.root is None:
        notice("no data.root, so pictures of public benchmarks are not looked for; right for data of your own")
    elif not held_out:
        notice(f"{data.root} has no files of the RefCOCO family: nothing is known of pictures that are tested on")
    return members, held_out


def _validation_members(settings: TrainConfig) -> list[Member]:
    """What a run is validated on, where that is a mixture.

    Raises:
        DataError: When a source is missing or unreadable, or there is none.
    """
    from self1e.data.settings import MixtureData

    if settings.validation is None or not isinstance(settings.validation.data, MixtureData):
        return []
    with busy("opening the validation data"):
        members = _members(settings.validation.data, filtered=False)
    return [
        replace(each, part="validation", label=f"{each.label} (validation)", share=0.0, learnt=False)
        for each in members
    ]


def _members(data: MixtureData, filtered: bool) -> list[Member]:
    from self1e.data.members import members_of
    from self1e.data.records import Source

    parts: dict[str, tuple[float, list[tuple[Source, bool]]]] = {}
    for name, part in data.parts.items():
        sources = part.open(Path(data.root) if data.root is not None else None)
        parts[name] = (part.rate, [(source, filtered) for source in sources])
    return members_of(parts)


def _reader(settings: TrainConfig) -> Reader | None:
    """What the model of the run reads; None, and a notice, if it is not here."""
    from self1e.checkpoints.errors import ModelError
    from self1e.training.reading import reader_of

    try:
        return reader_of(settings)
    except ModelError as error:
        notice(f"whether texts are too long for the model is not known: {error}")
        return None


def _workers(chosen: int | None) -> int:
    return (os.cpu_count() or 1) if chosen is None else chosen


@contextmanager
def _progress() -> Iterator[Progress]:
    with progress_bar() as progress:
        task = progress.add_task("reading", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


# ---------------------------------------------------------------------------------------------------------- showing


def _table(title: str | None, left: Sequence[str], right: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        collapse_padding=True,
    )
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


#: What a check counts; these columns are always shown, the others where they say something.
ALWAYS = ("records", "pictures", "queries", "broken", "leaked")


def _check_table(report: CheckReport) -> Table:
    columns = {
        "records": [each.records for each in report.sources],
        "read": [each.read for each in report.sources],
        "pictures": [each.pictures for each in report.sources],
        "queries": [each.queries for each in report.sources],
        "talks": [each.talks for each in report.sources],
        "broken": [each.broken for each in report.sources],
        "passed over": [each.silent for each in report.sources],
        "empty": [len(each.empty_masks) for each in report.sources],
        "leaked": [len(each.leaked) for each in report.sources],
        "left out": [each.left_out for each in report.sources],
    }
    if columns["read"] == columns["records"]:
        del columns["read"]
    columns = {name: column for name, column in columns.items() if name in ALWAYS or any(column)}
    table = _table(None, ("source",), tuple(columns))
    for source, *numbers in zip(report.sources, *columns.values(), strict=True):
        table.add_row(_literal(source.name), *map(_number, numbers))
    if len(report.sources) > 1:
        sums = {name: sum(column) for name, column in columns.items()} | {"pictures": report.pictures}
        table.add_section()
        table.add_row("all", *map(_number, sums.values()), style="bold")
    return table


def _classes_table(report: CheckReport) -> Table:
    table = _table("class counts", ("source", "most frequent phrases"), ("different",))
    for each in report.sources:
        table.add_row(_literal(each.name), _literal(_frequent(each.phrases)), _number(len(each.phrases)))
    return table


def _show_faults(report: CheckReport) -> None:
    """The first faults of each sort, and how many there are."""
    lists: dict[str, list[str]] = {}
    for source in report.sources:
        for fault in source.faults:
            name = f"broken: {fault.sort}{', which would end the run' if fault.fatal else ''}"
            lists.setdefault(name, []).append(f"{source.name}, {fault.record}: {fault.reason}")
        for mask in source.empty_masks:
            name = "empty masks, learnt as if nothing were there (no fault, but look: are they outside of the picture?)"
            lists.setdefault(name, []).append(f"{source.name}, {mask.record}: {mask.text!r}")
        for piece in source.dropped:
            name = "left out (no fault, what else is in these pictures is used)"
            lists.setdefault(name, []).append(f"{source.name}, {piece}")
        for record in source.leaked:
            name = "leaked: pictures of validation or test splits of the RefCOCO family"
            lists.setdefault(name, []).append(f"{source.name}, {record}")
    if report.duplicates:
        lists["the same picture under several names (no fault, but it is seen more often)"] = [
            " = ".join(paths) for paths in report.duplicates
        ]
    for name, lines in lists.items():
        more = [f"... and {len(lines) - SHOWN:,} more"] if len(lines) > SHOWN else []
        show(f"{name} ({len(lines):,})\n" + "\n".join(f"  {line}" for line in lines[:SHOWN] + more) + "\n")


def _drawing_table(found: Sequence[SourceStats], length: int) -> Table:
    names = ("records", "share", "examples", "times each")
    table = _table(f"what a run of {length:,} examples draws, on average", ("part", "source"), names)
    for each in found:
        cells = [_number(each.records), f"{each.share:.1%}", _number(round(each.draws)), f"{each.passes:.2f}"]
        table.add_row(_literal(each.part), _literal(each.name), *cells)
    return table


def _queries_table(found: Sequence[SourceStats]) -> Table:
    names = ("read", "broken", "passed over", "queries", "a picture", "at most", "talks")
    table = _table("what there is to ask", ("source",), names)
    for each in found:
        queries = each.queries_per_picture
        table.add_row(
            _literal(each.name),
            *map(_number, (each.read, each.broken, each.silent, each.queries)),
            f"{queries.mean:.1f}" if queries else "-",
            f"{queries.largest:.0f}" if queries else "-",
            _number(each.talks),
        )
    return table


def _areas_table(found: Sequence[SourceStats]) -> Table:
    from self1e.data.stats import PERCENTILES

    names = ("masks", "empty", *(f"p{percent}" for percent in PERCENTILES))
    table = _table("area of masks in a sample, percent of the picture: percentiles", ("source",), names)
    for each in found:
        areas = [f"{100 * each.area[percent]:.2f}" if each.area else "-" for percent in PERCENTILES]
        table.add_row(_literal(each.name), _number(each.masks), _number(each.empty_masks), *areas)
    return table


def _words_table(found: Sequence[SourceStats]) -> Table:
    names = ("a query", "an answer")
    table = _table("words; lengths as median and most", ("source", "kinds", "most frequent phrases"), names)
    for each in found:
        kinds = "\n".join(f"{name} {n:,}" for name, n in each.kinds.items())
        lengths = [_lengths(spread) for spread in (each.query_words, each.answer_words)]
        table.add_row(*map(_literal, (each.name, kinds or "-", _frequent(each.phrases))), *lengths)
        table.add_section()
    return table


def _frequent(phrases: Mapping[str, int]) -> str:
    """The first of these phrases with their counts; "-" if there are none."""
    first = list(phrases.items())[:TOP_PHRASES]
    shown = [f"{_cut(name)} {n:,}" for i, (name, n) in enumerate(first) if i < RARE_PHRASES or n > 1]
    if others := len(phrases) - len(shown):
        shown.append(f"and {counted(others, 'other')}")
    return ", ".join(shown) or "-"


def _cut(phrase: str) -> str:
    return phrase if len(phrase) <= LONGEST_PHRASE else f"{phrase[: LONGEST_PHRASE - 3]}..."


def _lengths(spread: Spread | None) -> str:
    return f"{spread.median:.0f}, {spread.largest:.0f}" if spread else "-"


def _number(value: int) -> str:
    return f"{value:,}"


def _literal(text: str) -> str:
    """A text in which rich reads no markup, and a terminal no commands."""
    from rich.markup import escape

    from self1e.cli.terminal import printable

    return escape(printable(text))
