"""What a model did on a benchmark, as a page to look at: one HTML file, which needs nothing else.

Figures; how IoU is spread; by size and by phrase; what kinds of mistakes there are, and of each the worst samples,
drawn; and some of the best.
"""

from __future__ import annotations

import base64
import html
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from self1e.data.contact_sheet import with_masks
from self1e.evaluation.base import Benchmark
from self1e.evaluation.errors import ERRORS, Group, by_phrase, by_size, error_of, has_mask, histogram
from self1e.evaluation.samples import Sample
from self1e.processing.classes import same_class
from self1e.segment.segmenter import Segmenter

PAGE = "report.html"
BEST_SHARE = 5
"""For so many mistakes, one of the best is shown."""

MOST_PHRASES = 60
_STYLE = """
:root { color-scheme: light dark; --faint: #7a7a7a; --line: #8884; --bar: #3b82c4; --bad: #c2410c }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1180px; padding: 0 1rem }
h1 { font-size: 1.5rem }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-top: 1px solid var(--line); padding-top: 1rem }
h3 { font-size: .95rem; margin: .3rem 0; overflow-wrap: anywhere }
table { border-collapse: collapse } td, th { padding: .15rem .8rem .15rem 0; text-align: right }
th { color: var(--faint); font-weight: 500 }
td:first-child, th:first-child { text-align: left }
.columns { display: flex; flex-wrap: wrap; gap: 1rem 3rem; align-items: flex-start }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 540px), 1fr)); gap: 1.2rem }
figure { display: inline-block; margin: 0 .4rem .1rem 0 } figcaption, .said { color: var(--faint); font-size: .85rem }
img { max-width: 100%; border-radius: 4px; display: block } .said { margin: .1rem 0; overflow-wrap: anywhere }
rect { fill: var(--bar) } rect.bad { fill: var(--bad) } text { fill: var(--faint); font-size: 11px }
"""


def worst_samples(samples: Sequence[Sample], count: int, least: int = 1) -> dict[str, list[Sample]]:
    """Of each kind of mistake about as many. The lowest scores and largest mistakes come first; phrases take turns.

    Args:
        samples: All of them.
        count: How many to choose; a kind that has fewer leaves its part to the others.
        least: Predictions of fewer pixels are empty.
    """
    kinds: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda sample: (sample.score, sample.intersection - sample.union)):
        if error := error_of(sample, least):
            kinds.setdefault(error, []).append(sample)
    queues = [(error, _in_turns(kinds[error])) for error in ERRORS if error in kinds]
    chosen: dict[str, list[Sample]] = {error: [] for error, _ in queues}
    while count and (queues := [(error, queue) for error, queue in queues if queue]):
        for error, queue in queues[:count]:
            chosen[error].append(queue.pop(0))
        count -= min(count, len(queues))
    return chosen


def best_samples(samples: Sequence[Sample], count: int) -> list[Sample]:
    """The highest scores of masks of what is there; phrases take turns."""
    there = sorted((one for one in samples if has_mask(one) and one.target), key=lambda one: -one.score)
    return _in_turns(there)[:count]


def _in_turns(samples: Sequence[Sample]) -> list[Sample]:
    """The first of each phrase, then the second of each, and so on."""
    seen: Counter[str] = Counter()
    turns = []
    for sample in samples:
        phrase = same_class(sample.question)
        turns.append((seen[phrase], sample))
        seen[phrase] += 1
    return [sample for _, sample in sorted(turns, key=lambda turn: turn[0])]


