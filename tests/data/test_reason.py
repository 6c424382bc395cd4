"""ReasonSeg: files as they are published, and the pixels of polygons against a count of each single pixel."""

from __future__ import annotations

import json
import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from self1e.data.masks import polygon_pixels
from self1e.data.reason import ReasonSource, rasterise
from self1e.data.records import DataError, to_example
from self1e.processing.images import read_head

TARGET = [[2, 3], [12, 3], [12, 9], [2, 9]]


def shape(label: str, points: Any) -> dict[str, Any]:
    return {
        "label": label,
        "labels": [label],
        "shape_type": "polygon",
        "image_name": "a.jpg",
        "points": points,
        "group_id": None,
        "group_ids": [None],
        "flags": {},
    }


def write(
    root: Path, split: str, name: str, texts: Any, is_sentence: Any, shapes: Any, encoding: str = "utf-8"
) -> Path:
    folder = root / "reason_seg/ReasonSeg" / split
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20)).save(folder / f"{name}.jpg")
    tree = {"text": texts, "is_sentence": is_sentence, "shapes": shapes}
    (folder / f"{name}.json").write_bytes(json.dumps(tree, ensure_ascii=False).encode(encoding))
    return folder / f"{name}.jpg"


def explain(root: Path, *entries: dict[str, Any]) -> None:
    folder = root / "reason_seg/ReasonSeg/explanatory"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.json").write_text(json.dumps(entries))


def test_sentences_share_mask_and_explanation(tmp_path: Path) -> None:
    write(tmp_path, "train", "b", ["What barks?", "  Which animal barks? "], True, [shape("target", TARGET)])
    write(tmp_path, "train", "a", ["the dog"], "False", [])
    (tmp_path / "reason_seg/ReasonSeg/train/._a.jpg").write_bytes(b"\0\5\26\7")  # left by a Mac
    explain(tmp_path, {"query": "What barks?", "outputs": "The dog barks.", "image": "b.jpg", "json": "b.json"})
    source = ReasonSource(tmp_path)
    assert source.name == "reason_seg_train" and len(source) == 2
    assert [source[i].id for i in range(2)] == ["reason_seg_train/a", "reason_seg_train/b"]
    short, long = source[0].queries, source[1].queries
    assert [(query.text, query.form, query.kind, query.answer) for query in short] == [
        ("the dog", "phrase", "reason-short", "")
    ]
    assert not short[0].mask().any() and short[0].mask().shape == (20, 30)
    assert short[0].absent and not long[0].absent
    assert [(query.text, query.form, query.kind, query.answer) for query in long] == [
        ("What barks?", "sentence", "reason-long", "The dog barks."),
        ("Which animal barks?", "sentence", "reason-long", "The dog barks."),
    ]
    expected = np.zeros((20, 30), np.uint8)
    expected[3:10, 2:13] = 1  # the outline counts
    assert np.array_equal(long[1].mask(), expected)
    unexplained = pickle.loads(pickle.dumps(ReasonSource(tmp_path, explained=False, first_text_only=True)))
    assert [query.text for query in unexplained[1].queries] == ["What barks?"]
    assert unexplained[1].queries[0].answer == "" and np.array_equal(unexplained[1].queries[0].mask(), expected)


def test_explanations_are_for_training_only(tmp_path: Path) -> None:
    write(tmp_path, "val", "a", ["the dog"], "true", [])
    write(tmp_path, "train", "a", ["the dog"], "true", [])
    assert ReasonSource(tmp_path, "val")[0].queries[0].form == "sentence"
    with pytest.raises(DataError, match="explained=False"):
        ReasonSource(tmp_path, "train")


def test_large_areas_first_ignore_and_flag(tmp_path: Path) -> None:
    whole, middle, dot = [[0, 0], [29, 0], [29, 19], [0, 19]], [[5, 5], [20, 5], [20, 15], [5, 15]], [[7, 7]]
    shapes = [
        shape("target", dot),
        shape("Ignore_1", middle),
        shape("flag", whole),
        shape("FLAG", []),
        shape("target", whole),
    ]
    write(tmp_path, "val", "a", ["x"], False, shapes)
    mask = ReasonSource(tmp_path, "val")[0].queries[0].mask()
    expected = np.ones((20, 30), np.uint8)
    expected[5:16, 5:21] = 255
    expected[7, 7] = 1
    assert np.array_equal(mask, expected)
    same = rasterise([("target", np.array(TARGET)), ("ignore", np.array(TARGET))], 20, 30)
    assert set(np.unique(same)) == {0, 1}  # of two of one size, the first is on top


