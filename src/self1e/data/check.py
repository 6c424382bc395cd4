"""Reading a whole training set before a run does: every record, every picture, every mask, once.

A picture that several records show, of one source or of several, is opened once. Nothing here judges style: what is
called broken is what a run would skip or stumble over.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from self1e.data.masks import IGNORE
from self1e.data.members import Listing, Member, list_records, reason_of
from self1e.data.mixture import usable
from self1e.data.records import DataError, Query, Record, Source, Talk
from self1e.data.spread import CHUNK, Progress, spread
from self1e.processing.images import load_image
from self1e.processing.prompts import SEG

#: Kinds of queries for what is not in the picture.
ABSENT_KINDS = frozenset(("no-target", "absent"))

Sort = Literal["record", "missing picture", "picture", "mask", "text"]


@dataclass(frozen=True)
class Fault:
    """Something wrong with a record.

    Attributes:
        record: Its id, or "record 7" (counted from 0) where it cannot even be read.
        sort: What is wrong.
        reason: In words.
    """

    record: str
    sort: Sort
    reason: str


@dataclass(frozen=True)
class EmptyMask:
    """A query or talk whose mask has no pixel, although nothing says that what it asks for is not there."""

    record: str
    text: str
    kind: str


@dataclass(frozen=True)
class Finding:
    """A record that was read: what is in it, or what is wrong with it."""

    member: int
    place: int
    record: str
    queries: int = 0
    talks: int = 0
    faults: tuple[Fault, ...] = ()
    empty_masks: tuple[EmptyMask, ...] = ()


@dataclass(frozen=True)
class Look:
    """A picture that was opened, with all records about it.

    Attributes:
        picture: Its path without symbolic links; "" where no record says one.
        digest: Of the file's bytes; None if it is no picture.
        findings: One a record.
    """

    picture: str
    digest: bytes | None
    findings: tuple[Finding, ...]


@dataclass
class SourceCheck:
    """What was found in a source.

    Attributes:
        part: See `Member`.
        name: See `Member.label`.
        share: See `Member`.
        records: How many a run may draw.
        read: How many of these were read.
        left_out: How many more there are, left out as they show pictures that are tested on.
        pictures: How many different pictures could be opened.
        queries: Of all records that are not broken.
        talks: Of all records that are not broken.
        broken: How many records are broken.
        faults: What is wrong with them, at least one each.
        empty_masks: Masks without a pixel, to be looked at.
        leaked: Ids of records that show pictures that are tested on, and are not left out.
    """

    part: str
    name: str
    share: float
    records: int
    read: int
    left_out: int
    pictures: int = 0
    queries: int = 0
    talks: int = 0
    broken: int = 0
    faults: list[Fault] = field(default_factory=list)
    empty_masks: list[EmptyMask] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether a run finds nothing in it."""
        return self.broken == self.read


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
        drawn = broken = 0.0
        for source in self.sources:
            if not source.broken:
                drawn += source.share
            elif source.empty:
                return 1.0
            else:
                tries = source.read / (source.read - source.broken)  # for one example, on average
                drawn += source.share * tries
                broken += source.share * (tries - 1)
        return broken / drawn

    @property
    def objections(self) -> list[str]:
        """Why training should not start, each in a sentence; none if it may."""
        found = []
        for source in self.sources:
            if source.empty:
                lost = f"none of its {source.read:,} records can be used" if source.read else "it has no records"
                lost += f" ({source.left_out:,} were left out)" if source.left_out and not source.read else ""
                found.append(f"the source {source.name} of the part {source.part!r} is empty: {lost}")
        if self.broken_share > self.broken_share_allowed + 1e-9:  # 2 of 100 are not more than 0.02
            found.append(
                f"{self.broken_share:.2%} of the records that the run would draw are broken, more than "
                f"data.broken_share, {self.broken_share_allowed:.2%}"
            )
        for source in self.sources:
            if source.leaked:
                found.append(
                    f"{len(source.leaked):,} of {source.read:,} records of {source.name} show pictures of validation "
                    "or test splits of the RefCOCO family: leave them out by data.hold_out"
                )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        totals = {name: sum(getattr(source, name) for source in self.sources) for name in TOTALLED}
        return {
            "may_start": not self.objections,
            "objections": self.objections,
            "total": totals
            | {"pictures": self.pictures}
            | {name: sum(len(getattr(source, name)) for source in self.sources) for name in ("empty_masks", "leaked")}
            | {"duplicates": len(self.duplicates)},
            "broken_share": self.broken_share,
            "broken_share_allowed": self.broken_share_allowed,
            "held_out_pictures": self.held_out,
            "sources": [asdict(source) for source in self.sources],
            "duplicates": [list(paths) for paths in self.duplicates],
        }


