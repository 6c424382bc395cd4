"""Folders made of other data sets: numbers, splits, things, and what stays where it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from self1e.data.records import DataError
from self1e.photos import prepare
from self1e.photos.index import photographs
from self1e.photos.scene import read_scene
from tests.photos.made_up import add_photo, number, write_folder

CATEGORIES = [
    {"id": 1, "name": "person", "isthing": 1},
    {"id": 63, "name": "couch", "isthing": 1},
    {"id": 184, "name": "tree-merged", "isthing": 0},
    {"id": 166, "name": "tent", "isthing": 0},
]


def picture(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 150)).save(path)


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """One picture with panoptic labels that is held out, one that is not, one with outlines, one of val2017."""
    root = tmp_path / "coco"
    held_out = sorted(prepare.held_out_coco())[-1]
    ids = np.zeros((500, 400, 3), np.uint8)
    ids[:250, :, 0], ids[250:400, :200, 0], ids[250:400, 200:, 0], ids[400:450, :, 0] = 7, 8, 9, 10
    segments = [(7, 184, 0), (8, 1, 0), (9, 1, 0), (10, 166, 0)]
    for part in ("train2017", "val2017"):
        names = [held_out, "000000000001"] if part == "train2017" else []
        folder = root / "annotations" / f"panoptic_{part}"
        folder.mkdir(parents=True)
        filled = []
        for name in names:
            picture(root / part / f"{name}.jpg", (400, 500))
            Image.fromarray(ids).save(folder / f"{name}.png")
            info = [{"id": each, "category_id": category, "iscrowd": crowd} for each, category, crowd in segments]
            filled.append({"file_name": f"{name}.png", "segments_info": info})
        (root / "annotations" / f"panoptic_{part}.json").write_text(
            json.dumps({"annotations": filled, "categories": CATEGORIES})
        )
        outlined = f"{2 if part == 'train2017' else 3:012d}"
        picture(root / part / f"{outlined}.jpg", (100, 80))
        boxes = [([10, 10, 60, 10, 60, 70, 10, 70], 1, 0), ([20, 20, 40, 20, 40, 40, 20, 40], 63, 0)]
        entries = [
            {"image_id": 5, "category_id": category, "iscrowd": crowd, "segmentation": [box], "area": area}
            for area, (box, category, crowd) in zip((3000, 400), boxes, strict=True)
        ]
        things = [{"id": each["id"], "name": each["name"]} for each in CATEGORIES if each["isthing"]]
        images = [{"id": 5, "file_name": f"{outlined}.jpg"}]
        (root / "annotations" / f"instances_{part}.json").write_text(
            json.dumps({"annotations": entries, "images": images, "categories": things})
        )
    return root


def test_coco(coco: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert prepare.prepare_coco(coco, out) == 4
    test = {photo.id for photo in photographs(out, ("test",))}
    assert test == {f"coco/{max(prepare.held_out_coco())}", "cocothings/000000000003"}
    photos = {photo.id: photo for photo in photographs(out, ("train", "validation"))}
    assert set(photos) == {"coco/000000000001", "cocothings/000000000002"}
    filled = read_scene(photos["coco/000000000001"])
    assert filled.labels.shape == (400, 320)  # the short side is 320
    assert (filled.labels[100, 100], filled.labels[250, 100]) == (number("tree"), number("person"))
    assert filled.labels[340, 100] == filled.labels[390, 100] == -1  # a tent has no noun, the rest no label
    assert filled.things[250, 100] != filled.things[250, 300] and filled.things[100, 100] == 0
    assert filled.photo.told_apart == {"person", "sofa"} and "tree" in filled.photo.annotated
    outlined = read_scene(photos["cocothings/000000000002"])
    assert outlined.labels[30, 30] == number("sofa") and outlined.labels[60, 50] == number("person")
    assert outlined.labels[5, 5] == 0 and outlined.photo.annotated == {"person", "sofa"}


def test_a_noun_of_which_nothing_can_be_marked_is_not_called_absent(coco: Path, tmp_path: Path) -> None:
    file = coco / "annotations" / "instances_train2017.json"
    tree = json.loads(file.read_text())
    tree["annotations"][1]["iscrowd"] = 1  # a row of sofas
    file.write_text(json.dumps(tree))
    prepare.prepare_coco(coco, tmp_path / "out")
    (crowded,) = (photo for photo in photographs(tmp_path / "out", ("train",)) if photo.set == "cocothings")
    assert crowded.annotated == crowded.present == {"person"}
    tree["annotations"].append(
        tree["annotations"][1] | {"iscrowd": 0, "segmentation": [[50, 50, 58, 50, 58, 58, 50, 58]]}
    )
    file.write_text(json.dumps(tree))
    prepare.prepare_coco(coco, tmp_path / "beside")  # and one sofa by itself, of which a section may have nothing
    (crowded,) = (photo for photo in photographs(tmp_path / "beside", ("train",)) if photo.set == "cocothings")
    assert crowded.annotated == crowded.told_apart == {"person"} and crowded.present == {"person", "sofa"}
    labels = np.zeros((960, 960), np.uint8)
    labels[:480], labels[600, 600] = number("dog"), number("cat")
    large = prepare.Labelled("far", "voc", "test", Image.new("RGB", (960, 960)), labels, ("dog", "cat", "cow"))
    prepare.write_folder(iter([large]), tmp_path / "small")
    (photo,) = photographs(tmp_path / "small", ("test",))
    assert photo.present == {"dog"} and photo.annotated == {"dog", "cow"}


def test_a_picture_that_is_held_out_is_so_without_panoptic_labels(coco: Path, tmp_path: Path) -> None:
    name = max(prepare.held_out_coco())
    file = coco / "annotations" / "panoptic_train2017.json"
    tree = json.loads(file.read_text())
    tree["annotations"] = [each for each in tree["annotations"] if each["file_name"] != f"{name}.png"]
    file.write_text(json.dumps(tree))
    file = coco / "annotations" / "instances_train2017.json"
    tree = json.loads(file.read_text())
    tree["images"].append({"id": 6, "file_name": f"{name}.jpg"})
    file.write_text(json.dumps(tree))
    prepare.prepare_coco(coco, tmp_path / "out")
    assert f"cocothings/{name}" in {photo.id for photo in photographs(tmp_path / "out", ("test",))}


def test_sixty_pictures_are_held_out() -> None:
    assert len(prepare.held_out_coco()) == 60


def test_things_of_photographs_that_a_person_has_looked_at(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    name, nouns = next(
        (name, nouns) for name, nouns in prepare.told_apart().items() if nouns == ["dog"] and "voc" in name
    )
    source, out = tmp_path / "source", tmp_path / "out"
    write_folder(source)
    boxes = [("dog", (5, 40, 30, 70)), ("dog", (60, 40, 90, 70)), ("dog", (95, 95, 96, 96)), ("cat", (5, 5, 30, 30))]
    add_photo(source, name.removeprefix("voc/"), boxes, told_apart=None)
    add_photo(source, "another", boxes, told_apart=None)
    before = (source / "pictures.jsonl").read_text()
    assert prepare.prepare_things(source, out) == 2
    looked_at, other = photographs(out, ("train", "validation"))
    scene = read_scene(looked_at)
    assert looked_at.told_apart == set(nouns) and other.told_apart == frozenset()
    assert set(np.unique(scene.things)) == {0, 1, 2} and scene.things[50, 10] != scene.things[50, 70]
    assert scene.things[10, 10] == 0 and scene.things[95, 95] == 0  # a cat was not looked at, a speck is nothing
    assert (source / "pictures.jsonl").read_text() == before
    with pytest.raises(DataError, match="is not empty"):
        prepare.prepare_things(source, out)


def test_clothing(tmp_path: Path) -> None:
    io = pytest.importorskip("scipy.io")
    source = tmp_path / "ccp"
    (source / "annotations" / "pixel-level").mkdir(parents=True)
    names = np.empty((1, 4), object)
    names[0] = ["null", "dress", "intimate", "hair"]
    io.savemat(source / "label_list.mat", {"label_list": names})
    labels = np.zeros((60, 40), np.uint8)
    labels[20:40], labels[40:50], labels[:10] = 1, 2, 3
    for place in range(1, 11):
        picture(source / "photos" / f"{place:04d}.jpg", (40, 60))
        io.savemat(source / "annotations" / "pixel-level" / f"{place:04d}.mat", {"groundtruth": labels})
    assert prepare.prepare_clothing(source, tmp_path / "out") == 10
    test = photographs(tmp_path / "out", ("test",))
    assert [photo.id for photo in test] == ["clothing/ccp-0005", "clothing/ccp-0010"]  # every fifth
    scene = read_scene(test[0])
    assert (scene.labels[30, 0], scene.labels[5, 0]) == (number("dress"), number("hair"))
    assert scene.labels[45, 0] == -1 and scene.labels[15, 0] == 0 and test[0].annotated == {"dress", "hair"}


def test_ade20k(tmp_path: Path) -> None:
    source = tmp_path / "ade"
    picture(source / "images" / "training" / "a.jpg", (50, 40))
    (source / "annotations" / "training").mkdir(parents=True)
    values = np.zeros((40, 50), np.uint8)
    values[:10], values[10:20], values[20:30] = 1, 2, 3
    Image.fromarray(values).save(source / "annotations" / "training" / "a.png")
    (tmp_path / "names.txt").write_text(
        "Idx\tRatio\tTrain\tVal\tName\n1\t0\t0\t0\twall\n2\t0\t0\t0\tsea\n3\t0\t0\t0\tarcade machine\n"
    )
    assert prepare.prepare_ade20k(source, tmp_path / "out", tmp_path / "names.txt") == 1
    (photo,) = photographs(tmp_path / "out", ("train", "validation"))
    labels = read_scene(photo).labels
    assert (labels[5, 0], labels[15, 0], labels[25, 0], labels[35, 0]) == (number("wall"), number("water"), -1, -1)
    assert photo.annotated == {"wall", "water"}