def test_points_are_cut_off_after_the_point(tmp_path: Path) -> None:
    points = [[2.9, 3.9], [12.9, 3.2], [12.5, 9.99], [2.1, 9.7]]
    write(tmp_path, "val", "a", ["x"], False, [shape("target", points), shape("target", [[-0.9, -0.9]])])
    expected = np.zeros((20, 30), np.uint8)
    expected[3:10, 2:13] = 1
    expected[0, 0] = 1
    assert np.array_equal(ReasonSource(tmp_path, "val")[0].queries[0].mask(), expected)


def test_windows_text(tmp_path: Path) -> None:
    write(tmp_path, "val", "a", ["the child’s café"], False, [], encoding="cp1252")
    write(tmp_path, "val", "b", ["the child’s café"], False, [], encoding="utf-8")
    assert {record.queries[0].text for record in ReasonSource(tmp_path, "val")} == {"the child’s café"}


def test_turned_pictures(tmp_path: Path) -> None:
    path = write(tmp_path, "val", "a", ["x"], False, [shape("target", TARGET)])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(path, exif=exif)
    assert read_head(path).upright == (30, 20)
    record = ReasonSource(tmp_path, "val")[0]
    example = to_example(record, np.random.default_rng(0))
    assert example.image.size == (20, 30) and example.conversations[0].masks[0].shape == (30, 20)
    Image.new("RGB", (30, 20)).save(path.with_suffix(".tif"), exif=exif)  # which Pillow turns by itself
    assert read_head(path.with_suffix(".tif")).upright == (30, 20)
    Image.new("L", (30, 20)).save(path)
    assert to_example(record, np.random.default_rng(0)).conversations[0].masks[0].shape == (20, 30)


@pytest.mark.parametrize(
    ("texts", "is_sentence", "shapes", "message"),
    [
        ("a text", True, [], "`text` should be a list"),
        ([" "], True, [], "`text` holds no sentence"),
        (["a"], 1, [], "`is_sentence` should be"),
        (["a"], "yes", [], "`is_sentence` should be"),
        (["a"], True, None, "`shapes` should be a list"),
        (["a"], True, [{"points": TARGET}], "shape 0 has no `label`"),
        (["a"], True, [shape("flag", []), shape("target", [])], "shape 1: `points` should be"),
        (["a"], True, [shape("target", [[1, 2], [3]])], "shape 0: `points` should be"),
        (["a"], True, [shape("target", [[1, 1e30]])], "shape 0: `points` should be"),
        (["a"], True, [shape("target", [[1, 10**400]])], "shape 0: `points` should be"),
        (["a"], True, [shape("target", [[1, float("nan")]])], "shape 0: `points` should be"),
    ],
)
def test_broken_records(tmp_path: Path, texts: Any, is_sentence: Any, shapes: Any, message: str) -> None:
    write(tmp_path, "val", "a", ["fine"], False, [])
    write(tmp_path, "val", "b", texts, is_sentence, shapes)
    source = ReasonSource(tmp_path, "val")
    assert source[0].queries
    with pytest.raises(DataError, match="reason_seg_val/b") as fault:
        source[1]
    assert message in str(fault.value)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder .*train(.|\n)*explanatory(.|\n)*https://"):
        ReasonSource(tmp_path)
    picture = write(tmp_path, "val", "a", ["x"], False, [])
    picture.with_suffix(".json").write_bytes(b'{"text": ["\x81"]}')  # neither encoding has this
    with pytest.raises(DataError, match=r"a\.json"):
        ReasonSource(tmp_path, "val")[0]
    picture.with_suffix(".json").unlink()
    with pytest.raises(DataError, match=r"reason_seg_val/a: there is no .*a\.json"):
        ReasonSource(tmp_path, "val")[0]
    write(tmp_path, "train", "a", ["x"], False, [])
    explain(tmp_path, {"image": "a.jpg", "outputs": "It is [SEG]."})
    with pytest.raises(DataError, match="without"):
        ReasonSource(tmp_path)[0]


