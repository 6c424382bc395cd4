"""What a training set consists of: how many queries of which kinds, how large masks are, how often each is drawn."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from self1e.data.members import Member, SourceReport, list_records, ranked
from self1e.data.mixture import usable
from self1e.data.parallel import Chunk, Progress, over_records
from self1e.data.records import NothingSaid, Record, Source

PERCENTILES = (5, 25, 50, 75, 95)


@dataclass
class Tally:
    """What is counted in some records; `a += b` adds what is counted in others.

    Attributes:
        read: Records that could be read.
        broken: Records that could not.
        silent: Records that say nothing about their pictures.
        talks: Exchanges whose words are given.
        per_record: Queries -> records with so many.
        kinds: Kind -> queries and talks.
        phrases: Text of queries that are phrases -> queries.
        query_words: Words in the text of a query -> queries.
        answer_words: Words in an answer (of a talk, or an explanation) -> answers.
        areas: Share of the picture that a mask covers, of each mask in the sample that covers anything.
        empty: Masks in the sample that cover nothing.
        unmade: Masks in the sample that cannot be made.
    """

    read: int = 0
    broken: int = 0
    silent: int = 0
    talks: int = 0
    per_record: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    phrases: Counter[str] = field(default_factory=Counter)
    query_words: Counter[int] = field(default_factory=Counter)
    answer_words: Counter[int] = field(default_factory=Counter)
    areas: list[float] = field(default_factory=list)
    empty: int = 0
    unmade: int = 0

    def __iadd__(self, other: Tally) -> Tally:
        for name, theirs in vars(other).items():
            if isinstance(theirs, Counter):
                getattr(self, name).update(theirs)  # in place: a sum would copy all phrases of a source each time
            elif isinstance(theirs, list):
                getattr(self, name).extend(theirs)
            else:
                setattr(self, name, getattr(self, name) + theirs)
        return self


@dataclass(frozen=True)
class Spread:
    """Some numbers in short."""

    mean: float
    median: float
    largest: float


@dataclass
class SourceStats(SourceReport):
    """A source in numbers. Whether pictures and masks are sound, a check tells: broken here is what cannot be read.

    Attributes:
        read: How many records were read, without broken and silent ones; the rest is about these.
        silent: How many records say nothing about their pictures, and are passed over.
        queries_per_picture: Over records.
        kinds: Kind -> queries and talks, the most frequent first.
        query_words: Length of the text of queries, words.
        answer_words: Length of answers of talks, and of explanations, words.
        masks: How many masks of the sample cover anything.
        empty_masks: How many masks of the sample cover nothing.
        broken_masks: How many masks of the sample cannot be made.
        area: Percentile -> share of the picture that a mask covers, 0 to 1, over `masks`.
        draws: How many examples of the run come from it, on average.
        passes: How often the run sees each of its records.
    """

    read: int
    silent: int
    queries_per_picture: Spread | None
    kinds: dict[str, int]
    query_words: Spread | None
    answer_words: Spread | None
    masks: int
    empty_masks: int
    broken_masks: int
    area: dict[int, float]
    draws: float
    passes: float

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def statistics(
    members: Sequence[Member],
    length: int,
    *,
    held_out: frozenset[int] = frozenset(),
    sample: int = 500,
    limit: int | None = None,
    seed: int = 1,
    workers: int = 0,
    on_progress: Progress | None = None,
) -> list[SourceStats]:
    """Reads all records, and makes the masks of some. Pictures stay closed.

    Args:
        members: See `self1e.data.members.members_of`.
        length: How many examples the run sees.
        held_out: Ids of COCO pictures that are tested on, and left out of filtered members.
        sample: Of how many records of a member masks are made; they are drawn at random.
        limit: Most records to read of a member; they are drawn at random.
        seed: Of these draws.
        workers: Processes that read; 0 for this one.
        on_progress: Told of records done, and of all.

    Raises:
        DataError: When a process ends before its work is done.
    """
    listings = [list_records(member, held_out).some(limit, (seed, i)) for i, member in enumerate(members)]
    sampled = [frozenset(listing.some(sample, (seed, i, 1)).pictures) for i, listing in enumerate(listings)]
    tallies = [Tally() for _ in members]
    common = ([member.source for member in members], sampled)
    for counted in over_records(count, common, listings, workers, on_progress):
        for number, tally in counted.items():
            tallies[number] += tally
    return [
        _summary(member, listing.records, tally, length)
        for member, listing, tally in zip(members, listings, tallies, strict=True)
    ]


def count(common: tuple[Sequence[Source], Sequence[Collection[int]]], chunk: Chunk) -> dict[int, Tally]:
    """Number of a member -> what is in its records of a chunk. `common`: sources, and places whose masks are made."""
    sources, sampled = common
    tallies: dict[int, Tally] = defaultdict(Tally)
    for number, place in (each for _, places in chunk for each in places):
        try:
            tally = tally_of(usable(sources[number][place]), place in sampled[number])
        except NothingSaid:
            tally = Tally(silent=1)
        except Exception:  # what a loader does not foresee is broken, too: a check tells of it
            tally = Tally(broken=1)
        tallies[number] += tally
    return tallies


def tally_of(record: Record, masks: bool) -> Tally:
    """What is in a record, with the areas of its masks or without."""
    tally = Tally(read=1, talks=len(record.talks), per_record=Counter((len(record.queries),)))
    for query in record.queries:
        tally.kinds[query.kind or query.form] += 1
        tally.query_words[len(query.text.split())] += 1
        if query.form == "phrase":
            tally.phrases[query.text] += 1
        if query.answer:
            tally.answer_words[len(query.answer.split())] += 1
    for talk in record.talks:
        tally.kinds[talk.kind or ("conversation" if talk.masks else "words")] += 1
        tally.answer_words.update(len(turn.answer.split()) for turn in talk.turns)
    makers = [query.mask for query in record.queries] + [mask for talk in record.talks for mask in talk.masks]
    for make in makers if masks else ():
        try:
            area = float((make() == 1).mean())
        except Exception:  # as above
            tally.unmade += 1
        else:
            tally.areas += [area] if area else []
            tally.empty += not area
    return tally


def spread_of(counts: Counter[int]) -> Spread | None:
    """Of numbers that are given by how often each occurs; None if there are none.

    >>> spread_of(Counter({1: 2, 4: 1}))
    Spread(mean=2.0, median=1.0, largest=4.0)
    """
    if not counts:
        return None
    numbers = np.repeat(list(counts), list(counts.values()))
    return Spread(float(numbers.mean()), float(np.median(numbers)), float(numbers.max()))


def _summary(member: Member, records: int, tally: Tally, length: int) -> SourceStats:
    draws = member.share * length
    levels = np.percentile(tally.areas, PERCENTILES).tolist() if tally.areas else []
    return SourceStats(
        part=member.part,
        name=member.label,
        share=member.share,
        records=records,
        broken=tally.broken,
        queries=tally.query_words.total(),
        phrases=ranked(tally.phrases),
        talks=tally.talks,
        read=tally.read,
        silent=tally.silent,
        queries_per_picture=spread_of(tally.per_record),
        kinds=ranked(tally.kinds),
        query_words=spread_of(tally.query_words),
        answer_words=spread_of(tally.answer_words),
        masks=len(tally.areas),
        empty_masks=tally.empty,
        broken_masks=tally.unmade,
        area=dict(zip(PERCENTILES, levels, strict=False)),
        draws=draws,
        passes=draws / records if records else 0.0,
    )
