"""`self1e merge`: adapters become part of the model they were trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from self1e.cli.terminal import CliError, busy, show
from self1e.cli.train import need_training_extra
from self1e.files import folder_when_complete

NAME = "merge"
EXAMPLES = """[dim]Examples:[/]

  self1e merge runs/mine/adapter models/mine

  self1e merge runs/mine/adapter models/mine --base models/InternVL3-2B --dtype bfloat16"""


def command(
    adapter: Annotated[
        Path, typer.Argument(metavar="ADAPTER", show_default=False, help="Folder of adapters, or a checkpoint of them.")
    ],
    destination: Annotated[Path, typer.Argument(metavar="DST", show_default=False, help="Folder to make.")],
    base: Annotated[
        str | None,
        typer.Option(metavar="MODEL", show_default="the one they name", help="The model they were trained on."),
    ] = None,
    dtype: Annotated[
        str, typer.Option(metavar="TYPE", help="Of the weights: auto (as the base), float32, bfloat16, float16.")
    ] = "auto",
) -> None:
    """Write the model that adapters make of their base, as a folder like any other.

    The sum is taken in float32, whatever the base and the result are stored in.
    """
    need_training_extra("merging")
    from self1e.checkpoints.adapters import merge
    from self1e.processing.processor import SELF1EProcessor
    from self1e.segment.devices import DTYPES

    if dtype not in ("auto", *DTYPES):
        raise CliError(f"unknown --dtype {dtype!r}: use auto, {', '.join(DTYPES)}")
    if destination.exists():
        raise CliError(f"{destination} exists: choose another folder, or delete it first")
    with folder_when_complete(destination) as staging:
        with busy("merging"):
            merge(adapter, base, DTYPES.get(dtype, "auto")).save_pretrained(staging)
        SELF1EProcessor.from_pretrained(adapter).save_pretrained(staging)
    size = sum(path.stat().st_size for path in destination.iterdir())
    show(f"{destination}: {size / 1e6:,.1f} MB")
