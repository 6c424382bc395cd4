"""Our own results in JSON, as labels that a model made: to train on (pseudo-labels), to correct, to hand on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from self1e.data.forms.marked import Lost, MarkedSet, Thing
from self1e.data.json_records import JsonRecords, read_json
from self1e.data.masks import union_of_segmentations
from self1e.data.records import Canvas, DataError
from self1e.files import files_of_user
from self1e.segment.results import FORMAT


class Reader(MarkedSet):
    """The pictures of results: each prompt is a thing that was found, or was not, and has a score."""

    def __init__(self, results: Path, images: Path | None = None) -> None:
        """Reads which result is about which picture.

        Args:
            results: The folder that `self1e segment --format json` wrote, or a file of lines that it printed.
            images: Folder of the pictures. None: where they were when they were segmented.

        Raises:
            DataError: When there is no result, or it is not clear which picture one is about.
        """
        self._lines = None if results.is_dir() else JsonRecords.of_lines(results)
        self._file = results
        of_picture: defaultdict[Path, list[Path | int]] = defaultdict(list)
        segmented: dict[Path, str] = {}
        faults: list[DataError] = []
        labels: list[str] = []
        for place in files_of_user(results, "**/*.json") if self._lines is None else range(len(self._lines)):
            try:
                tree = self._tree(place)
            except DataError as error:
                faults.append(error)
                continue
            if not isinstance(tree, dict) or not isinstance(tree.get("masks"), list) or "prompt" not in tree:
                continue  # another form's
            image = str(tree.get("image", ""))
            picture = Path(image) if images is None else images / str(tree.get("file_name") or Path(image).name)
            if (other := segmented.setdefault(picture, image)) != image and images is not None:
                raise DataError(f"{results}: {other} and {image} would both be {picture}: leave `images` out")
            of_picture[picture].append(place)
            labels.append(str(tree.get("prompt")))
        if not of_picture:
            raise DataError(f"{results} holds no results: give what `self1e segment --format json` wrote")
        self._places = [of_picture[picture] for picture in sorted(of_picture)]
        super().__init__(results.resolve().stem, labels, [*sorted(of_picture), *faults], images)

    def _tree(self, place: Path | int) -> Any:
        if isinstance(place, Path):
            return read_json(place, "cannot read {path}: {error}")
        assert self._lines is not None
        return self._lines.read(place)

    def files(self) -> Iterator[Path]:
        for image, places in zip(super().files(), self._places, strict=True):
            yield image
            yield from (self._file if isinstance(place, int) else place for place in places)

    def _read(self, index: int, canvas: Canvas) -> tuple[list[Thing], list[Lost]]:
        things = []
        for place in self._places[index]:
            tree = self._tree(place)
            try:
                if tree["format"] != FORMAT:
                    raise ValueError(f"it is in format {tree['format']}, not {FORMAT}")
                masks = [mask.get("rle") or mask["polygons"] for mask in tree["masks"]]
                pixels = partial(union_of_segmentations, masks, int(tree["height"]), int(tree["width"]))
                things.append(Thing(str(tree["prompt"]), pixels, float(tree["score"]), there=bool(tree["found"])))
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise DataError(f"{self.name}, {place}: is no result that can be read: {error!r}") from error
        return things, []
