"""Forms that are read, in files as their programs write them."""

from __future__ import annotations

import base64
import io
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from self1e.data.own_entries import open_own
from self1e.data.records import DataError, Source, to_example
from self1e.data.settings import OwnData
from self1e.segment.results import Segmentation

pytestmark = pytest.mark.filterwarnings("ignore:OpenCV")

WIDTH, HEIGHT = 12, 8


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a.png", "deep/b.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def asked(source: Source, index: int) -> dict[str, list[list[int]]]:
    """For each text the rectangle [x0, y0, x1, y1] that its mask fills, both corners included; [] for nothing."""
    source = pickle.loads(pickle.dumps(source))
    record, found = source[index], {}
    assert len(to_example(record, np.random.default_rng(0), at_most=9).conversations) == len(record.queries)
    for query in record.queries:
        mask = query.mask()
        assert mask.shape == (HEIGHT, WIDTH) and mask.dtype == np.uint8
        ys, xs = np.nonzero(mask == 1)
        found[query.text] = [] if not len(ys) else [xs.min(), ys.min(), xs.max(), ys.max()]
        assert query.absent == (not found[query.text])
        if found[query.text]:
            left, top, right, bottom = found[query.text]
            assert mask.sum() == (right - left + 1) * (bottom - top + 1)
    return found


