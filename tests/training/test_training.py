"""Training on toyland: batches, order, resumption, and that a few steps teach something."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import TINY

from self1e.conversation import Conversation, Example
from self1e.model.network import SELF1EForSegmentation
from self1e.processing.tokens import train_tokenizer
from self1e.toyland.dense import KIND_NAMES
from self1e.toyland.dense_labels import (
    CLASSES,
    DenseProbe,
    at_cell_centres,
    centre_and_spread,
    dense_losses,
    dense_targets,
    place_waves,
)
from self1e.toyland.generate import generate_scene
from self1e.toyland.training import MOST_TURNS, ToylandDataset, toyland_corpus
from self1e.training.build_from_scratch import raise_model, sine_positions
from self1e.training.collate import Collator
from self1e.training.config import ConfigError, ToylandData, TrainConfig
from self1e.training.run import build, train

DATA = ToylandData(size=96, segmenting=3, textual=2, rehearsed=1)


def settings(folder: Path, **changes: Any) -> TrainConfig:
    tree: dict[str, Any] = {
        "output": str(folder),
        "architecture": TINY.model_dump(),
        "image_to_segmentation": False,
        "packed": True,
        "dense_weight": 0.3,
        "pointed_weight": 0.3,
        "data": DATA.model_dump(),
        "optimisation": {"steps": 4, "pictures_per_step": 2, "warmup_steps": 1, "learning_rate": 3e-3},
        "workers": 0,
        "log_every": 1,
        "save_every": 2,
    }
    return TrainConfig.model_validate_json(__import__("json").dumps(tree | changes))


@pytest.fixture(autouse=True)
def small_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokenizer of a real run is learnt from 400 scenes; two will do here."""
    monkeypatch.setattr("self1e.training.run.toyland_corpus", lambda: toyland_corpus(2))


@pytest.fixture(scope="module")
def model_and_processor() -> tuple[SELF1EForSegmentation, Any]:
    return raise_model(TINY, train_tokenizer(toyland_corpus(2), 500), seed=1)