def walked_line(start: list[int], end: list[int]) -> set[tuple[int, int]]:
    """A line pixel by pixel: from the left, one step along the longer side, aside when the error says so."""
    (x, y), (to_x, to_y) = sorted((start, end), key=lambda point: point[0])
    across, down = to_x - x, abs(to_y - y)
    up = 1 if to_y > y else -1
    if start[0] == end[0]:
        return {(x, row) for row in range(min(y, to_y), max(y, to_y) + 1)}
    pixels, ahead = {(x, y)}, 0
    while (x, y) != (to_x, to_y):
        if across >= down:
            x, ahead = x + 1, ahead + 2 * down
            if ahead > across:
                y, ahead = y + up, ahead - 2 * across
        else:
            y, ahead = y + up, ahead + 2 * across
            if ahead > down:
                x, ahead = x + 1, ahead - 2 * down
        pixels.add((x, y))
    return pixels


def counted_pixels(points: list[list[int]], height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    edges = list(zip(points[-1:] + points[:-1], points, strict=True))
    for x, y in set().union(*(walked_line(*edge) for edge in edges)):
        if 0 <= x < width and 0 <= y < height:
            mask[y, x] = True
    for y in range(height):
        cuts = sorted(
            a[0] + Fraction((y - a[1]) * (b[0] - a[0]), b[1] - a[1])
            for a, b in edges
            if min(a[1], b[1]) <= y < max(a[1], b[1])
        )
        for x in range(width):
            mask[y, x] |= any(left <= x <= right for left, right in zip(cuts[::2], cuts[1::2], strict=True))
    return mask


def test_every_pixel_of_random_polygons() -> None:
    random = np.random.default_rng(0)
    for trial in range(150):
        points = random.integers(-8, 33, (int(random.integers(1, 8)), 2))  # crossing themselves and the picture's rim
        assert np.array_equal(polygon_pixels(points, 21, 25), counted_pixels(points.tolist(), 21, 25)), (trial, points)


@pytest.mark.parametrize("reach", [0, 8])
def test_polygons_are_those_of_opencv(reach: int) -> None:
    """Pixel for pixel. What leaves the picture is drawn on a larger canvas, where OpenCV has nothing to clip."""
    random = np.random.default_rng(1)
    for trial in range(500):
        height, width, corners = (int(random.integers(low, high)) for low, high in ((5, 80), (5, 80), (1, 12)))
        low, high = (-reach, -reach), (width + reach, height + reach)
        points = random.integers(low, high, (corners, 2))
        canvas = np.zeros((height + 2 * reach, width + 2 * reach), np.uint8)
        outline = [(points + reach).astype(np.int32)]
        cv2.polylines(canvas, outline, True, 1, 1)
        cv2.fillPoly(canvas, outline, 1)
        expected = canvas[reach : reach + height, reach : reach + width] > 0
        assert np.array_equal(polygon_pixels(points, height, width), expected), (trial, points)


def test_fill_stays_within_the_outline() -> None:
    """The quadrilateral of OpenCV's issue 26130, whose right edge passes half way between pixels."""
    points = [[44, 27], [7, 37], [7, 19], [38, 19]]
    inside = polygon_pixels(np.array(points), 50, 50)
    edge = walked_line([38, 19], [44, 27])
    rightmost = {(int(np.flatnonzero(inside[y]).max()), y) for y in range(19, 27)}
    assert rightmost <= edge


def test_real_photographs(real_data: Path) -> None:
    root = real_data / "dataset"
    for split, count in (("train", 12), ("val", 11)):
        source = ReasonSource(root, split)
        assert len(source) == count
        for record in source:
            example = to_example(record, np.random.default_rng(0), training=False)
            annotation = json.loads(record.image.with_suffix(".json").read_text())
            assert [query.text for query in record.queries] == annotation["text"]
            expected = np.zeros((example.image.height, example.image.width), np.uint8)
            outlines = [np.array(each["points"]).astype(np.int32) for each in annotation["shapes"]]
            drawn = [cv2.fillPoly(cv2.polylines(np.zeros_like(expected), [p], True, 1, 1), [p], 1) for p in outlines]
            for area, each in sorted(
                zip(drawn, annotation["shapes"], strict=True), key=lambda pair: -int(pair[0].sum())
            ):
                if "flag" not in each["label"]:
                    expected[area > 0] = 255 if "ignore" in each["label"] else 1
            assert np.array_equal(example.conversations[0].masks[0], expected)
