"""What is seen of a page, and what is downloaded: drawn and written by the library's own writers."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from self1e.data.forms import FORMS
from self1e.data.forms.marked import Marked, Thing
from self1e.segment.overlay import PALETTE
from self1e.segment.results import Segmentation
from self1e.web.state import Layer, PageError, Session

LARGEST_VIEW = 1600
"""Pixels of the longer side on the page; downloads have the picture's own size."""

THUMBNAIL = 320
"""Pixels of the longer side of a small picture: twice what the page shows, for fine screens."""

DIMMED = 0.25
"""How much of the light is taken from what no mask covers."""


def palette(number: int) -> tuple[int, int, int]:
    """The colour of a layer."""
    return PALETTE[number % len(PALETTE)]


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    """A picture as the page gets it: fast to make, and small enough for a slider to follow."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()


def small(image: Image.Image) -> bytes:
    """A picture of a list."""
    copy = image.copy()
    copy.thumbnail((THUMBNAIL, THUMBNAIL))
    return jpeg(copy, quality=85)


def png(image: Image.Image) -> bytes:
    """A picture as it is downloaded."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


# ------------------------------------------------------------------------------------------------------------ the page


def step_of(size: tuple[int, int]) -> int:
    """Only each so-manieth pixel is shown, so that the view is not larger than `LARGEST_VIEW`.

    >>> step_of((640, 480)), step_of((4000, 3000))
    (1, 3)
    """
    return ceil(max(size) / LARGEST_VIEW)


def original(session: Session) -> bytes:
    """The picture, in the size of the view."""
    image = session.opened.image
    return jpeg(image.reduce(step_of(image.size)))


def masks(session: Session) -> bytes:
    """The picture with the masks that are shown, in the size of the view."""
    return jpeg(_drawn(session))


def _drawn(session: Session) -> Image.Image:
    return draw(session.opened.image, session.shown, session.threshold, session.opacity)


def draw(image: Image.Image, layers: Sequence[Layer], threshold: float, opacity: float) -> Image.Image:
    """Layers on a picture, in the size of the view."""
    step = step_of(image.size)
    thinned = [_thinned(layer, step) for layer in layers]
    return together(image.reduce(step), thinned, threshold).overlay(_colours(layers), alpha=opacity, dim=DIMMED)


def _thinned(layer: Layer, step: int) -> Layer:
    """A layer with each so-manieth pixel of its mask."""
    if step == 1:
        return layer
    result = layer.result
    logits = None if result.logits is None else result.logits[:, ::step, ::step]
    return replace(layer, result=replace(result, masks=result.masks[:, ::step, ::step], logits=logits, image=None))


def reply(session: Session, number: int) -> bytes:
    """The picture with the masks of an answer, a colour each."""
    if not 0 <= number < len(session.talk):
        raise PageError("This answer is not there any more.")
    said = session.talk[number]
    layers = [Layer(one, colour) for colour, one in enumerate(said)]
    return jpeg(draw(session.opened.image, layers, 0.5, session.opacity))


def thumbnail(session: Session) -> bytes:
    """The picture with its masks, small."""
    return small(_drawn(session))


# ----------------------------------------------------------------------------------------------------------- downloads


def together(image: Image.Image, layers: Sequence[Layer], threshold: float) -> Segmentation:
    """The layers as one result with a mask each, at a threshold."""
    found = [layer.at(threshold) for layer in layers]
    shape = (len(found), image.height, image.width)
    joined = np.stack([each.mask for each in found]) if found else np.zeros(shape, bool)
    prompt = "; ".join(each.prompt for each in found)
    return Segmentation(joined, np.array([each.score for each in found], np.float32), prompt, image=image)


def _colours(layers: Sequence[Layer]) -> list[tuple[int, int, int]] | None:
    return [palette(layer.colour) for layer in layers] or None


def overlay(session: Session) -> bytes:
    """The picture with its masks, in its own size."""
    layers = session.shown
    result = together(session.opened.image, layers, session.threshold)
    return png(result.overlay(_colours(layers), alpha=session.opacity, dim=DIMMED))


def mask(session: Session) -> bytes:
    """All that is shown, white on black."""
    return png(together(session.opened.image, session.shown, session.threshold).mask_image())


def cutout(session: Session) -> bytes:
    """All that is shown, on a transparent background."""
    return png(together(session.opened.image, session.shown, session.threshold).cutout())


def coco(session: Session) -> bytes:
    """COCO instances."""
    return _written(session, "coco")


def labelme(session: Session) -> bytes:
    """A file of LabelMe."""
    return _written(session, "labelme")


def _written(session: Session, form: str) -> bytes:
    """The masks that are shown in a form of `self1e.data.forms`."""
    image, name = session.opened.image, Path(session.opened.source.name).name
    found = [layer.at(session.threshold) for layer in session.shown]
    things = [Thing(each.prompt, each.mask, each.score, there=each.found) for each in found]
    labels = list(dict.fromkeys(each.prompt for each in found))
    with TemporaryDirectory(prefix="self1e-web-") as folder:
        place = Path(folder)
        writer = FORMS[form].writer(place, labels)
        marked = Marked(name, tuple(things), place / name, Path(name).stem, (image.height, image.width), image)
        file = place / f"{form}.json"
        if writer.form.file:
            writer.write(file, marked)
        else:
            writer.finish([writer.kept(marked)], {})
        return file.read_bytes()


DOWNLOADS: dict[str, tuple[str, str, str, Callable[[Session], bytes]]] = {
    "overlay": ("Overlay", "overlay.png", "image/png", overlay),
    "mask": ("Mask", "mask.png", "image/png", mask),
    "cutout": ("Cut-out", "cutout.png", "image/png", cutout),
    "coco": ("COCO", "coco.json", "application/json", coco),
    "labelme": ("LabelMe", "labelme.json", "application/json", labelme),
}
"""By name: what the page calls it, how its file's name ends, its type, and what makes it."""


def file_name(session: Session, name: str) -> str:
    """What a download is called: as the picture, with "_" for what is no letter, digit, dot, or hyphen."""
    stem = re.sub(r"[^\w.-]+", "_", Path(session.opened.source.name).stem) or "picture"
    return f"{stem}.{DOWNLOADS[name][1]}"
