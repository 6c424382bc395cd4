"""`self1e info`: what a model is, from its settings and the headers of its weight files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from self1e.cli.options import ModelArgument, Revision, Subfolder
from self1e.cli.terminal import busy, show
from self1e.segment.options import LoadOptions

if TYPE_CHECKING:
    from self1e.checkpoints.weights import WeightFiles
    from self1e.engines.artefact import Artefact
    from self1e.model.config import SELF1EConfig
    from self1e.segment.nouns import TaughtNouns

NAME = "info"
EXAMPLES = """[dim]Examples:[/]

  self1e info nano

  self1e info runs/nano/2-packed/model --no-hash"""

PROMPTS_AT_ONCE = 8
RUNTIME_BYTES = 0.4e9  # Python with torch and transformers


def command(
    model: ModelArgument,
    revision: Revision = None,
    subfolder: Subfolder = None,
    hashing: Annotated[
        bool,
        typer.Option(
            "--hash/--no-hash",
            help="Read the weight files to the end: whether all numbers are finite, and their SHA-256.",
        ),
    ] = True,
) -> int:
    """Describe a model: architecture, size, memory, weights.

    Reads settings and the headers of weight files; the model itself is not built. The exit code is 1 where weights are
    not finite.
    """
    from self1e.engines.artefact import Artefact
    from self1e.segment.opened import open_model

    with busy(f"looking at {model}"):
        checkpoint = open_model(model, LoadOptions(revision=revision, subfolder=subfolder))
    if isinstance(checkpoint, Artefact):
        if hashing:
            checkpoint.check_files()
        _show_table(model, describe_exported(checkpoint))
        return 0
    from self1e.checkpoints.check import network_config
    from self1e.segment.nouns import TaughtNouns

    with busy(f"looking at {model}"):
        files = checkpoint.weights
        whole = checkpoint.parts()[-1].weights  # beside which adapters are small
        rows = describe(network_config(checkpoint), whole) | {"kind": str(checkpoint)}
        rows["to full size"] = _refine_of(checkpoint.folder)
        if not checkpoint.can_segment:
            rows["[SEG] head"] = "none yet: this is a base model, to be trained before it can segment"
        if nouns := TaughtNouns.read(checkpoint.folder):
            rows |= describe_nouns(nouns)
        size = sum(path.stat().st_size for path in files.paths)
        rows["files"] = f"{len(files.paths)}, {size / 1e6:,.1f} MB, in {checkpoint.folder}"
        lost = checkpoint.not_finite() if hashing else []
        if lost:
            rows["not finite"] = f"{len(lost)} tensors hold NaN or infinity, {lost[0]} the first"
        if hashing:
            rows["sha256"] = checkpoint.sha256()
    _show_table(model, rows)
    return 1 if lost else 0


def _refine_of(folder: Path) -> str:
    """How masks get to the picture's size; see `self1e.processing.refine`."""
    from self1e.checkpoints.errors import ModelError
    from self1e.checkpoints.weights import read_json

    try:
        return str(read_json(folder / "processor_config.json").get("refine", "none"))
    except ModelError:  # a base model has none, and loading says what is wrong with a damaged one
        return "none"


def _show_table(model: str, rows: dict[str, str]) -> None:
    from rich.table import Table

    table = Table(box=None, show_header=False, title=model, title_justify="left", title_style="bold")
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    show(table)


def describe_exported(artefact: Artefact) -> dict[str, str]:
    """An exported model in words, by name."""
    from self1e.segment.on_engine import nouns_of

    size = sum((artefact.folder / name).stat().st_size for name in artefact.files)
    rows = {
        "exported to": f"{artefact.kind}, {artefact.precision}, by self1e {artefact.version}",
        "made of": f"{artefact.model}, {_short(artefact.parameters)} parameters",
        "picture": f"{artefact.image_size} px a tile, {artefact.tokens_per_tile} tokens a tile, {artefact.max_tiles} "
        "tiles at most",
        "masks": f"{artefact.map_side} x {artefact.map_side} a tile",
        "to full size": artefact.refine,
        "checked": "no" if artefact.verified is None else str(artefact.verified),
        "files": f"{', '.join(artefact.files)}, {size / 1e6:,.1f} MB, in {artefact.folder}",
        "sha256": artefact.sha256(),
    }
    nouns = nouns_of(artefact)
    return rows | (describe_nouns(nouns) if nouns else {})


