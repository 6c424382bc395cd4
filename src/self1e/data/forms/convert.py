"""From one form to another: every picture is written anew, and what the new form cannot hold is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from self1e.data.forms import LOSSES, Form
from self1e.data.forms.marked import Marked, MarkedSet, Thing
from self1e.data.masks import IGNORE
from self1e.files import distinct
from self1e.segment.contours import mask_to_polygons


@dataclass
class Conversion:
    """What became of a data set.

    Attributes:
        pictures: How many were written.
        things: How many things are marked in them, or are said not to be there.
        lost: How often something could not be carried over, by what it is.
        broken: Names of pictures that could not be read, and why.
    """

    pictures: int = 0
    things: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[str, str]] = field(default_factory=list)


def files_of(source: MarkedSet, form: Form, folder: Path) -> tuple[list[str], list[Path]]:
    """What the files of each picture are called, without suffixes, and all files that a conversion writes."""
    names = [PurePosixPath(name).with_suffix("") for name in _names(source)]
    stems = distinct([str(name) for name in names])
    files = [form.path(folder, stem) for stem in stems] if form.file else []
    return stems, [*files, *(folder / file for file in form.whole)]


def _names(source: MarkedSet) -> Iterator[str]:
    for index in range(len(source)):
        try:
            yield source[index].name
        except (OSError, ValueError):  # which is told when it is converted
            yield f"picture {index}"


def convert(
    source: MarkedSet,
    form: Form,
    folder: Path,
    *,
    min_score: float = 0.0,
    tolerance: float = 0.0,
    on_picture: Callable[[], object] = lambda: None,
) -> Conversion:
    """Writes a data set in another form, in place of what is there. The folders of its files must exist.

    Args:
        source: What is marked.
        form: One that has a `Writer`.
        folder: Where to.
        min_score: Things that have a score, and one below this, are left out.
        tolerance: How far outlines may be moved, see `mask_to_polygons`.
        on_picture: Is called after each picture.

    Raises:
        OSError: When a file cannot be written.
    """
    done = Conversion()
    writer = form.writer(folder, source.labels, tolerance)
    stems, _ = files_of(source, form, folder)
    kept = []
    for index, stem in enumerate(stems):
        try:
            marked = _made(source[index], stem, min_score, done.lost)
        except (OSError, ValueError) as error:
            done.broken.append((str(source.image_path(index)), str(error)))
        else:
            if form.file:
                writer.write(form.path(folder, stem), marked)
            kept.append(writer.kept(marked))
            done.pictures += 1
            done.things += len(marked.things)
            done.lost += _cannot_be_held(marked, form)
        on_picture()
    writer.finish(kept, {})
    return done


def _made(marked: Marked, stem: str, min_score: float, lost: Counter[str]) -> Marked:
    """The picture with masks as arrays."""
    found = []
    size = marked.height_and_width()
    for _, what in marked.lost:
        lost[what] += 1
    for thing in marked.things:
        if thing.score is not None and thing.score < min_score:
            lost["a thing that is not sure enough"] += 1
            continue
        pixels = thing.mask() if callable(thing.mask) else thing.mask
        if pixels.shape != size:
            raise ValueError(f"{marked.name}: a mask is {pixels.shape[::-1]} pixels, the picture {size[::-1]}")
        lost["pixels that count neither way, of a thing"] += bool((pixels == IGNORE).any())
        found.append(replace(thing, mask=pixels == 1))
    return replace(marked, things=tuple(found), stem=stem, lost=())


def _cannot_be_held(marked: Marked, form: Form) -> Counter[str]:
    """How often a form loses something of a picture."""
    present = marked.present
    labels: dict[str, list[Thing]] = {}
    for thing in present:
        labels.setdefault(thing.label, []).append(thing)
    unions = {label: np.logical_or.reduce([thing.pixels() for thing in things]) for label, things in labels.items()}
    shared = np.sum(list(unions.values()), axis=0)
    counts = {
        "pixels": len(present),
        "scores": sum(thing.score is not None for thing in marked.things),
        "absent": len(marked.things) - len(present),
        "parts": sum(len(mask_to_polygons(thing.pixels())) > 1 for thing in present)
        if "parts" in form.cannot_hold
        else 0,
        "instances": len(present) - len(labels),
        "overlaps": sum(bool((shared[mask] > 1).any()) for mask in unions.values()),
    }
    return Counter({LOSSES[each]: counts[each] for each in form.cannot_hold})
