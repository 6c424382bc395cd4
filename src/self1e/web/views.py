"""What is seen of a page, and what is downloaded: drawn and written by the library's own writers."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
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

THUMBNAIL = 160

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
    return jpeg(_there(session).reduce(step_of(_there(session).size)))


def masks(session: Session) -> bytes:
    """The picture with the masks that are shown, in the size of the view."""
    image, layers = _there(session), session.shown
    return jpeg(draw(image, layers, session.threshold, session.opacity))


def draw(image: Image.Image, layers: Sequence[Layer], threshold: float, opacity: float) -> Image.Image:
    """Layers on a picture, in the size of the view."""
    step = step_of(image.size)
    small = [_thinned(layer, step) for layer in layers]
    return together(image.reduce(step), small, threshold).overlay(_colours(layers), alpha=opacity, dim=DIMMED)


def _thinned(layer: Layer, step: int) -> Layer:
    """A layer with each so-manieth pixel of its mask."""
    if step == 1:
        return layer
    result = layer.result
    logits = None if result.logits is None else result.logits[:, ::step, ::step]
    thin = Segmentation(
        result.masks[:, ::step, ::step], result.scores, result.prompt, result.text, None, result.model, logits
    )
    return Layer(thin, layer.colour)


def reply(session: Session, number: int) -> bytes:
    """The picture with the masks of an answer, a colour each."""
    if not 0 <= number < len(session.talk):
        raise PageError("This answer is not there any more.")
    said = session.talk[number]
    layers = [Layer(one, colour) for colour, one in enumerate(said)]
    return jpeg(draw(_there(session), layers, 0.5, session.opacity))


def thumbnail(session: Session) -> bytes:
    """The picture with its masks, small."""
    image = draw(_there(session), session.shown, session.threshold, session.opacity)
    image.thumbnail((THUMBNAIL * 2, THUMBNAIL * 2))
    return jpeg(image, quality=85)


def _there(session: Session) -> Image.Image:
    if session.picture is None:
        raise PageError("There is no picture yet.")
    return session.picture.image


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
    image, layers = _there(session), session.shown
    result = together(image, layers, session.threshold)
    return png(result.overlay(_colours(layers), alpha=session.opacity, dim=DIMMED))


def mask(session: Session) -> bytes:
    """All that is shown, white on black."""
    return png(together(_there(session), session.shown, session.threshold).mask_image())


def cutout(session: Session) -> bytes:
    """All that is shown, on a transparent background."""
    return png(together(_there(session), session.shown, session.threshold).cutout())


def coco(session: Session) -> bytes:
    """COCO instances."""
    return _written(session, "coco")


def labelme(session: Session) -> bytes:
    """A file of LabelMe."""
    return _written(session, "labelme")


def _written(session: Session, form: str) -> bytes:
    """The masks that are shown in a form of `self1e.data.forms`."""
    image, layers = _there(session), session.shown
    assert session.picture is not None
    name = Path(session.picture.source.name).name
    things = []
    for layer in layers:
        result = layer.at(session.threshold)
        things.append(Thing(result.prompt, result.mask, result.score, there=result.found))
    labels = list(dict.fromkeys(layer.prompt for layer in layers))
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
    """What a download is called.

    >>> import re; re.sub(r"[^\\w.-]+", "_", "my cat?")
    'my_cat_'
    """
    assert session.picture is not None
    stem = re.sub(r"[^\w.-]+", "_", Path(session.picture.source.name).stem) or "picture"
    return f"{stem}.{DOWNLOADS[name][1]}"
