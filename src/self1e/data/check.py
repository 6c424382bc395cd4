"""Reading a whole training set before a run does: every record, every picture, every mask, once.

A picture that several records show, of one source or of several, is opened once. Nothing here judges style: what is
called broken is what a run would skip or stumble over.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from self1e.conversation import SEG
from self1e.data.masks import IGNORE
from self1e.data.members import Listing, Member, SourceReport, list_records, ranked, reason_of
from self1e.data.mixture import usable
from self1e.data.parallel import Chunk, Progress, over_records
from self1e.data.readable import Reader, asked
from self1e.data.records import DataError, NothingSaid, Query, Record, Source, Talk, misfit
from self1e.processing.images import load_image, read_head

#: Kinds of queries for what is not in the picture.
ABSENT_KINDS = frozenset(("no-target", "absent"))

MOST_OF_IT, NEARLY_ALL = 0.75, 0.9
"""Where more than the second share of masks cover more than the first of their pictures, they may be inverted."""

Sort = Literal["record", "missing picture", "picture", "mask", "text"]


@dataclass(frozen=True)
class Fault:
    """Something wrong with a record.

    Attributes:
        record: Its id, or "record 7" (counted from 0) where it cannot even be read.
        sort: What is wrong.
        reason: In words.
        fatal: Whether a run that draws the record ends, instead of taking another one.
    """

    record: str
    sort: Sort
    reason: str
    fatal: bool = False


@dataclass(frozen=True)
class EmptyMask:
    """A query or talk whose mask has no pixel, although nothing says that what it asks for is not there."""

    record: str
    text: str
    kind: str


@dataclass(frozen=True)
class Finding:
    """What is in a record, or what is wrong with it.

    Attributes:
        record: As in `Fault`.
        queries: How many.
        talks: How many.
        faults: None if it is sound.
        empty_masks: To be looked at.
        phrases: Texts of queries that are phrases.
        silent: Whether nothing is said about its picture, which a run passes over.
        dropped: See `Record`.
        masks: How many have a pixel.
        covering: How many of these cover more than `MOST_OF_IT` of the picture.
        orientation: How EXIF turns its picture, 1 (not at all) to 8.
        picture: Path of its picture without symbolic links; "" if it cannot be opened.
        digest: Of the picture's bytes.
    """

    record: str
    queries: int = 0
    talks: int = 0
    faults: tuple[Fault, ...] = ()
    empty_masks: tuple[EmptyMask, ...] = ()
    phrases: tuple[str, ...] = ()
    silent: bool = False
    dropped: tuple[str, ...] = ()
    masks: int = 0
    covering: int = 0
    orientation: int = 1
    picture: str = ""
    digest: bytes = b""


@dataclass
class SourceCheck(SourceReport):
    """What was found in a source.

    Attributes:
        read: How many records were looked at.
        left_out: How many more there are, left out as they show pictures that are tested on.
        pictures: How many different pictures could be opened.
        faults: What is wrong with broken records, at least one each.
        empty_masks: Masks without a pixel, to be looked at.
        leaked: Ids of records that show pictures that are tested on, and are not left out.
        silent: How many records say nothing about their pictures. They are not broken, and a run passes them over.
        bare: How many of these show something all the same, which has no mask or is not sure enough.
        dropped: What is left out as it is no mask or not sure enough, with its records.
        masks: How many masks have a pixel.
        covering: How many of these cover more than `MOST_OF_IT` of the picture.
        stored: Whether masks are of pictures as they are stored; None: that cannot be chosen.
        turned: EXIF orientation -> pictures, of those that it turns.
    """

    read: int
    left_out: int = 0
    pictures: int = 0
    faults: list[Fault] = field(default_factory=list)
    empty_masks: list[EmptyMask] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    silent: int = 0
    bare: int = 0
    dropped: list[str] = field(default_factory=list)
    masks: int = 0
    covering: int = 0
    stored: bool | None = None
    turned: dict[str, int] = field(default_factory=dict)

    @property
    def sound(self) -> int:
        """How many records a run can use."""
        return self.read - self.broken - self.silent

    @property
    def empty(self) -> bool:
        """Whether a run finds nothing in it."""
        return not self.sound

    @property
    def remarks(self) -> Iterator[str]:
        """What may be as it is meant, and should be looked at."""
        if empty := self.silent - self.bare:
            yield (
                f"{self.name}: {empty:,} of {self.read:,} pictures have no objects, and a run passes them over. "
                "`absent_classes: 1` in an entry of `own` that has classes asks for what is not in them"
            )
        if self.bare:
            yield (
                f"{self.name}: {self.bare:,} of {self.read:,} pictures are passed over by a run, as all that is marked "
                "in them is left out: it has no mask, or is not sure enough"
            )
        if self.covering > NEARLY_ALL * self.masks:
            yield (
                f"{self.name}: {self.covering:,} of {self.masks:,} masks cover more than {MOST_OF_IT:.0%} of their "
                "pictures. Are inside and outside interchanged?"
            )
        if self.turned and not self.stored:
            how = ", ".join(f"{orientation}: {count:,}" for orientation, count in self.turned.items())
            choice = "" if self.stored is None else "; if yours fit the stored pixels, set `exif: stored`"
            yield (
                f"{self.name}: EXIF turns {sum(self.turned.values()):,} pictures (orientation {how}). Masks have to "
                f"fit them as they are displayed{choice} (docs/data.md)"
            )

    @property
    def objections(self) -> Iterator[str]:
        """Why training should not start with it."""
        if self.empty:
            if self.read:
                which = "its {:,} records" if self.read == self.records else "the {:,} records that were read"
                lost = f"none of {which.format(self.read)} can be used"
                lost += f" (nothing can be asked about {self.silent:,} of them)" if self.silent else ""
            else:
                lost = "it has no records" + (f" ({self.left_out:,} were left out)" if self.left_out else "")
            yield f"the source {self.name} of the part {self.part!r} is empty: {lost}"
        if fatal := len({fault.record for fault in self.faults if fault.fatal}):
            yield (
                f"{fatal:,} of {self.read:,} records of {self.name} would end the run, which does not foresee their "
                "errors: mend them or leave them out"
            )
        if self.leaked:
            yield (
                f"{len(self.leaked):,} of {self.read:,} records of {self.name} show pictures of validation "
                "or test splits of the RefCOCO family: data.hold_out leaves out those that COCO's names or ids tell; "
                "take out the others"
            )


@dataclass(frozen=True)
class CheckReport:
    """What was found in a mixture.

    Attributes:
        sources: One a member.
        pictures: How many different ones all sources have together.
        duplicates: Paths of pictures with the same bytes, group by group.
        held_out: How many pictures are known to be tested on.
        broken_share_allowed: See `MixtureData.broken_share`.
        usable: For each source the places of its records that are not broken.
    """

    sources: tuple[SourceCheck, ...]
    pictures: int
    duplicates: tuple[tuple[str, ...], ...]
    held_out: int
    broken_share_allowed: float
    usable: tuple[tuple[int, ...], ...] = field(repr=False)

    @property
    def broken_share(self) -> float:
        """Share of broken ones among the records that a run draws, as it counts them.

        Sources count by how often they are drawn, and a broken record is replaced by another of its source. It is 1 if
        all of a source is broken: there the run ends.
        """
        if any(source.broken and source.empty for source in self.sources):
            return 1.0
        # Draws for one example, on average.
        tries = [1 + source.broken / source.sound if source.broken else 1.0 for source in self.sources]
        drawn = sum(source.share * each for source, each in zip(self.sources, tries, strict=True))
        return 1 - sum(source.share for source in self.sources) / drawn

    @property
    def objections(self) -> list[str]:
        """Why training should not start, each in a sentence; none if it may."""
        found = [objection for source in self.sources for objection in source.objections]
        if self.broken_share > self.broken_share_allowed + 1e-9:  # 2 of 100 are not more than 0.02
            found.append(
                f"{self.broken_share:.2%} of the records that the run would draw are broken, more than "
                f"data.broken_share, {self.broken_share_allowed:.2%}"
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        numbers = ("records", "read", "left_out", "queries", "talks", "broken", "silent")
        total = {name: sum(getattr(source, name) for source in self.sources) for name in numbers}
        for name in ("empty_masks", "leaked", "dropped"):
            total[name] = sum(len(getattr(source, name)) for source in self.sources)
        return {
            "may_start": not self.objections,
            "objections": self.objections,
            "remarks": [remark for source in self.sources for remark in source.remarks],
            "total": total | {"pictures": self.pictures, "duplicates": len(self.duplicates)},
            "broken_share": self.broken_share,
            "broken_share_allowed": self.broken_share_allowed,
            "held_out_pictures": self.held_out,
            "sources": [asdict(source) for source in self.sources],
            "duplicates": [list(paths) for paths in self.duplicates],
        }


def check(
    members: Sequence[Member],
    *,
    held_out: frozenset[int] = frozenset(),
    held_out_files: Sequence[Path] = (),
    broken_share: float = 0.01,
    limit: int | None = None,
    seed: int = 1,
    workers: int = 0,
    reader: Reader | None = None,
    on_progress: Progress | None = None,
) -> CheckReport:
    """Reads all records of all members.

    Args:
        members: See `members_of`.
        held_out: Ids of COCO pictures that are tested on.
        held_out_files: Of these pictures, where they are at hand: the same bytes under any name are found.
        broken_share: What share of broken records a run tolerates.
        limit: Most records to read of a member; they are drawn at random.
        seed: Of that draw.
        workers: Processes that read; 0 for this one.
        reader: The model that is to learn from them. None: texts may be of any length.
        on_progress: Told of records done, and of all.

    Raises:
        DataError: When a process ends before its work is done.
        OSError: When a file of `held_out_files` cannot be read.
    """
    tested_on = frozenset(map(_digest, held_out_files))
    listings = [list_records(member, held_out).some(limit, (seed, i)) for i, member in enumerate(members)]
    found: list[dict[int, Finding]] = [{} for _ in members]
    common = [member.source for member in members], reader
    for looks in over_records(look_at, common, listings, workers, on_progress):
        for number, place, finding in looks:
            found[number][place] = finding
    paths: dict[bytes, set[str]] = {}  # of each digest
    for finding in (each for findings in found for each in findings.values() if each.picture):
        paths.setdefault(finding.digest, set()).add(finding.picture)
    return CheckReport(
        tuple(_summary(*each, tested_on) for each in zip(members, listings, found, strict=True)),
        len(set().union(*paths.values())),
        tuple(sorted(tuple(sorted(same)) for same in paths.values() if len(same) > 1)),
        len(held_out),
        broken_share,
        tuple(tuple(place for place in sorted(each) if _is_sound(each[place])) for each in found),
    )


def _is_sound(finding: Finding) -> bool:
    return not finding.faults and not finding.silent


def _summary(
    member: Member, listing: Listing, found: Mapping[int, Finding], tested_on: frozenset[bytes]
) -> SourceCheck:
    leaked = {place for place in listing.leaked if place in found}
    if member.learnt:
        leaked |= {place for place, finding in found.items() if finding.digest in tested_on}
    findings = [found[place] for place in sorted(found)]
    sound = list(filter(_is_sound, findings))
    orientations = {finding.picture: finding.orientation for finding in sound}
    return SourceCheck(
        part=member.part,
        name=member.label,
        share=member.share,
        records=listing.records,
        broken=sum(bool(finding.faults) for finding in findings),
        queries=sum(finding.queries for finding in sound),
        phrases=ranked(Counter(text for finding in sound for text in finding.phrases)),
        talks=sum(finding.talks for finding in sound),
        read=len(findings),
        left_out=listing.left_out,
        pictures=len({finding.picture for finding in findings if finding.picture}),
        faults=[fault for finding in findings for fault in finding.faults],
        empty_masks=[mask for finding in sound for mask in finding.empty_masks],
        leaked=[found[place].record for place in sorted(leaked)],
        silent=sum(finding.silent for finding in findings),
        bare=sum(finding.silent and bool(finding.dropped) for finding in findings),
        dropped=[f"{finding.record}, {each}" for finding in findings for each in finding.dropped],
        masks=sum(finding.masks for finding in sound),
        covering=sum(finding.covering for finding in sound),
        stored=getattr(member.source, "stored", None),
        turned=dict(sorted(Counter(str(each) for each in orientations.values() if each != 1).items())),
    )


def look_at(common: tuple[Sequence[Source], Reader | None], chunk: Chunk) -> list[tuple[int, int, Finding]]:
    """Opens pictures, and makes all masks of the records about them: number of the member, place, what is there."""
    return [look for picture, places in chunk for look in _look(*common, picture, places)]


def _look(
    sources: Sequence[Source], reader: Reader | None, picture: str | DataError, places: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int, Finding]]:
    size, wrong, path, digest, orientation = (0, 0), "", "", b"", 1
    sort: Sort = "record"
    try:
        if isinstance(picture, DataError):
            raise picture
        sort = "picture" if os.path.lexists(picture) else "missing picture"
        size = load_image(Path(picture)).size
        orientation = read_head(Path(picture)).orientation
        digest = _digest(Path(picture))
        path = os.path.realpath(picture)
    except (OSError, ValueError) as error:
        wrong = reason_of(error)
    for member, place in places:
        name = f"record {place}"
        try:
            record = sources[member][place]
            name = record.id
            usable(record)
            finding = Finding(name, faults=(Fault(name, sort, wrong),)) if wrong else examine(record, *size, reader)
        except NothingSaid:
            finding = Finding(name, silent=True, dropped=record.dropped)
        except Exception as error:  # a run ends by what a loader did not foresee
            fault = Fault(name, "record", reason_of(error), fatal=not isinstance(error, DataError))
            finding = Finding(name, faults=(fault,))
        yield member, place, replace(finding, picture=path, digest=digest, orientation=orientation)


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()[:16]


def examine(record: Record, width: int, height: int, reader: Reader | None = None) -> Finding:
    """Makes all masks of a record and looks at its texts.

    Args:
        record: Of a picture that can be opened.
        width: Of the picture, pixels.
        height: Of the picture, pixels.
        reader: See `check`.
    """
    faults: list[Fault] = []
    empty: list[EmptyMask] = []
    shares: list[float] = []

    def fault(sort: Sort, reason: str, fatal: bool = False) -> None:
        faults.append(Fault(record.id, sort, reason, fatal))

    items: tuple[Query | Talk, ...] = (*record.queries, *record.talks)
    for item in items:
        makers: Sequence[Callable[[], np.ndarray]]
        meant_empty = item.kind in ABSENT_KINDS or (isinstance(item, Query) and item.absent)
        if isinstance(item, Query):
            text, makers = item.text, (item.mask,)
            if not text.strip():
                fault("text", "a query has no text")
            if SEG in item.answer:
                fault("text", f"{text!r}: its explanation holds {SEG}")
        else:
            text, makers = item.turns[0].question if item.turns else "", item.masks
            if not item.turns or not all(turn.question.strip() and turn.answer.strip() for turn in item.turns):
                fault("text", f"a talk has an empty question or answer, or none: {text!r}")
            marks = sum(turn.answer.count(SEG) for turn in item.turns)
            if marks != len(makers):
                fault("mask", f"{text!r}: {marks} {SEG} in its answers, {len(makers)} masks", fatal=True)
        if reader is not None and text.strip():
            turns = asked(item) if isinstance(item, Query) else item.turns
            if too_long := reader.fault(turns, (width, height)):
                fault("text", f"{text[:40]!r}: {too_long}")
        for make in makers:
            try:
                mask = make()
                _check_mask(mask, width, height)
            except Exception as error:  # the errors that `to_example` turns into DataErrors are not fatal
                fault("mask", f"{text!r}: {reason_of(error)}", fatal=not isinstance(error, OSError | ValueError))
            else:
                shares.append(float((mask == 1).mean()))
                if not meant_empty and not shares[-1] and not _meant_empty(make):
                    empty.append(EmptyMask(record.id, text, item.kind))
    return Finding(
        record.id,
        len(record.queries),
        len(record.talks),
        tuple(faults),
        tuple(empty),
        tuple(query.text for query in record.queries if query.form == "phrase"),
        dropped=record.dropped,
        masks=sum(share > 0 for share in shares),
        covering=sum(share > MOST_OF_IT for share in shares),
    )


def _check_mask(mask: np.ndarray, width: int, height: int) -> None:
    if wrong_size := misfit(mask, (height, width)):
        raise DataError(wrong_size)
    wrong = (mask != 0) & (mask != 1) & (mask != IGNORE)
    if wrong.any():
        raise DataError(f"the mask has pixels of value {mask[wrong][0]}, not 0, 1 or {IGNORE} alone")


def _meant_empty(make: Callable[[], np.ndarray]) -> bool:
    """Whether the mask is made of an empty list of outlines: `"masks": []` says that the thing is not there."""
    return isinstance(make, partial) and bool(make.args) and isinstance(make.args[0], list) and not make.args[0]
