"""`self1e convert`: InternVL checkpoints and releases of SELF1E become folders of this package's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from self1e.cli.options import Overwrite, Revision, Subfolder
from self1e.cli.terminal import CliError, busy, quiet_libraries, show

NAME = "convert"
EXAMPLES = """[dim]Examples:[/]

  self1e convert UltraDoughnut/SELF1E models/self1e-2b

  self1e convert OpenGVLab/InternVL3-2B models/base --dtype bfloat16

  self1e convert golden/checkpoint models/golden --verify golden/reference

[dim]Exit code: 0 done, 1 the converted model differs from the reference, 2 bad usage or input.[/]"""


def command(
    source: Annotated[
        str,
        typer.Argument(metavar="SRC", show_default=False, help="Folder or Hub id of an InternVL checkpoint."),
    ],
    destination: Annotated[Path, typer.Argument(metavar="DST", show_default=False, help="Folder to make.")],
    verify_against: Annotated[
        Path | None,
        typer.Option(
            "--verify",
            metavar="REF",
            show_default=False,
            help="Folder with inputs and recorded outputs (reference.json, reference.safetensors) to compare with.",
        ),
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0.0, metavar="X", help="Largest difference that passes.")] = 1e-4,
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE",
            show_default=False,
            help="Of the weights: float32, bfloat16 or float16; as stored by default.",
        ),
    ] = None,
    seg_token_id: Annotated[
        int | None, typer.Option(min=0, metavar="ID", show_default=False, help="Of [SEG], if SRC has no tokenizer.")
    ] = None,
    image_token_id: Annotated[
        int | None,
        typer.Option(min=0, metavar="ID", show_default=False, help="Of <IMG_CONTEXT>, if SRC has no tokenizer."),
    ] = None,
    revision: Revision = None,
    subfolder: Subfolder = None,
    overwrite: Overwrite = False,
) -> int:
    """Convert an InternVL checkpoint to this package's layout.

    The checkpoint may be a release of SELF1E, or a base model that has yet to be trained. Tensors are read and written
    one by one, so that a model of any size takes about 2 GB of memory. The other commands take such checkpoints as they
    are; a converted one loads faster.
    """
    from self1e.checkpoints.convert import convert_checkpoint
    from self1e.checkpoints.verify import reference_token_ids, verify
    from self1e.segment.devices import DTYPES

    if dtype is not None and dtype not in DTYPES:
        raise CliError(f"unknown --dtype {dtype!r}: use {', '.join(DTYPES)}")
    # Tiny references come without a tokenizer, and say themselves which tokens are special.
    token_ids = reference_token_ids(verify_against) if verify_against is not None else {}
    given = {"seg_token_id": seg_token_id, "image_token_id": image_token_id}
    token_ids |= {name: token_id for name, token_id in given.items() if token_id is not None}
    quiet_libraries()
    with busy(f"converting {source}"):
        report = convert_checkpoint(
            source,
            destination,
            dtype=DTYPES[dtype] if dtype else None,
            overwrite=overwrite,
            subfolder=subfolder,
            revision=revision,
            seg_token_id=token_ids.get("seg_token_id"),
            image_token_id=token_ids.get("image_token_id"),
        )
    show(f"{report}\nwritten to {destination}")
    if verify_against is None:
        return 0
    with busy("verifying"):
        verification = verify(destination, verify_against, tolerance)
    show(verification)
    return 0 if verification.passed else 1
