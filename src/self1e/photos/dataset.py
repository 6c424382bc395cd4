"""Photographs as a training set: example `i` is a photograph and what is asked of it, a function of (seed, i) alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from PIL import Image
from pydantic import Field, model_validator
from torch.utils.data import Dataset

from self1e.conversation import Conversation, Example
from self1e.data.records import DataError
from self1e.data.settings import DataSettings, PathText
from self1e.photos.augment import cropped, relit, resized, section_of
from self1e.photos.compose import Pool, composed
from self1e.photos.index import Photo, photo_sets, photographs
from self1e.photos.language import SEGMENTING, TEXTUAL, View, conversation, sample_queries
from self1e.photos.language.absent import Companions, Elsewhere
from self1e.photos.language.query import KINDS
from self1e.photos.nouns import nouns
from self1e.photos.scene import PhotoScene, read_labels, read_scene

Weight = Annotated[float, Field(ge=0)]

#: How often each kind of question is asked, relative to the others.
DEFAULT_WEIGHTS: dict[str, float] = {
    "noun": 6.0,
    "group": 0.5,
    "union": 0.7,
    "part": 0.7,
    "ordinal": 1.8,
    "size": 0.5,
    "place": 0.4,
    "relation": 0.6,
    "colour": 0.8,
    "use": 0.7,
    "absent": 2.2,
    "vqa_yesno": 1.5,
    "vqa_count": 1.0,
    "vqa_colour": 0.7,
    "vqa_where": 0.6,
}

VIEW = "photos"
"""Key of the `View` in the extras of an example."""

TRIES = 25
"""Photographs taken for an example until one has something to ask about: a section of one may have nothing."""

OTHERS = 2
"""Photographs of the same set that are looked at for an example, for nouns that may be asked for where they are not.
More would make these harder, as those that one expects are taken first, and rare ones oftener not there than there."""

MOST_LIFTED = 4.0
"""How much more often than others of its set a photograph is drawn that shows a rare noun, at most."""


class PhotoData(DataSettings):
    """Folders of photographs, see `self1e.photos.index`, and what is asked of them."""

    name: ClassVar[str] = "photos"

    folders: list[PathText] = Field(min_length=1)
    seed: int = Field(1, description="two runs with the same seed see the same examples in the same order")
    size: int = Field(320, gt=0, description="side of the square that a photograph is stretched to, pixels")
    segmenting: int = Field(10, ge=0, description="questions a picture that are answered by a mask")
    textual: int = Field(3, ge=0, description="questions a picture that are answered in words")
    absent_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="share of the questions wanted of a picture that may be about what is not there; of those that "
        "come, often fewer, it is more. With many, a model that has yet to learn a noun learns to say no",
    )
    composed: float = Field(0.5, ge=0, le=1, description="share of pictures that things are pasted into")
    textual_share: float = Field(0.5, ge=0, le=1, description="share of pictures that have textual and rehearsed ones")
    rehearsed: int = Field(2, ge=0, description="segmenting answers a picture that are learnt as text, causally")
    weights: dict[str, Weight] = Field(DEFAULT_WEIGHTS, description="how often each kind of question is asked")
    sets: dict[str, Weight] = Field({}, description="weights of sets, in place of those of the table; 0 leaves one out")
    leave_out: list[str] = Field([], description="nouns that no question is about")

    @model_validator(mode="after")
    def _known(self) -> PhotoData:
        for given, known, what in ((self.weights, KINDS, "kind of question"), (self.sets, photo_sets(), "set")):
            unknown = sorted(set(given) - set(known))
            if unknown:
                raise ValueError(f"there is no {what} {', '.join(unknown)}: known are {', '.join(known)}")
        for name in self.leave_out:
            nouns()[name]
        return self

    @property
    def always_asks(self) -> bool:
        pointing, worded = (any(self.weights.get(kind) for kind in kinds) for kinds in (SEGMENTING, TEXTUAL))
        sometimes = (worded and self.textual) or (pointing and self.rehearsed)
        return bool((pointing and self.segmenting) or (sometimes and self.textual_share == 1))

    def examples(self, length: int, *, training: bool) -> PhotoDataset:
        """See `PhotoDataset`."""
        return PhotoDataset(self, length, training=training)


class PhotoDataset(Dataset[Example]):
    """Args:
    settings: Which photographs, and what is asked.
    length: Number of examples; a run sees each of them once.
    training: Photographs for training, augmented, in words that vary; otherwise those of the validation split, whole
        and unchanged, in the words of the evaluation protocol. One that nothing can be asked about gives way to
        another, in validation to the next.

    Raises:
        DataError: When a folder cannot be used, or has no photograph for this.
    """

    def __init__(self, settings: PhotoData, length: int, *, training: bool = True) -> None:
        self.settings = settings
        self.length = length
        self.training = training
        known = [photo for folder in settings.folders for photo in photographs(Path(folder), ("train", "validation"))]
        to_train = [photo for photo in known if photo.split == "train"]
        self.companions = companions(to_train)
        self.photos = [photo for photo in known if (photo.split == "train") == training and self._weight(photo.set)]
        if not self.photos:
            raise DataError(f"{', '.join(settings.folders)}: no photograph for {self._use}")
        self.pool = Pool(self.photos)
        chances = self._chances()
        self.draws = _Draws(self.photos, np.cumsum(chances))
        self.draws_of_set = {name: self._draws_of(name, chances) for name in {photo.set for photo in self.photos}}
        self.order = np.random.default_rng([settings.seed, 2]).permutation(len(self.photos))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        """Example `index`.

        Raises:
            DataError: When a file cannot be read, or nothing can be asked about several photographs.
        """
        rng = np.random.default_rng([self.settings.seed, int(self.training), index])
        tried = []
        for place in range(index, index + TRIES):
            example = self._example(self._photo(place, rng), rng)
            if example.conversations or example.rehearsed or not self.settings.always_asks:
                return example
            tried.append(example.id)
        raise DataError(f"{', '.join(dict.fromkeys(tried))}: there is nothing to ask about, with these settings")

    def scene(self, index: int) -> PhotoScene:
        """The first photograph drawn for example `index`, whether anything can be asked about it or not.

        Raises:
            DataError: When a file cannot be read.
        """
        rng = np.random.default_rng([self.settings.seed, int(self.training), index])
        return self._scene(self._photo(index, rng), rng)

    def _scene(self, photo: Photo, rng: np.random.Generator) -> PhotoScene:
        scene = read_scene(photo)
        if not self.training:
            return resized(scene, self.settings.size)
        scene = cropped(scene, self.settings.size, rng)
        if rng.random() < self.settings.composed:
            scene = composed(scene, self.pool, rng)
        return relit(scene, rng)

    def _example(self, photo: Photo, rng: np.random.Generator) -> Example:
        settings = self.settings
        scene = self._scene(photo, rng)
        view = View(scene, settings.leave_out, trusting=self.training)
        asks = settings.segmenting or settings.textual_share
        elsewhere = self._elsewhere(photo, rng) if asks else {}
        talks = self._talks(view, SEGMENTING, settings.segmenting, elsewhere, rng)
        rehearsed: tuple[Conversation, ...] = ()
        if rng.random() < settings.textual_share:
            talks += self._talks(view, TEXTUAL, settings.textual, elsewhere, rng)
            rehearsed = tuple(
                talk for talk in self._talks(view, SEGMENTING, settings.rehearsed, elsewhere, rng) if talk.segmenting
            )
        return Example(Image.fromarray(scene.picture), tuple(talks), photo.id, {VIEW: view}, rehearsed)

    def _talks(
        self, view: View, kinds: Sequence[str], count: int, elsewhere: Elsewhere, rng: np.random.Generator
    ) -> list[Conversation]:
        weights = {kind: self.settings.weights[kind] for kind in kinds if kind in self.settings.weights}
        asked = sample_queries(view, rng, count, weights, self.companions, self.settings.absent_share, elsewhere)
        return [conversation(query, view.scene, rng, training=self.training) for query in asked]

    def _photo(self, index: int, rng: np.random.Generator) -> Photo:
        if not self.training:
            return self.photos[self.order[index % len(self.photos)]]
        return self.draws.draw(rng)

    def _draws_of(self, name: str, chances: np.ndarray) -> _Draws:
        places = [place for place, photo in enumerate(self.photos) if photo.set == name]
        return _Draws([self.photos[place] for place in places], np.cumsum(chances[places]))

    def _elsewhere(self, photo: Photo, rng: np.random.Generator) -> Elsewhere:
        """What photographs of the set show, in sections as those that are trained on. This one may be among them."""
        found = Counter[str]()
        for _ in range(OTHERS):
            other = self.draws_of_set[photo.set].draw(rng)
            labels = read_labels(other)
            seen = section_of(labels, rng) if self.training else labels
            found.update(noun.name for noun in View(PhotoScene.of_labels(other, seen)).present)
        return found

    def _chances(self) -> np.ndarray:
        """float[photographs]: how often each is drawn. Sets have their weights; in each, rare nouns count more."""
        lifts = np.array(_lifts(self.photos))
        totals: dict[str, float] = {}
        for photo, lift in zip(self.photos, lifts, strict=True):
            totals[photo.set] = totals.get(photo.set, 0.0) + lift
        return lifts * [self._weight(photo.set) / totals[photo.set] for photo in self.photos]

    def _weight(self, name: str) -> float:
        return self.settings.sets.get(name, photo_sets()[name].weight)

    @property
    def _use(self) -> str:
        return "training" if self.training else "validation"


class _Draws(NamedTuple):
    """Photographs, and how often each is drawn, added up."""

    photos: Sequence[Photo]
    chances: np.ndarray

    def draw(self, rng: np.random.Generator) -> Photo:
        point = rng.random() * self.chances[-1]
        return self.photos[int(np.searchsorted(self.chances, point, side="right"))]


def companions(photos: Sequence[Photo]) -> Companions:
    """Counted where both nouns are annotated."""
    present: dict[str, dict[str, int]] = {}
    asked: dict[str, dict[str, int]] = {}
    for photo in photos:
        for noun in photo.present:
            for other in photo.annotated - {noun}:
                of_noun = asked.setdefault(noun, {})
                of_noun[other] = of_noun.get(other, 0) + 1
                if other in photo.present:
                    of_noun = present.setdefault(noun, {})
                    of_noun[other] = of_noun.get(other, 0) + 1
    return {
        noun: {other: count / asked[noun][other] for other, count in others.items()} for noun, others in present.items()
    }


def _lifts(photos: Sequence[Photo]) -> list[float]:
    """By the rarest noun of each photograph."""
    counts: Mapping[str, int] = _counts(photos)
    usual = float(np.median(list(counts.values()))) if counts else 1.0
    return [
        min(MOST_LIFTED, max([1.0, *((usual / counts[noun]) ** 0.5 for noun in photo.present)])) for photo in photos
    ]


def _counts(photos: Sequence[Photo]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for photo in photos:
        for noun in photo.present:
            counts[noun] = counts.get(noun, 0) + 1
    return counts