#: Numbers of `SourceCheck` that add up over sources.
TOTALLED = ("records", "read", "left_out", "queries", "talks", "broken")


def check(
    members: Sequence[Member],
    *,
    held_out: frozenset[int] = frozenset(),
    broken_share: float = 0.01,
    limit: int | None = None,
    seed: int = 1,
    workers: int = 0,
    on_progress: Progress | None = None,
) -> CheckReport:
    """Reads all records of all members.

    Args:
        members: See `members_of`.
        held_out: Ids of COCO pictures that are tested on.
        broken_share: What share of broken records a run tolerates.
        limit: Most records to read of a member; they are drawn at random.
        seed: Of that draw.
        workers: Processes that read; 0 for this one.
        on_progress: Told of records done, and of all.

    Raises:
        DataError: When a process ends before its work is done.
    """
    listings = [list_records(member, held_out) for member in members]
    reports = [
        SourceCheck(member.part, member.label, member.share, len(listing.places), 0, listing.left_out)
        for member, listing in zip(members, listings, strict=True)
    ]
    listings = [listing.some(limit, (seed, number)) for number, listing in enumerate(listings)]
    found: list[list[Finding]] = [[] for _ in members]
    pictures: list[set[str]] = [set() for _ in members]
    of_digest: dict[bytes, set[str]] = {}
    done, total = 0, sum(len(listing.places) for listing in listings)
    for looks in spread(look_at, [member.source for member in members], chunked(listings), workers):
        for look in looks:
            if look.digest is not None:
                of_digest.setdefault(look.digest, set()).add(look.picture)
            for finding in look.findings:
                found[finding.member].append(finding)
                if look.digest is not None:
                    pictures[finding.member].add(look.picture)
            done += len(look.findings)
        if on_progress is not None:
            on_progress(done, total)
    usable_places = []
    for report, findings, listing, paths in zip(reports, found, listings, pictures, strict=True):
        findings.sort(key=lambda finding: finding.place)
        leaked = set(listing.leaked)
        report.read, report.pictures = len(findings), len(paths)
        report.broken = sum(bool(finding.faults) for finding in findings)
        report.queries = sum(finding.queries for finding in findings if not finding.faults)
        report.talks = sum(finding.talks for finding in findings if not finding.faults)
        report.faults = [fault for finding in findings for fault in finding.faults]
        report.empty_masks = [mask for finding in findings for mask in finding.empty_masks]
        report.leaked = [finding.record for finding in findings if finding.place in leaked]
        usable_places.append(tuple(finding.place for finding in findings if not finding.faults))
    duplicates = sorted(tuple(sorted(paths)) for paths in of_digest.values() if len(paths) > 1)
    return CheckReport(
        tuple(reports),
        len(set().union(*pictures)),
        tuple(duplicates),
        len(held_out),
        broken_share,
        tuple(usable_places),
    )


#: A picture (or why there is none) and the records about it, each as the numbers of its member and its place.
Group = tuple[str | DataError, list[tuple[int, int]]]


def chunked(listings: Sequence[Listing]) -> list[list[Group]]:
    """All records by picture, in chunks of about `CHUNK` records."""
    groups: list[Group] = []
    of_picture: dict[str, list[tuple[int, int]]] = {}
    for member, listing in enumerate(listings):
        for place, picture in zip(listing.places, listing.pictures, strict=True):
            if isinstance(picture, str) and picture in of_picture:
                of_picture[picture].append((member, place))
                continue
            groups.append((picture, [(member, place)]))
            if isinstance(picture, str):
                of_picture[picture] = groups[-1][1]
    chunks: list[list[Group]] = []
    room = 0
    for group in groups:
        if room <= 0:
            chunks.append([])
            room = CHUNK
        chunks[-1].append(group)
        room -= len(group[1])
    return chunks


