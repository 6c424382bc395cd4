"""Entries of `own`: each form opened, several as one, and what is none of them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from self1e.data.own import OwnSource
from self1e.data.own_entries import Joined, open_own, read_entries
from self1e.data.own_masks import CocoInstancesSource, IndexMapSource
from self1e.data.records import DataError, Source


@pytest.fixture
def forms(tmp_path: Path) -> list[dict[str, Any]]:
    """The same picture, three times with a cat in its left half, and absent dogs where the form can ask for them."""
    for folder in ("photos", "maps"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (6, 4)).save(tmp_path / "photos" / "a.png")
    index_map = np.zeros((4, 6), np.uint8)
    index_map[:, :3] = 1
    Image.fromarray(index_map).save(tmp_path / "maps" / "a.png")
    (tmp_path / "classes.txt").write_text("background\ncat\ndog\n")
    polygon = [0, 0, 3, 0, 3, 4, 0, 4]
    line = {"image": "photos/a.png", "prompt": "cat", "masks": [polygon]}
    (tmp_path / "mine.jsonl").write_text(json.dumps(line))
    annotation = {"segmentation": [polygon], "iscrowd": 0, "bbox": [0, 0, 3, 4], "area": 12}
    instances = {
        "images": [
            {"id": number, "file_name": f"{name}.png", "height": 4, "width": 6} for number, name in enumerate("ab")
        ],
        "annotations": [annotation | {"id": each, "image_id": each, "category_id": each + 1} for each in (0, 1)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    photos = str(tmp_path / "photos")
    return [
        {"jsonl": str(tmp_path / "mine.jsonl")},
        {"coco": str(tmp_path / "instances.json"), "images": photos, "absent_classes": 1},
        {
            "masks": str(tmp_path / "maps"),
            "images": photos,
            "classes": str(tmp_path / "classes.txt"),
            "absent_classes": 1,
        },
    ]


def asked(source: Source, index: int) -> dict[str, int]:
    """Pixels of what is asked for."""
    return {query.text: int(query.mask().sum()) for query in source[index].queries}


def test_paths_may_begin_at_home(forms: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for form in forms:
        paths = {key: path.replace(str(tmp_path), "~") for key, path in form.items() if isinstance(path, str)}
        assert asked(open_own(form | paths), 0) == asked(open_own(form), 0)


def test_each_form(forms: list[dict[str, Any]]) -> None:
    sources = [open_own(entry) for entry in forms]
    assert [type(source) for source in sources] == [OwnSource, CocoInstancesSource, IndexMapSource]
    assert [asked(source, 0) for source in sources] == [{"cat": 12}, {"cat": 12, "dog": 0}, {"cat": 12, "dog": 0}]


def test_several_are_one_after_the_other(forms: list[dict[str, Any]], tmp_path: Path) -> None:
    lines = [{"image": f"{name}.png", "prompt": name, "masks": []} for name in "bc"]
    (tmp_path / "more.jsonl").write_text("\n".join(map(json.dumps, lines)))
    sources = [open_own(entry) for entry in ({"jsonl": str(tmp_path / "more.jsonl")}, forms[2], forms[0])]
    joined = pickle.loads(pickle.dumps(Joined("mine", sources)))
    assert joined.name == "mine" and len(joined) == 4
    assert [joined.image_path(i).name for i in range(4)] == ["b.png", "c.png", "a.png", "a.png"]
    assert [asked(joined, i) for i in (2, 3, -1)] == [{"cat": 12, "dog": 0}, {"cat": 12}, {"cat": 12}]
    with pytest.raises(IndexError):
        joined[4]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"images": "photos"}, "`images` cannot stand beside `jsonl`: keys there are `exif` and `jsonl`"),
        ({"absent_classes": 1}, "`absent_classes` cannot stand beside `jsonl`"),
        ({"rate": 2, "seed": 1}, "`rate` and `seed` cannot stand beside `jsonl`"),
        ({"exif": "upright"}, "`exif` is displayed or stored, not 'upright'"),
        ({"exif": None}, "`exif` is displayed or stored, not None"),
        ({"jsonl": ["mine.jsonl"]}, "paths are text"),
        ({"jsonl": None}, "paths are text"),
    ],
)
def test_what_is_no_entry(forms: list[dict[str, Any]], change: dict[str, Any], what: str) -> None:
    with pytest.raises(DataError, match=f"no data of one's own: {what}"):
        open_own(forms[0] | change)


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({}, "give the paths `results`, or `labelme`, or .*, or `cvat` and `images`; docs/forms.md"),
        ({"coco": "a.json"}, "`coco` needs `images` beside it"),
        ({"masks": "a", "exif": "stored"}, "`masks` needs `images` and `classes` beside it"),
        ({"coco": "a.json", "images": "b", "absent_classes": "1"}, "`absent_classes` is a whole number, not '1'"),
        ({"coco": "a.json", "images": "b", "min_score": 80}, "`min_score` is a number from 0 to 1, not 80"),
        ({"coco": "a.json", "images": "b", "min_score": float("nan")}, "`min_score` is a number from 0 to 1, not nan"),
    ],
)
def test_what_else_is_no_entry(entry: dict[str, Any], what: str) -> None:
    with pytest.raises(DataError, match=f"no data of one's own: {what}"):
        open_own(entry)


def test_entries_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "test.yaml"
    file.write_text("own:\n  - {jsonl: a.jsonl}\n  - {coco: b.json, images: c, absent_classes: 2}\n")
    assert read_entries(file) == [{"jsonl": "a.jsonl"}, {"coco": "b.json", "images": "c", "absent_classes": 2}]


@pytest.mark.parametrize("text", ["", "own: []", "own: {jsonl: a}", "own: [a.jsonl]", "{own: [{jsonl: a}], rate: 1}"])
def test_files_that_hold_something_else(tmp_path: Path, text: str) -> None:
    (tmp_path / "test.yaml").write_text(text)
    with pytest.raises(DataError, match=r"test.yaml should hold `own:` with a list of entries"):
        read_entries(tmp_path / "test.yaml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "test.yaml").write_text("own: [")
    for name in ("test.yaml", "missing.yaml"):
        with pytest.raises(DataError, match=f"cannot read .*{name}"):
            read_entries(tmp_path / name)
