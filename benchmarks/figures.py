"""The figures of docs/how-it-works.md and docs/tour.md, made of what the bundled models compute.

    python -m benchmarks.figures              # all of them, into docs/pictures
    python -m benchmarks.figures refilling    # one

`tiles`, `pathways` and `refilling` show tensors of `mini` and `nano`, `ladder` the runs of `benchmarks.ladder` on
photographs. `tour` runs the commands of docs/tour.md and
takes the pictures that they write. Needs matplotlib (`pip install 'self1e[plot]'`).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from torch import Tensor

from benchmarks.ladder import HEADS, WORLDS, budget, results
from benchmarks.machine import ROOT
from self1e import Segmenter
from self1e.conversation import SEG, Turn
from self1e.model.attention_mask import DualPerception
from self1e.model.batch import Batch
from self1e.model.refilling import as_map, stitch, upsample_x2
from self1e.processing.images import load_image
from self1e.processing.prompts import EVAL_ANSWER, phrase_question
from self1e.processing.tiles import IMAGENET_MEAN, IMAGENET_STD, to_tiles
from tests.readme_commands import copy_of_repository, find_blocks, run_block

PICTURES = ROOT / "docs" / "pictures"
TOUR = ROOT / "docs" / "tour.md"
CAT, CUP, LAKE = (ROOT / "examples" / "pictures" / name for name in ("cat.jpg", "coffee.jpg", "lakeside.png"))
PUBLISHED_TILE = 448
"""Side of a tile of the published models, pixels."""

OURS, RIVAL = "#0f6cbd", "#8a8f98"
"""Colours of the ladder."""

WIDEST = 960
"""Pixels of a picture of the tour."""

NOTHING, CAUSAL, IMAGE_TO_IMAGE, IMAGE_TO_SEG = range(4)
PATHWAYS = {
    NOTHING: ("#ffffff", "may not look"),
    CAUSAL: ("#c9ced6", "causal"),
    IMAGE_TO_IMAGE: ("#0f9d8a", "image-to-image"),
    IMAGE_TO_SEG: ("#d1495b", "image-to-segmentation"),
}


# ------------------------------------------------------------------------------------------------------------- tiles


def draw_tiles() -> Figure:
    """A photograph, as `mini` gets it, and as a published model would with up to six tiles."""
    picture = load_image(CUP)
    mini = Segmenter.from_pretrained("mini", device="cpu")
    (tile,), _ = mini.processor.tiles(picture)
    tiles, (columns, rows) = to_tiles(picture, 6, PUBLISHED_TILE)
    patch = mini.model.config.vision_config.patch_size[0]
    side, tokens = tile.shape[-1], round(mini.processor.tokens_per_tile**0.5)

    figure, axes = panels(2, 2, size=3.6)
    show(axes[0], picture, f"the photograph, {picture.width} x {picture.height}")
    show(axes[1], pixels_of(tile), f"mini: one tile, {side} x {side}")
    show(
        axes[2],
        pixels_of(tile),
        f"what the LLM reads: {tokens} x {tokens} tokens,\neach of 2 x 2 patches of {patch} pixels",
    )
    for place in range(0, side + 1, side // tokens):
        axes[2].axhline(place - 0.5, color="white", linewidth=0.5)
        axes[2].axvline(place - 0.5, color="white", linewidth=0.5)
    show(
        axes[3],
        mosaic(torch.from_numpy(tiles), columns, rows),
        f"published models, up to 6 tiles:\n{columns} x {rows} of {PUBLISHED_TILE} x {PUBLISHED_TILE}",
    )
    return figure


def pixels_of(tile: Tensor) -> np.ndarray:
    """float[3, S, S], normalised as the model takes it -> uint8[S, S, 3]."""
    pixels = tile.movedim(0, -1) * torch.tensor(IMAGENET_STD) + torch.tensor(IMAGENET_MEAN)
    return (pixels.clamp(0, 1) * 255).round().byte().numpy()


def mosaic(tiles: Tensor, columns: int, rows: int, gap: int = 24) -> np.ndarray:
    """float[T, 3, S, S], row by row -> uint8[H, W, 3], with white between them."""
    side = tiles.shape[-1]
    canvas = np.full((rows * (side + gap) - gap, columns * (side + gap) - gap, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = (number // columns) * (side + gap), (number % columns) * (side + gap)
        canvas[top : top + side, left : left + side] = pixels_of(tile)
    return canvas


# ---------------------------------------------------------------------------------------------------------- pathways


def draw_pathways() -> Figure:
    """Who may look at whom, in three rows of tokens as `nano` reads them."""
    picture = load_image(LAKE)
    processor = Segmenter.from_pretrained("nano", device="cpu").processor
    words = (Turn("What is the weather like?", "It is sunny."),)
    boat, cow = ((Turn(phrase_question(name), EVAL_ANSWER),) for name in ("the red boat", "the white cow"))
    rows = {
        "an answer in words": processor([picture], [[words]], labels=False),
        f"an answer with {SEG}": processor([picture], [[boat]], labels=False),
        "two questions behind one picture": processor([picture], [[boat, cow]], pack_rows=True, labels=False),
    }
    figure, axes = panels(1, len(rows), size=4.2)
    for axis, (title, batch) in zip(axes, rows.items(), strict=True):
        draw_visibility(axis, batch, title)
    legend = [Patch(facecolor=colour, edgecolor="0.7", label=label) for colour, label in PATHWAYS.values()]
    figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), frameon=False, fontsize=9)
    return figure


def visibility(batch: Batch) -> np.ndarray:
    """int[N, N] of the first row: which pathway lets the query (first axis) look at the key, or `NOTHING`."""
    kinds = np.full(batch.input_ids.shape[1:] * 2, NOTHING)
    # From all pathways to none: what a smaller mask still has is not due to the pathway that was closed.
    for kind, to_image, to_seg in ((IMAGE_TO_SEG, True, True), (IMAGE_TO_IMAGE, True, False), (CAUSAL, False, False)):
        rule = DualPerception(
            batch.attention_mask,
            batch.image_tokens,
            batch.seg_tokens,
            image_to_image=to_image,
            image_to_segmentation=to_seg,
            conversation_ids=batch.conversation_ids,
        )
        kinds[rule.mask()[0, 0].numpy()] = kind
    return kinds


def draw_visibility(axis: Axes, batch: Batch, title: str) -> None:
    colours = ListedColormap([colour for colour, _ in PATHWAYS.values()])
    axis.imshow(visibility(batch), cmap=colours, vmin=NOTHING, vmax=IMAGE_TO_SEG, interpolation="nearest")
    image = batch.image_tokens[0].nonzero().flatten().tolist()
    ticks = {0: "text", image[0]: "picture", image[-1] + 1: "question"}
    ticks |= dict.fromkeys(batch.seg_tokens[0].nonzero().flatten().tolist(), SEG)
    axis.set_xticks(list(ticks), list(ticks.values()), fontsize=8, rotation=60, ha="right", rotation_mode="anchor")
    axis.set_yticks(list(ticks), list(ticks.values()), fontsize=8)
    axis.set_title(f"{title}: {batch.input_ids.shape[1]} tokens", fontsize=10)
    axis.set_xlabel("is looked at", fontsize=8)
    axis.set_ylabel("looks", fontsize=8)


# --------------------------------------------------------------------------------------------------------- refilling


@dataclass(frozen=True)
class Steps:
    """The refilling of one picture for one `[SEG]`, step by step; names as in docs/method.md, section 2.

    m is the side of a tile in image tokens.

    Attributes:
        compressed: F_V1, float[m, m, D].
        llm_image_features: F_IMG, float[m, m, D].
        vision_map: PUS(amplify_vit(F_V1)), float[2 m, 2 m, D].
        llm_map: PUS(amplify_llm(F_IMG)), float[2 m, 2 m, D].
        residual: R, float[2 m, 2 m, D].
        uncompressed: PUS(amplify_vit(F_V1^HQ)), float[4 m, 4 m, D].
        refilled: what `fuse` makes P of, float[4 m, 4 m, D].
        logits: P . s / sqrt(D), float[4 m, 4 m].
    """

    compressed: Tensor
    llm_image_features: Tensor
    vision_map: Tensor
    llm_map: Tensor
    residual: Tensor
    uncompressed: Tensor
    refilled: Tensor
    logits: Tensor


@torch.inference_mode()
def refilling_steps(segmenter: Segmenter, picture: Image.Image, prompt: str) -> Steps:
    """Goes through the head's equations with the model's own layers, one named tensor after the other.

    Raises:
        AssertionError: The logits at the end are not those of the network.
    """
    network, head = segmenter.model, segmenter.model.refilling_head
    conversation: Sequence[Turn] = (Turn(phrase_question(prompt), EVAL_ANSWER),)
    batch = segmenter.processor([picture], [[conversation]], labels=False)
    grid = batch.pictures[0].grid
    assert batch.pixel_values is not None
    features = network.encode_images(batch.pixel_values)
    states = network.read(batch, network.embed(batch, features)).flatten(0, 1)
    assert features.vision.compressed is not None and features.vision.uncompressed is not None
    llm_image_features = states[batch.asked_image_places].unflatten(0, features.compressed.shape[:2])
    llm_map = head.llm_map(llm_image_features[None], *grid)[0]
    vision_map = stitch(features.vision.compressed, *grid)
    residual = llm_map - vision_map
    uncompressed = stitch(features.vision.uncompressed, *grid)
    refilled = uncompressed + upsample_x2(residual[None])[0]
    embedding = head.segmentation_embedding(states[batch.before_seg])
    logits = head.mask_logits(head.fuse(refilled), embedding)
    torch.testing.assert_close(logits, network(batch).mask_logits[0])
    return Steps(
        stitch(as_map(features.compressed), *grid),
        stitch(as_map(llm_image_features), *grid),
        vision_map,
        llm_map,
        residual,
        uncompressed,
        refilled,
        logits[0],
    )


def draw_refilling() -> Figure:
    """The steps for the cat, with features as colours: their three main directions."""
    segmenter = Segmenter.from_pretrained("mini", device="cpu")
    picture = load_image(CAT)
    steps = refilling_steps(segmenter, picture, "the cat")
    (tile,), _ = segmenter.processor.tiles(picture)
    (read,), (wrote,) = in_colours([steps.compressed]), in_colours([steps.llm_image_features])
    maps = [steps.vision_map, steps.llm_map, steps.residual, steps.uncompressed, steps.refilled]
    vision, llm, residual, sharp, refilled = in_colours([without_places(each) for each in maps])
    figure, axes = panels(3, 4)
    shown = {
        "the tile": pixels_of(tile),
        "F_V1: what the LLM reads": read,
        "F_IMG: what the LLM makes of it": wrote,
        "PUS(amplify_vit(F_V1))": vision,
        "PUS(amplify_llm(F_IMG))": llm,
        "R: their difference": residual,
        "sharp: PUS(amplify_vit(F_V1^HQ))": sharp,
        "sharp + R, enlarged: refilled": refilled,
    }
    for axis, (title, values) in zip(axes, shown.items(), strict=False):
        show(axis, values, f"{title}\n{values.shape[0]} x {values.shape[1]}")
    logits = steps.logits.numpy()
    bound = np.abs(logits).max()
    axes[8].imshow(logits, cmap="RdBu_r", vmin=-bound, vmax=bound)
    axes[8].set_title(
        f"P · s / √D: logits\n{logits.shape[0]} x {logits.shape[1]}, {logits.min():.0f} to {logits.max():.0f}",
        fontsize=11,
    )
    axes[8].set_axis_off()
    result = segmenter.segment(picture, "the cat")
    show(axes[9], result.overlay(), "above 0, at the picture's size\n{} x {}".format(*picture.size))
    for spare in axes[10:]:
        spare.remove()
    return figure


def without_places(features: Tensor, period: int = 4) -> Tensor:
    """float[h, w, D] without what only depends on the place in each square of `period` x `period` pixels.

    An amplifier has other biases for each of the four pixels that PUS makes of its output. What is the same all over
    the picture says nothing about it, and would be all that one sees.
    """
    squares = features.unflatten(1, (-1, period)).unflatten(0, (-1, period))  # rows, y, columns, x, D
    return (squares - squares.mean(dim=(0, 2), keepdim=True)).flatten(2, 3).flatten(0, 1)


def in_colours(maps: Sequence[Tensor]) -> list[np.ndarray]:
    """Maps float[h, w, D] of one space as uint8[h, w, 3]: the three main directions of all as red, green and blue."""
    vectors = torch.cat([each.flatten(0, 1) for each in maps]).float()
    centre = vectors.mean(dim=0)
    _, _, directions = torch.linalg.svd(vectors - centre, full_matrices=False)
    directions = directions[:3] * directions[:3].sum(dim=1, keepdim=True).sign()  # or the signs are chance
    coloured = (vectors - centre) @ directions.T
    low, high = coloured.quantile(torch.tensor([0.02, 0.98]), dim=0)
    return [(255 * (((each - centre) @ directions.T - low) / (high - low)).clamp(0, 1)).byte().numpy() for each in maps]


# ------------------------------------------------------------------------------------------------------------ ladder


def draw_ladder() -> Figure:
    """All runs on photographs: a dot for each seed, a line for their mean, one plot for each figure."""
    world = WORLDS["photographs"]
    runs = results("photographs", budget(world))
    variants = [name for name in world.variants if any(run["variant"] == name for run in runs)]
    figure, axes = panels(3, 3)
    for axis, (column, figure_of) in zip(axes, world.columns.items(), strict=True):
        for row, name in enumerate(reversed(variants)):
            values = [figure_of(run) for run in runs if run["variant"] == name]
            shares = [100 * value for value in values if value is not None]
            colour = RIVAL if name in HEADS else OURS
            axis.plot(shares, [row] * len(shares), "o", color=colour, alpha=0.5, markersize=5)
            axis.plot([np.mean(shares)] if shares else [], [row] if shares else [], "|", color=colour, markersize=14)
        axis.set_title(column, fontsize=11)
        axis.set_yticks(range(len(variants)), reversed(variants) if axis in axes[::3] else [])
        axis.tick_params(labelsize=8)
        axis.grid(axis="x", alpha=0.3)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
    return figure


# -------------------------------------------------------------------------------------------------------------- tour


def make_tour() -> None:
    """Runs docs/tour.md in a copy of the repository and keeps the pictures that its commands write."""
    with tempfile.TemporaryDirectory(prefix="tour-") as temporary:
        folder = copy_of_repository(Path(temporary))
        for block in find_blocks(TOUR.read_text("utf-8")):
            if status := run_block(block, folder, timeout=600):
                raise SystemExit(f"{TOUR.name}, line {block.line}: exit status {status}")
        for path in sorted((folder / "tour").glob("*.png")):
            with Image.open(path) as picture:
                picture.thumbnail((WIDEST, WIDEST))
                save(picture, f"tour-{path.stem}")


# ----------------------------------------------------------------------------------------------------------- drawing


def panels(rows: int, columns: int, size: float = 2.6) -> tuple[Figure, list[Axes]]:
    """An empty figure with so many plots, `size` inches each."""
    figure = Figure(figsize=(columns * size, rows * (size + 0.45)), layout="constrained", dpi=110)
    return figure, list(np.atleast_1d(figure.subplots(rows, columns)).flat)


def show(axis: Axes, values: object, title: str) -> None:
    axis.imshow(np.asarray(values), interpolation="nearest")
    axis.set_title(title, fontsize=11)
    axis.set_axis_off()


def save(picture: Image.Image, name: str) -> None:
    """Writes docs/pictures/NAME.webp and says how large it is."""
    path = PICTURES / f"{name}.webp"
    picture.save(path, quality=85, method=6)
    print(f"{path.relative_to(ROOT)}: {picture.width} x {picture.height}, {path.stat().st_size // 1000} kB")


def save_figure(figure: Figure, name: str) -> None:
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        figure.savefig(file.name, bbox_inches="tight")
        with Image.open(file.name) as picture:
            save(picture.convert("RGB"), name)


FIGURES = {"tiles": draw_tiles, "pathways": draw_pathways, "refilling": draw_refilling, "ladder": draw_ladder}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*FIGURES, "tour", []], help="default: all")
    for name in parser.parse_args().names or [*FIGURES, "tour"]:
        if name == "tour":
            make_tour()
        else:
            save_figure(FIGURES[name](), name)


if __name__ == "__main__":
    main()
