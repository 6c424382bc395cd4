"""Pictures for docs/own-data.md: twenty painted plates, most of them with rust, marked as LabelMe would.

    python examples/rusty_plates.py photos            # 20, drawn from seed 1
    python examples/rusty_plates.py test 10 --seed 2  # others, to measure on

They stand for photographs of your own. Each NAME.jpg has a NAME.json with an outline around each patch of rust.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 360, 270
PAINTS = ((52, 92, 128), (64, 110, 84), (146, 146, 140), (188, 164, 92), (118, 60, 64), (210, 208, 200))
RUST = np.array((128, 66, 30))
CLEAN = 0.2
"""Share of plates without rust."""

Outline = list[tuple[float, float]]


def noise(rng: np.random.Generator, grain: int) -> np.ndarray:
    """float[H, W, 1], -1 to 1, in grains of so many pixels."""
    coarse = rng.uniform(-1, 1, size=(HEIGHT // grain + 2, WIDTH // grain + 2)).astype(np.float32)
    smooth = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    return np.asarray(smooth)[..., None]


def outline_of_rust(rng: np.random.Generator) -> Outline:
    """A rough blob somewhere on the plate, as corners (x, y)."""
    angles = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    waves = sum(rng.normal(0, 0.35 / k) * np.cos(k * angles + rng.uniform(0, 6.3)) for k in range(1, 6))
    radius = rng.uniform(22, 58) * np.clip(1 + waves, 0.3, 2)
    x = rng.uniform(50, WIDTH - 50) + radius * np.cos(angles)
    y = rng.uniform(45, HEIGHT - 45) + radius * np.sin(angles) * rng.uniform(0.6, 1)
    return list(zip(x.clip(0, WIDTH - 1).round(1).tolist(), y.clip(0, HEIGHT - 1).round(1).tolist(), strict=True))


def draw_plate(rng: np.random.Generator) -> tuple[Image.Image, list[Outline]]:
    """A plate with bolts, scratches and dirt, which are not rust; and outlines of its rust."""
    paint = np.array(PAINTS[rng.integers(len(PAINTS))])
    light = 1 + 0.25 * noise(rng, 90) + 0.06 * noise(rng, 1)
    plate = Image.fromarray((paint * light).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(plate)
    for _ in range(rng.integers(2, 7)):
        x, y = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT)
        draw.line((x, y, x + rng.normal(0, 60), y + rng.normal(0, 30)), fill=tuple((paint * 0.7).astype(int)), width=1)
    for x in (18, WIDTH - 18):
        for y in (18, HEIGHT - 18):
            draw.ellipse((x - 8, y - 8, x + 8, y + 8), fill=(96, 98, 102), outline=(48, 48, 50))
    outlines = [] if rng.random() < CLEAN else [outline_of_rust(rng) for _ in range(rng.integers(1, 4))]
    mask = Image.new("L", plate.size)
    for outline in outlines:
        ImageDraw.Draw(mask).polygon(outline, fill=255)
    cover = np.asarray(mask.filter(ImageFilter.GaussianBlur(1.2)))[..., None] / 255
    rust = RUST * (1 + 0.35 * noise(rng, 2) + 0.3 * noise(rng, 9)) + 12 * noise(rng, 30)
    pixels = np.asarray(plate) * (1 - cover) + rust * cover
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), outlines


def labelme_file(name: str, outlines: list[Outline]) -> dict[str, object]:
    """What LabelMe writes beside a picture."""
    shapes: list[dict[str, object]] = [
        {"label": "the rust", "points": outline, "shape_type": "polygon", "group_id": None, "flags": {}}
        for outline in outlines
    ]
    return {
        "version": "6.3.1",
        "flags": {},
        "shapes": shapes,
        "imagePath": name,
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("number", type=int, nargs="?", default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for number in range(arguments.number):
        picture, outlines = draw_plate(np.random.default_rng([arguments.seed, number]))
        path = arguments.folder / f"plate-{number:02}.jpg"
        picture.save(path, quality=92)
        path.with_suffix(".json").write_text(json.dumps(labelme_file(path.name, outlines)), "utf-8")


if __name__ == "__main__":
    main()
