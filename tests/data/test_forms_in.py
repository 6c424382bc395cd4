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
        ({}, "test", "has no split 'test': it has train, val$"),
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


def triangle(label: str = "dog") -> dict[str, Any]:
    return shape(label, [[1, 1], [6, 1], [6, 4]])


def test_what_has_no_mask_is_not_said_to_be_absent(photos: Path) -> None:
    """A point, a box or a tag of a cat says that a cat is there."""
    stubs = [shape("cat", [[1, 1], [2, 2]]), triangle()]
    write_labelme(photos / "a.json", "a.png", stubs)
    write_labelme(photos / "deep/b.json", "b.png", [triangle("cow"), triangle("cat")])
    yolo = write_yolo(photos.parent / "yolo", f"{line(0, 1, 1, 3, 3)}\n2 0.1 0.1 0.2 0.2", names=["dog", "cow", "cat"])
    shapes = '<polygon label="cat" points="1,1;2,2"/><polygon label="dog" points="1,1;4,1;4,4"/><tag label="cow"/>'
    (photos.parent / "a.xml").write_text(CVAT.replace('<tag label="sunny"/>', f'{shapes}<tag label="unicorn"/>'))
    for entry, absent in (
        ({"labelme": str(photos)}, {"cow"}),
        ({"yolo": str(yolo)}, {"cow"}),
        ({"cvat": str(photos.parent / "a.xml"), "images": str(photos)}, set()),
    ):
        record = open_own(entry | {"absent_classes": 9})[0]
        assert {query.text for query in record.queries if query.absent} == absent, entry
        assert {query.text for query in record.queries if not query.absent} >= {"dog"}
        assert any("cat" in each for each in record.dropped) or "cvat" in entry


def test_sets_of_boxes_have_nothing_to_learn_from(photos: Path) -> None:
    yolo = write_yolo(photos.parent / "yolo", "0 0.1 0.1 0.2 0.2\n1 0.1 0.1 0.2 0.2")
    write_labelme(photos / "a.json", "a.png", [shape("dog", [[1, 1], [2, 2]], "circle")] * 2)
    head, _, _ = CVAT.partition("<polygon")
    (photos.parent / "a.xml").write_text(f'{head}<box label="dog"/><tag label="sunny"/></image></annotations>')
    for entry in (
        {"labelme": str(photos)},
        {"yolo": str(yolo)},
        {"cvat": str(photos.parent / "a.xml"), "images": str(photos)},
    ):
        with pytest.raises(
            DataError,
            match=r"none of its 2 annotations has an outline: the first is a \w+\. Masks are learnt from .*SAM",
        ):
            open_own(entry)
    (yolo.parent / "labels/train/a.txt").unlink()
    assert open_own({"yolo": str(yolo)})[0].queries == ()  # nothing is marked: nothing is missing


def test_labelme_of_another_size_than_its_picture(photos: Path) -> None:
    """Which says that the picture was resized since."""
    write_labelme(photos / "a.json", "a.png", [triangle()])
    tree = json.loads((photos / "a.json").read_text())
    (photos / "a.json").write_text(json.dumps(tree | {"imageWidth": 2 * WIDTH, "imageHeight": 2 * HEIGHT}))
    with pytest.raises(DataError, match=r"a\.json is about a picture of 24 x 16 pixels, and .*a\.png has 12 x 8"):
        to_example(open_own({"labelme": str(photos)})[0], np.random.default_rng(0))
    (photos / "a.json").write_text(json.dumps(tree | {"imageWidth": None, "imageHeight": 0}))
    assert len(to_example(open_own({"labelme": str(photos)})[0], np.random.default_rng(0)).conversations) == 1


def test_a_picture_that_only_labelme_has(photos: Path) -> None:
    write_labelme(photos / "a.json", "a.png", [triangle()])
    write_labelme(photos / "gone.json", "gone.png", [triangle()])
    tree = json.loads((photos / "gone.json").read_text())
    (photos / "gone.json").write_text(
        json.dumps(tree | {"imageData": base64.b64encode((photos / "a.png").read_bytes()).decode()})
    )
    with pytest.raises(DataError, match=r"gone\.png is missing; the copy in .*gone\.json \(`imageData`\) is not read"):
        open_own({"labelme": str(photos)})[1]


def test_rectangles_are_told_of(photos: Path) -> None:
    write_labelme(photos / "a.json", "a.png", [shape("dog", [[1, 1], [2, 2]], "rectangle"), triangle()])
    with pytest.warns(UserWarning, match="1 of 2 shapes are rectangles, .* draw outlines"):
        open_own({"labelme": str(photos)})


