"""The samples that a model did worst on, as a page to look at."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from self1e.data.contact_sheet import with_masks
from self1e.data.words import Question
from self1e.evaluation.benchmarks import Benchmark
from self1e.evaluation.run import Answer, predicted_masks
from self1e.evaluation.samples import Sample
from self1e.processing.images import load_image
from self1e.segmenter import Segmenter

PAGE, PICTURES = "worst.html", "worst"
_STYLE = """body { font: 15px system-ui, sans-serif; margin: 2rem; color: #222 }
section { display: inline-block; vertical-align: top; width: 560px; margin: 0 1.5rem 1.5rem 0 }
figure { display: inline-block; margin: 0 .4rem .2rem 0 } figcaption { color: #777 }
h2 { font-size: 1rem; margin: .2rem 0 }"""


def worst_samples(samples: Sequence[Sample], count: int) -> list[Sample]:
    """The lowest scores first; of equal ones, the larger mistakes."""
    wrong = [sample for sample in samples if sample.score < 1]
    return sorted(wrong, key=lambda sample: (sample.score, sample.intersection - sample.union))[:count]


def write_page(
    segmenter: Segmenter, benchmark: Benchmark, folder: Path, samples: Sequence[Sample], answer: Answer, count: int
) -> Path:
    """Writes `worst.html` and its pictures. Masks are asked for again, as results keep numbers only.

    Args:
        segmenter: The model that was measured.
        benchmark: What on.
        folder: Of the results.
        samples: All of them.
        answer: As in the evaluation.
        count: How many are shown.
    """
    (folder / PICTURES).mkdir(exist_ok=True)
    sections = []
    asked: dict[int, list[np.ndarray]] = {}  # several of the worst may be of one picture
    for sample in worst_samples(samples, count):
        record = benchmark.source[sample.record]
        if isinstance(record, Question):
            told = f"said: {html.escape(sample.answer)}<br>right: {html.escape(sample.given)}"
            sections.append(_section(folder, sample, record.image, {"picture": []}, told))
            continue
        if sample.record not in asked:
            asked[sample.record] = [mask for mask, _ in predicted_masks(segmenter, record, answer)]
        predicted = asked[sample.record][sample.number].astype(np.uint8)
        shown = {"marked": [record.queries[sample.number].mask()], "predicted": [predicted]}
        told = f"IoU {sample.score:.3f} · {html.escape(sample.answer)}"
        sections.append(_section(folder, sample, record.image, shown, told))
    title = f"{segmenter.model_name} on {benchmark.name}: the worst {len(sections)} of {len(samples):,}"
    page = folder / PAGE
    page.write_text(
        f'<!doctype html><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
        f"<h1>{html.escape(title)}</h1>\n" + "\n".join(sections) + "\n",
        encoding="utf-8",
    )
    return page


def _section(folder: Path, sample: Sample, image: Path, shown: Mapping[str, Sequence[np.ndarray]], told: str) -> str:
    """A sample with its picture, once for each name of what is shown on it; `told` is HTML."""
    picture = load_image(image)
    figures = []
    for name, masks in shown.items():
        file = f"{PICTURES}/{sample.record}-{sample.number}-{name}.png"
        with_masks(picture, masks).save(folder / file)
        figures.append(f'<figure><img src="{file}"><figcaption>{name}</figcaption></figure>')
    return (
        f"<section><h2>{html.escape(sample.question)}</h2>{''.join(figures)}"
        f"<p>{told}<br>{html.escape(sample.picture)}</p></section>"
    )
