"""Clothing Co-Parsing, from MATLAB files through both trainings to figures; ten drawn photographs, tiny models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy.io import savemat

from benchmarks import clothing
from benchmarks.few_pictures import some_of
from examples.clothing_co_parsing import WORN_IN_PAIRS, convert, two_of
from self1e.data.own import OwnSource
from self1e.data.records import Record
from self1e.training.config import ConfigError

NAMES = ["null", "dress", "hair", *WORN_IN_PAIRS]
SHOES = NAMES.index("shoes")
SIZE = 60, 40


def drawn(*boxes: Sequence[int]) -> np.ndarray:
    """bool[60, 40] of boxes (left, top, right, bottom)."""
    mask = np.zeros(SIZE, bool)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return mask


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    """Ten photographs of a dress, hair and two shoes, which in every other one touch."""
    source = tmp_path / "CCP"
    (source / "photos").mkdir(parents=True)
    (source / "annotations" / "pixel-level").mkdir(parents=True)
    savemat(source / "label_list.mat", {"label_list": np.array([NAMES], dtype=object)})
    for number in range(1, 11):
        labels = np.zeros(SIZE, np.uint8)
        labels[15:40, 10:30], labels[2:12, 15:25] = 1, 2
        labels[drawn((8, 50, 18, 56), (18 + 4 * (number % 2), 50, 32, 56))] = SHOES
        savemat(source / "annotations" / "pixel-level" / f"{number:04d}.mat", {"groundtruth": labels})
        colours = np.array(
            [[250, 250, 250], [200, 30, 30], [90, 60, 20], *[[20, 20, 20]] * len(WORN_IN_PAIRS)], np.uint8
        )
        Image.fromarray(colours[labels]).save(source / "photos" / f"{number:04d}.jpg")
    assert convert(source, tmp_path / "ccp") == {"train": (8, 8), "test": (2, 2)}
    return tmp_path / "ccp"


def test_every_fifth_photograph_is_for_testing(converted: Path) -> None:
    assert [path.name for path in sorted((converted / "test" / "masks").iterdir())] == ["0005.png", "0010.png"]
    garments = clothing.garments_of(converted / "test")
    asked = {query.text: query.mask().any() for query in garments[0].queries}
    assert [text for text, there in asked.items() if there] == ["the dress", "the hair", "the shoes"]
    assert len(asked) == 3 + clothing.ABSENT


def test_some_photographs_are_evenly_spread(converted: Path, tmp_path: Path) -> None:
    for _ in range(2):  # the second time they are there
        train = some_of(converted, 3, tmp_path / "three") / "train"
    assert [path.stem for path in sorted((train / "masks").iterdir())] == ["0001", "0004", "0009"]
    garments = clothing.garments_of(train)
    assert [garments[place].image.resolve().stem for place in range(3)] == ["0001", "0004", "0009"]


def test_left_is_that_of_the_picture(converted: Path) -> None:
    (record,) = list(OwnSource(converted / "test" / "pairs.jsonl"))
    masks = {query.text: query.mask() for query in record.queries}
    assert list(masks) == ["the left shoe", "the right shoe"] and record.image.is_file()
    assert np.array_equal(masks["the left shoe"] == 1, drawn((8, 50, 18, 56)))
    assert np.array_equal(masks["the right shoe"] == 1, drawn((22, 50, 32, 56)))


@pytest.mark.parametrize(
    "boxes",
    [
        [],
        [(0, 0, 10, 10)],
        [(0, 0, 10, 10), (10, 10, 20, 20)],  # touch at a corner
        [(0, 0, 10, 10), (20, 0, 24, 10)],  # unlike in size
        [(0, 0, 10, 10), (9, 20, 19, 30)],  # one above the other
        [(0, 0, 10, 10), (15, 0, 25, 10), (30, 0, 35, 5)],  # a third
    ],
)
def test_what_is_no_clear_pair(boxes: list[tuple[int, ...]]) -> None:
    assert two_of(drawn(*boxes)) == []


def test_a_speck_does_not_spoil_a_pair() -> None:
    left, right = two_of(drawn((20, 0, 30, 9), (0, 5, 10, 15), (35, 0, 36, 1)))
    assert np.array_equal(left, drawn((0, 5, 10, 15))) and np.array_equal(right, drawn((20, 0, 30, 9)))


def test_pictures_and_labels_are_varied_alike() -> None:
    labels = torch.zeros(16, 48, 48, dtype=torch.uint8)
    labels[:, 10:30, 5:20] = 1
    pixels = 255 * labels.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, None].expand(-1, 3, -1, -1)
    seen, truth = clothing.varied(pixels, labels, np.random.default_rng(0))
    half = torch.nn.functional.avg_pool2d(seen, 2)[:, 0] > 127
    assert (half == (truth == 1)).float().mean() > 0.99
    assert len({int(each.sum()) for each in truth}) > 4 and (truth != labels).any()


@pytest.fixture
def config(tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is shipped, for a tiny model and small pictures."""
    monkeypatch.setattr(clothing, "SIDE", 64)
    tree = yaml.safe_load(clothing.CONFIG.read_text())
    tree |= {"init": str(tiny_model_folder), "workers": 0, "save_every": 1}
    tree["optimisation"]["pictures_per_step"] = 2
    path = tmp_path / "clothing.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_from_training_to_figures_and_again(tmp_path: Path, converted: Path, config: Path) -> None:
    run = tmp_path / "run"
    results, sheets = clothing.compare(converted, 2, run, config)
    ours, rival = results[clothing.OURS], results[clothing.RIVAL]
    assert (ours["steps"], ours["photographs"]) == (2, 4) and rival["photographs"] == rival["steps"] * 8
    assert rival["minutes"] >= ours["minutes"] > 0
    for figures in (ours, rival):
        assert figures["garments"]["named"] == 6 and figures["garments"]["absent"] == 4
        assert set(figures["garments"]["by_prompt"]) == {"the dress", "the hair", "the shoes"}
        worn = figures["worn"]
        assert worn["named"] == 4 and set(worn["by_prompt"]) == {"the dress", "the shoes"}
        assert worn["by_prompt"]["the dress"] == figures["garments"]["by_prompt"]["the dress"]
        assert figures["pairs"]["named"] == 2 and 0 <= figures["pairs"]["giou"] <= 1
        assert 0 <= figures["garments"]["n_acc"] <= 1
    shapes, photographs = (np.asarray(sheets[name]) for name in ("shapes.png", "photographs.png"))
    assert shapes.shape == photographs.shape and not np.array_equal(shapes, photographs)
    assert len(clothing.tables(results).splitlines()) == 14

    trained = (run / "segformer" / "model.safetensors").stat().st_mtime_ns
    again, _ = clothing.compare(converted, 2, run, config)
    assert again == results
    assert (run / "segformer" / "model.safetensors").stat().st_mtime_ns == trained
    with pytest.raises(ConfigError, match="other settings"):
        clothing.train_ours(converted, 1, run, config)
    with pytest.raises(ValueError, match="was trained with"):
        clothing.train_rival(converted, 1.0, len(NAMES), run / "segformer")

    shutil.rmtree(run / "checkpoint-2")  # as if it had been killed after a first step of 100 minutes
    state = run / "checkpoint-1" / "trainer_state.json"
    tree = json.loads(state.read_text())
    tree["stateful_callbacks"]["Stopwatch"]["attributes"]["seconds"] = 6000.0
    state.write_text(json.dumps(tree))
    _, resumed = clothing.train_ours(converted, 2, run, config)
    assert 100 < resumed["minutes"] < 200