def test_raising_depends_on_the_seed_alone() -> None:
    tokenizer = train_tokenizer(toyland_corpus(2), 500)
    first, second, other = (raise_model(TINY, tokenizer, seed)[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["model.language_model.norm.weight"] * 0 + 1, other["lm_head.weight"][0])
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


def test_sine_positions_tell_places_apart() -> None:
    positions = sine_positions(6, 32)
    distance = torch.cdist(positions, positions) + torch.eye(36) * 1e3
    assert distance.min() > 1e-3


def test_example_is_a_function_of_seed_and_index() -> None:
    dataset = ToylandDataset(DATA, 10, dense_side=8)
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
        return [*(talk for talk in example.conversations if not talk.segmenting), *example.extras["rehearsed"]]

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


@pytest.mark.parametrize("packed", [True, False])
def test_collator_rows(model_and_processor: tuple[Any, Any], packed: bool) -> None:
    _, processor = model_and_processor
    examples = [ToylandDataset(DATA, 10, dense_side=16)[index] for index in range(2)]
    inputs = Collator(processor, packed)(examples)
    batch, index = inputs["batch"], torch.tensor(inputs["batch"].picture_index)
    for picture, example in enumerate(examples):
        pointing = [talk for talk in example.conversations if talk.segmenting]
        rows = (index == picture) & batch.bidirectional
        assert rows.sum() == (1 if packed else len(pointing))
        given = [mask for row in rows.nonzero().flatten() for mask in batch.masks[row].numpy()]
        expected = [mask for talk in pointing for mask in talk.masks]
        assert len(given) == len(expected)
        assert all(np.array_equal(a, b) for a, b in zip(given, expected, strict=True))
        causal = (index == picture) & ~batch.bidirectional
        assert causal.sum() == 1
        assert batch.masks[int(causal.nonzero())].shape[0] == 0
    assert batch.pixel_values.shape[0] == 2
    assert inputs["dense"]["kind"].shape == (2, 16, 16)
    assert inputs["counts"]["conversations"] == batch.conversations
    assert inputs["counts"]["tokens"] == len(batch.targets)
    assert inputs["counts"]["read"] == batch.attention_mask.sum()
    assert inputs["counts"]["padded"] == batch.input_ids.numel()


def test_packed_rows_give_the_loss_of_single_rows(
    model_and_processor: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = model_and_processor
    monkeypatch.setattr(model.config, "image_to_segmentation", False)
    data = DATA.model_copy(update={"textual": 0, "rehearsed": 0})
    examples = [ToylandDataset(data, 10)[index] for index in range(2)]
    with torch.no_grad():
        packed, single = (model(Collator(processor, way)(examples)["batch"]) for way in (True, False))
    for part in ("ce_loss", "mask_bce_loss", "mask_dice_loss", "loss"):
        torch.testing.assert_close(getattr(packed, part), getattr(single, part), rtol=1e-5, atol=1e-5)


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


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_resumed_run_equals_uninterrupted_run(tmp_path: Path) -> None:
    whole = train(settings(tmp_path / "whole"), device="cpu")
    interrupted = settings(tmp_path / "interrupted")

    class Interrupted(Exception):
        pass

    original = ToylandDataset.__getitem__

    def fails_at_sixth(self: ToylandDataset, index: int) -> Any:
        if index == 6:
            raise Interrupted
        return original(self, index)

    ToylandDataset.__getitem__ = fails_at_sixth  # type: ignore[method-assign]
    try:
        with pytest.raises(Interrupted):
            train(interrupted, device="cpu")
    finally:
        ToylandDataset.__getitem__ = original  # type: ignore[method-assign]
    resumed = train(interrupted, device="cpu")
    first, second = weights(whole), weights(resumed)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_next_stage_goes_on_from_model_and_probe(tmp_path: Path) -> None:
    first = train(
        settings(
            tmp_path / "1", objective="dense", data={**DATA.model_dump(), "segmenting": 0, "textual": 0, "rehearsed": 0}
        ),
        device="cpu",
    )
    assert (tmp_path / "1" / "dense_probe.safetensors").exists()
    assert not any("dense_probe" in name for name in weights(first))
    second = train(settings(tmp_path / "2", architecture=None, init=str(first)), device="cpu")
    assert SELF1EForSegmentation.from_pretrained(second).config.image_to_segmentation is False


def test_new_models_can_take_over_a_vision_tower(tmp_path: Path) -> None:
    data = {**DATA.model_dump(), "segmenting": 0, "textual": 0, "rehearsed": 0}
    first = train(settings(tmp_path / "1", objective="dense", data=data), device="cpu")
    model, _ = build(settings(tmp_path / "2", vision=str(first), refilling="baseline", seed=2))
    taught = SELF1EForSegmentation.from_pretrained(first)
    for part in ("vision_tower", "multi_modal_projector"):
        given, taken = (getattr(each.model, part).state_dict() for each in (taught, model))
        assert all(torch.equal(given[name], taken[name]) for name in given)
    assert not torch.equal(taught.lm_head.weight, model.lm_head.weight)
    wider = {**TINY.model_dump(), "vision_width": 64}
    with pytest.raises(ConfigError, match=r"vision_tower .* does not fit"):
        build(settings(tmp_path / "3", vision=str(first), architecture=wider))


def test_bfloat16_products_leave_weights_and_losses_in_float32(tmp_path: Path) -> None:
    optimisation = {"steps": 3, "pictures_per_step": 1, "warmup_steps": 1, "learning_rate": 3e-3, "optimiser": "muon"}
    finished = {
        precision: weights(
            train(settings(tmp_path / precision, optimisation=optimisation | {"precision": precision}), device="cpu")
        )
        for precision in ("float32", "bfloat16")
    }
    name = next(name for name in finished["float32"] if name.endswith("layers.0.self_attn.q_proj.weight"))
    assert all(tensor.dtype == torch.float32 for tensor in finished["bfloat16"].values())
    assert not torch.equal(finished["float32"][name], finished["bfloat16"][name])
    difference = finished["float32"][name] - finished["bfloat16"][name]
    assert difference.norm() < 0.1 * finished["float32"][name].norm()


def test_settings_of_another_run_are_refused(tmp_path: Path) -> None:
    train(settings(tmp_path / "run", optimisation={"steps": 1, "pictures_per_step": 1}), device="cpu")
    with pytest.raises(ConfigError, match="other settings"):
        train(settings(tmp_path / "run"), device="cpu")


def test_a_few_steps_lower_the_loss(tmp_path: Path) -> None:
    import json

    train(
        settings(
            tmp_path / "run",
            optimisation={"steps": 30, "pictures_per_step": 2, "warmup_steps": 2, "learning_rate": 1e-2},
            save_every=30,
        ),
        device="cpu",
    )
    history = json.loads((tmp_path / "run" / "checkpoint-30" / "trainer_state.json").read_text())["log_history"]
    for part in ("loss", "ce", "dense_kind", "pointed"):
        values = [line[part] for line in history if part in line]
        assert np.mean(values[-5:]) < 0.9 * np.mean(values[:5]), part
