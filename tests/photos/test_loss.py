"""The labels of pixels: what they say of rectangles, and that the loss is least where they are read rightly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from self1e.conversation import Example
from self1e.data.records import DataError
from self1e.photos.dataset import PhotoData
from self1e.photos.loss import PixelLabelLoss, PixelLabels, _of_cells, targets_of
from self1e.photos.nouns import nouns
from self1e.training.probes import GEOMETRY, PLACE, at_cell_centres, centre_and_spread
from tests.photos.made_up import add_photo, write_folder


@pytest.fixture
def example(tmp_path: Path) -> Example:
    """A validation photograph, seen as it is: a dog on the left, and something unknown below."""
    write_folder(tmp_path)
    for number in range(40):
        add_photo(tmp_path, str(number), [("dog", (0, 0, 50, 50))], unknown=(0, 80, 100, 100))
    return PhotoData(folders=[str(tmp_path)], size=64).examples(1, training=False)[0]


def number(noun: str) -> int:
    return nouns()[noun].number


def test_labels_of_a_scene(example: Example) -> None:
    targets = targets_of(example, 10)
    noun = targets["noun"].numpy()
    assert (noun[:5, :5] == number("dog")).all() and (noun[:8, 5:] == 0).all() and (noun[8:] == -1).all()
    rivals = targets["rivals"][number("dog")]
    assert rivals[[0, number("dog"), number("cat")]].all() and not rivals[number("wheel")]
    dx, dy, width, height = targets["geometry"][0, 0].tolist()
    assert (dx, dy) == pytest.approx((0.2, 0.2), abs=0.01) and (width, height) == pytest.approx((0.5, 0.5), abs=0.02)
    assert (targets["geometry"][:, 5:] == 0).all() and (targets["place"][:, 5:] == 0).all()
    assert (targets["place"][0, 0] == targets["place"][4, 4]).all()  # that of the thing, not of the pixel


def test_the_loss_is_least_where_labels_are_right(example: Example) -> None:
    targets = {name: value[None] for name, value in targets_of(example, 10).items()}
    logits = 30 * torch.nn.functional.one_hot(targets["noun"].clamp(min=0), len(nouns()) + 1).float()
    right = torch.cat([logits, targets["geometry"], targets["place"]], dim=-1)
    assert all(value < 1e-4 for value in _of_cells(right, targets).values())
    wrong = torch.cat([-logits, targets["geometry"] + 0.5, targets["place"] + 0.5], dim=-1)
    assert all(value > 0.5 for value in _of_cells(wrong, targets).values())
    # What is not known, and nouns that nobody looked for, do not count.
    unsure = right.clone()
    unsure[..., number("wheel")] = 100
    unsure[:, 8:, :, number("cat")] = 100
    assert _of_cells(unsure, targets)["noun"] < 1e-4


def test_a_face_is_a_person_too(tmp_path: Path) -> None:
    write_folder(tmp_path)
    marks = ("face", "body", "dog")
    add_photo(tmp_path, "one", [("face", (0, 0, 50, 100))], set_name="msrc", annotated=marks, told_apart=None)
    data = PhotoData(folders=[str(tmp_path)], size=64, composed=0).examples(1, training=True)
    targets = {name: value[None] for name, value in targets_of(data[0], 8).items()}
    assert (targets["noun"] == number("face")).any()
    read = torch.zeros(1, 8, 8, len(nouns()) + 1 + GEOMETRY + PLACE)
    read[..., : len(nouns()) + 1] = 30 * torch.nn.functional.one_hot(targets["noun"].clamp(min=0), len(nouns()) + 1)
    read[..., number("person")] = 100 * (targets["noun"] == number("face"))
    assert _of_cells(read, targets)["noun"] < 1e-4
    read[..., number("dog")] = 100
    assert _of_cells(read, targets)["noun"] > 10


def test_what_no_cell_shows_is_there_all_the_same(example: Example) -> None:
    targets = {name: value[None] for name, value in targets_of(example, 10).items()}
    speck = torch.zeros(1, 64, 64, dtype=torch.uint8)
    speck[0, 0, 0] = 1
    loss = PixelLabelLoss(PixelLabels(pointed_weight=1), 8).requires_grad_(False)
    loss.pointed.weight.zero_()
    loss.pointed.bias.zero_()
    loss.pointed.bias[-1] = 30
    assert loss._of_masks(torch.zeros(1, 8), speck, targets, 0) < 1e-3


def test_other_examples_are_refused(example: Example) -> None:
    with pytest.raises(DataError, match=r"losses\.photos knows the labels of these only"):
        targets_of(Example(example.image, example.conversations, "mine-1"), 10)


def test_a_state_has_to_tell_what_its_mask_holds(example: Example) -> None:
    targets = {name: value[None] for name, value in targets_of(example, 10).items()}
    dog = torch.from_numpy((example.extras["photos"].scene.labels == number("dog")).astype(np.uint8))  # type: ignore[attr-defined]
    loss = PixelLabelLoss(PixelLabels(pointed_weight=1), 8)
    inside = at_cell_centres(dog, 10).flatten()[None].float()
    said = torch.zeros(len(nouns()) + 1)
    said[number("dog")] = 30
    with torch.no_grad():
        loss.pointed.weight.zero_()
        loss.pointed.bias.copy_(
            torch.cat([said, centre_and_spread(inside)[0], targets["place"][0, 0, 0], torch.ones(1) * 30])
        )
    loss.requires_grad_(False)
    states = torch.zeros(1, 8)
    assert loss._of_masks(states, dog[None], targets, 0) < 1e-3
    assert loss._of_masks(states, torch.zeros_like(dog)[None], targets, 0) == pytest.approx(30, abs=1e-3)
    assert loss._of_masks(states, dog.roll(20, 1)[None], targets, 0) > 1
