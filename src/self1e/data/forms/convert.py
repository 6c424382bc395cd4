"""From one form to another: every picture is written anew, and what the new form cannot hold is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path, PurePosixPath

from self1e.data.forms import LOSSES
from self1e.data.forms.marked import Marked, MarkedSet, Writer
from self1e.data.masks import IGNORE
from self1e.data.records import DataError, misfit
from self1e.files import distinct, files_of_user, picture_suffixes
from self1e.segment.contours import mask_to_polygons


@dataclass
class Conversion:
    """What became of a data set.

    Attributes:
        pictures: How many the new form names.
        things: How many things are marked in them there, or are said not to be there.
        lost: How often something could not be carried over, by what it is.
        broken: Names of pictures that could not be read, and why.
    """

    pictures: int = 0
    things: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[str, str]] = field(default_factory=list)


def layout(source: MarkedSet, writer: Writer) -> tuple[list[str], list[Path]]:
    """What the files of each picture are called, without suffixes, and all files that a conversion writes.

    Raises:
        DataError: When the form cannot tell two pictures apart or what is read would be written over, or files of other
            pictures are in the folders, which readers would take for those of this set.
        FileExistsError: When another picture is in the place of one.
    """
    form, folder = writer.form, writer.folder
    plain = [str(PurePosixPath(name).with_suffix("")) for name in source.names]
    stems = distinct(plain)
    for name, wanted, stem in zip(source.names, plain, stems, strict=True):
        if form.by_name and stem != wanted:
            raise DataError(f"{form.name} cannot tell {name} from another picture of that name: rename one of them")
    resolved = cache(Path.resolve)

    def place(file: Path) -> Path:
        """The file itself, where it is a link, and not what that leads to."""
        return resolved(file.parent) / file.name

    tops, files, written = set(), set(), []
    for index, stem in enumerate(stems):
        with suppress(DataError):  # which is told when the picture is read
            image = source.image_path(index)
            for file in writer.files(stem, image):
                tops.add(folder / file.relative_to(folder).parts[0])
                files.add(place(file))
                written += [] if writer.is_there(file, image) else [file]
    kinds = picture_suffixes() | {PurePosixPath(form.file).suffix}
    strangers = [
        path
        for top in tops
        for path in files_of_user(top, "**/*")
        if path.suffix.lower() in kinds and place(path) not in files
    ]
    if strangers:
        raise DataError(
            f"{len(strangers):,} files there, such as {strangers[0]}, are of no picture of this data set, and would be "
            "read as if they were: write elsewhere, or remove what an earlier run wrote"
        )
    written += [folder / file for file in form.whole]
    sources = {place(file) for file in source.files()}
    if lost := [file for file in written if place(file) in sources]:
        raise DataError(f"{lost[0]} is what is read: write elsewhere")
    return stems, written


def convert(
    source: MarkedSet,
    writer: Writer,
    stems: Sequence[str],
    *,
    min_score: float = 0.0,
    on_picture: Callable[[], object] = lambda: None,
) -> Conversion:
    """Writes a data set in another form, in place of what is there. The folders of its files must exist.

    Args:
        source: What is marked.
        writer: Of the other form.
        stems: See `layout`.
        min_score: Things that have a score, and one below this, are left out.
        on_picture: Is called after each picture.

    Raises:
        OSError: When a file cannot be written.
    """
    done = Conversion()
    form = writer.form
    kept = []
    for index, stem in enumerate(stems):
        try:
            marked = _made(source[index], stem, min_score, done.lost)
        except (OSError, ValueError) as error:
            done.broken.append((source.names[index], str(error)))
            with suppress(DataError):
                image = source.image_path(index)
                for file in writer.files(stem, image):
                    if not writer.is_there(file, image):
                        file.unlink(missing_ok=True)  # what an earlier run made of it may have other classes
        else:
            if form.file:
                writer.write(form.path(writer.folder, stem), marked)
            kept.append(writer.kept(marked))
            lost = Counter({each: _COUNTS[each](marked) for each in form.cannot_hold if each in _COUNTS})
            done.pictures += 1 - lost["empty"]
            done.things += len(marked.things) - lost["absent"] - lost["instances"]
            done.lost += Counter({LOSSES[each]: count for each, count in lost.items()})
        on_picture()
    writer.finish(kept, {})
    return done


def _made(marked: Marked, stem: str, min_score: float, lost: Counter[str]) -> Marked:
    """The picture with masks as arrays."""
    found = []
    size = marked.height_and_width()
    for thing in marked.things:
        if thing.score is not None and thing.score < min_score:
            lost["a thing that is not sure enough"] += 1
            continue
        pixels = thing.mask() if callable(thing.mask) else thing.mask
        if wrong := misfit(pixels, size):
            raise ValueError(wrong)
        lost["a thing with pixels that count neither way"] += bool((pixels == IGNORE).any())
        if thing.there and not (pixels == 1).any():
            lost["a thing that has no pixel in the picture"] += 1
            continue
        found.append(replace(thing, mask=pixels == 1))
    lost.update(each.what for each in marked.lost)
    return replace(marked, things=tuple(found), stem=stem, shape=size, lost=())


#: How often a form loses something of a picture, for each of `LOSSES`; of overlaps the writer of index maps tells.
_COUNTS: dict[str, Callable[[Marked], int]] = {
    "pixels": lambda marked: len(marked.present),
    "scores": lambda marked: sum(thing.score is not None for thing in marked.things),
    "absent": lambda marked: len(marked.things) - len(marked.present),
    "parts": lambda marked: sum(len(mask_to_polygons(thing.pixels())) > 1 for thing in marked.present),
    "instances": lambda marked: len(marked.present) - len({thing.label for thing in marked.present}),
    "crowds": lambda marked: sum(thing.crowd for thing in marked.present),
    "empty": lambda marked: not marked.things,
}
