"""Options that several sub-commands share, and how they become a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from self1e.segmenter import Segmenter

MODEL_HELP = "'nano' (bundled, knows generated cartoon scenes only), a model folder, or a Hub id such as owner/name."

Model = Annotated[str, typer.Option("--model", "-m", metavar="MODEL", help=MODEL_HELP)]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", show_default=False, help=MODEL_HELP)]
Revision = Annotated[
    str | None, typer.Option(metavar="REV", help="Branch, tag or commit of a model on the Hub.", show_default=False)
]
Subfolder = Annotated[
    str | None, typer.Option(metavar="NAME", help="Folder of the model inside of MODEL.", show_default=False)
]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="Where to run: auto, cpu, cuda, cuda:1, mps.")]
Dtype = Annotated[str, typer.Option(metavar="TYPE", help="Precision: auto, float32, bfloat16, float16.")]
MaxTiles = Annotated[
    int, typer.Option(min=1, metavar="N", help="Most tiles a picture is cut into: more see finer, and take longer.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]


def load_segmenter(
    model: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    subfolder: str | None = None,
    max_tiles: int = 1,
) -> Segmenter:
    """The model, with a spinner while it loads."""
    from self1e.cli.terminal import busy, quiet_libraries

    with busy(f"loading {model}"):
        from self1e.segmenter import Segmenter

        quiet_libraries()
        return Segmenter.from_pretrained(
            model, device=device, dtype=dtype, revision=revision, subfolder=subfolder, max_tiles=max_tiles
        )
