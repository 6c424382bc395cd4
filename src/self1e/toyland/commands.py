"""`self1e toyland`: pictures of the generated world that the bundled model lives in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from self1e.cli.options import Overwrite
from self1e.cli.output import check_writable, make_folder
from self1e.cli.terminal import CliError, progress_bar, show
from self1e.files import write_atomically, write_json

if TYPE_CHECKING:
    from self1e.conversation import Example

EXAMPLES = """[dim]Examples:[/]

  self1e toyland draw --seed 7 --out scenes

  self1e toyland draw --seed 100 --n 20 --questions --out scenes"""

SIZES = (64, 4096)

app = typer.Typer(no_args_is_help=True, help="Draw scenes of the generated cartoon world.")


@app.callback()
def root() -> None:
    """Draw scenes of the generated cartoon world."""


@app.command("draw", epilog=EXAMPLES)
def draw(
    seed: Annotated[int, typer.Option(min=0, metavar="S", show_default=False, help="Number of the first scene.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", show_default=False, help="Folder to write to.")],
    n: Annotated[int, typer.Option("--n", "-n", min=1, metavar="N", help="How many scenes: S, S + 1, ...")] = 1,
    size: Annotated[int, typer.Option(min=SIZES[0], max=SIZES[1], metavar="PIXELS", help="Side of a picture.")] = 448,
    questions: Annotated[
        bool, typer.Option("--questions", help="Also write what can be asked, with answers and exact masks, as JSON.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Draw scenes: the same number always gives the same picture."""
    make_folder(out)
    seeds = range(seed, seed + n)
    if seeds[-1] >= 1 << 63:
        raise CliError(f"--seed {seed} is too large")
    files = {each: (out / f"toyland-{each}.png", out / f"toyland-{each}.json") for each in seeds}
    check_writable([path for pair in files.values() for path in pair[: 1 + questions]], overwrite)

    from self1e.toyland import toyland_example

    with progress_bar() as progress:
        for each in progress.track(seeds, description="drawing"):
            example = toyland_example(each, training=False, size=size)
            picture_path, questions_path = files[each]
            with write_atomically(picture_path, overwrite) as file:
                example.image.save(file, "PNG")
            if questions:
                write_json(questions_path, questions_of(example), overwrite=overwrite, indent=1)
    first, last = files[seeds[0]][0], files[seeds[-1]][0]
    show(f"{first}" if n == 1 else f"{n} pictures: {first} ... {last}")


def questions_of(example: Example) -> dict[str, Any]:
    """The conversations of an example, ready for JSON; masks as COCO run lengths, empty ones for absent things."""
    import numpy as np

    from self1e.segment.results import Segmentation

    talks = []
    for talk in example.conversations:
        masks = np.array(talk.masks, bool).reshape(len(talk.masks), example.image.height, example.image.width)
        result = Segmentation(masks, np.ones(len(masks)))
        turn = talk.turns[0]
        entry = {"kind": talk.kind, "question": turn.question, "answer": turn.answer}
        talks.append(entry | ({"masks": result.to_coco_rle()} if talk.segmenting else {}))
    return {"id": example.id, "width": example.image.width, "height": example.image.height, "questions": talks}