def look_at(sources: Sequence[Source], groups: Sequence[Group]) -> list[Look]:
    """Opens pictures, and makes all masks of the records about them."""
    return [_look(sources, picture, places) for picture, places in groups]


def _look(sources: Sequence[Source], picture: str | DataError, places: Sequence[tuple[int, int]]) -> Look:
    if isinstance(picture, DataError):
        fault = partial(Fault, sort="record", reason=str(picture))
        names = [f"record {place}" for _, place in places]
        return Look(
            "",
            None,
            tuple(Finding(*place, name, faults=(fault(name),)) for place, name in zip(places, names, strict=True)),
        )
    path = Path(picture)
    size: tuple[int, int] | None = None
    digest: bytes | None = None
    sort: Sort = "picture"
    wrong = ""
    try:
        size = load_image(path).size
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "blake2b").digest()[:16]
    except (OSError, ValueError) as error:
        sort, wrong = sort if os.path.lexists(path) else "missing picture", reason_of(error)
    findings = []
    for member, place in places:
        name = f"record {place}"
        try:
            record = sources[member][place]
            name = record.id
            usable(record)
        except Exception as error:  # a loader lets through what it did not foresee: a run would end there
            findings.append(Finding(member, place, name, faults=(Fault(name, "record", reason_of(error)),)))
            continue
        if size is None:
            findings.append(Finding(member, place, name, faults=(Fault(name, sort, wrong),)))
        else:
            findings.append(examine(record, *size, member, place))
    return Look(os.path.realpath(path), digest, tuple(findings))


def examine(record: Record, width: int, height: int, member: int = 0, place: int = 0) -> Finding:
    """Makes all masks of a record and looks at its texts.

    Args:
        record: Of a picture that can be opened.
        width: Of the picture, pixels.
        height: Of the picture, pixels.
        member: What the finding is numbered by.
        place: What the finding is numbered by.
    """
    faults: list[Fault] = []
    empty: list[EmptyMask] = []
    items: list[tuple[Query | Talk, str, Sequence[Callable[[], np.ndarray]]]] = []
    for query in record.queries:
        items.append((query, query.text, (query.mask,)))
        if not query.text.strip():
            faults.append(Fault(record.id, "text", "a query has no text"))
        if SEG in query.answer:
            faults.append(Fault(record.id, "text", f"{query.text!r}: its explanation holds {SEG}"))
    for talk in record.talks:
        first = talk.turns[0].question if talk.turns else ""
        items.append((talk, first, talk.masks))
        if not talk.turns or not all(text.strip() for turn in talk.turns for text in (turn.question, turn.answer)):
            faults.append(Fault(record.id, "text", f"a talk has an empty question or answer, or none: {first!r}"))
        marks = sum(turn.answer.count(SEG) for turn in talk.turns)
        if marks != len(talk.masks):
            faults.append(Fault(record.id, "mask", f"{first!r}: {marks} {SEG} in its answers, {len(talk.masks)} masks"))
    for item, text, makers in items:
        for make in makers:
            try:
                mask = make()
                _check_mask(mask, width, height)
            except Exception as error:  # as above
                faults.append(Fault(record.id, "mask", f"{text!r}: {reason_of(error)}"))
            else:
                if item.kind not in ABSENT_KINDS and not (mask == 1).any() and not _meant_empty(make):
                    empty.append(EmptyMask(record.id, text, item.kind))
    return Finding(
        member, place, record.id, len(record.queries), len(record.talks), tuple(faults), () if faults else tuple(empty)
    )


def _check_mask(mask: np.ndarray, width: int, height: int) -> None:
    if mask.shape != (height, width):
        size = " x ".join(map(str, mask.shape[::-1]))
        raise DataError(f"the mask is {size}, the picture {width} x {height} pixels")
    wrong = (mask != 0) & (mask != 1) & (mask != IGNORE)
    if wrong.any():
        raise DataError(f"the mask has pixels of value {mask[wrong][0]}, not 0, 1 or {IGNORE} alone")


def _meant_empty(make: Callable[[], np.ndarray]) -> bool:
    """Whether the mask is made of an empty list of outlines: `"masks": []` says that the thing is not there."""
    return isinstance(make, partial) and bool(make.args) and isinstance(make.args[0], list) and not make.args[0]
