"""Figures on photographs, and the rivals that know nouns as classes: on rectangles, of which the answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.class_heads import ClassHead, Labelled, class_loss, head_masks, normalised, train_head
from benchmarks.photo_figures import figures_of_masks, records_of_test
from self1e.metrics import boundary_f
from self1e.model.stem import EfficientNetLite2
from self1e.photos.dataset import PhotoData
from self1e.photos.nouns import nouns
from tests.photos.made_up import add_photo, write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of two test photographs, one of which has a small thing, and one to learn from."""
    write_folder(tmp_path)
    add_photo(tmp_path, "a", [("dog", (10, 10, 60, 60)), ("cat", (80, 80, 90, 90))], split="test")
    add_photo(tmp_path, "b", [("horse", (20, 20, 50, 50))], split="test")
    add_photo(tmp_path, "c", [("dog", (10, 10, 60, 60))], unknown=(0, 62, 98, 98))
    return tmp_path


def test_figures_of_right_and_of_empty_masks(folder: Path) -> None:
    right = figures_of_masks(lambda record: [query.mask() == 1 for query in record.queries], folder, 10)
    assert [right[name] for name in ("ciou", "giou", "t_acc", "n_acc", "boundary", "small", "middle", "large")] == [
        1
    ] * 8
    empty = figures_of_masks(lambda record: [np.zeros((100, 100), bool) for _ in record.queries], folder, 10)
    assert [empty[name] for name in ("ciou", "giou", "t_acc", "n_acc", "boundary", "small")] == [0, 0, 0, 1, 0, 0]
    assert right["questions"] == 9  # three that are there, and three of each photograph that are not


def test_edges_may_be_off_by_a_little(folder: Path) -> None:
    truth = np.zeros((250, 250), np.uint8)  # whose diagonal allows for three pixels
    truth[100:150, 100:150] = 1
    assert boundary_f(np.roll(truth, 3, 1) == 1, truth) == 1
    assert 0.4 < boundary_f(np.roll(truth, 10, 1) == 1, truth) < 0.6  # the edges above and below still agree
    truth[:, 120:] = 255  # what it hides of the edge is not missed, nor what is wrong there
    beyond = (truth == 1) | (truth == 255)
    assert boundary_f(beyond, truth) == 1 and boundary_f(np.roll(beyond, 20, 0), truth) < 0.5
    assert boundary_f(np.zeros(truth.shape, bool), truth) == 0
    truth[:, 90:] = 255
    assert boundary_f(beyond, truth) is None


def test_a_head_is_taught_what_is_known_and_nothing_else(folder: Path) -> None:
    data = Labelled(PhotoData(folders=[str(folder)], size=64, composed=0), 8)
    number = {name: nouns()[name].number - 1 for name in ("dog", "cat", "sky")}
    picture, labels = max((data[place] for place in range(8)), key=lambda one: (one[1][number["dog"]] == 255).sum())
    assert picture.shape == (3, 64, 64) and labels.shape == (len(nouns()), 16, 16)
    dog, cat, sky = (labels[place] for place in number.values())
    assert set(dog.unique().tolist()) == {0, 1, 255} and (sky == 255).all()
    assert set(cat.unique().tolist()) == {0, 255} and torch.equal(cat == 255, dog == 255)  # there is none
    right = torch.where(labels == 1, 20.0, -20.0)[None]
    assert class_loss(right, labels[None]) < 0.1 < class_loss(-right, labels[None])
    right[0, nouns()["sky"].number - 1] = 20.0
    assert class_loss(right, labels[None]) < 0.1


@pytest.mark.parametrize("mixed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_head_learns(folder: Path, mixed: bool) -> None:
    torch.manual_seed(0)
    data = PhotoData(folders=[str(folder)], size=64, composed=0)
    stem = EfficientNetLite2()
    head, steps = train_head(stem, data, 0.05, 1, mixed=mixed, batch=4, workers=0)
    pictures, labels = (torch.stack(parts) for parts in zip(*(Labelled(data, 8)[i] for i in range(8)), strict=True))
    torch.manual_seed(1)  # as it began
    new = ClassHead(stem.widths, len(nouns()), mixed=mixed)
    with torch.no_grad():
        features = stem(normalised(pictures))
        losses = [class_loss(each(features), labels).item() for each in (head, new)]
    assert steps > 0 and losses[0] < losses[1]


@pytest.mark.parametrize("mixed", [False, True])
def test_a_head_is_asked_by_name(folder: Path, mixed: bool) -> None:
    stem, head = EfficientNetLite2(), ClassHead(EfficientNetLite2().widths, len(nouns()), mixed=mixed)
    last = head.classify or head.projections[0]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([100.0 if noun.name == "dog" else -100.0 for noun in nouns()]))
    masks = head_masks(stem, head, 64)
    record = next(records_of_test(folder, 10))
    found = {query.text: mask for query, mask in zip(record.queries, masks(record), strict=True)}
    assert found["the dog"].shape == (100, 100) and found["the dog"].all() and not found["the cat"].any()
