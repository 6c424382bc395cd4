"""Standard rivals on photographs: heads that know nouns as classes, on the same frozen stem and the same data.

A linear head, and the head of SegFormer (Xie et al. 2021) on the stem's features of strides 8, 16 and 32. Sets of
photographs mark only some nouns each, so that every noun is a question of its own, yes or no for each pixel, and counts
where it is known; losses are ours, BCE and Dice.
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

from benchmarks.photo_figures import Masks, prompt_of
from self1e.data.masks import IGNORE
from self1e.data.records import Record
from self1e.model.stem import IMAGENET_MEAN, IMAGENET_STD, EfficientNetLite2, on_grid
from self1e.photos.dataset import PhotoData
from self1e.photos.language import View
from self1e.photos.nouns import nouns
from self1e.processing.images import load_image

WIDTH = 256
RATE = 1e-3
STRIDE = 4
"""Pixels of the picture to one of the labels that are learnt, as in the method's own masks."""


class ClassHead(nn.Module):
    """Logits of each noun for each pixel of the finest features; `mixed`: SegFormer's head, otherwise linear."""

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
        self.scenes, self.length = data.examples(length, training=True), length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        scene = self.scenes.scene(index)
        view, places = View(scene, trusting=True), np.arange(STRIDE // 2, scene.labels.shape[0], STRIDE)
        small = replace(scene, labels=scene.labels[np.ix_(places, places)])
        labels = np.full((len(nouns()), len(places), len(places)), IGNORE, np.uint8)
        for noun in view.absent:
            labels[noun.number - 1] = 0
        for noun in view.present:
            labels[noun.number - 1] = small.mask(noun.name)
        return torch.from_numpy(scene.picture.copy()).permute(2, 0, 1), torch.from_numpy(labels)


def class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """20 BCE over all that is known + 5 Dice over the nouns that are there, each the mean."""
    known = labels != IGNORE
    truth = (labels == 1).float()
    bce = F.binary_cross_entropy_with_logits(logits[known], truth[known])
    there = (labels == 1).flatten(2).any(2)
    shares, target = (logits.sigmoid() * known)[there].flatten(1), truth[there].flatten(1)
    dice = 1 - (2 * (shares * target).sum(1) + 1) / (shares.sum(1) + target.sum(1) + 1)
    return 20 * bce + 5 * dice.mean()


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
    """A head after so many minutes of steps (data being prepared do not count), and how many steps they were."""
    torch.manual_seed(seed)
    head = ClassHead(stem.widths, len(nouns()), mixed=mixed)
    optimiser = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=0.01)
    seconds = 0.0
    for step, (pictures, labels) in enumerate(_batches(Labelled(data, 10**7), batch, workers)):
        done = seconds / 60 / minutes
        if done >= 1:
            return head.eval(), step
        start = time.perf_counter()
        for group in optimiser.param_groups:  # after a warm-up, linear to 0 at the end of its time
            group["lr"] = RATE * min((step + 1) / 50, 1 - done)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            features = stem(normalised(pictures))
        # In bfloat16 the backward pass of torch 2.13's convolutions crashes here; in float32 the head takes little.
        loss = class_loss(head([each.float().contiguous() for each in features]), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seconds += time.perf_counter() - start
    raise AssertionError("there are more examples than time")


def _batches(data: Dataset[tuple[Tensor, Tensor]], batch: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    yield from DataLoader(data, batch_size=batch, num_workers=workers)


def normalised(pictures: Tensor) -> Tensor:
    """uint8[..., 3, H, W] as the stem reads them."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (pictures / 255 - mean) / std


def head_masks(stem: EfficientNetLite2, head: ClassHead, side: int) -> Masks:
    """What a head finds of each noun that is asked for by name; see `prompt_of`."""
    rows = {prompt_of(noun.name): noun.number - 1 for noun in nouns()}
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
