"""Our own results in JSON, as labels that a model made: to train on (pseudo-labels), to correct, to hand on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from self1e.data.forms.marked import Marked, Thing
from self1e.data.json_records import JsonRecords, read_json
from self1e.data.masks import union_of_segmentations
from self1e.data.records import DataError
from self1e.files import files_of_user
from self1e.segment.results import FORMAT


class Results:
    """The pictures of results: each prompt is a thing that was found, or was not, and has a score."""

    def __init__(self, results: Path, images: Path | None = None) -> None:
        """Reads which result is about which picture.

        Args:
            results: The folder that `self1e segment --format json` wrote, or a file of lines that it printed.
            images: Folder of the pictures. None: where they were when they were segmented.

        Raises:
            DataError: When there is no result.
        """
        self.name = results.stem
        self._lines = None if results.is_dir() else JsonRecords.of_lines(results)
        self._file, self._images = results, images
        of_picture: defaultdict[str, list[Path | int]] = defaultdict(list)
        labels: dict[str, None] = {}
        self._paths: dict[str, Path] = {}
        for place, tree in self._trees(results):
            image = str(tree.get("image", ""))
            name = str(tree.get("file_name") or Path(image).name)
            self._paths[name] = Path(image) if images is None else images / name
            of_picture[name].append(place)
            labels[str(tree.get("prompt"))] = None
        if not of_picture:
            raise DataError(f"{results} holds no results: give what `self1e segment --format json` wrote")
        self._pictures = sorted(of_picture.items())
        self.labels = list(labels)

    def _trees(self, results: Path) -> Iterator[tuple[Path | int, dict[str, Any]]]:
        if self._lines is not None:
            places: Iterator[Path | int] = iter(range(len(self._lines)))
        else:
            places = iter(files_of_user(results, "**/*.json"))
        for place in places:
            tree = self._read(place)
            if isinstance(tree, dict) and isinstance(tree.get("masks"), list) and "prompt" in tree:  # or another form's
                yield place, tree

    def _read(self, place: Path | int) -> Any:
        if isinstance(place, Path):
            return read_json(place, "cannot read {path}: {error}")
        assert self._lines is not None
        return self._lines.read(place)

    def __len__(self) -> int:
        return len(self._pictures)

    def image_path(self, index: int) -> Path:
        return self._paths[self._pictures[index][0]]

    def files(self) -> Iterator[Path]:
        for index, (_, places) in enumerate(self._pictures):
            yield self.image_path(index)
            yield from (self._file if isinstance(place, int) else place for place in places)

    def __getitem__(self, index: int) -> Marked:
        name, places = self._pictures[index]
        things, shape = [], None
        for place in places:
            tree = self._read(place)
            try:
                if tree["format"] != FORMAT:
                    raise ValueError(f"it is in format {tree['format']}, not {FORMAT}")
                shape = int(tree["height"]), int(tree["width"])
                masks = [mask.get("rle") or mask["polygons"] for mask in tree["masks"]]
                pixels = partial(union_of_segmentations, masks, *shape)
                things.append(Thing(str(tree["prompt"]), pixels, float(tree["score"]), there=bool(tree["found"])))
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"{self.name}, {place}: is no result that can be read: {error!r}") from error
        return Marked(name, tuple(things), self.image_path(index), shape=shape)


def open_set(results: Path, images: Path | None = None) -> Results:
    """See `Results`."""
    return Results(results, images)