def write_page(
    segmenter: Segmenter,
    benchmark: Benchmark,
    folder: Path,
    samples: Sequence[Sample],
    count: int,
    figures: Mapping[str, Any] | None = None,
) -> Path:
    """Writes `report.html`.

    Args:
        segmenter: The model that was measured.
        benchmark: What on.
        folder: Of the results.
        samples: All of them.
        count: How many mistakes are drawn.
        figures: Of the benchmark, shares from 0 to 1 among them.
    """
    least = int(benchmark.settings.get("min_area", 1))
    worst, best = worst_samples(samples, count, least), best_samples(samples, -(-count // BEST_SHARE))
    pictures = _drawn(segmenter, benchmark, [*chain.from_iterable(worst.values()), *best])
    errors = Counter(error for sample in samples if (error := error_of(sample, least)))
    title = f"{segmenter.model_name} on {benchmark.name}"
    parts = [f"<h1>{html.escape(title)}</h1>", f"<p>{len(samples):,} samples</p>", _figures(figures or {})]
    if any(has_mask(sample) and sample.target for sample in samples):
        parts.append(f'<div class="columns">{_histogram(samples)}{_groups("size", by_size(samples))}</div>')
    parts.append(_mistakes(errors, len(samples)))
    for error, of_error in worst.items():
        if of_error:
            parts.append(_gallery(f"{ERRORS[error]}: {len(of_error):,} of {errors[error]:,}", of_error, pictures))
    if best:
        parts.append(_gallery("The best", best, pictures))
    if phrases := by_phrase(samples):
        heading = "By phrase, the worst first"
        if len(phrases) > MOST_PHRASES:
            heading += f" ({MOST_PHRASES} of {len(phrases)})"
        parts.append(f"<h2>{heading}</h2>{_groups('phrase', phrases[:MOST_PHRASES])}")
    page = folder / PAGE
    page.write_text(
        f'<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>\n" + "\n".join(parts) + "\n",
        encoding="utf-8",
        errors="backslashreplace",  # for names that are no UTF-8
    )
    return page


def _drawn(
    segmenter: Segmenter, benchmark: Benchmark, samples: Iterable[Sample]
) -> dict[tuple[int, int], dict[str, str]]:
    """(record, number) -> what is shown -> address of a picture that holds it. A record's picture is opened once."""
    numbers: dict[int, list[int]] = {}
    for sample in samples:
        of_record = numbers.setdefault(sample.record, [])
        if sample.number not in of_record:
            of_record.append(sample.number)
    drawn: dict[tuple[int, int], dict[str, str]] = {}
    for record, of_record in numbers.items():
        shown = benchmark.shown(segmenter, record, of_record)
        for number in of_record:
            masks = shown.masks.get(number)
            ways: Mapping[str, Sequence[np.ndarray]] = (
                {name: [mask] for name, mask in masks.items()} if masks else {"picture": []}
            )
            drawn[record, number] = {name: _inline(with_masks(shown.picture, each)) for name, each in ways.items()}
    return drawn


def _inline(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.convert("RGB").save(file, "WEBP", quality=85)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _figures(figures: Mapping[str, Any]) -> str:
    """A table of the shares among figures."""
    shares = {name: value for name, value in figures.items() if isinstance(value, float) and 0 <= value <= 1}
    if not shares:
        return ""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in shares)
    return (
        f"<table><tr>{head}</tr><tr>{''.join(f'<td>{100 * value:.1f}</td>' for value in shares.values())}</tr></table>"
    )


def _groups(what: str, found: Sequence[Group]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(group.name)}</td><td>{group.count:,}</td>"
        f"<td>{100 * group.giou:.1f}</td><td>{100 * group.ciou:.1f}</td></tr>"
        for group in found
    )
    return f"<table><tr><th>{what}</th><th>samples</th><th>gIoU</th><th>cIoU</th></tr>{rows}</table>"


def _histogram(samples: Sequence[Sample]) -> str:
    """How IoU is spread, as a drawing."""
    counts = histogram(samples)
    width, height, most = 22, 120, max(counts)
    bars = "".join(
        f'<rect x="{place * width + 1}" y="{height - count / most * height + 14:.1f}" width="{width - 2}" '
        f'height="{count / most * height:.1f}"><title>IoU {place / len(counts):.2f} to '
        f"{(place + 1) / len(counts):.2f}: {count:,}</title></rect>"
        for place, count in enumerate(counts)
    )
    whole = width * len(counts)
    return (
        f'<svg role="img" aria-label="How IoU is spread" width="{whole}" viewBox="0 0 {whole} {height + 32}">{bars}'
        f'<text x="0" y="{height + 28}">IoU 0</text>'
        f'<text x="{whole}" y="{height + 28}" text-anchor="end">1</text>'
        f'<text x="0" y="10">{most:,} at most</text></svg>'
    )


def _mistakes(errors: Mapping[str, int], count: int) -> str:
    if not count:
        return ""
    most = max([1, *errors.values()])
    rows = "".join(
        f"<tr><td>{meaning}</td><td>{errors[error]:,}</td><td>{100 * errors[error] / count:.1f} %</td>"
        f'<td><svg width="200" height="12"><rect class="bad" width="{200 * errors[error] / most:.0f}" height="12"/>'
        "</svg></td></tr>"
        for error, meaning in ERRORS.items()
        if errors.get(error)
    )
    return f"<h2>Mistakes</h2><table>{rows}</table>" if rows else "<h2>Mistakes</h2><p>None.</p>"


def _gallery(heading: str, samples: Sequence[Sample], pictures: Mapping[tuple[int, int], Mapping[str, str]]) -> str:
    sections = "".join(_section(sample, pictures[sample.record, sample.number]) for sample in samples)
    return f'<h2>{html.escape(heading)}</h2><div class="samples">{sections}</div>'


def _section(sample: Sample, pictures: Mapping[str, str]) -> str:
    """HTML of a sample; `pictures`: what is shown -> address."""
    figures = [
        f'<figure><img alt="{name}" src="{source}"><figcaption>{name}</figcaption></figure>'
        for name, source in pictures.items()
    ]
    if sample.given:
        told = [f"said: {sample.answer}", f"right: {sample.given}"]
        if sample.union:  # what was said freely points, too
            told.append(f"IoU {sample.intersection / sample.union:.3f}")
    else:
        score = "" if sample.confidence is None else f" · score {sample.confidence:.2f}"
        told = [f"IoU {sample.score:.3f}{score} · {sample.answer}"]
    told.append(f"{sample.picture} · {sample.kind}" if sample.kind else sample.picture)
    return (
        f"<section><h3>{html.escape(sample.question)}</h3>{''.join(figures)}"
        f'<p class="said">{"<br>".join(map(html.escape, told))}</p></section>'
    )
