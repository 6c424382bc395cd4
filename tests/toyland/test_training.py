"""Toyland as a training set: examples, the curriculum, and the losses of labels of every pixel."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from self1e.conversation import Conversation, Example
from self1e.data.records import DataError
from self1e.toyland.dataset import MOST_TURNS, ToylandDataset
from self1e.toyland.dense_labels import KIND_NAMES
from self1e.toyland.dense_probe import (
    CLASSES,
    DenseProbe,
    at_cell_centres,
    centre_and_spread,
    dense_losses,
    dense_targets,
    label_accuracy,
    place_waves,
)
from self1e.toyland.generate import generate_scene
from self1e.toyland.loss import DenseLabels, targets_of
from self1e.toyland.training import ToylandData
from self1e.training.config import ConfigError, load_config

DATA = ToylandData(size=96, segmenting=3, textual=2, rehearsed=1)


def test_example_is_a_function_of_seed_and_index() -> None:
    dataset = ToylandDataset(DATA, 10)
    first, again, next_one = dataset[3], dataset[3], dataset[4]
    assert np.array_equal(np.asarray(first.image), np.asarray(again.image))
    assert [talk.turns for talk in first.conversations] == [talk.turns for talk in again.conversations]
    assert first.id != next_one.id
    assert not np.array_equal(np.asarray(first.image), np.asarray(next_one.image))


def test_conversations_go_on_as_in_a_chat() -> None:
    """Every conversation is asked once, alone or as a later turn, with its masks in the order of its turns."""
    alone = ToylandDataset(DATA, 10)[3]
    chained = ToylandDataset(DATA.model_copy(update={"history": 1.0}), 10)[3]

    def pointing(example: Example) -> list[Conversation]:
        return [talk for talk in example.conversations if talk.segmenting]

    def worded(example: Example) -> list[Conversation]:
        return [*(talk for talk in example.conversations if not talk.segmenting), *example.rehearsed]

    for chosen in (pointing, worded):
        separate, chains = chosen(alone), chosen(chained)
        turns = sorted((turn.question, turn.answer) for talk in chains for turn in talk.turns)
        assert turns == sorted((turn.question, turn.answer) for talk in separate for turn in talk.turns)
        assert len(chains) < len(separate) and all(len(talk.turns) <= MOST_TURNS + 1 for talk in chains)
        for talk in chains:
            assert len(talk.masks) == sum(turn.answer.count("[SEG]") for turn in talk.turns)
    masks = {talk.turns[-1]: talk.masks for talk in alone.conversations}
    first = pointing(chained)[0]
    expected = [mask for turn in first.turns for mask in masks[turn]]
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(first.masks, expected, strict=True))


def test_things_are_named_in_capitals_too() -> None:
    data = DATA.model_copy(update={"terse": 1.0, "textual": 0, "rehearsed": 0})
    plain, loud = (ToylandDataset(data.model_copy(update={"capitals": share}), 10)[3] for share in (0.0, 1.0))
    for small, large in zip(plain.conversations, loud.conversations, strict=True):
        ours, theirs = small.turns[0].question, large.turns[0].question
        assert ours.casefold() == theirs.casefold() and theirs[0].isupper()
        assert all(np.array_equal(a, b) for a, b in zip(small.masks, large.masks, strict=True))


def test_curriculum_moves_from_first_to_last_weights() -> None:
    data = ToylandData(first_weights={"class": 2.0}, last_weights={"class": 1.0, "part": 1.0}, curriculum=0.5)
    dataset = ToylandDataset(data, 100)
    assert dataset.weights(0) == {"class": 2.0, "part": 0.0}
    assert dataset.weights(25) == {"class": 1.5, "part": 0.5}
    assert dataset.weights(50) == dataset.weights(99) == {"class": 1.0, "part": 1.0}


def test_dense_targets_are_the_labels_of_cell_centres() -> None:
    scene = generate_scene(3, 96)
    targets = dense_targets(scene, 12)
    owners = {thing.id: thing for thing in scene.things}
    for row in range(12):
        for column in range(12):
            thing = owners[int(scene.object_map[row * 8 + 4, column * 8 + 4])]
            assert KIND_NAMES[int(targets["kind"][row, column])] == thing.kind
            assert bool(targets["geometry"][row, column, 2] > 0) != thing.is_stuff


def test_pixels_of_small_things_weigh_more() -> None:
    probe = DenseProbe(8, ["kind"])
    target = {"kind": torch.zeros(1, 8, 8, dtype=torch.long)}
    target["geometry"] = torch.zeros(1, 8, 8, 4)
    target["geometry"][0, 0, 0, 2:] = 0.125  # a thing of one cell
    target["geometry"][0, 4:, 4:, 2:] = 0.5  # and one of sixteen
    right = probe.read_compressed(torch.zeros(1, 4, 8)).detach().clone()
    right[..., :] = 0.0
    right[..., 0] = 20.0  # class 0 is right everywhere
    losses = []
    for row, column in ((0, 0), (5, 5), (0, 5)):
        wrong = right.clone()
        wrong[0, row, column, 0] = -20.0
        losses.append(dense_losses(probe.split(wrong), target)["kind"].item())
    assert losses[0] == pytest.approx(4 * losses[1], rel=1e-3)  # 1 / sqrt(box)
    assert losses[1] > losses[2] > 0  # of 17 cells of things, or of 47 of stuff


def test_labels_of_a_batch_are_means_over_its_pictures() -> None:
    """Also where one of them has no things: then it has no accuracy either, rather than one that is no number."""
    probe, scenes = DenseProbe(8), [generate_scene(seed, 96) for seed in (3, 4)]
    features = torch.randn(2, 9, 8)
    each = [dense_targets(scene, 12) for scene in scenes]
    each[1]["geometry"] = torch.zeros_like(each[1]["geometry"])
    together = {name: torch.stack([targets[name] for targets in each]) for name in each[0]}
    losses = probe(features, None, together)
    accuracy = label_accuracy(probe, features, together)
    alone = [{name: values[None] for name, values in targets.items()} for targets in each]
    for name, loss in losses.items():
        expected = [probe(features[[row]], None, alone[row])[name] for row in range(2)]
        torch.testing.assert_close(loss, torch.stack(expected).mean())
    for name, share in accuracy.items():
        one, other = (label_accuracy(probe, features[[row]], alone[row])[name] for row in range(2))
        assert share == one and share.whole > 0 and other == (0, 0)


def test_place_waves_peak_where_places_are_the_same() -> None:
    places = torch.rand(40, 2)
    waves = place_waves(places)
    likeness = waves @ waves.T
    assert waves.shape == (40, 16) and torch.equal(likeness.argmax(dim=1), torch.arange(40))
    scene = generate_scene(3, 96)
    targets = dense_targets(scene, 24)
    for thing in scene.things:
        cells = at_cell_centres(torch.from_numpy(scene.object_map == thing.id), 24)
        expected = torch.zeros(16) if thing.is_stuff else place_waves(torch.tensor(thing.centre) / 96)
        for found in targets["place"][cells]:
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_masks_are_described_by_centre_and_spread() -> None:
    mask = torch.zeros(2, 40, 40, dtype=torch.uint8)
    mask[0, 10:20, 20:40] = 1
    inside = at_cell_centres(mask, 20).flatten(1).float()
    assert inside[0].sum() == 50 and inside[1].sum() == 0
    spread = [2 * (side**2 - 1) ** 0.5 / 12**0.5 / 20 for side in (10, 5)]  # of evenly spaced cells
    expected = torch.tensor([[0.75, 0.375, *spread], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(centre_and_spread(inside), expected)


def test_pointed_loss_asks_for_what_is_inside_the_mask() -> None:
    scene = generate_scene(3, 96)
    targets = dense_targets(scene, 24)
    thing = next(thing for thing in scene.things if thing.kind == "sky")
    masks = torch.from_numpy(np.stack([scene.object_map == thing.id, np.zeros_like(scene.object_map)])).to(torch.uint8)
    probe = DenseProbe(16)
    states = torch.zeros(2, 16, requires_grad=True)
    optimiser = torch.optim.Adam([states, *probe.pointed.parameters()], lr=0.1)
    start = probe.pointed_loss(states, masks, targets).item()
    torch.nn.init.normal_(states)
    for _ in range(150):
        optimiser.zero_grad()
        loss = probe.pointed_loss(states, masks, targets)
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1 * start
    read = probe.pointed(states)
    assert KIND_NAMES[int(read[0, : CLASSES["kind"]].argmax())] == "sky"
    assert (read[:, -1] > 0).tolist() == [True, False]


def test_labels_are_of_scenes_only() -> None:
    assert targets_of(ToylandDataset(DATA, 4)[2], 8)["kind"].shape == (8, 8)
    other = Example(Image.new("RGB", (20, 20)), (), "a photograph")
    with pytest.raises(DataError, match="a photograph is no toyland scene"):
        targets_of(other, 8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": {"toyland": {"first_weights": {"clas": 1}}}}, "no kind of question clas"),
        (
            {"data": {"toyland": {"segmenting": 0, "textual_share": 0.5}}},
            "toyland would ask nothing about",
        ),
        ({"data": {"toyland": {"scenes": "five"}}}, "data.toyland.scenes: Input should be a valid integer"),
        ({"data": {"scenes": 5}}, "scenes: settings of toyland. Write `data: {toyland: {scenes: ...}}`"),
        ({"losses": {"toyland": {"labels": ["kinds"]}}}, "losses.toyland.labels.0"),
        ({"dense_weight": 0.3, "pointed_weight": 0.5}, "pointed_weight: is now losses.toyland.pointed_weight"),
        ({"objective": "dense"}, "objective: is now pictures_only: true for `dense`"),
    ],
)
def test_faults_of_settings_are_named(tmp_path: Path, change: dict[str, object], said: str) -> None:
    tree = {"output": "x", "architecture": {}, "data": {"toyland": {}}, "optimisation": {"steps": 1}} | change
    (tmp_path / "config.yaml").write_text(json.dumps(tree))
    with pytest.raises(ConfigError, match="cannot be used") as raised:
        load_config(tmp_path / "config.yaml")
    assert said in str(raised.value)
    assert "Extra inputs" not in str(raised.value)  # what is said is what to write


def test_settings_read_back_the_same() -> None:
    assert DenseLabels.model_validate_json(DenseLabels(weight=0.3).model_dump_json()) == DenseLabels(weight=0.3)
