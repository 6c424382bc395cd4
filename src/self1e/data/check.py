"""Reading a whole training set before a run does: every record, every picture, every mask, once.

A picture that several records show, of one source or of several, is opened once. Nothing here judges style: what is
called broken is what a run would skip or stumble over.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from self1e.data.masks import IGNORE
from self1e.data.mixture import coco_id, usable
from self1e.data.records import DataError, Query, Record, Source, Talk
from self1e.processing.images import load_image
from self1e.processing.prompts import SEG

Common = TypeVar("Common")
Chunk = TypeVar("Chunk")
Result = TypeVar("Result")

#: Kinds of queries for what is not in the picture.
ABSENT_KINDS = frozenset(("no-target", "absent"))

#: Records that a process takes at once.
CHUNK = 64

Progress = Callable[[int, int], None]
"""Told of records done, and of all."""

Sort = Literal["record", "missing picture", "picture", "mask", "text"]


@dataclass(frozen=True)
class Member:
    """A source as a mixture uses it.

    Attributes:
        part: Name of the part that it belongs to.
        label: What reports call it; no other member has it.
        share: How often examples are drawn from it: all shares of a mixture add up to 1.
        source: Its records.
        filtered: Whether a run leaves out its pictures that are held out.
    """

    part: str
    label: str
    share: float
    source: Source
    filtered: bool


def members_of(parts: Mapping[str, tuple[float, Sequence[tuple[Source, bool]]]]) -> list[Member]:
    """The sources of all parts with a rate above 0.

    Args:
        parts: Name -> sampling rate, and sources, each with whether it is filtered (see `Member`).

    Raises:
        DataError: When there is nothing to draw from.
    """
    used = {name: (rate, sources) for name, (rate, sources) in parts.items() if rate > 0}
    if not used:
        raise DataError("no part of the mixture has a rate above 0")
    for name, (rate, sources) in used.items():
        if not sources:
            raise DataError(f"the part {name!r} has a rate of {rate}, but no source")
    total = sum(rate for rate, _ in used.values())
    members: list[Member] = []
    labels: set[str] = set()
    for name, (rate, sources) in used.items():
        for source, filtered in sources:
            label, number = source.name, 1
            while label in labels:
                number += 1
                label = f"{source.name} ({number})"
            labels.add(label)
            members.append(Member(name, label, rate / total / len(sources), source, filtered))
    return members


@dataclass
class Listing:
    """Which records of a member a run may draw.

    Attributes:
        places: Their indices, in order.
        pictures: The path of each one's picture; an error where the record does not say it.
        left_out: How many more there are, whose pictures are held out.
        leaked: Which of `places` have held-out pictures all the same.
    """

    places: list[int] = field(default_factory=list)
    pictures: list[str | DataError] = field(default_factory=list)
    left_out: int = 0
    leaked: list[int] = field(default_factory=list)

    def some(self, count: int | None, seed: Sequence[int]) -> Listing:
        """At most `count` of the records, at random, in order; `left_out` stays as it is."""
        if count is None or count >= len(self.places):
            return self
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self.places))[:count])
        places = [self.places[i] for i in chosen]
        leaked = set(self.leaked) & set(places)
        return Listing(places, [self.pictures[i] for i in chosen], self.left_out, sorted(leaked))


def list_records(member: Member, held_out: frozenset[int]) -> Listing:
    """Looks up the pictures of a member without opening any.

    Args:
        member: What to list.
        held_out: Ids of COCO pictures that are tested on.
    """
    listing = Listing()
    for place in range(len(member.source)):
        picture: str | DataError
        try:
            path = member.source.image_path(place)
        except Exception as error:  # what a loader did not foresee is broken, too
            picture, leaks = DataError(_reason(error)), False
        else:
            picture, leaks = os.fspath(path), coco_id(path) in held_out
        if leaks and member.filtered:
            listing.left_out += 1
            continue
        if leaks:
            listing.leaked.append(place)
        listing.places.append(place)
        listing.pictures.append(picture)
    return listing


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
        sort, wrong = sort if os.path.lexists(path) else "missing picture", _reason(error)
    findings = []
    for member, place in places:
        name = f"record {place}"
        try:
            record = sources[member][place]
            name = record.id
            usable(record)
        except Exception as error:  # a loader lets through what it did not foresee: a run would end there
            findings.append(Finding(member, place, name, faults=(Fault(name, "record", _reason(error)),)))
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
                faults.append(Fault(record.id, "mask", f"{text!r}: {_reason(error)}"))
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


def _reason(error: Exception) -> str:
    """The error in a line, with its name if the message alone says little."""
    text = " ".join(str(error).split())
    return text if isinstance(error, OSError | ValueError) and text else f"{type(error).__name__}: {text}"


# ------------------------------------------------------------------------------------------------ several processes

_common: Any = None


def spread(
    work: Callable[[Common, Chunk], Result], common: Common, chunks: Sequence[Chunk], workers: int
) -> Iterator[Result]:
    """`work(common, chunk)` of every chunk, in order.

    Args:
        work: A function of a module.
        common: What all chunks need; goes to each process once.
        chunks: What there is to do.
        workers: Processes; 0 for this one, which also does what fits into one chunk.

    Raises:
        DataError: When a process ends before its work is done.
    """
    if workers == 0 or len(chunks) <= 1:
        for chunk in chunks:
            yield work(common, chunk)
        return
    # Spawned, not forked: torch may have threads by now, which a forked process would wait for in vain.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(chunks)), context, initializer=_begin, initargs=(common,))
    try:
        yield from pool.map(partial(_work_on, work), chunks)
    except BrokenProcessPool as error:
        raise DataError(
            "a process that reads the data ended before its work was done, perhaps for lack of memory: try fewer "
            "workers (0 shows the error itself)"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(common: Any) -> None:
    """What a process does first."""
    global _common
    _common = common
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it, and ends it
    warnings.simplefilter("ignore")


def _work_on(work: Callable[[Any, Chunk], Result], chunk: Chunk) -> Result:
    return work(_common, chunk)
