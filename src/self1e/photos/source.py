"""Photographs as a source of records, for evaluation: whole and unchanged, in the plain words of the table."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from self1e.data.records import Query, Record
from self1e.data.vqa import Question
from self1e.photos.dataset import companions
from self1e.photos.index import Photo, Split, photo_sets, photographs
from self1e.photos.language import SEGMENTING, TEXTUAL, PhotoQuery, View, conversation, queries, query_mask
from self1e.photos.language.absent import Companions, expected
from self1e.photos.nouns import nouns
from self1e.photos.scene import PhotoScene, read_scene

UNSEEN, ABSENT_NOUN = "unseen", "absent_noun"

#: What can be measured by masks. "noun": all of each noun that is there, as "the X"; "unseen": the same by each word
#: for it that no training text holds; "absent_noun": nouns that are not there, as "the X". The others are those of
#: training, of which "absent" has places, colours, numbers and uses that are not there, too.
MEASURED = (*SEGMENTING, UNSEEN, ABSENT_NOUN)


class PhotoSource:
    """Records of the photographs of a folder, each with its queries; see `Source`.

    The kind of a query is one of `kinds`, so that figures come by kind; figures by noun come by its text.

    Args:
        folder: See `self1e.photos.index`.
        split: Which photographs.
        kinds: What is asked, of `MEASURED`.
        sets: Names of the sets to take; None for all that are not `apart`.
        absent: Questions of "absent" and of "absent_noun" each, of a photograph at most. Of the former nouns are first,
            so that places, colours, numbers and uses are asked for where few nouns are known not to be there.

    Raises:
        DataError: When the folder cannot be used.
        ValueError: When a kind is unknown.
    """

    def __init__(
        self,
        folder: Path,
        split: Split = "test",
        kinds: Sequence[str] = MEASURED,
        sets: Collection[str] | None = None,
        absent: int = 3,
    ) -> None:
        unknown = sorted(set(kinds) - set(MEASURED))
        if unknown:
            raise ValueError(f"cannot measure {', '.join(unknown)}: there are {', '.join(MEASURED)}")
        self.name = f"photographs-{split}"
        self.kinds = tuple(kinds)
        self.absent = absent
        self.photos, self.companions = _photos_of(folder, split, sets)

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Record:
        """Reads the maps, which say what can be asked.

        Raises:
            DataError: When a file is broken.
        """
        photo = self.photos[index]
        present = sorted(photo.present)
        found = []
        if "noun" in self.kinds:
            found += [_noun_query(photo, name, nouns()[name].phrase, "noun") for name in present]
        if UNSEEN in self.kinds:
            words = [(name, word) for name in present for word in nouns()[name].held_out]
            found += [_noun_query(photo, name, f"the {word.singular}", UNSEEN) for name, word in words]
        if ABSENT_NOUN in self.kinds:
            missing = expected(View(read_scene(photo)), _rng(photo), self.companions, self.absent)
            found += [_noun_query(photo, name, nouns()[name].phrase, ABSENT_NOUN, absent=True) for name in missing]
        others = set(self.kinds) - {"noun", UNSEEN, ABSENT_NOUN}
        if others:
            asked = _asked(photo, read_scene(photo), others, self.companions)
            absent = [query for query in asked if query.kind == "absent"]
            found += [_query(photo, query) for query in asked if query not in absent[self.absent :]]
        return Record(photo.id, photo.picture, tuple(found))

    def image_path(self, index: int) -> Path:
        return self.photos[index].picture


class PhotoQuestions:
    """Questions about the photographs of a folder that are answered in words; see `WordTest`.

    Args:
        folder: See `self1e.photos.index`.
        split: Which photographs.
        kinds: What is asked, of `TEXTUAL`.
        sets: Names of the sets to take; None for all that are not `apart`.

    Raises:
        DataError: When the folder cannot be used.
        ValueError: When a kind is unknown.
    """

    def __init__(
        self, folder: Path, split: Split = "test", kinds: Sequence[str] = TEXTUAL, sets: Collection[str] | None = None
    ) -> None:
        unknown = sorted(set(kinds) - set(TEXTUAL))
        if unknown:
            raise ValueError(f"{', '.join(unknown)} are not answered in words: there are {', '.join(TEXTUAL)}")
        self.kinds = tuple(kinds)
        self.photos, self.companions = _photos_of(folder, split, sets)

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> list[Question]:
        """Reads the maps, which say what can be asked; an empty list if nothing can.

        Raises:
            DataError: When a file is broken.
        """
        photo = self.photos[index]
        scene = read_scene(photo)
        found = []
        for query in _asked(photo, scene, self.kinds, self.companions):
            (turn,) = conversation(query, scene, np.random.default_rng(0), training=False).turns
            found.append(Question(photo.id, photo.picture, turn.question, (turn.answer,), exact=True, kind=query.kind))
        return found


def _photos_of(folder: Path, split: Split, sets: Collection[str] | None) -> tuple[list[Photo], Companions]:
    known = photographs(folder, ("train", split))
    taken = {name for name, rules in photo_sets().items() if not rules.apart} if sets is None else set(sets)
    found = [photo for photo in known if photo.split == split and photo.set in taken]
    return found, companions([photo for photo in known if photo.split == "train"])


def _asked(photo: Photo, scene: PhotoScene, kinds: Collection[str], known: Companions) -> list[PhotoQuery]:
    """All that can be asked of these kinds, the same each time."""
    return [query for query in queries(View(scene), _rng(photo), known) if query.kind in kinds]


def _rng(photo: Photo) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(photo.id.encode()))


def _noun_query(photo: Photo, name: str, phrase: str, kind: str, *, absent: bool = False) -> Query:
    return Query(phrase, "phrase", partial(_noun_mask, photo, name), kind=kind, absent=absent)


def _query(photo: Photo, asked: PhotoQuery) -> Query:
    assert asked.form != "question", "only what is answered by a mask is measured here"
    return Query(asked.text, asked.form, partial(_mask, photo, asked), kind=asked.kind, absent=asked.kind == "absent")


def _noun_mask(photo: Photo, name: str) -> np.ndarray:
    return read_scene(photo).mask(name)


def _mask(photo: Photo, asked: PhotoQuery) -> np.ndarray:
    return query_mask(asked, read_scene(photo))
