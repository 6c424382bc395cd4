"""Folders of photographs: their lists, what is known of each set, and which pictures are for what.

A folder holds `classes.txt` (line i names value i of a mask; line 0 is "none") and `pictures.jsonl`, of which each line
names a picture: `photo`, `mask` and, where things are told apart, `instances` (files, relative to the folder), `set`,
`split` ("train" or "test"), `annotated` (nouns that are marked wherever they are; "teacher" alone: those of `guessed`),
`present` (nouns with a pixel) and `told_apart` (nouns of which `instances` has every single thing; without it, all that
are annotated). Masks are index maps, in which 255 is unknown.
"""

from __future__ import annotations

import json
import re
import tomllib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from self1e.data.records import DataError
from self1e.data.settings import Settings
from self1e.photos.nouns import NOTHING, UNKNOWN, NounError, nouns

Split = Literal["train", "validation", "test"]

ONE_IN = 25
"""Of so many training pictures one is for validation."""

STRIKING = "@striking"


class PhotoSet(Settings):
    """What has to be known of a set of photographs beside its files; see `sets.toml`."""

    weight: float = Field(ge=0, description="how often a picture comes from the set, relative to the others")
    wholes: dict[str, list[str]] = Field({}, description="a noun that is the union of what the set marks")
    unsure: dict[str, list[str]] = Field({}, description="marked as these, pixels count neither way for a noun")
    leave_out: list[str] = Field([], description="nouns that are not asked for")
    apart: bool = Field(False, description="measured with only where it is asked for by name")
    guessed: list[str] = Field([], description="nouns whose labels come from a model")
    trusted: list[str] = Field(
        [], description="guessed nouns that are not there where the model saw nothing of the sort"
    )
    no_stuff: bool = Field(False, description="stuff is never called absent")
    absent: list[str] = Field([], description="nouns that are in no picture, though they are not marked")
    no_paste: list[str] = Field([], description="nouns that are not pasted into its pictures; `all`: nothing is")
    owners: dict[str, list[str]] = Field({}, description="what its nouns are parts of, or belong to")
    cut: list[str] = Field([], description="owners that are cut out as all that they own, but for bags")
    group: str = Field("", description="expression; pictures with the same match stay together")
    validation: str = Field("", description="expression that matches the names of validation pictures")
    unused: str = Field("", description="expression that matches the names of pictures that are left out")


@dataclass(frozen=True)
class Photo:
    """One photograph and what is known of it.

    Attributes:
        id: "set/name", unique.
        set: Name of its set.
        split: What it may be used for.
        picture: File of the photograph.
        mask: File of the index map.
        numbers: int16[256]: value in the index map -> number of a noun, `NOTHING` or `UNKNOWN`.
        instances: File of the map of single things; None where none are told apart.
        annotated: Nouns that are marked wherever they are.
        present: Nouns that are marked somewhere.
        told_apart: Nouns of which every single thing has its number in `instances`.
    """

    id: str
    set: str
    split: Split
    picture: Path
    mask: Path
    numbers: np.ndarray
    instances: Path | None
    annotated: frozenset[str]
    present: frozenset[str]
    told_apart: frozenset[str]

    @property
    def rules(self) -> PhotoSet:
        """What is known of its set."""
        return photo_sets()[self.set]


@cache
def photo_sets() -> dict[str, PhotoSet]:
    """The sets of `sets.toml`.

    Raises:
        NounError: When a rule is about a noun that is not in the table.
    """
    table = tomllib.loads(files(__package__).joinpath("sets.toml").read_text("utf-8"))
    striking = [noun.name for noun in nouns() if noun.striking]
    sets = {name: PhotoSet.model_validate(entry) for name, entry in table.items()}
    for name, each in sets.items():
        if STRIKING in each.absent:
            absent = [noun for noun in (*each.absent, *striking) if noun != STRIKING]
            sets[name] = each.model_copy(update={"absent": absent})
    for set_name, each in sets.items():
        if strange := sorted(set(each.trusted) - set(each.guessed)):
            raise NounError(f"sets.toml, {set_name}: {', '.join(strange)} cannot be trusted, being not guessed")
        rules = [*each.wholes.items(), *each.unsure.items(), *each.owners.items()]
        for name in {
            *each.leave_out,
            *each.guessed,
            *each.trusted,
            *each.cut,
            *each.absent,
            *(n for key, of in rules for n in (key, *of)),
        }:
            nouns()[name]
    return sets