@pytest.mark.parametrize(
    ("tree", "what"),
    [
        ({"shapes": [None], "imagePath": "b.png"}, "a shape is None"),
        ({"shapes": [], "imagePath": 5}, "`imagePath` should be the path of a picture, not 5"),
        ({"shapes": [{"label": "dog", "points": 5}], "imagePath": "b.png"}, "the `points` of a shape is 5"),
        ({"shapes": [triangle() | {"group_id": [1]}], "imagePath": "b.png"}, r"the `group_id` of a shape is \[1\]"),
        ({"shapes": [triangle() | {"label": None}], "imagePath": "b.png"}, "the `label` of a shape is None"),
        ("{", "cannot read"),
    ],
)
def test_one_odd_file_of_labelme_is_one_broken_record(photos: Path, tree: Any, what: str) -> None:
    write_labelme(photos / "a.json", "a.png", [triangle() | {"shape_type": None}])
    (photos / "deep/b.json").write_text(tree if isinstance(tree, str) else json.dumps(tree))
    for name in ("coco.json", "report.json"):
        (photos / name).write_text('{"images": []}')
    source = open_own({"labelme": str(photos)})
    assert len(source) == 2 and [query.text for query in source[0].queries] == ["dog"]
    with pytest.raises(DataError, match=rf"b\.json.*{what}|{what}.*b\.json"):
        source[1]
    assert set(source.files()) == {photos / "a.png", photos / "a.json", photos / "deep/b.json"} | (
        {photos / "deep/b.png"} if isinstance(tree, dict) and tree["imagePath"] == "b.png" else set()
    )


def test_pictures_of_several_folders_keep_their_names_apart(tmp_path: Path) -> None:
    """Also where they lie outside of the folder of what is marked in them, or in one whose name begins with dots."""
    for number, folder in enumerate(("x", "..y")):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / folder / "1.png")
        write_labelme(tmp_path / "labels" / f"{number}.json", f"../{folder}/1.png", [triangle()])
    source = open_own({"labelme": str(tmp_path / "labels")})
    assert [source[i].id for i in range(2)] == ["x/1.png", "..y/1.png"]
    (tmp_path / "labels/2.json").write_text((tmp_path / "labels/0.json").read_text())
    with pytest.raises(DataError, match=r"labels: x/1\.png is listed several times"):
        open_own({"labelme": str(tmp_path / "labels")})


def test_yolo_as_others_write_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Roboflow's `../` beside the file, the home folder, lists of Windows, and of absolute and relative paths."""
    file = write_yolo(tmp_path / "yolo", line(0, 1, 1, 3, 3))
    monkeypatch.setenv("HOME", str(tmp_path))
    names = {"names": ["dog"]}
    (file.parent / "windows.txt").write_text("images\\train\\a.png\n")
    (file.parent / "both.txt").write_text(f"{file.parent}/images/train/a.png\nimages/train/deep/b.png\n")
    for tree, count in (
        ({"train": "../images/train"}, 2),
        ({"train": "images/train", "path": "~/yolo"}, 2),
        ({"train": "windows.txt"}, 1),
        ({"train": "both.txt"}, 2),
        ({"train": ["images/train", "images/train/deep"]}, 2),  # a picture that is listed twice
    ):
        file.write_text(yaml.safe_dump(tree | names))
        source = open_own({"yolo": str(file)})
        assert len(source) == count and asked(source, 0) == {"dog": [1, 1, 3, 3]}, tree
        assert source.name == "yolo"


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        ("0 nan 0 1 0 1 1", "line 1, where nan is no share of a side, is no mask"),
        ("0 0 x 1 0 1 1", "line 1, where x is no share of a side, is no mask"),
        ("0 1e30 0 1 0 1 1", "line 1, where 1e30 is no share of a side, is no mask"),
        ("0 0 4 4 4 8 8", "line 1, where 4 is no share of a side, is no mask"),  # of pixels
        ("0 0 0 1 0 1 1 0.5", "line 1, a polygon of 7 numbers, is no mask"),
    ],
)
def test_a_bad_line_of_yolo_is_left_out_and_told(tmp_path: Path, bad: str, what: str) -> None:
    file = write_yolo(tmp_path / "yolo", f"\ufeff{bad}\n{line(1, 1, 1, 3, 3)}\n")
    source = open_own({"yolo": str(file), "absent_classes": 9})
    assert asked(source, 0) == {"fire hydrant": [1, 1, 3, 3], "cat": []}
    (dropped,) = source[0].dropped
    assert dropped.startswith("'dog'") and what in dropped


def test_a_mask_of_cvat_whose_runs_do_not_fit_its_box(photos: Path) -> None:
    mask = '<mask label="dog" rle="0, 25" left="1" top="1" width="5" height="4"/>'
    (photos.parent / "a.xml").write_text(
        f'{CVAT.partition("<polygon")[0]}{mask}<ellipse label="cat"/></image></annotations>'
    )
    source = open_own({"cvat": str(photos.parent / "a.xml"), "images": str(photos)})
    assert source[0].dropped == ("'cat' is not asked for: an ellipse is no mask",)
    with pytest.raises(DataError, match="a mask of 'dog' cannot be read: its runs are 25 pixels, and its box is 5 x 4"):
        to_example(source[0], np.random.default_rng(0))


