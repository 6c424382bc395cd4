"""Data as settings name it: mixtures, data sets of plugins, augmentation, and texts for a tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import BaseModel

from self1e.conversation import Example
from self1e.data.settings import Data, DataSettings, MixtureData, read_named
from self1e.plugins import DATASETS, LOSSES, PluginError
from self1e.toyland.training import ToylandData


class Run(BaseModel):
    """Settings with data in them, as a training run has."""

    data: Data


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., MixtureData]:
    """Twelve pictures whose left half is red, and the settings that name them."""
    lines = []
    for number in range(12):
        pixels = np.zeros((24, 32, 3), np.uint8)
        pixels[:, :16, 0] = 100 + number
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        half = [[0, 0, 16, 0, 16, 24, 0, 24]]
        lines.append({"image": f"{number}.png", "prompt": "the left half", "masks": half, "answer": "It is not black."})
    lines.append({"image": "missing.png", "prompt": "Is it there?", "answer": "It is lost."})
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    parts = {"mine": {"rate": 1, "own": [{"jsonl": str(tmp_path / "own.jsonl")}]}}
    return lambda **changes: MixtureData.model_validate({"parts": parts} | changes)


def test_what_is_written_reads_back_the_same(own: Callable[..., MixtureData]) -> None:
    for data in (own(augment={"flip": 0.5}), ToylandData(seed=3, first_weights={"class": 1.0})):
        written = Run(data=data).model_dump(mode="json")
        assert Run.model_validate(json.loads(json.dumps(written))).data == data
    assert written == {"data": {"toyland": ToylandData(seed=3, first_weights={"class": 1.0}).model_dump()}}


def test_a_plugin_has_to_bring_what_its_group_is_of() -> None:
    with pytest.raises(PluginError, match=r"'toyland' of self1e\.losses should name a subclass of DataSettings"):
        read_named(LOSSES, DataSettings, {"toyland": {}})
    with pytest.raises(PluginError, match=r"no data set 'nowhere'; installed are .*toyland"):
        read_named(DATASETS, DataSettings, {"nowhere": {}})


def left_is_red(example: Example) -> bool:
    pixels = np.asarray(example.image)
    return pixels[12, 4, 0] > pixels[12, -4, 0]


def test_pictures_change_when_they_are_learnt_from_only(own: Callable[..., MixtureData]) -> None:
    plain, flipped = (own(augment=augment).examples(60, training=True) for augment in ({}, {"flip": 0.5}))
    mirrored = 0
    for index in range(60):
        before, after = plain[index], flipped[index]
        assert before.id == after.id and left_is_red(before)
        if not before.conversations[0].segmenting:  # an explanation alone
            continue
        half = "left half" if left_is_red(after) else "right half"
        mirrored += half == "right half"
        assert half in after.conversations[0].turns[0].question
        mask = after.conversations[0].masks[0]
        assert np.array_equal(mask == 1, np.asarray(after.image)[..., 0] > 0)
    assert 10 < mirrored < 50
    looked_at = own(augment={"flip": 1.0, "colour": 1.0}).examples(12, training=False)
    assert all(left_is_red(looked_at[index]) for index in range(12))


def test_an_example_changes_the_same_way_whoever_asks(own: Callable[..., MixtureData]) -> None:
    augment = {"flip": 0.5, "crop": 0.5, "colour": 0.5}
    one, other = (own(augment=augment).examples(20, training=True) for _ in range(2))
    backwards = {index: other[index].image.tobytes() for index in reversed(range(20))}
    assert all(one[index].image.tobytes() == backwards[index] for index in range(20))
    again = own(augment=augment).examples(48, training=True)
    seen: dict[str, set[bytes]] = {}
    for index in range(48):
        seen.setdefault(again[index].id, set()).add(again[index].image.tobytes())
    assert any(len(pictures) > 1 for pictures in seen.values())  # not the same way each time


def test_texts_are_those_of_the_run(own: Callable[..., MixtureData]) -> None:
    texts = list(own().texts())
    assert any("the left half" in text for text in texts) and "It is not black." in "".join(texts)
    assert "It is lost." in texts  # no picture is opened for it
    assert len({text for text in texts if "left half" in text}) > 1  # in several templates
    assert texts == list(own().texts())