@cache
def corrections() -> dict[str, dict[str, str]]:
    """Set -> name of a picture -> the noun that all of its mask is, "" for a picture that is left out."""
    return tomllib.loads(files(__package__).joinpath("corrections.toml").read_text("utf-8"))


def photographs(folder: Path, splits: Sequence[Split]) -> list[Photo]:
    """The photographs of a folder that are for one of these uses, in the order of its list.

    Raises:
        DataError: When a list is missing, or a line of it cannot be used.
    """
    names = _lines(folder / "classes.txt")
    found = []
    for place, line in enumerate(_lines(folder / "pictures.jsonl"), start=1):
        try:
            photo = _photo(folder, json.loads(line), names)
        except (KeyError, TypeError, json.JSONDecodeError, NounError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(f"{folder / 'pictures.jsonl'}, line {place}: {what}") from error
        if photo is not None and photo.split in splits:
            found.append(photo)
    return found


def split_of(name: str, set_name: str, rules: PhotoSet) -> Split:
    """On which side of the validation split a training picture is. Pictures that look alike are on the same.

    Args:
        name: Of the picture's file, without ending.
        set_name: Of its set.
        rules: Of its set.
    """
    if rules.validation:
        return "validation" if re.search(rules.validation, name) else "train"
    match = re.search(rules.group, name) if rules.group else None
    key = match[1] if match else name
    return "train" if zlib.crc32(f"{set_name}/{key}".encode()) % ONE_IN else "validation"


def _photo(folder: Path, entry: Mapping[str, object], names: Sequence[str]) -> Photo | None:
    """The photograph of a line; None if it cannot be used for anything."""
    name, set_name = Path(str(entry["photo"])).stem, str(entry["set"])
    if set_name not in photo_sets():
        raise NounError(f"there is no set {set_name!r} in sets.toml: add it, with its weight")
    rules = photo_sets()[set_name]
    annotated = _names(entry["annotated"])
    if annotated == {"teacher"}:
        annotated = set(rules.guessed)
    present = _names(entry["present"])
    right = corrections().get(set_name, {}).get(name)
    if right == "" or (rules.unused and re.search(rules.unused, name)):
        return None
    if right is not None:
        names = [right if each in present else each for each in names]
        annotated = present = {right}
    for whole, parts in rules.wholes.items():
        if present & set(parts):
            present.add(whole)
        if annotated & set(parts):
            annotated.add(whole)
    told_apart = _names(entry.get("told_apart", sorted(annotated))) if "instances" in entry else set()
    for noun in (*annotated, *present, *told_apart):
        nouns()[noun]  # or what is said about it would have no effect
    if entry["split"] not in ("train", "test"):
        raise NounError(f'split is {entry["split"]!r}: "train" or "test" (validation is chosen here)')
    split: Split = "test" if entry["split"] == "test" else split_of(name, set_name, rules)
    return Photo(
        id=f"{set_name}/{name}",
        set=set_name,
        split=split,
        picture=folder / str(entry["photo"]),
        mask=folder / str(entry["mask"]),
        numbers=noun_numbers(tuple(enumerate(names))[1:]),
        instances=folder / str(entry["instances"]) if "instances" in entry else None,
        annotated=frozenset(annotated - set(rules.leave_out)),
        present=frozenset(present - set(rules.leave_out)),
        told_apart=frozenset(told_apart),
    )


@cache
def noun_numbers(named: tuple[tuple[int, str], ...]) -> np.ndarray:
    """int16[256]: value in an index map -> number of a noun, by pairs of both; 0 is `NOTHING`, others are `UNKNOWN`."""
    numbers = np.full(256, UNKNOWN, np.int16)
    numbers[0] = NOTHING
    for value, name in named:
        numbers[value] = nouns()[name].number
    return numbers


def _names(value: object) -> set[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"a list of nouns is needed, not {value!r}")
    return set(value)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}. A folder of photographs needs it") from error