def test_names_of_cvat_as_they_are_written_on_windows(photos: Path) -> None:
    (photos.parent / "a.xml").write_text(CVAT.replace("deep/b.png", "deep\\b.png").replace('"a.png"', '""'))
    source = open_own({"cvat": str(photos.parent / "a.xml"), "images": str(photos)})
    assert source[1].id == "deep/b.png" and source.image_path(1).is_file()
    with pytest.raises(DataError, match=r"a\.xml: a picture has no name"):
        source[0]


def test_a_picture_that_was_resized_since_is_no_longer_the_one(photos: Path) -> None:
    (photos.parent / "a.xml").write_text(CVAT)
    Image.new("RGB", (2 * WIDTH, HEIGHT)).save(photos / "a.png")
    record = open_own({"cvat": str(photos.parent / "a.xml"), "images": str(photos)})[0]
    with pytest.raises(DataError, match=r"a\.png, '(dog|cat)': the mask is 12 x 8, the picture 24 x 8 pixels"):
        to_example(record, np.random.default_rng(0))


def write_result(file: Path, image: str, name: str, each: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"image": image, "file_name": name} | each))


def test_results_of_one_file_name_are_of_their_own_pictures(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs, each of a folder of its own."""
    monkeypatch.chdir(photos.parent)
    for folder, column in (("one", 1), ("two", 7)):
        Path(folder).mkdir()
        Image.new("RGB", (WIDTH, HEIGHT)).save(f"{folder}/1.png")
        write_result(Path("out", folder, "1.json"), f"{folder}/1.png", "1.png", result("a dog", 0.9, column, 1, 9, 2))
    source = open_own({"results": "out"})
    assert [source[i].id for i in range(2)] == ["one/1.png", "two/1.png"]
    assert [asked(source, i) for i in range(2)] == [{"a dog": [1, 1, 9, 2]}, {"a dog": [7, 1, 9, 2]}]
    with pytest.raises(DataError, match=r"one/1\.png and two/1\.png would both be photos/1\.png: leave `images` out"):
        open_own({"results": "out", "images": "photos"})
    monkeypatch.chdir("out")
    assert open_own({"results": "."}).name == "out"


def test_sets_in_the_folder_of_the_program_have_a_name(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_labelme(photos / "a.json", "a.png", [triangle()])
    monkeypatch.chdir(photos)
    assert open_own({"labelme": "."}).name == "photos"
    monkeypatch.chdir(write_yolo(photos.parent / "yolo", line(0, 1, 1, 3, 3)).parent)
    assert open_own({"yolo": "data.yaml"}).name == "yolo"


def test_one_odd_result_is_one_broken_record(photos: Path) -> None:
    out = photos.parent / "out"
    write_result(out / "a.json", "a.png", "a.png", result("a dog", 0.9, 1, 1, 2, 2) | {"masks": [None]})
    write_result(out / "b.json", "b.png", "deep/b.png", result("a dog", 0.9, 1, 1, 2, 2))
    (out / "c.json").write_text("{")
    source = open_own({"results": str(out), "images": str(photos)})
    assert len(source) == 3 and asked(source, 1) == {"a dog": [1, 1, 2, 2]}
    for index, what in ((0, r"a\.json: is no result that can be read"), (2, r"cannot read .*c\.json")):
        with pytest.raises(DataError, match=what):
            source[index]


def test_scores_of_labelme_and_coco_count(photos: Path) -> None:
    """What is not sure is neither asked for nor said to be absent, in every form that has scores."""
    write_labelme(photos / "a.json", "a.png", [triangle() | {"score": 0.4}, triangle("cat") | {"score": 0.9}])
    polygon = [1, 1, 6, 1, 6, 4, 1, 4]
    scores = enumerate((0.4, 0.9, None), start=1)
    tree = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [
            {"image_id": 1, "category_id": number, "segmentation": [polygon], "score": score}
            for number, score in scores
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(("dog", "cat", "cow"), start=1)],
    }
    (photos.parent / "coco.json").write_text(json.dumps(tree))
    for entry, texts in (
        ({"labelme": str(photos)}, ["cat"]),
        ({"coco": str(photos.parent / "coco.json"), "images": str(photos)}, ["cat", "cow"]),
    ):
        source = open_own(entry | {"min_score": 0.5, "absent_classes": 9})
        assert [query.text for query in source[0].queries] == texts
        assert source[0].dropped == ("'dog' is not asked for: its score is below min_score",)


def test_the_head_of_a_picture_is_read_once(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import self1e.data.records as records

    write_labelme(photos / "a.json", "a.png", [triangle(), triangle(), triangle("cat"), triangle("cow")])
    read: list[Path] = []
    monkeypatch.setattr(records, "read_head", lambda path, head=records.read_head: (read.append(path), head(path))[1])
    for query in open_own({"labelme": str(photos)})[0].queries:
        assert query.mask().any()
    assert read == [photos / "a.png"]  # by the queries together
