"""Rivals on photographs: heads that know nouns as classes, on the same frozen stem and the same photographs.

A linear head, and one like SegFormer's (Xie et al. 2021; features of strides 8, 16 and 32 projected, joined and mixed,
with GroupNorm, as batches are small, and without dropout). Sets of photographs mark only some nouns each, so that every
noun is a question of its own, yes or no for each pixel, and counts where it is known. Losses are ours, BCE and Dice; of
the questions about a picture a fifth is about what is not there; in our training it is a fifth of those wanted, and
28 % of those that there were when the runs of the ladder were made (counted once, on 400 examples).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.photo_figures import Masks
from self1e.data.masks import IGNORE
from self1e.data.records import Record
from self1e.model.stem import IMAGENET_MEAN, IMAGENET_STD, EfficientNetLite2, on_grid
from self1e.photos.dataset import PhotoData
from self1e.photos.language import View
from self1e.photos.nouns import nouns
from self1e.processing.images import load_image

WIDTH = 256
RATE = 1e-3
ABSENT_SHARE = 0.2
STRIDE = 4
"""Pixels of the picture to one of the labels that are learnt, as in the method's own masks."""


class ClassHead(nn.Module):
    """Logits of each noun at twice the finest features; `mixed`: like SegFormer's head, otherwise linear."""

    def __init__(self, widths: Sequence[int], classes: int, *, mixed: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for width in widths)
        self.projections = nn.ModuleList(nn.Conv2d(width, WIDTH if mixed else classes, 1) for width in widths)
        self.mix = (
            nn.Sequential(nn.Conv2d(WIDTH * len(widths), WIDTH, 1), nn.GroupNorm(32, WIDTH), nn.ReLU())
            if mixed
            else None
        )
        self.classify = nn.Conv2d(WIDTH, classes, 1) if mixed else None

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """float[B, C, h, w] of each stride -> float[B, classes, 2 h, 2 w] of the finest."""
        grid = (features[0].shape[-2], features[0].shape[-1])
        read = [
            on_grid(project(norm(each)), grid)
            for each, norm, project in zip(features, self.norms, self.projections, strict=True)
        ]
        if self.mix is None or self.classify is None:
            logits = torch.stack(read).sum(0)
        else:
            logits = self.classify(self.mix(torch.cat(read, dim=1)))
        return F.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=False)


class Labelled(Dataset[tuple[Tensor, Tensor]]):
    """uint8[3, S, S] of each example's picture, and uint8[nouns, S / STRIDE, S / STRIDE] as `Query.mask`."""

    def __init__(self, data: PhotoData, length: int) -> None:
        self.data, self.scenes, self.length = data, data.examples(length, training=True), length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        scene = self.scenes.scene(index)
        view, places = (
            View(scene, self.data.leave_out, trusting=True),
            np.arange(STRIDE // 2, scene.labels.shape[0], STRIDE),
        )
        small = replace(scene, labels=scene.labels[np.ix_(places, places)])
        labels = np.full((len(nouns()), len(places), len(places)), IGNORE, np.uint8)
        for noun in view.absent:
            labels[noun.number - 1] = small.mask(noun.name)
        for noun in view.present:
            labels[noun.number - 1] = small.mask(noun.name)
        return torch.from_numpy(scene.picture.copy()).permute(2, 0, 1), torch.from_numpy(labels)


def class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """20 BCE + 5 Dice, means over maps; BCE of those of nouns that are not there together weighs `ABSENT_SHARE`.

    Args:
        logits: float[B, nouns, H, W].
        labels: uint8[B, nouns, H, W] as `Query.mask`; all 255 where nothing is known of a noun.
    """
    known, truth = (labels != IGNORE).float().flatten(2), (labels == 1).float().flatten(2)
    errors = F.binary_cross_entropy_with_logits(logits.flatten(2), truth, reduction="none") * known
    bce = errors.sum(2) / known.sum(2).clamp(min=1)
    there, asked = truth.any(2), known.any(2)
    weights = _shared(there) * (1 - ABSENT_SHARE) + _shared(asked & ~there) * ABSENT_SHARE
    shares = logits.sigmoid().flatten(2) * known
    dice = 1 - (2 * (shares * truth).sum(2) + 1) / (shares.sum(2) + truth.sum(2) + 1)
    return 20 * (bce * weights).sum() + 5 * (dice * _shared(there)).sum()


def _shared(chosen: Tensor) -> Tensor:
    """float of bool, with a sum of 1 where there is any."""
    return chosen.float() / chosen.sum().clamp(min=1)


def train_head(
    stem: EfficientNetLite2,
    data: PhotoData,
    minutes: float,
    seed: int,
    *,
    mixed: bool,
    batch: int = 8,
    workers: int = 1,
) -> tuple[ClassHead, int]:
    """A head after so many minutes of steps, as `Stopwatch` counts them, and how many steps they were."""
    torch.manual_seed(seed)
    head = ClassHead(stem.widths, len(nouns()), mixed=mixed)
    optimiser = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=0.01)
    seconds = 0.0
    for step, (pictures, labels) in enumerate(_batches(Labelled(data, 10**7), batch, workers)):
        done = seconds / 60 / minutes
        if done >= 1:
            return head.eval(), step
        start = time.process_time()
        for group in optimiser.param_groups:  # after a warm-up, linear to 0 at the end of its time
            group["lr"] = RATE * min((step + 1) / 50, 1 - done)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            features = stem(normalised(pictures))
        # In bfloat16 the backward pass of torch 2.13's convolutions crashes here; in float32 the head takes little.
        loss = class_loss(head([each.float().contiguous() for each in features]), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seconds += time.process_time() - start
    raise AssertionError("there are more examples than time")


def _batches(data: Dataset[tuple[Tensor, Tensor]], batch: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    yield from DataLoader(data, batch_size=batch, num_workers=workers)


def normalised(pictures: Tensor) -> Tensor:
    """uint8[..., 3, H, W] as the stem reads them."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (pictures / 255 - mean) / std


def head_masks(stem: EfficientNetLite2, head: ClassHead, side: int) -> Masks:
    """What a head finds of each noun that is asked for by its phrase."""
    rows = {noun.phrase: noun.number - 1 for noun in nouns()}
    return partial(_found, stem, head, side, rows)


@torch.inference_mode()
def _found(
    stem: EfficientNetLite2, head: ClassHead, side: int, rows: dict[str, int], record: Record
) -> list[np.ndarray]:
    image = load_image(record.image)
    pixels = torch.from_numpy(np.array(image.resize((side, side)))).permute(2, 0, 1)[None]
    logits = head(stem(normalised(pixels)))
    asked = [rows[query.text] for query in record.queries]
    shown = F.interpolate(logits[:, asked], (image.height, image.width), mode="bilinear", align_corners=False)[0]
    return list((shown > 0).numpy())