def rectangle(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def shape(label: str, points: Any, kind: str = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}


def write_labelme(file: Path, image: str, shapes: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    tree = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": image, "imageData": None}
    file.write_text(json.dumps(tree | {"imageHeight": HEIGHT, "imageWidth": WIDTH}))


def test_labelme(photos: Path) -> None:
    """Beside the pictures, or in a tree of their own; with Windows' separators; with masks, and what is no mask."""
    png = io.BytesIO()
    Image.fromarray(np.array([[255, 255], [255, 255]], np.uint8)).save(png, "PNG")
    shapes = [
        shape("traffic_light", rectangle(1, 1, 3, 3)),
        shape("traffic_light", rectangle(4, 1, 6, 3), group_id=3),
        shape("dog", [[8, 0], [11, 2]], "rectangle"),
        shape("cat", [[5, 5], [6, 6]], "mask", mask=base64.b64encode(png.getvalue()).decode()),
        shape("wheel", [[5, 5], [6, 6]], "circle"),
        shape("wheel", rectangle(0, 6, 1, 7)),
        shape("dog", [[1, 1], [2, 2]]),
    ]
    write_labelme(photos / "a.json", "a.png", shapes)
    write_labelme(photos / "deep" / "b.json", "..\\deep\\b.png", [])
    source = open_own({"labelme": str(photos)})
    expected = {"traffic light": [1, 1, 6, 3], "dog": [8, 0, 11, 2], "cat": [5, 5, 6, 6]}
    assert len(source) == 2
    assert source[0].dropped == (
        "'wheel' is not asked for: a circle is no mask",
        "'dog': a polygon of 2 points is no mask",
    )
    assert asked(source, 0) == expected and asked(source, 1) == {}
    assert source.image_path(1).samefile(photos / "deep" / "b.png")

    elsewhere = photos.parent / "labels"
    write_labelme(elsewhere / "deep" / "b.json", "C:\\pictures\\b.png", shapes[:1])
    source = open_own({"labelme": str(elsewhere), "images": str(photos)})
    assert asked(source, 0) == {"traffic light": [1, 1, 3, 3]}
    source = open_own({"labelme": str(photos), "absent_classes": 9})
    assert asked(source, 1) == {"traffic light": [], "dog": [], "cat": [], "wheel": []}
    assert asked(source, 0) == expected  # a wheel may well be there


def test_labelme_that_is_broken(photos: Path) -> None:
    write_labelme(photos / "a.json", "a.png", [shape("dog", [["x", 1], [2, 2], [3, 3]])])
    with pytest.raises(DataError, match=r"a\.json: a shape of 'dog' cannot be read"):
        to_example(open_own({"labelme": str(photos)})[0], np.random.default_rng(0))
    with pytest.raises(DataError, match="has no files of LabelMe"):
        open_own({"labelme": str(photos / "deep")})


def write_yolo(folder: Path, labels: str, **data: Any) -> Path:
    """Two pictures, of which the second has no labels."""
    for name in ("a.png", "deep/b.png"):
        (folder / "images" / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "images" / "train" / name)
    (folder / "labels" / "train").mkdir(parents=True)
    (folder / "labels" / "train" / "a.txt").write_text(labels)
    tree = {"train": "images/train", "val": "images/train", "names": {0: "dog", 1: "fire_hydrant", 2: "cat"}, **data}
    (folder / "data.yaml").write_text(yaml.safe_dump(tree))
    return folder / "data.yaml"


def line(number: int, *corners: int) -> str:
    points = np.array(rectangle(*corners)) / (WIDTH, HEIGHT)
    return " ".join([str(number), *(f"{share:.6f}" for share in points.ravel())])


def test_yolo(tmp_path: Path) -> None:
    labels = [
        line(0, 1, 1, 3, 3),
        line(0, 4, 1, 6, 3),
        "",
        line(1, 8, 0, 11, 2),
        "",
        "2 0.5 0.5 0.1 0.1",
        "0 0.1 0.1 0.2",
    ]
    file = write_yolo(tmp_path / "yolo", "\n".join(labels) + "\n\n")
    source = open_own({"yolo": str(file)})
    assert source[0].dropped == (
        "'cat' is not asked for: a box is no mask",
        "'dog': line 7, a polygon of 3 numbers, is no mask",
    )
    assert asked(source, 0) == {"dog": [1, 1, 6, 3], "fire hydrant": [8, 0, 11, 2]}
    assert asked(source, 1) == {} and source.image_path(1).name == "b.png"
    every = asked(open_own({"yolo": str(file), "absent_classes": 2}), 1)
    assert len(every) == 2 and not any(every.values()) and every.keys() < {"dog", "fire hydrant", "cat"}
    assert "cat" not in asked(open_own({"yolo": str(file), "absent_classes": 9}), 0)

    (tmp_path / "yolo" / "list.txt").write_text("./images/train/a.png\n")
    tree = yaml.safe_load(file.read_text())
    listed = {**tree, "path": ".", "test": ["list.txt"], "names": ["dog", "fire_hydrant", "cat"]}
    file.write_text(yaml.safe_dump(listed))
    source = open_own({"yolo": str(file), "split": "test"})
    assert len(source) == 1 and asked(source, 0) == {"dog": [1, 1, 6, 3], "fire hydrant": [8, 0, 11, 2]}


@pytest.mark.parametrize(
    ("data", "split", "what"),
    [
        ({"names": None}, "train", "needs the `names` of classes"),
        ({"names": {"dog": 0}}, "train", "needs the `names` of classes, a list or .* not {'dog': 0}"),
        ({"kpt_shape": [17, 3]}, "train", "about keypoints"),
        ({}, "test", "has no split 'test': it has"),
        ({"train": "nowhere"}, "train", "no pictures in nowhere"),
        ({"train": "nowhere.txt"}, "train", r"list of pictures .*nowhere\.txt"),
    ],
)
def test_yolo_that_cannot_be_used(tmp_path: Path, data: dict[str, Any], split: str, what: str) -> None:
    with pytest.raises(DataError, match=what):
        open_own({"yolo": str(write_yolo(tmp_path / "yolo", "", **data)), "split": split})


@pytest.mark.parametrize("label", ["7 0 0 1 0 1 1", "dog 0 0 1 0 1 1"])
def test_yolo_of_an_unknown_class(tmp_path: Path, label: str) -> None:
    source = open_own({"yolo": str(write_yolo(tmp_path / "yolo", label))})
    with pytest.raises(DataError, match=r"a\.txt, line 1: there is no class"):
        source[0]


CVAT = f"""<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><labels><label><name>dog</name></label><label><name>unicorn</name></label></labels></task></meta>
  <image id="0" name="a.png" width="{WIDTH}" height="{HEIGHT}">
    <polygon label="dog" source="manual" occluded="0" points="1.00,1.00;4.00,1.00;4.00,4.00;1.00,4.00" z_order="0"/>
    <polygon label="dog" points="4,1;7,1;7,4;4,4" group_id="2"/>
    <polygon label="dog" points="0,0;1,1"/>
    <mask label="cat" source="manual" occluded="0" rle="1, 2, 1, 2" left="7" top="5" width="3" height="2" z_order="0"/>
    <box label="wheel" xtl="1" ytl="1" xbr="3" ybr="3"/>
    <tag label="sunny"/>
  </image>
  <image id="1" name="deep/b.png" width="{WIDTH}" height="{HEIGHT}"/>
</annotations>"""


def test_cvat(photos: Path) -> None:
    file = photos.parent / "annotations.xml"
    file.write_text(CVAT)
    source = open_own({"cvat": str(file), "images": str(photos)})
    assert source[0].dropped == (
        "'dog': a polygon of less than 3 points is no mask",
        "'wheel' is not asked for: a box is no mask",
        "'sunny': a tag is no mask",
    )
    found = {query.text: query.mask() for query in source[0].queries}
    assert asked(open_own({"cvat": str(file), "images": str(photos)}), 1) == {}
    assert found["dog"][1:4, 1:7].all() and found["dog"].sum() == 18
    np.testing.assert_array_equal(found["cat"][5:7, 7:10], [[0, 1, 1], [0, 1, 1]])
    assert found.keys() == {"dog", "cat"} and found["cat"].sum() == 4
    source = open_own({"cvat": str(file), "images": str(photos), "absent_classes": 9})
    assert {query.text for query in source[0].queries if query.absent} == {"unicorn"}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("<annotations><track/></annotations>", 'export as "CVAT for images 1.1"'),
        ("<annotations/>", "lists no pictures"),
        ("{}", "cannot read"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "cannot read"),
    ],
)
def test_cvat_that_cannot_be_used(photos: Path, text: str, what: str) -> None:
    (photos.parent / "a.xml").write_text(text)
    with pytest.raises(DataError, match=what):
        open_own({"cvat": str(photos.parent / "a.xml"), "images": str(photos)})


