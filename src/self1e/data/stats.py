"""What a training set consists of: how many queries of which kinds, how large masks are, how often each is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from self1e.data.members import Member, list_records
from self1e.data.records import Source
from self1e.data.spread import CHUNK, Progress, spread

PERCENTILES = (5, 25, 50, 75, 95)
TOP = 10
"""Class names that are listed."""


@dataclass
class Tally:
    """What is counted in some records; `a + b` counts both.

    Attributes:
        read: Records that could be read.
        broken: Records that could not.
        per_record: Queries -> records with so many.
        talks: Exchanges whose words are given.
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
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


@dataclass(frozen=True)
class Spread:
    """Some numbers in short."""

    mean: float
    median: float
    largest: float


@dataclass(frozen=True)
class SourceStats:
    """A source in numbers.

    Attributes:
        part: See `Member`.
        name: See `Member.label`.
        records: How many a run may draw.
        read: How many of these were read, and are what the rest is about.
        broken: How many more could not be read; whether pictures and masks are sound, `check` tells.
        queries: How many there are.
        queries_per_picture: Over records.
        talks: How many exchanges there are whose words are given.
        kinds: Kind -> queries and talks, the most frequent first.
        phrases: The most frequent class names or expressions, with how many queries ask for them.
        different_phrases: How many there are in all.
        query_words: Length of the text of queries, words.
        answer_words: Length of answers of talks, and of explanations, words.
        masks: How many masks of the sample cover anything.
        empty_masks: How many masks of the sample cover nothing.
        broken_masks: How many masks of the sample cannot be made.
        area: Percentile -> share of the picture that a mask covers, 0 to 1, over `masks`.
        share: Of examples that come from it.
        draws: How many examples of the run come from it, on average.
        passes: How often the run sees each of its records.
    """

    part: str
    name: str
    records: int
    read: int
    broken: int
    queries: int
    queries_per_picture: Spread | None
    talks: int
    kinds: dict[str, int]
    phrases: dict[str, int]
    different_phrases: int
    query_words: Spread | None
    answer_words: Spread | None
    masks: int
    empty_masks: int
    broken_masks: int
    area: dict[int, float]
    share: float
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
    """
    chunks: list[tuple[int, list[int], frozenset[int]]] = []
    records = []
    for number, member in enumerate(members):
        listing = list_records(member, held_out)
        records.append(len(listing.places))
        listing = listing.some(limit, (seed, number))
        sampled = frozenset(listing.some(sample, (seed, number, 1)).places)
        for start in range(0, len(listing.places), CHUNK):
            places = listing.places[start : start + CHUNK]
            chunks.append((number, places, sampled & frozenset(places)))
    tallies = [Tally() for _ in members]
    done, total = 0, sum(len(places) for _, places, _ in chunks)
    for (number, places, _), tally in zip(
        chunks, spread(count, [member.source for member in members], chunks, workers), strict=True
    ):
        tallies[number] += tally
        done += len(places)
        if on_progress is not None:
            on_progress(done, total)
    return [_summary(*each, length) for each in zip(members, records, tallies, strict=True)]


def count(sources: Sequence[Source], chunk: tuple[int, Sequence[int], frozenset[int]]) -> Tally:
    """Reads some records of a source: its number, their places, and of which of them masks are made."""
    number, places, sampled = chunk
    tally = Tally()
    for place in places:
        try:
            record = sources[number][place]
        except Exception:  # what a loader does not foresee is broken, too: `check` tells of it
            tally.broken += 1
            continue
        tally.read += 1
        tally.talks += len(record.talks)
        tally.per_record[len(record.queries)] += 1
        for query in record.queries:
            tally.kinds[query.kind or query.form] += 1
            tally.phrases.update([query.text] if query.form == "phrase" else [])
            tally.query_words[len(query.text.split())] += 1
            tally.answer_words.update([len(query.answer.split())] if query.answer else [])
        for talk in record.talks:
            tally.kinds[talk.kind or ("conversation" if talk.masks else "words")] += 1
            tally.answer_words.update(len(turn.answer.split()) for turn in talk.turns)
        if place in sampled:
            makers = [query.mask for query in record.queries] + [mask for talk in record.talks for mask in talk.masks]
            for make in makers:
                try:
                    area = float((make() == 1).mean())
                except Exception:  # as above
                    tally.unmade += 1
                    continue
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
    numbers = np.repeat(*(np.array(column) for column in zip(*counts.items(), strict=True)))
    return Spread(float(numbers.mean()), float(np.median(numbers)), float(numbers.max()))


def _summary(member: Member, records: int, tally: Tally, length: int) -> SourceStats:
    draws = member.share * length
    levels = np.percentile(tally.areas, PERCENTILES).tolist() if tally.areas else []
    # Of what is equally frequent the first in the alphabet comes first: order does not depend on who read what.
    phrases = sorted(tally.phrases.items(), key=lambda pair: (-pair[1], pair[0]))
    return SourceStats(
        part=member.part,
        name=member.label,
        records=records,
        read=tally.read,
        broken=tally.broken,
        queries=sum(number * times for number, times in tally.per_record.items()),
        queries_per_picture=spread_of(tally.per_record),
        talks=tally.talks,
        kinds=dict(sorted(tally.kinds.items(), key=lambda pair: (-pair[1], pair[0]))),
        phrases=dict(phrases[:TOP]),
        different_phrases=len(phrases),
        query_words=spread_of(tally.query_words),
        answer_words=spread_of(tally.answer_words),
        masks=len(tally.areas),
        empty_masks=tally.empty,
        broken_masks=tally.unmade,
        area=dict(zip(PERCENTILES, levels, strict=False)),
        share=member.share,
        draws=draws,
        passes=draws / records if records else 0.0,
    )
