"""Collects the questions of a scene: all of them, or a sample by kind."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from numpy.random import Generator

from self1e.data.wording import pick, shuffled
from self1e.toyland.language.absent import absent_drafts
from self1e.toyland.language.answering import (
    caption_drafts,
    colour_drafts,
    count_drafts,
    where_drafts,
    yesno_drafts,
)
from self1e.toyland.language.naming import names, stuff_drafts
from self1e.toyland.language.pieces import part_drafts, plural_drafts
from self1e.toyland.language.places import spatial_drafts
from self1e.toyland.language.query import KINDS, Draft, SceneQuery
from self1e.toyland.language.reasoning import reasoning_drafts, unanswered
from self1e.toyland.language.view import SceneView
from self1e.toyland.scene import Scene

#: With so many anchors a sample has all the variety it needs, at a fraction of the time.
SAMPLE_ANCHORS = 4
#: How often a draft is drawn again because its target was asked for already.
FRESH_TRIES = 4


def _named(kind: str) -> Callable[[SceneView, Generator], list[Draft]]:
    def drafts(view: SceneView, rng: Generator) -> list[Draft]:
        return [
            name.draft()
            for thing in view.objects
            if view.is_target(thing)
            for name in names(view, thing)
            if name.kind == kind
        ]

    return drafts


def _absent(view: SceneView, rng: Generator) -> list[Draft]:
    return [*absent_drafts(view, rng), *unanswered(view)]


BUILDERS: dict[str, Callable[[SceneView, Generator], list[Draft]]] = {
    "stuff": lambda view, rng: stuff_drafts(view),
    "class": _named("class"),
    "attribute": _named("attribute"),
    "size": _named("size"),
    "ordinal": _named("ordinal"),
    "spatial": lambda view, rng: spatial_drafts(view, rng, anchor_limit=SAMPLE_ANCHORS),
    "part": lambda view, rng: part_drafts(view),
    "plural": lambda view, rng: plural_drafts(view),
    "absent": _absent,
    "reasoning": lambda view, rng: reasoning_drafts(view),
    "vqa_colour": lambda view, rng: colour_drafts(view),
    "vqa_count": count_drafts,
    "vqa_where": lambda view, rng: where_drafts(view),
    "vqa_yesno": yesno_drafts,
    "caption": lambda view, rng: caption_drafts(view),
}
assert tuple(BUILDERS) == KINDS


def queries(scene: Scene, rng: Generator, *, kinds: Collection[str] | None = None) -> list[SceneQuery]:
    """Everything that can sensibly be asked about a scene, in random order.

    No two have the same kind and target; what has no target (absent, answered in words) differs in its text.

    Args:
        scene: what to ask about.
        rng: chooses the words and the order; the only source of chance.
        kinds: the kinds to ask for (default: all of `KINDS`).
    """
    view = SceneView(scene)
    drafts = [draft for kind in _known(KINDS if kinds is None else kinds) for draft in BUILDERS[kind](view, rng)]
    found: dict[object, SceneQuery] = {}
    for draft in shuffled(rng, drafts):
        query = draft.query(rng)
        found.setdefault(_identity(query), query)
    return list(found.values())


def sample_queries(scene: Scene, rng: Generator, n: int, weights: Mapping[str, float]) -> list[SceneQuery]:
    """Some questions about a scene.

    Kinds are drawn by weight, then evenly among their varieties, and targets that were not asked for yet are
    preferred. A kind that the scene cannot serve (any more) is replaced by another.

    Args:
        scene: what to ask about.
        rng: the only source of chance.
        n: how many; fewer come back only if the scene has no more.
        weights: relative share of each kind.
    """
    view = SceneView(scene)
    left = {kind: weights[kind] for kind in _known(weights) if weights[kind] > 0}
    pools: dict[str, dict[str, list[Draft]]] = {}
    chosen: dict[object, SceneQuery] = {}
    targets: set[object] = set()
    while len(chosen) < n and left:
        kind = _by_weight(rng, left)
        if kind not in pools:
            pools[kind] = _by_variety(BUILDERS[kind](view, rng))
        query = _fresh(pools[kind], rng, chosen, targets)
        if query is None:
            del left[kind]
        else:
            chosen[_identity(query)] = query
            targets.add((query.things, query.parts))
    return list(chosen.values())


def _fresh(
    pool: dict[str, list[Draft]], rng: Generator, chosen: Mapping[object, SceneQuery], targets: set[object]
) -> SceneQuery | None:
    """A query that is not among the chosen, if possible with a new target; None if the pool has nothing more."""
    fallback = None
    for _ in range(FRESH_TRIES):
        while pool:
            variety = pick(rng, list(pool))
            drafts = pool[variety]
            draft = drafts.pop(int(rng.random() * len(drafts)))
            if not drafts:
                del pool[variety]
            query = draft.query(rng)
            if _identity(query) not in chosen:
                break
        else:
            return fallback
        if not (query.things or query.parts) or (query.things, query.parts) not in targets:
            return query
        fallback = query
    return fallback


def _by_variety(drafts: list[Draft]) -> dict[str, list[Draft]]:
    found: dict[str, list[Draft]] = {}
    for draft in drafts:
        found.setdefault(draft.variety, []).append(draft)
    return found


def _by_weight(rng: Generator, weights: Mapping[str, float]) -> str:
    point = rng.random() * sum(weights.values())
    for kind, weight in weights.items():
        point -= weight
        if point < 0:
            return kind
    return kind


def _identity(query: SceneQuery) -> object:
    if query.form == "question":
        return query.kind, query.text
    return (query.kind, query.things, query.parts) if query.things or query.parts else (query.kind, query.text)


def _known(kinds: Collection[str] | Mapping[str, float]) -> list[str]:
    unknown = set(kinds) - set(KINDS)
    if unknown:
        raise ValueError(f"unknown kinds of query: {sorted(unknown)}; there are {', '.join(KINDS)}")
    return [kind for kind in KINDS if kind in kinds]
