"""Collects the questions of a scene: all of them, or a sample by kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from numpy.random import Generator

from self1e.data.wording import pick
from self1e.photos.language import answering
from self1e.photos.language.absent import Companions, Elsewhere, absent_drafts
from self1e.photos.language.colours import colour_drafts
from self1e.photos.language.naming import group_drafts, noun_drafts, part_drafts, union_drafts
from self1e.photos.language.places import ordinal_drafts, place_drafts, relation_drafts, size_drafts
from self1e.photos.language.query import KINDS, Draft, PhotoQuery, drawn
from self1e.photos.language.using import use_drafts
from self1e.photos.language.view import View

Builder = Callable[[View, Generator], Iterable[Draft]]


def _builders(
    companions: Companions, absent: int | None = None, elsewhere: Elsewhere | None = None
) -> dict[str, Builder]:
    return {
        "noun": noun_drafts,
        "group": group_drafts,
        "union": union_drafts,
        "part": part_drafts,
        "ordinal": ordinal_drafts,
        "size": size_drafts,
        "place": place_drafts,
        "relation": relation_drafts,
        "colour": colour_drafts,
        "use": use_drafts,
        "absent": lambda view, rng: absent_drafts(view, rng, companions, absent, elsewhere),
        "vqa_yesno": lambda view, rng: answering.yesno_drafts(view, rng, companions, elsewhere),
        "vqa_count": answering.count_drafts,
        "vqa_colour": answering.colour_drafts,
        "vqa_where": answering.where_drafts,
    }


assert tuple(_builders({})) == KINDS


def queries(view: View, rng: Generator, companions: Companions) -> list[PhotoQuery]:
    """Everything that can be asked about a scene, one query for each draft; of absent nouns, a handful."""
    return [draft.query(rng) for build in _builders(companions).values() for draft in build(view, rng)]


def sample_queries(
    view: View,
    rng: Generator,
    count: int,
    weights: Mapping[str, float],
    companions: Companions,
    absent_share: float = 0.2,
    elsewhere: Elsewhere | None = None,
) -> list[PhotoQuery]:
    """Some questions about a scene.

    Kinds are drawn by weight, then evenly among their varieties. A kind that has no more is replaced by another; but
    of what is not there, which never ends, there is no more than a share of `count`.

    Args:
        view: What to ask about.
        rng: The only source of chance.
        count: How many; fewer come back only if there are no more.
        weights: Relative share of each kind.
        companions: See `absent_drafts`.
        absent_share: Of "absent" in `count`, at most. Where there are few others, their share of what comes is larger.
        elsewhere: See `expected`.
    """
    most_absent = math.ceil(absent_share * count)
    builders = _builders(companions, most_absent, elsewhere)
    unknown = sorted(set(weights) - set(builders))
    if unknown:
        raise ValueError(f"unknown kinds of question: {', '.join(unknown)}; there are {', '.join(KINDS)}")
    left = {kind: weight for kind, weight in weights.items() if weight > 0}
    pools: dict[str, dict[str, list[Draft]]] = {}
    chosen: dict[str, PhotoQuery] = {}
    while len(chosen) < count and left:
        kind = drawn(rng, left, 1)[0]
        if kind == "absent" and sum(query.kind == kind for query in chosen.values()) >= most_absent:
            del left[kind]
            continue
        if kind not in pools:
            pools[kind] = _by_variety(builders[kind](view, rng))
        pool = pools[kind]
        if not pool:
            del left[kind]
            continue
        variety = pick(rng, list(pool))
        drafts = pool[variety]
        query = drafts.pop(int(rng.random() * len(drafts))).query(rng)
        if not drafts:
            del pool[variety]
        chosen.setdefault(query.text, query)
    return list(chosen.values())


def _by_variety(drafts: Iterable[Draft]) -> dict[str, list[Draft]]:
    found: dict[str, list[Draft]] = {}
    for draft in drafts:
        found.setdefault(draft.variety, []).append(draft)
    return found
