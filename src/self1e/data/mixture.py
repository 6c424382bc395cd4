"""Several sources as one training set, in an order that is a function of the seed alone.

Example `i` of a run comes from the part that its random number chooses by sampling rate, and from one of the sources of
that part, each as likely as the others. A source is gone through in random order, again and again, so that every
picture is seen once before any is seen twice. Nothing depends on who asks, or on what was asked before: any number of
processes and workers can share the work, and a resumed run sees what an uninterrupted one would.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.random import Generator

from self1e.conversation import Example
from self1e.data.broken import first_sound
from self1e.data.json_records import read_json
from self1e.data.records import DataError, NothingSaid, Record, Source, to_example

logger = logging.getLogger(__name__)

GQA, VISUAL_GENOME = "gqa", "image_data.json"


@dataclass(frozen=True)
class MixturePart:
    """Sources that share a sampling rate, such as all referring ones."""

    rate: float
    sources: tuple[Source, ...]


class Mixture:
    """`length` examples out of several sources.

    A broken record is replaced by another of its source, and named in the `skipped` of the example that took
    its place: pairs of record id and reason. A picture about which nothing is said is passed over without a word.

    Args:
        parts: By name; a rate of 0 leaves a part out.
        length: How many examples a run sees.
        seed: Decides order, queries and words.
        at_most: Queries and talks taken of a picture.
        training: Whether words vary; otherwise they are those of the evaluation protocol.
        change: Makes another example of each, with random numbers that depend on seed and index alone.

    Raises:
        DataError: When there is nothing to choose from.
    """

    def __init__(
        self,
        parts: Mapping[str, MixturePart],
        length: int,
        seed: int,
        at_most: int = 3,
        *,
        training: bool = True,
        change: Callable[[Example, Generator], Example] | None = None,
    ) -> None:
        used = {name: part for name, part in parts.items() if part.rate > 0}
        for name, part in used.items():
            if not part.sources or not all(len(source) for source in part.sources):
                raise DataError(f"the part {name!r} has a rate of {part.rate}, but a source without records, or none")
        if not used:
            raise DataError("no part of the mixture has a rate above 0")
        self.sources = [source for part in used.values() for source in part.sources]
        shares = [part.rate / len(part.sources) for part in used.values() for _ in part.sources]
        self.seed, self.at_most, self.training, self.change = seed, at_most, training, change
        rng = np.random.default_rng([seed, 0])
        self._source = rng.choice(len(self.sources), length, p=np.array(shares) / sum(shares)).astype(np.int16)
        self._visit = np.zeros(length, np.int64)  # how often the source was chosen before
        for number in range(len(self.sources)):
            chosen = self._source == number
            self._visit[chosen] = np.arange(chosen.sum())
        self._order = lru_cache(maxsize=2 * len(self.sources))(self._shuffled)

    def __getstate__(self) -> dict[str, object]:
        """Without the cache, which cannot go to another process."""
        return {name: value for name, value in self.__dict__.items() if name != "_order"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__ |= state
        self._order = lru_cache(maxsize=2 * len(self.sources))(self._shuffled)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        """Example `index` of the run.

        Raises:
            AllBrokenError: When `TRIES` records in a row are broken.
        """
        number, place = self.place(index)
        source = self.sources[number]
        example = first_sound(self._candidates(index, source, place), f"records of {source.name}")
        if self.change is not None:
            example = self.change(example, np.random.default_rng([self.seed, 3, index]))
        return replace(example, id=f"{source.name}/{example.id}")

    def _candidates(self, index: int, source: Source, place: int) -> Iterator[tuple[str, Callable[[], Example]]]:
        """The example of a record, and of others of its source, should it be broken."""
        rng = np.random.default_rng([self.seed, 1, index])
        while True:
            yield f"{source.name} {place}", partial(self._example, source, place, rng)
            place = int(rng.integers(len(source)))

    def _example(self, source: Source, place: int, rng: Generator) -> Example:
        return to_example(usable(source[place]), rng, at_most=self.at_most, training=self.training)

    def place(self, index: int) -> tuple[int, int]:
        """(number of the source, index of the record in it) of example `index`."""
        number, visit = int(self._source[index]), int(self._visit[index])
        turn, place = divmod(visit, len(self.sources[number]))
        return number, int(self._order(number, turn)[place])

    def _shuffled(self, number: int, turn: int) -> np.ndarray:
        """The order in which a source is gone through for the `turn`-th time."""
        return np.random.default_rng([self.seed, 2, number, turn]).permutation(len(self.sources[number]))


def usable(record: Record) -> Record:
    """The record. Raises NothingSaid if nothing is said about its picture."""
    if not record.queries and not record.talks:
        raise NothingSaid(f"{record.id}: nothing is said about this picture")
    return record


class Subset:
    """A source without some of its pictures.

    Attributes:
        left_out: How many records it lacks.
    """

    def __init__(self, source: Source, keep: Sequence[int]) -> None:
        self.name = source.name
        self.left_out = len(source) - len(keep)
        self._source, self._keep = source, np.asarray(keep, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._keep)

    def __getitem__(self, index: int) -> Record:
        return self._source[int(self._keep[index])]

    def image_path(self, index: int) -> Path:
        """The picture of a record."""
        return self._source.image_path(int(self._keep[index]))


def without_pictures(source: Source, coco_ids: frozenset[int]) -> Subset:
    """The source without records about these COCO pictures, as far as `coco_id` knows them.

    A record that does not tell its picture is kept: it will be found broken, and named, when it is asked for.
    """

    def held_out(index: int) -> bool:
        try:
            path = source.image_path(index)
        except DataError:
            return False
        return coco_id(path) in coco_ids

    return Subset(source, [index for index in range(len(source)) if not (coco_ids and held_out(index))])


def coco_id(path: Path) -> int | None:
    """The id of a COCO picture, by its file name, or for pictures of GQA by Visual Genome's list; None for others.

    Raises:
        DataError: When that list is there, but unreadable.

    >>> [coco_id(Path(name)) for name in ("COCO_val2014_000000000139.jpg", "000000000139.jpg", "ADE_val_00000139.jpg")]
    [139, 139, None]
    """
    found = re.fullmatch(r"(?:COCO_\w+?_)?(\d{12})", path.stem)
    if found:
        return int(found[1])
    if path.parent.parent.name == GQA and path.stem.isdecimal():
        return _coco_ids_of_visual_genome(path.parent.parent).get(int(path.stem))
    return None


@lru_cache
def _coco_ids_of_visual_genome(folder: Path) -> dict[int, int]:
    """Ids in Visual Genome, whose pictures GQA has -> ids in COCO, which has about half of them."""
    path = folder / VISUAL_GENOME
    if not path.exists():
        logger.warning(
            "pictures in %s cannot be checked: which of them are COCO's, and tested on, says Visual Genome's %s, to be "
            "put there",
            folder,
            VISUAL_GENOME,
        )
        return {}
    fault = "{path} is no list of pictures with `image_id` and `coco_id` ({error}): get it again"
    pictures = read_json(path, fault)
    try:
        return {each["image_id"]: each["coco_id"] for each in pictures if each["coco_id"] is not None}
    except (TypeError, KeyError) as error:
        raise DataError(fault.format(path=path, error=error)) from error