def test_figures_of_what_is_there_and_what_is_not(converted: Path) -> None:
    """Hair is found all over the first photograph and not in the second; the rest is right, but for a speck."""
    garments = clothing.garments_of(converted / "test")

    def masks(record: Record) -> list[np.ndarray]:
        found = [query.mask() == 1 for query in record.queries]
        found[[query.text for query in record.queries].index("the hair")][:] = record is first
        found[-1][:1] = True  # 40 pixels of an absent garment
        return found

    first = garments[0]
    asked = clothing.measure([first, garments[1]], masks)
    figures, worn = clothing.figures_of(asked), clothing.figures_of(clothing.without_body(asked))
    hair, dress = 100, 500
    shoes = [int(record.queries[2].mask().sum()) for record in (first, garments[1])]
    assert figures["by_prompt"]["the hair"] == {"n": 2, "ciou": hair / (SIZE[0] * SIZE[1] + hair)}
    right = hair + 2 * dress + sum(shoes)
    assert figures["ciou"] == right / (right + SIZE[0] * SIZE[1])
    assert figures["giou"] == pytest.approx((4 + hair / (SIZE[0] * SIZE[1])) / 6)
    assert (figures["n_acc"], worn["n_acc"], worn["ciou"], worn["giou"], worn["miou"]) == (1, 1, 1, 1, 1)
    assert figures["absent"] == worn["absent"] == 2 * clothing.ABSENT


def test_one_of_a_pair_is_the_class_for_the_rival(converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clothing, "SIDE", 64)
    garments, pairs = clothing.garments_of(converted / "test"), OwnSource(converted / "test" / "pairs.jsonl")
    torch.manual_seed(0)
    model = clothing.SegformerForSemanticSegmentation(clothing.SegformerConfig(num_labels=len(garments.classes))).eval()
    with torch.no_grad():
        model.decode_head.classifier.bias[SHOES] = model.decode_head.classifier.bias.max()
    masks = clothing.rival_masks(model, garments.classes)
    record = garments[0]
    place = [query.text for query in record.queries].index("the shoes")
    left, right = masks(pairs[0])
    assert pairs[0].image.resolve() == record.image.resolve()
    assert np.array_equal(left, right) and np.array_equal(left, masks(record)[place])


@pytest.mark.slow
def test_nano_from_nothing(tmp_path: Path, converted: Path, config: Path) -> None:
    random = tmp_path / "random.yaml"
    tree = yaml.safe_load(clothing.RANDOM.read_text())
    tree["architecture"] |= {"image_size": 64, "vision_layers": 1, "text_layers": 1}
    random.write_text(yaml.safe_dump(tree))
    results = clothing.compare_start(converted, 2, tmp_path / "run", config, random)
    row = results[clothing.FROM_NOTHING]
    assert row["steps"] == 2 and row["garments"]["named"] == 6
    assert (tmp_path / "run" / "untrained" / "model.safetensors").is_file()
    assert clothing.tables(results).count(clothing.FROM_NOTHING) == 3
    assert clothing.compare_start(converted, 2, tmp_path / "run", config, random) == results
    random.write_text(yaml.safe_dump(tree | {"seed": 7}))
    with pytest.raises(ValueError, match="choose another --output"):
        clothing.untrained(tmp_path / "run" / "untrained", random)
