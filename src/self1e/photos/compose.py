"""Things cut out of photographs and pasted into others (copy-paste; Ghiasi et al. 2021).

Whoever pastes knows more than the labels do: how many there are now, and which of them is left. A thing is pasted
only where it is known whether there are others of its kind, and where it brings no unmarked parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageFilter

from self1e.photos.index import Photo
from self1e.photos.nouns import nouns
from self1e.photos.scene import PhotoScene, read_scene

MOST_PASTED = 4
P_ALIKE = 0.5
"""How often all things that are pasted are of one noun, of which there may be some already."""

P_FLIP = 0.5
TALLEST, SHORTEST = 0.62, 0.2
"""Of the longer side of what is pasted, in sides of the picture."""

SQUEEZED = (0.65, 1.05)
"""Width against height: photographs are wider than high, and are stretched to squares."""

LEAST_CUT = 0.012
"""Share of its photograph that a thing has to have to be cut out."""

TRIES = 5
MOST_HIDDEN = 0.35
"""Share of a thing that may be covered."""

MOST_COVERED = 0.6
"""Share of all that is there of a noun that may be covered."""

NOT_WHOLE = ("chair", "sofa", "dining table", "bed", "bench", "potted plant", "oven", "sink", "tie")
"""Nouns whose things are mostly hidden in part, or built in."""

SPREAD = 0.35
"""Power of the number of things of a noun with which it is chosen: 1 would choose all things alike, 0 all nouns."""


@dataclass(frozen=True)
class Cutout:
    """A thing cut out of its photograph.

    Attributes:
        noun: What it is.
        picture: uint8[H, W, 3].
        mask: bool[H, W].
        grounded: Whether the photograph ends below it, so that it cannot hang in the air.
    """

    noun: str
    picture: np.ndarray
    mask: np.ndarray
    grounded: bool


class Pool:
    """Where things can be cut out.

    Args:
        photos: Photographs for training; those in which things are told apart are used.
    """

    def __init__(self, photos: Sequence[Photo]) -> None:
        self.photos: dict[str, list[Photo]] = {}
        for photo in photos:
            for noun in sorted((photo.told_apart & photo.present) | set(photo.rules.cut)):
                if nouns()[noun].kind == "thing" and noun not in NOT_WHOLE:
                    self.photos.setdefault(noun, []).append(photo)

    def draw(self, allowed: Sequence[str], rng: Generator) -> str | None:
        """One of these nouns, the rarer ones nearly as often as the others; None if there are none of them."""
        found = [noun for noun in allowed if noun in self.photos]
        if not found:
            return None
        weights = np.cumsum([len(self.photos[noun]) ** SPREAD for noun in found])
        return found[int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))]

    def cut(self, noun: str, rng: Generator) -> Cutout | None:
        """A thing of a noun; None if the photograph that was drawn has no whole one."""
        photos = self.photos[noun]
        scene = read_scene(photos[int(rng.random() * len(photos))])
        if scene.grey:
            return None
        inside = _one_of(scene, noun, rng)
        if inside is None:
            return None
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        height, width = inside.shape
        if inside.mean() < LEAST_CUT or rows[0] == 0 or columns[0] == 0 or columns[-1] == width - 1:
            return None
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return Cutout(noun, scene.picture[box], inside[box], bool(rows[-1] >= height - 2))


def _one_of(scene: PhotoScene, noun: str, rng: Generator) -> np.ndarray | None:
    """bool[H, W] of a thing of a noun."""
    rules = scene.photo.rules
    if noun in rules.cut:
        inside = scene.mask(*(name for name in rules.owners[noun] if "bag" not in nouns()[name].groups)) == 1
        return inside if inside.any() else None
    numbers = np.unique(scene.things[np.isin(scene.labels, scene.members(noun)) & (scene.things > 0)])
    return scene.things == numbers[int(rng.random() * len(numbers))] if len(numbers) else None


def composed(scene: PhotoScene, pool: Pool, rng: Generator) -> PhotoScene:
    """A scene with a few things more, or as it was if nothing fits.

    Args:
        scene: At its final size, before light and focus change.
        pool: What can be pasted.
        rng: The only source of chance.
    """
    allowed = pasteable(scene.photo)
    count = 1 + int(rng.random() * MOST_PASTED)
    alike = pool.draw(_likely(scene, allowed, rng), rng) if rng.random() < P_ALIKE else None
    for _ in range(count):
        noun = alike or pool.draw(allowed, rng)
        cutout = pool.cut(noun, rng) if noun else None
        if cutout is not None:
            scene = _pasted(scene, cutout, rng)
    return scene


def pasteable(photo: Photo) -> list[str]:
    """Nouns of which it is known whether there are others in a photograph, and that bring no unmarked parts."""
    rules = photo.rules
    if "all" in rules.no_paste:
        return []
    known = (photo.annotated - set(rules.guessed)) | set(rules.absent)
    return sorted(known - set(rules.no_paste) - set(rules.leave_out))


def _likely(scene: PhotoScene, allowed: Sequence[str], rng: Generator) -> list[str]:
    """Nouns to paste several of: half of the time one that is there, all of whose things are known."""
    there = [noun for noun in allowed if noun in scene.photo.told_apart & scene.photo.present]
    return there if there and rng.random() < 0.5 else list(allowed)


def _pasted(scene: PhotoScene, cutout: Cutout, rng: Generator) -> PhotoScene:
    """The scene with a thing more, at a place where it hides little; the scene as it is where there is none."""
    size = scene.labels.shape[0]
    number = int(scene.things.max()) + 1
    if number > 255:
        return scene
    flip = rng.random() < P_FLIP
    for _ in range(TRIES):
        picture, alpha = _scaled(cutout, size, flip, rng)
        height, width = alpha.shape
        left = int(rng.random() * (size - width + 1))
        top = size - height if cutout.grounded else int((size - height) * rng.uniform(0.3, 1.0))
        place = np.s_[top : top + height, left : left + width]
        inside = alpha > 0.5
        if inside.sum() and not _hides(scene, place, inside):
            return _with(scene, cutout, number, place, picture, alpha)
    return scene


def _scaled(cutout: Cutout, size: int, flip: bool, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of a thing at the size it is pasted, and float[h, w] how much each covers."""
    height, width = cutout.mask.shape
    wide = width * rng.uniform(*SQUEEZED)
    scale = rng.uniform(SHORTEST, TALLEST) * size / max(height, wide)
    side = (max(4, round(wide * scale)), max(4, round(height * scale)))
    picture = np.asarray(Image.fromarray(cutout.picture).resize(side, Image.Resampling.BILINEAR), np.float32)
    mask = Image.fromarray(cutout.mask.astype(np.uint8) * 255).resize(side, Image.Resampling.BILINEAR)
    alpha = np.asarray(mask.filter(ImageFilter.GaussianBlur(0.6)), np.float32) / 255
    picture = picture * rng.uniform(0.8, 1.2)
    return (picture[:, ::-1], alpha[:, ::-1]) if flip else (picture, alpha)


