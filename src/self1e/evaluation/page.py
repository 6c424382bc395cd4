"""The samples that a model did worst on, as a page to look at."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from self1e.data.contact_sheet import with_masks
from self1e.evaluation.base import Benchmark, Shown
from self1e.evaluation.samples import Sample
from self1e.segment.segmenter import Segmenter

PAGE, PICTURES = "worst.html", "worst"
_STYLE = """body { font: 15px system-ui, sans-serif; margin: 2rem; color: #222 }
section { display: inline-block; vertical-align: top; width: 560px; margin: 0 1.5rem 1.5rem 0 }
figure { display: inline-block; margin: 0 .4rem .2rem 0 } figcaption { color: #777 }
h2 { font-size: 1rem; margin: .2rem 0 }"""


def worst_samples(samples: Sequence[Sample], count: int) -> list[Sample]:
    """The lowest scores first; of equal ones, the larger mistakes."""
    wrong = [sample for sample in samples if sample.score < 1]
    return sorted(wrong, key=lambda sample: (sample.score, sample.intersection - sample.union))[:count]


def write_page(segmenter: Segmenter, benchmark: Benchmark, folder: Path, samples: Sequence[Sample], count: int) -> Path:
    """Writes `worst.html` and its pictures.

    Args:
        segmenter: The model that was measured.
        benchmark: What on.
        folder: Of the results.
        samples: All of them.
        count: How many are shown.
    """
    (folder / PICTURES).mkdir(exist_ok=True)
    worst = worst_samples(samples, count)
    numbers: dict[int, list[int]] = {}  # several of the worst may be of one picture, which is opened once
    for sample in worst:
        numbers.setdefault(sample.record, []).append(sample.number)
    drawn: dict[tuple[int, int], dict[str, str]] = {}
    for record, of_record in numbers.items():
        drawn |= _draw(folder, record, of_record, benchmark.shown(segmenter, record, of_record))
    title = f"{segmenter.model_name} on {benchmark.name}: the worst {len(worst)} of {len(samples):,}"
    sections = [_section(sample, drawn[sample.record, sample.number]) for sample in worst]
    page = folder / PAGE
    page.write_text(
        f'<!doctype html><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
        f"<h1>{html.escape(title)}</h1>\n" + "\n".join(sections) + "\n",
        encoding="utf-8",
        errors="backslashreplace",  # for names that are no UTF-8
    )
    return page


def _draw(folder: Path, record: int, numbers: Sequence[int], shown: Shown) -> dict[tuple[int, int], dict[str, str]]:
    """Writes the picture of a record for each of these questions, once for each of its masks, or without any.

    Returns:
        (record, number) -> what is shown -> file, below `folder`.
    """
    drawn: dict[tuple[int, int], dict[str, str]] = {}
    for number in numbers:
        masks = shown.masks.get(number)
        pictures = {name: [mask] for name, mask in masks.items()} if masks else {"picture": []}
        drawn[record, number] = {name: f"{PICTURES}/{record}-{number}-{name}.png" for name in pictures}
        for name, file in drawn[record, number].items():
            with_masks(shown.picture, pictures[name]).save(folder / file)
    return drawn


def _section(sample: Sample, files: Mapping[str, str]) -> str:
    """HTML of a sample; `files`: what is shown -> picture."""
    figures = [f'<figure><img src="{file}"><figcaption>{name}</figcaption></figure>' for name, file in files.items()]
    if sample.given:
        told = [f"said: {sample.answer}", f"right: {sample.given}"]
        if sample.union:  # what was said freely points, too
            told.append(f"IoU {sample.intersection / sample.union:.3f}")
    else:
        told = [f"IoU {sample.score:.3f} · {sample.answer}"]
    told.append(f"{sample.picture} · {sample.kind}" if sample.kind else sample.picture)
    return (
        f"<section><h2>{html.escape(sample.question)}</h2>{''.join(figures)}"
        f"<p>{'<br>'.join(map(html.escape, told))}</p></section>"
    )