def test_cvat_that_is_broken(photos: Path) -> None:
    (photos.parent / "a.xml").write_text(CVAT.replace("1, 2, 1, 2", "1, 2, 1"))
    record = open_own({"cvat": str(photos.parent / "a.xml"), "images": str(photos)})[0]
    with pytest.raises(DataError, match=r"picture 'a\.png': a mask of 'cat' cannot be read"):
        to_example(record, np.random.default_rng(0), at_most=9)


def result(prompt: str, score: float, *corners: int) -> dict[str, Any]:
    mask = np.zeros((1, HEIGHT, WIDTH), bool)
    if corners:
        left, top, right, bottom = corners
        mask[0, top : bottom + 1, left : right + 1] = True
    return Segmentation(mask, [score], prompt, "[SEG].", model="tiny").to_dict()


def test_our_results_are_pseudo_labels(photos: Path) -> None:
    """With what they are sure of: a mask that is not sure is not asked for, and neither is a doubtful absence."""
    out = photos.parent / "out"
    out.mkdir()
    about = {"image": "photos/a.png", "file_name": "a.png"}
    results = [result("the_dog", 0.9, 1, 1, 6, 3), result("a cat", 0.6, 0, 0, 1, 1), result("Is it late?", 0.95)]
    for number, each in enumerate([*results, result("a whale", 0.6)]):
        (out / f"a.{number}.json").write_text(json.dumps(about | each))
    (out / "coco.json").write_text('{"images": [], "annotations": [], "categories": []}')
    entry = {"results": str(out), "images": str(photos)}
    every = open_own(entry)
    assert asked(every, 0) == {"the dog": [1, 1, 6, 3], "a cat": [0, 0, 1, 1], "Is it late?": [], "a whale": []}
    assert {query.text: query.form for query in every[0].queries}["Is it late?"] == "sentence"
    sure = open_own(entry | {"min_score": 0.8})
    assert asked(sure, 0) == {"the dog": [1, 1, 6, 3], "Is it late?": []}
    lines = photos.parent / "lines.jsonl"
    lines.write_text("\n".join(json.dumps(about | {"image": str(photos / "a.png")} | each) for each in results))
    assert asked(open_own({"results": str(lines)}), 0).keys() == {"the dog", "a cat", "Is it late?"}
    with pytest.raises(DataError, match="holds no results"):
        open_own({"results": str(photos)})
    (out / "a.0.json").write_text(json.dumps(about | results[0] | {"format": 99}))
    with pytest.raises(DataError, match="it is in format 99, not 1"):
        open_own(entry)[0]


def test_another_package_is_named(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(DataError, match=r"pip install 'self1e\[forms\]'"):
        open_own({"labelme": str(photos)})


def test_settings_take_each_form() -> None:
    for entry in (
        {"labelme": "a"},
        {"labelme": "a", "images": "b", "absent_classes": 2},
        {"yolo": "a", "split": "val"},
        {"cvat": "a", "images": "b"},
        {"results": "a", "min_score": 0.5},
    ):
        assert OwnData(**entry).model_dump(exclude_defaults=True) == entry
    for entry in ({"cvat": "a"}, {"yolo": "a", "min_score": 0.5}, {"results": "a", "absent_classes": 1}, {}):
        with pytest.raises(ValueError, match=r"give the paths|`cvat` needs `images`|cannot stand beside"):
            OwnData(**entry)


def test_files_of_each_form_are_known(photos: Path, tmp_path: Path) -> None:
    """An evaluation is made anew when one of them has changed."""
    write_labelme(photos / "a.json", "a.png", [])
    (tmp_path / "a.xml").write_text(CVAT)
    yolo = write_yolo(tmp_path / "yolo", "")
    (tmp_path / "a.0.json").write_text(json.dumps({"file_name": "a.png", "image": "a.png"} | result("a cat", 0.6)))
    for entry, expected in (
        ({"labelme": str(photos)}, {photos / "a.png", photos / "a.json"}),
        ({"cvat": str(tmp_path / "a.xml"), "images": str(photos)}, {photos / "a.png", photos / "deep/b.png"}),
        ({"yolo": str(yolo)}, {yolo.parent / "images/train/a.png", yolo.parent / "labels/train/a.txt"}),
        ({"results": str(tmp_path), "images": str(photos)}, {photos / "a.png", tmp_path / "a.0.json"}),
    ):
        assert expected <= set(open_own(entry).files())