def _hides(scene: PhotoScene, place: tuple[slice, slice], inside: np.ndarray) -> bool:
    """Whether too much would be hidden of a thing, or of all that is there of a noun."""
    for maps, most in ((scene.things, MOST_HIDDEN), (scene.labels, MOST_COVERED)):
        covered = maps[place][inside]
        for value in np.unique(covered[covered > 0]):
            if (covered == value).sum() > most * (maps == value).sum():
                return True
    return False


def _with(
    scene: PhotoScene,
    cutout: Cutout,
    number: int,
    place: tuple[slice, slice],
    picture: np.ndarray,
    alpha: np.ndarray,
) -> PhotoScene:
    photo, noun = scene.photo, cutout.noun
    inside = alpha > 0.5
    pixels, labels, things = scene.picture.copy(), scene.labels.copy(), scene.things.copy()
    under = pixels[place].astype(np.float32)
    pixels[place] = np.clip(under + alpha[..., None] * (picture - under), 0, 255).astype(np.uint8)
    labels[place][inside] = nouns()[noun].number
    things[place][inside] = number
    others = np.isin(scene.labels, scene.members(noun)).any()
    known = noun in photo.told_apart or not others
    photo = replace(
        photo,
        annotated=photo.annotated | {noun},
        present=photo.present | {noun},
        told_apart=photo.told_apart | {noun} if known else photo.told_apart,
    )
    return replace(scene, photo=photo, picture=pixels, labels=labels, things=things)
