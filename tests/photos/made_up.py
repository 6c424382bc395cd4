"""Made-up photographs of rectangles, in which the right answers are plain to see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from self1e.photos.index import Photo, photographs
from self1e.photos.nouns import nouns
from self1e.photos.scene import PhotoScene, read_scene

SIDE = 100
CLASSES = (
    "none",
    "dog",
    "cat",
    "horse",
    "sheep",
    "person",
    "car",
    "sky",
    "grass",
    "face",
    "body",
    "apple",
    "food",
    "skis",
)
COLOURS = {
    "dog": (110, 70, 35),
    "cat": (30, 30, 30),
    "horse": (120, 75, 40),
    "sheep": (235, 235, 235),
    "person": (200, 60, 160),
    "car": (200, 20, 25),
    "sky": (120, 170, 240),
    "grass": (60, 160, 50),
}

Box = tuple[int, int, int, int]
"""Left, top, right, bottom of a rectangle, in hundredths of the picture."""


def write_folder(folder: Path) -> None:
    """An empty folder of photographs."""
    for name in ("photos", "masks", "instances"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    (folder / "pictures.jsonl").touch()


def add_photo(
    folder: Path,
    name: str,
    boxes: Sequence[tuple[str, Box]],
    *,
    set_name: str = "voc",
    split: str = "train",
    annotated: Sequence[str] = ("dog", "cat", "horse", "sheep", "person", "car"),
    told_apart: Sequence[str] | None = ("dog", "cat", "horse", "sheep", "person", "car"),
    unknown: Box | None = None,
) -> None:
    """A photograph of these rectangles, later ones in front; each is a single thing."""
    picture = np.full((SIDE, SIDE, 3), (150, 140, 130), np.uint8)
    picture += np.random.default_rng(0).integers(0, 6, picture.shape, dtype=np.uint8)
    labels, things = (np.zeros((SIDE, SIDE), np.uint8) for _ in range(2))
    for number, (noun, (left, top, right, bottom)) in enumerate(boxes, start=1):
        place = np.s_[top:bottom, left:right]
        picture[place], labels[place], things[place] = COLOURS.get(noun, (90, 90, 90)), CLASSES.index(noun), number
    if unknown is not None:
        labels[unknown[1] : unknown[3], unknown[0] : unknown[2]] = 255
    Image.fromarray(picture).save(folder / "photos" / f"{name}.png")
    Image.fromarray(labels).save(folder / "masks" / f"{name}.png")
    line = {"photo": f"photos/{name}.png", "mask": f"masks/{name}.png", "set": set_name, "split": split}
    line |= {"annotated": list(annotated), "present": sorted({noun for noun, _ in boxes})}
    if told_apart is not None:
        line |= {"instances": f"instances/{name}.png", "told_apart": list(told_apart)}
        Image.fromarray(things).save(folder / "instances" / f"{name}.png")
    with (folder / "pictures.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def scene_of(folder: Path, boxes: Sequence[tuple[str, Box]], **known: object) -> PhotoScene:
    """The scene of a photograph with these rectangles."""
    write_folder(folder)
    add_photo(folder, "one", boxes, **known)  # type: ignore[arg-type]
    return read_scene(photo_of(folder))


def photo_of(folder: Path) -> Photo:
    """The only photograph of a folder."""
    (photo,) = photographs(folder, ("train", "validation", "test"))
    return photo


def box_mask(box: Box) -> np.ndarray:
    """bool[SIDE, SIDE] of a rectangle."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def number(noun: str) -> int:
    return nouns()[noun].number


def held_out_words() -> set[str]:
    """Every word in both numbers that training never sees."""
    return {form for noun in nouns() for word in noun.held_out for form in word if form}
