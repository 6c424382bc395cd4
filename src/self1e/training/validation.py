"""What a model in training does with examples it does not learn from: figures, and pictures to look at.

Words are given, as in the published protocol, so this is one forward a picture. Processes share the examples; their
results are put together in the order of the examples, so that any number of processes gives the same figures.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from PIL import Image

from self1e.conversation import Example
from self1e.data.broken import Examples
from self1e.data.contact_sheet import Cell, laid_out, with_masks
from self1e.metrics import MaskScores
from self1e.model.losses import resize
from self1e.training.collate import MEAN_OVER, Collator, Counts

logger = logging.getLogger(__name__)


@dataclass
class Judged:
    """One example and what the model made of it.

    Attributes:
        index: Of the example.
        scores: Of its masks.
        losses: Parts of the method's loss, each summed over what it is a mean over.
        counts: How many these are.
        seg_produced: Of the places of a `[SEG]`, those where the model would say it.
        cells: Truth and prediction of each conversation, of examples that are shown.
    """

    index: int
    scores: MaskScores
    losses: dict[str, float]
    counts: Counts
    seg_produced: list[bool]
    cells: list[Cell] = field(default_factory=list)


@torch.no_grad()
def validate(
    model: Callable[..., Any],
    dataset: Examples,
    collator: Collator,
    *,
    seg_token_id: int,
    shown: int,
    process: int,
    processes: int,
    prepare: Callable[[dict[str, Any]], dict[str, Any]],
) -> tuple[dict[str, float], Image.Image | None]:
    """Judges every example of `dataset`.

    Args:
        model: `SELF1EForSegmentation`, or what shards or wraps it.
        dataset: All of it is looked at.
        collator: As in training.
        seg_token_id: Of the model.
        shown: Examples that are drawn.
        process: Which of the processes this is.
        processes: How many there are.
        prepare: Moves a batch to the model's device.

    Returns:
        Figures: those of `MaskScores`, "ce", "bce", "dice", and "seg_produced": share of `[SEG]`s that the model would
        say where they are due. And truth and prediction of the examples that are shown.
    """
    count = len(dataset)
    own = []
    for start in range(0, count, processes):  # each process takes as many, as they may have to work together
        index = min(start + process, count - 1)
        example = dataset[index]
        for name, reason in example.skipped:
            logger.warning("another validation example in place of %s: %s", name, reason)
        inputs = prepare(collator([example]))
        own.append(_judged(model, inputs, example, index, seg_token_id, index < shown))
    by_index = {each.index: each for each in (gather_object(own) if processes > 1 else own)}
    judged = [by_index[index] for index in range(count)]
    cells = [cell for each in judged for cell in each.cells]
    return figures(judged), laid_out(cells, "marked in the data, and predicted") if cells else None


def figures(judged: Sequence[Judged]) -> dict[str, float]:
    """Of all examples together; see `validate`."""
    scores = MaskScores()
    for each in judged:
        scores.merge(each.scores)
    result = {name: value for name, value in scores.compute().items() if name != "samples"} if len(scores) else {}
    for name, whole in MEAN_OVER.items():
        result[name] = sum(each.losses[name] for each in judged) / max(sum(each.counts[whole] for each in judged), 1)
    produced = [said for each in judged for said in each.seg_produced]
    if produced:
        result["seg_produced"] = sum(produced) / len(produced)
    return result


def _judged(
    model: Callable[..., Any], inputs: dict[str, Any], example: Example, index: int, seg_token_id: int, shown: bool
) -> Judged:
    counts, batch = inputs["counts"], inputs["batch"]
    outputs = model(batch, logits_at=batch.before_seg)
    scores, cells = MaskScores(), []
    talks = [talk for talk in example.conversations if talk.segmenting]
    truths = [mask for masks in batch.masks for mask in masks]
    maps = [one for maps in outputs.mask_logits for one in maps]
    predicted = [
        (resize(one[None].float(), tuple(truth.shape))[0] > 0).cpu().numpy()
        for one, truth in zip(maps, truths, strict=True)
    ]
    ious = [scores.update(mask, truth.cpu().numpy()) for mask, truth in zip(predicted, truths, strict=True)]
    if shown:
        done = 0
        for talk in talks:
            masks = slice(done, done + len(talk.masks))
            cells += _cells(example, talk.turns[0].question, talk.masks, predicted[masks], ious[masks])
            done += len(talk.masks)
    return Judged(
        index,
        scores,
        {name: float(loss) * counts[MEAN_OVER[name]] for name, loss in outputs.losses.items()},
        counts,
        (outputs.logits.argmax(dim=-1) == seg_token_id).tolist(),
        cells,
    )


def _cells(
    example: Example, question: str, truths: Sequence[np.ndarray], predicted: Sequence[np.ndarray], ious: list[float]
) -> list[Cell]:
    """Two cells of a sheet: what is marked, and what was predicted."""
    guesses = [mask.astype(np.uint8) for mask in predicted]
    return [
        Cell(example.id, with_masks(example.image, truths), question),
        Cell("predicted", with_masks(example.image, guesses), f"IoU {', '.join(f'{iou:.2f}' for iou in ious)}"),
    ]
