"""Clothing Co-Parsing, from MATLAB files through training to figures; ten drawn photographs, a tiny model."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy.io import savemat

from benchmarks import few_pictures
from examples import clothing_co_parsing
from examples.clothing_co_parsing import convert
from self1e.data.records import Record
from self1e.training.config import ConfigError

NAMES = ["null", "dress", "hair", "shoes", "belt", "hat"]
SIZE = 60, 40


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    """Ten photographs of a dress, hair and shoes."""
    source = tmp_path / "CCP"
    (source / "photos").mkdir(parents=True)
    (source / "annotations" / "pixel-level").mkdir(parents=True)
    savemat(source / "label_list.mat", {"label_list": np.array([NAMES], dtype=object)})
    colours = np.array([[250, 250, 250], [200, 30, 30], [90, 60, 20], [20, 20, 20]], np.uint8)
    for number in range(1, 11):
        labels = np.zeros(SIZE, np.uint8)
        labels[15:40, 10:30], labels[2:12, 15:25], labels[50:56, 8 : 20 + number] = 1, 2, 3
        savemat(source / "annotations" / "pixel-level" / f"{number:04d}.mat", {"groundtruth": labels})
        Image.fromarray(colours[labels]).save(source / "photos" / f"{number:04d}.jpg")
    assert convert(source, tmp_path / "ccp") == {"train": 8, "test": 2}
    return tmp_path / "ccp"


def test_every_fifth_photograph_is_for_testing(converted: Path) -> None:
    assert [path.name for path in sorted((converted / "test" / "masks").iterdir())] == ["0005.png", "0010.png"]
    garments = few_pictures.garments_of(converted / "test")
    asked = {query.text: query.mask().any() for query in garments[0].queries}
    assert [text for text, there in asked.items() if there] == ["the dress", "the hair", "the shoes"]
    assert len(asked) == 3 + few_pictures.ABSENT


def test_masks_that_are_there_are_not_written_over(
    converted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mended = converted / "train" / "masks" / "0001.png"
    mended.write_bytes(b"mended by hand")
    monkeypatch.setattr(sys, "argv", ["clothing_co_parsing.py", str(converted.with_name("CCP")), str(converted)])
    with pytest.raises(SystemExit):
        clothing_co_parsing.main()
    assert "choose another folder" in capsys.readouterr().err and mended.read_bytes() == b"mended by hand"


def test_some_photographs_are_evenly_spread(converted: Path, tmp_path: Path) -> None:
    for _ in range(2):  # the second time they are there
        train = few_pictures.some_of(converted, 3, tmp_path / "three") / "train"
    assert [path.stem for path in sorted((train / "masks").iterdir())] == ["0001", "0004", "0009"]
    garments = few_pictures.garments_of(train)
    assert [garments[place].image.resolve().stem for place in range(3)] == ["0001", "0004", "0009"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """What is shipped, for small steps."""
    tree = yaml.safe_load(few_pictures.CONFIG.read_text())
    tree |= {"workers": 0, "save_every": 1}
    tree["optimisation"]["pictures_per_step"] = 2
    path = tmp_path / "clothing.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_from_training_to_figures_and_again(
    tmp_path: Path, converted: Path, config: Path, tiny_model_folder: Path
) -> None:
    run = tmp_path / "run"
    model, facts = few_pictures.trained(tiny_model_folder, converted, 2, run, config)
    assert facts["steps"] == 2 and facts["minutes"] > 0
    figures = few_pictures.measured(model, converted)
    assert figures["named"] == 4 and set(figures["by_prompt"]) == {"the dress", "the shoes"}
    assert figures["absent"] == 4 and 0 <= figures["n_acc"] <= 1
    lines = few_pictures.table({"20": facts | figures, "0": {"minutes": 0.0, "steps": 0} | figures}).splitlines()
    assert len(lines) == 4 and lines[2].startswith("| 0 | 0.0 | 0 | ")

    assert few_pictures.trained(tiny_model_folder, converted, 2, run, config) == (model, facts)
    with pytest.raises(ConfigError, match="other settings"):
        few_pictures.trained(tiny_model_folder, converted, 1, run, config)

    shutil.rmtree(run / "checkpoint-2")  # as if it had been killed after a first step of 100 minutes
    state = run / "checkpoint-1" / "trainer_state.json"
    tree = json.loads(state.read_text())
    tree["stateful_callbacks"]["Stopwatch"]["attributes"]["seconds"] = 6000.0
    state.write_text(json.dumps(tree))
    _, resumed = few_pictures.trained(tiny_model_folder, converted, 2, run, config)
    assert 100 < resumed["minutes"] < 200


def test_figures_of_what_is_there_and_what_is_not(converted: Path) -> None:
    """Hair is found all over the first photograph and not in the second; the rest is right, but for a speck."""
    garments = few_pictures.garments_of(converted / "test")

    def masks(record: Record) -> list[np.ndarray]:
        found = [query.mask() == 1 for query in record.queries]
        found[[query.text for query in record.queries].index("the hair")][:] = record is first
        found[-1][:1] = True  # 40 pixels of an absent garment
        return found

    first = garments[0]
    asked = few_pictures.asked_of([first, garments[1]], masks)
    figures = few_pictures.figures_of(asked)
    worn = few_pictures.figures_of(few_pictures.without_body(asked))
    hair, dress = 100, 500
    shoes = [int(record.queries[2].mask().sum()) for record in (first, garments[1])]
    assert figures["by_prompt"]["the hair"] == {"n": 2, "ciou": hair / (SIZE[0] * SIZE[1] + hair)}
    right = hair + 2 * dress + sum(shoes)
    assert figures["ciou"] == right / (right + SIZE[0] * SIZE[1])
    assert figures["giou"] == pytest.approx((4 + hair / (SIZE[0] * SIZE[1])) / 6)
    assert (figures["n_acc"], worn["n_acc"], worn["ciou"], worn["giou"], worn["miou"]) == (1, 1, 1, 1, 1)
    assert figures["absent"] == worn["absent"] == 2 * few_pictures.ABSENT
