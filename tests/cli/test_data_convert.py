"""`self1e data convert`: what comes out is what went in, but for what is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Cli, assert_one_sentence, save_picture

from self1e.data.own_entries import open_own
from self1e.segment.results import Segmentation

pytestmark = pytest.mark.filterwarnings("ignore:OpenCV")

WIDTH, HEIGHT = 40, 30


def box(left: int, top: int, right: int, bottom: int) -> list[int]:
    """Along pixel edges: the pixels from (left, top) to (right - 1, bottom - 1)."""
    return [left, top, right, top, right, bottom, left, bottom]


@pytest.fixture
def coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Two dogs, a cat in two parts that overlaps a dog, and what no other form can hold."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("a.png", "deep/b.png", "deep/c.png")):
        save_picture(Path("photos") / name, number, (WIDTH, HEIGHT))
    images = [{"id": n, "file_name": f, "width": WIDTH, "height": HEIGHT} for n, f in ((1, "a.png"), (2, "deep/b.png"))]
    annotations: list[dict[str, Any]] = [
        {"image_id": 1, "category_id": 1, "segmentation": [box(2, 2, 12, 12)], "score": 0.9},
        {"image_id": 1, "category_id": 1, "segmentation": [box(20, 2, 30, 12), [1, 1]]},
        {"image_id": 1, "category_id": 2, "segmentation": [box(8, 8, 14, 20), box(30, 20, 35, 25)], "iscrowd": 1},
        {"image_id": 1, "category_id": 2, "segmentation": [], "bbox": [1, 1, 5, 5]},
    ]
    tree = {
        "images": [*images, {"id": 3, "file_name": "deep/c.png"}],
        "annotations": [each | {"id": number} for number, each in enumerate(annotations)],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
    }
    Path("instances.json").write_text(json.dumps(tree))
    return "coco=instances.json,images=photos"


def masks(entry: dict[str, Any]) -> dict[str, dict[str, list[list[int]]]]:
    """For each picture and class the pixels of its mask."""
    source, found = open_own(entry), {}
    for index in range(len(source)):
        record = source[index]
        found[Path(record.image).resolve().name] = {
            query.text: np.argwhere(query.mask() == 1).tolist() for query in record.queries if not query.absent
        }
    return found


OUT = {
    "coco": {"coco": "out/coco.json", "images": "photos"},
    "coco-polygons": {"coco": "out/coco-polygons.json", "images": "photos"},
    "labelme": {"labelme": "out/labelme"},
    "yolo": {"yolo": "out/data.yaml"},
    "jsonl": {"jsonl": "out/data.jsonl"},
}


@pytest.mark.parametrize("form", [*OUT, "index"])
def test_each_form_gives_back_what_went_in(form: str, coco: str, cli: Cli) -> None:
    outcome = cli("data", "convert", coco, f"{form}=out")
    assert outcome.code == 0 and outcome.err == ""
    assert "3 pictures with 3 things: out" in outcome.out
    told = [line.strip().partition("  ") for line in outcome.out.partition("not carried over:\n")[2].splitlines()]
    lost = {what: count for count, _, what in told}
    always = {"a box": "1", "the mark of a crowd": "1"}
    always["a polygon needs three points or more, x and y of each; this one has 2 numbers"] = "1"
    assert (
        lost
        == always
        | {
            "coco": {},
            "coco-polygons": {},
            "labelme": {},
            "yolo": {"scores": "1", "that several parts are one thing": "1"},
            "jsonl": {
                "scores": "1",
                "which of several things of a class a pixel belongs to": "1",
                "pictures of which nothing is said": "2",
            },
            "index": {
                "scores": "1",
                "which of several things of a class a pixel belongs to": "1",
                "pixels that two classes share": "2",
            },
        }[form]
    )
    before = masks({"coco": "instances.json", "images": "photos"})
    if form == "index":
        dog = before["a.png"]["dog"]
        before["a.png"]["dog"] = [pixel for pixel in dog if pixel not in before["a.png"]["cat"]]
        # The one that has a score is on top.
        first = [[y, x] for y in range(2, 12) for x in range(2, 12)]
        before["a.png"] = {"dog": dog, "cat": [pixel for pixel in before["a.png"]["cat"] if pixel not in first]}
    entry = OUT.get(form, {"masks": "out/masks", "images": "photos", "classes": "out/classes.txt"})
    found = masks(entry)
    if form == "jsonl":  # which names no picture without anything
        found |= {"b.png": {}, "c.png": {}}
    assert found == before


def test_there_and_back(coco: str, cli: Cli) -> None:
    """Things stay the things that they are, with their scores."""
    for source, target in (
        (coco, "labelme=a"),
        ("labelme=a/labelme", "coco=b"),
        ("coco=b/coco.json,images=photos", "coco=c"),
    ):
        assert cli("data", "convert", source, target).code == 0
    trees = [json.loads(Path(name, "coco.json").read_text()) for name in "bc"]
    assert trees[0] == trees[1]
    things = {(each["area"], each.get("score")) for each in trees[0]["annotations"]}
    assert things == {(97, None), (100, None), (100, 0.9)}


def test_results_that_are_sure_go_to_those_who_correct(coco: str, cli: Cli) -> None:

    Path("segmented").mkdir()
    for number, (prompt, score, inside) in enumerate(
        (("a dog", 0.9, True), ("a cat", 0.4, True), ("a cow", 0.8, False))
    ):
        result = Segmentation(np.full((1, HEIGHT, WIDTH), inside), [score], prompt).to_dict()
        Path(f"segmented/a.{number}.json").write_text(
            json.dumps({"image": "photos/a.png", "file_name": "a.png", **result})
        )
    outcome = cli("data", "convert", "results=segmented,images=photos,min_score=0.5", "labelme=out")
    assert outcome.code == 0
    assert "1  a thing that is not sure enough" in outcome.out and "1  what is said not to be there" in outcome.out
    (shape,) = json.loads(Path("out/labelme/a.json").read_text())["shapes"]
    assert (shape["label"], round(shape["score"], 4)) == ("a dog", 0.9)


def test_words_are_counted(coco: str, cli: Cli) -> None:
    lines = [
        {"image": "photos/a.png", "prompt": "the dog", "masks": [box(2, 2, 12, 12)], "answer": "It barks."},
        {"image": "photos/a.png", "prompt": "What is it?", "answer": "Noise."},
        {"image": "photos/a.png", "prompt": "the cow", "masks": []},
    ]
    Path("mine.jsonl").write_text("\n".join(map(json.dumps, lines)))
    outcome = cli("data", "convert", "jsonl=mine.jsonl", "coco=out")
    assert outcome.code == 0 and "1 pictures with 2 things" in outcome.out
    for what in ("an explanation in words", "a conversation", "what is said not to be there"):
        assert f"1  {what}" in outcome.out


def test_pictures_that_cannot_be_read_are_told(coco: str, cli: Cli) -> None:
    Path("photos/a.png").write_bytes(b"")
    outcome = cli("data", "convert", coco, "labelme=out")
    assert outcome.code == 2 and "photos/a.png" in outcome.err
    assert "2 pictures with 0 things" in outcome.out


def test_nothing_is_replaced_unless_asked(coco: str, cli: Cli) -> None:
    assert cli("data", "convert", coco, "labelme=out").code == 0
    Path("out/labelme/a.json").write_text("mine")
    assert_one_sentence(cli("data", "convert", coco, "labelme=out"), "exists already", "--overwrite")
    assert Path("out/labelme/a.json").read_text() == "mine"
    assert cli("data", "convert", coco, "labelme=out", "--overwrite").code == 0
    assert "shapes" in Path("out/labelme/a.json").read_text()


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("instances.json", "yolo=out", ["is no data set", "labelme=FOLDER"]),
        ("coco=instances.json", "yolo=out", ["`coco` needs `images` beside it"]),
        ("coco=instances.json,images=photos,absent_classes=1", "yolo=out", ["absent_classes"]),
        ("coco=instances.json,images=photos,exif=up", "yolo=out", ["exif"]),
        ("coco=missing.json,images=photos", "yolo=out", ["cannot read", "missing.json"]),
        ("coco=instances.json,images=photos", "overlay=out", ["overlay=out", "forms are labelme"]),
        ("coco=instances.json,images=photos", "yolo", ["is no form and folder"]),
        ("results=photos,min_score=x", "yolo=out", ["`min_score` is a number from 0 to 1, not 'x'"]),
    ],
)
def test_bad_usage(coco: str, cli: Cli, source: str, target: str, words: list[str]) -> None:
    assert_one_sentence(cli("data", "convert", source, target), *words)