def describe_nouns(nouns: TaughtNouns) -> dict[str, str]:
    """What a model was taught, and what of that it hardly finds."""
    rows = {"nouns": nouns.found, "hardly found, or not measured": nouns.hardly}
    return {name: f"{len(row)}: {', '.join(row)}" for name, row in rows.items() if row}


def describe(config: SELF1EConfig, files: WeightFiles) -> dict[str, str]:
    """Sizes and settings in words, by name."""
    vision, text = config.vision_config, config.text_config
    parts = parameters_by_part(files)
    pathways = [name for name in ("image_to_image", "image_to_segmentation") if getattr(config, name)]
    total = sum(parts.values())
    needs = [
        f"{memory_need(config, total, size) / 1e9:.1f} GB in {name}" for name, size in (("bfloat16", 2), ("float32", 4))
    ]
    return {
        "parameters": f"{_short(total)} ({', '.join(f'{name} {_short(n)}' for name, n in parts.items())})",
        "vision": f"{vision.num_hidden_layers} layers, {vision.hidden_size} wide, {vision.num_attention_heads} heads",
        "picture": f"{vision.image_size[0]} px a tile, patches of {vision.patch_size[0]} px, "
        f"{config.image_seq_length} tokens a tile",
        "text": f"{text.model_type}, {text.num_hidden_layers} layers, {text.hidden_size} wide, "
        f"{text.num_attention_heads} heads, {text.vocab_size:,} tokens",
        "masks": f"{config.map_side} x {config.map_side} a tile, refilling {config.refilling} ({config.rung.meaning})",
        "pathways": ", ".join(pathways) or "none",
        "dtype": ", ".join(str(dtype).removeprefix("torch.") for dtype, _ in files.numbers().most_common()),
        "memory": f"{', '.join(needs)} (rough, {PROMPTS_AT_ONCE} prompts at a time)",
    }


def parameters_by_part(files: WeightFiles) -> dict[str, int]:
    """Numbers in the tensors of the vision tower, the text model, and the head with the projector."""
    import math

    parts = {"vision": 0, "text": 0, "head": 0}
    for name, shape in files.shapes.items():
        part = "vision" if "vision" in name else "text" if "language_model" in name or "lm_head" in name else "head"
        parts[part] += math.prod(shape)
    return parts


def memory_need(config: SELF1EConfig, parameters: int, bytes_each: int) -> float:
    """About how many bytes it takes to segment `PROMPTS_AT_ONCE` prompts of one tile: weights, activations, runtime.

    Activations that live at a time: a layer's of all rows, and the maps from which the head makes masks.
    """
    vision, text = config.vision_config, config.text_config
    patches = (vision.image_size[0] // vision.patch_size[0]) ** 2
    row = (config.image_seq_length + 100) * (3 * text.intermediate_size + 6 * text.hidden_size)
    tower = patches * (2 * vision.intermediate_size + 6 * vision.hidden_size)
    maps = 4 * patches * 4 * text.hidden_size
    return parameters * bytes_each + (PROMPTS_AT_ONCE * (row + maps) + tower) * bytes_each + RUNTIME_BYTES


def _short(count: int) -> str:
    """A number in three or four digits.

    >>> _short(640), _short(96_300), _short(4_321_000), _short(2_090_000_000)
    ('640', '96 k', '4.3 M', '2.1 B')
    """
    for size, unit in ((1e9, " B"), (1e6, " M")):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return f"{count / 1e3:.0f} k" if count >= 1000 else str(count)
