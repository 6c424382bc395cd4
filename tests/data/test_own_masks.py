"""One's own instances JSON and index maps, with what practitioners get wrong."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from self1e.data.own_entries import open_own
from self1e.data.own_masks import CocoInstancesSource, IndexMapSource
from self1e.data.records import DataError, Record, to_example

PUBLISHED = Path(__file__).parent / "published"
NAMES = ("background", "traffic_light", "", "Ignore", "dog", "cat", "bird")


def write_map(path: Path, bands: list[int], mode: str = "L") -> None:
    """A PNG of 4 columns, whose rows hold these values."""
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.repeat(np.array(bands, np.uint8)[:, None], 4, axis=1)).convert(mode).save(path)


def write_picture(path: Path, height: int = 5, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (4, height)).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    images, masks = tmp_path / "images", tmp_path / "masks"
    write_picture(images / "b.JPG", mode="CMYK")
    write_map(masks / "b.png", [1, 4, 3, 255, 2])
    write_picture(images / "a.png", mode="L")
    write_map(masks / "a.png", [0, 0, 0, 0, 0])
    (images / "notes.txt").write_text("not a picture")
    return images, masks


def bands(record: Record) -> dict[str, list[int]]:
    """What each query's mask holds row by row."""
    masks = {query.text: query.mask() for query in record.queries}
    assert len(masks) == len(record.queries)
    assert all((mask == mask[:, :1]).all() and mask.dtype == np.uint8 for mask in masks.values())
    return {text: mask[:, 0].tolist() for text, mask in masks.items()}


def test_index_maps(folders: tuple[Path, Path]) -> None:
    source = pickle.loads(pickle.dumps(IndexMapSource(*folders, NAMES)))
    assert source.name == "index-maps" and source.classes == NAMES and len(source) == 2
    assert [source[i].id for i in range(2)] == ["a.png", "b.JPG"]
    assert [path.name for path in source.files()] == ["a.png", "a.png", "b.JPG", "b.png"]
    assert source[0].queries == ()
    assert bands(source[1]) == {"traffic light": [1, 0, 255, 255, 0], "dog": [0, 1, 255, 255, 0]}
    assert {(query.form, query.kind) for query in source[1].queries} == {("phrase", "semantic")}
    assert source[1].image == source.image_path(1) == folders[0] / "b.JPG"
    assert len(to_example(source[1], np.random.default_rng(0)).conversations) == 2


def test_names_from_a_file(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for encoding, end in (("utf-8", "\n"), ("utf-8-sig", "\r\n\r\n"), ("utf-16", "\r\n")):
        (tmp_path / "classes.txt").write_bytes(("\r\n".join(NAMES) + end).encode(encoding))
        source = IndexMapSource(*folders, tmp_path / "classes.txt")
        assert source.classes == NAMES
        assert set(bands(source[1])) == {"traffic light", "dog"}
    assert IndexMapSource(*folders, str(tmp_path / "classes.txt")).classes == NAMES
    (tmp_path / "classes.txt").write_bytes("Hündchen".encode("latin-1"))
    for path in (tmp_path / "classes.txt", tmp_path / "missing.txt"):
        with pytest.raises(DataError, match=f"class names, one a line, from {path}"):
            IndexMapSource(*folders, path)


def test_same_names_are_one_class(folders: tuple[Path, Path]) -> None:
    names = ["background", "dog", "wall", "background", "dog"]
    assert bands(IndexMapSource(*folders, names)[1])["dog"] == [1, 1, 0, 255, 0]


def test_absent_classes(folders: tuple[Path, Path]) -> None:
    source = IndexMapSource(*folders, NAMES, absent_classes=1)
    (query,) = source[0].queries
    assert query.text in ("traffic light", "dog", "cat", "bird") and query.kind == "absent" and query.absent
    assert not query.mask().any()
    masks = bands(source[1])
    assert list(masks)[:2] == ["traffic light", "dog"] and list(masks)[2] in ("cat", "bird")
    assert list(masks.values())[2] == [0, 0, 255, 255, 0]  # may well be where nothing is known
    again = IndexMapSource(*folders, NAMES, absent_classes=1)
    assert all([q.text for q in source[i].queries] == [q.text for q in again[i].queries] for i in range(2))
    assert set(bands(IndexMapSource(*folders, NAMES, absent_classes=9)[1])) == {"traffic light", "dog", "cat", "bird"}
    with pytest.raises(ValueError, match="absent_classes must be at least 0"):
        IndexMapSource(*folders, NAMES, absent_classes=-1)


def test_a_class_is_not_absent_where_it_is_spelled_in_another_way(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Map b.png has the values 1 and 4."""
    source = IndexMapSource(
        *folders, ["Background", "Red Box", "red_box", "BACKGROUND", "RED  BOX", "dog"], absent_classes=9
    )
    assert bands(source[1]) == {"Red Box": [1, 1, 0, 255, 1], "dog": [0, 0, 0, 255, 0]}
    categories = [{"id": number, "name": name} for number, name in enumerate(("Red Box", "red_box", "RED-BOX", "dog"))]
    rows = [[[0, row, 4, row, 4, row + 1, 0, row + 1]] for row in (0, 2)]
    annotations = [{"image_id": 4, "category_id": each, "segmentation": rows[each]} for each in (0, 1)]
    annotations += [{"image_id": 30, "category_id": each, "segmentation": rows[0]} for each in (2, 3)]
    source = CocoInstancesSource(
        *write_json(tmp_path, categories=categories, annotations=annotations), absent_classes=9
    )
    assert bands(source[0]) == {"Red Box": [1, 0, 1, 0, 0], "dog": [0, 0, 0, 0, 0]}
    assert set(bands(source[1])) == set(bands(source[2])) == {"Red Box", "dog"}


def test_names_that_are_no_utf8(folders: tuple[Path, Path]) -> None:
    name = os.fsdecode(b"\xff")
    write_picture(folders[0] / f"{name}.jpg")
    write_map(folders[1] / f"{name}.png", [1, 1, 1, 1, 1])
    record = IndexMapSource(*folders, NAMES, absent_classes=1)[2]
    assert len(to_example(record, np.random.default_rng(0)).conversations) == 2


def test_absent_classes_differ_between_pictures(folders: tuple[Path, Path]) -> None:
    for number in range(20):
        write_picture(folders[0] / f"{number}.jpg")
        write_map(folders[1] / f"{number}.png", [0, 0, 0, 0, 0])
    source = IndexMapSource(*folders, NAMES, absent_classes=1)
    assert {query.text for i in range(22) for query in source[i].queries if query.kind == "absent"} == {
        *("traffic light", "dog", "cat", "bird")
    }


def test_pictures_and_maps_in_one_folder(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.jpg")
    write_map(tmp_path / "a.png", [1, 1, 1, 1, 0])
    source = IndexMapSource(tmp_path, tmp_path, ["", "dog"])
    assert len(source) == 1 and bands(source[0]) == {"dog": [1, 1, 1, 1, 0]}


def test_maps_in_a_folder_of_the_pictures_are_no_pictures(tmp_path: Path) -> None:
    """Neither are those in folders that have no maps."""
    write_picture(tmp_path / "a.jpg")
    for folder in ("masks", "deep", "rejected"):
        (tmp_path / folder).mkdir()
    (tmp_path / "masks/deep").mkdir()
    write_picture(tmp_path / "deep/b.jpg")
    write_picture(tmp_path / "rejected/c.jpg")
    write_map(tmp_path / "masks/a.png", [1, 1, 1, 1, 0])
    write_map(tmp_path / "masks/deep/b.png", [1, 0, 0, 0, 0])
    source = IndexMapSource(tmp_path, tmp_path / "masks", ["", "dog"])
    assert [bands(source[i]) for i in range(len(source))] == [{"dog": [1, 1, 1, 1, 0]}, {"dog": [1, 0, 0, 0, 0]}]
    write_picture(tmp_path / "masks/images/a.jpg")  # and the other way round
    assert len(IndexMapSource(tmp_path / "masks/images", tmp_path / "masks", ["", "dog"])) == 1


def test_two_pictures_cannot_share_a_map(folders: tuple[Path, Path]) -> None:
    write_picture(folders[0] / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg and a\.png cannot share one index map: rename one of them"):
        IndexMapSource(*folders, NAMES)


def test_what_systems_leave_in_folders_is_not_data(folders: tuple[Path, Path]) -> None:
    for folder in folders:
        for name in ("._a.png", "._b.JPG", "._b.png", ".DS_Store", "Thumbs.db", ".hidden.jpg"):
            (folder / name).write_bytes(b"\0\5\26\7\0")
    source = IndexMapSource(*folders, NAMES)
    assert [source[i].id for i in range(len(source))] == ["a.png", "b.JPG"]


def test_palettes_are_left_aside(folders: tuple[Path, Path]) -> None:
    image = Image.fromarray(np.repeat(np.array([4, 4, 0, 0, 5], np.uint8)[:, None], 4, axis=1))
    image.putpalette([255, 0, 0] * 256)
    image.save(folders[1] / "b.png")
    assert bands(IndexMapSource(*folders, NAMES)[1]) == {"dog": [1, 1, 0, 0, 0], "cat": [0, 0, 0, 0, 1]}


def test_what_is_wrong_with_a_map(folders: tuple[Path, Path]) -> None:
    images, masks = folders
    for number in range(5):
        write_picture(images / f"c{number}.jpg")
    write_map(masks / "c0.PNG", [1, 1, 1, 1, 1])
    write_map(masks / "c0.jpg", [1, 1, 1, 1, 1])
    write_map(masks / "c1.png", [1, 7, 9, 1, 1])
    write_map(masks / "c2.png", [1, 1, 1, 1, 1], mode="RGB")
    write_map(masks / "c3.png", [1, 1, 1, 1])
    Image.new("I;16", (4, 5), 300).save(masks / "c4.png")
    source = IndexMapSource(images, masks, NAMES)
    for index, what in (
        (2, r"c0\.jpg: there is no index map .*c0\.png; c0\.PNG, c0\.jpg cannot take its place"),
        (3, r"c1\.jpg: .*pixels of value 7, 9, for which there is no class; classes go up to 6"),
        (4, r"c2\.jpg: .*c2\.png should hold one class number a pixel .*RGB"),
        (6, r"c4\.jpg: .*pixels of value 300, for which there is no class; classes go up to 6, and 255 is ignored"),
    ):
        with pytest.raises(DataError, match=what):
            source[index]
    with pytest.raises(DataError, match=r"c3\.jpg, 'traffic light': the mask is 4 x 4, the picture 4 x 5"):
        to_example(source[5], np.random.default_rng(0))
    assert len(source[1].queries) == 2


def test_one_bit_maps_hold_the_values_0_and_1(tmp_path: Path) -> None:
    write_picture(tmp_path / "images/a.jpg")
    write_map(tmp_path / "masks/a.png", [0, 255, 255, 0, 0], "1")
    (query,) = IndexMapSource(tmp_path / "images", tmp_path / "masks", ["background", "dog"])[0].queries
    assert query.text == "dog" and set(np.unique(query.mask())) == {0, 1}


def test_masks_in_black_and_white_are_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "images/a.jpg")
    write_map(tmp_path / "masks/a.png", [0, 255, 255, 0, 0], "L")
    with pytest.raises(DataError, match=r"hold only 0 and 255, and 255 is ignored\. Draw .* 1"):
        IndexMapSource(tmp_path / "images", tmp_path / "masks", ["background", "dog"])


def test_what_is_wrong_with_the_folders(folders: tuple[Path, Path], tmp_path: Path) -> None:
    images, masks = folders
    with pytest.raises(DataError, match=r"(?s)no folder .*nowhere.*Expected.*NAME\.png"):
        IndexMapSource(images, tmp_path / "nowhere", NAMES)
    with pytest.raises(DataError, match="no folder"):
        IndexMapSource(images / "a.png", masks, NAMES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no pictures"):
        IndexMapSource(tmp_path / "empty", masks, NAMES)
    with pytest.raises(DataError, match=r"empty has none of the 2 files that belong there \(a\.png with a\.png"):
        IndexMapSource(images, tmp_path / "empty", NAMES)
    with pytest.raises(DataError, match="nothing to ask for"):
        IndexMapSource(images, masks, ["background", " ", "void"])
    with pytest.raises(DataError, match="65536 classes are more"):
        IndexMapSource(images, masks, [f"class {number}" for number in range(65536)])


def test_maps_of_16_bits_and_folders_in_folders(tmp_path: Path) -> None:
    """Of many classes 255 is one, and 65535 is ignored; of few it is the other way round."""
    for name in ("1.jpg", "deep/1.jpg"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        write_picture(tmp_path / "images" / name)
        (tmp_path / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
    values = np.array([255, 300, 65535, 0, 300], np.uint16)
    Image.fromarray(np.repeat(values[:, None], 4, axis=1)).save(tmp_path / "masks/deep/1.png")
    Image.fromarray(np.full((5, 4), 1, np.uint16)).save(tmp_path / "masks/1.png")
    many = ["background", *(f"class {value}" for value in range(1, 400))]
    source = IndexMapSource(tmp_path / "images", tmp_path / "masks", many)
    assert [source[i].id for i in range(2)] == ["1.jpg", "deep/1.jpg"]
    assert bands(source[0]) == {"class 1": [1] * 5}
    assert bands(source[1]) == {"class 255": [1, 0, 255, 0, 0], "class 300": [0, 1, 255, 0, 1]}
    few = IndexMapSource(tmp_path / "images", tmp_path / "masks", many[:200])
    assert bands(few[0]) == {"class 1": [1] * 5}
    with pytest.raises(DataError, match="value 300, 65535, for which there is no class"):
        few[1]


def write_json(root: Path, **changes: Any) -> tuple[Path, Path]:
    """Three pictures of 4 x 5 pixels with boxes of two rows, in a COCO instances JSON."""
    tree: dict[str, Any] = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 4, "height": 5} for n in (30, 4, 100)],
        "annotations": [
            {"id": 1, "image_id": 30, "category_id": 2, "segmentation": [[0, 0, 4, 0, 4, 2, 0, 2]]},
            {"id": 1, "image_id": 30, "category_id": 2, "segmentation": {"size": [5, 4], "counts": [3, 2] * 4}},
            {"id": 2, "image_id": "30", "category_id": "5", "segmentation": [[0, 1, 4, 1, 4, 2, 0, 2]]},
            {"id": 3, "image_id": 4, "category_id": 5, "segmentation": []},
        ],
        "categories": [{"id": 0, "name": "my-project"}, {"id": 2, "name": "fire_hydrant"}, {"id": 5, "name": "dog"}],
        **changes,
    }
    (root / "own.json").write_text(json.dumps(tree))
    for image in tree["images"]:
        write_picture(root / "pictures" / image["file_name"])
    return root / "own.json", root / "pictures"


def test_coco_instances(tmp_path: Path) -> None:
    source = CocoInstancesSource(*write_json(tmp_path))
    assert source.name == "coco-instances"
    assert [source[i].id for i in range(len(source))] == ["4", "30", "100"]
    assert source[0].queries == source[2].queries == ()
    assert bands(source[1]) == {"fire hydrant": [1, 1, 0, 1, 1], "dog": [0, 1, 0, 0, 0]}
    assert len(to_example(source[1], np.random.default_rng(0)).conversations) == 2


def test_absent_categories(tmp_path: Path) -> None:
    source = CocoInstancesSource(*write_json(tmp_path), absent_classes=5)
    (query,) = source[0].queries  # has a dog
    assert (query.text, query.kind, query.absent) == ("fire hydrant", "absent", True)
    assert np.array_equal(source[0].queries[0].mask(), np.zeros((5, 4)))
    assert [query.kind for query in source[1].queries] == ["semantic", "semantic"]
    # "my-project" is no class: nothing of it is ever annotated.
    assert {query.text for query in source[2].queries} == {"fire hydrant", "dog"}
    one = CocoInstancesSource(*write_json(tmp_path), absent_classes=1)
    assert [q.text for q in one[2].queries] == [q.text for q in pickle.loads(pickle.dumps(one))[2].queries]
    assert len(one[2].queries) == 1


def test_absence_in_federated_annotations(tmp_path: Path) -> None:
    """There, only some categories are known to be absent."""
    images: list[dict[str, Any]] = [
        {"id": n, "file_name": f"{n}.jpg", "width": 4, "height": 5, "neg_category_ids": [2, 999]} for n in (1, 2)
    ]
    images[1]["not_exhaustive_category_ids"] = [2]
    source = CocoInstancesSource(*write_json(tmp_path, images=images), absent_classes=5)
    assert [[query.text for query in source[i].queries] for i in range(2)] == [["fire hydrant"], []]


def test_a_size_that_the_file_does_not_say_is_the_picture_s(tmp_path: Path) -> None:
    images = [{"id": n, "file_name": f"{n}.jpg"} | more for n, more in ((30, {}), (4, {"height": 0, "width": 0}))]
    source = CocoInstancesSource(*write_json(tmp_path, images=images), absent_classes=1)
    assert bands(source[1]) == {"fire hydrant": [1, 1, 0, 1, 1], "dog": [0, 1, 0, 0, 0]}
    assert bands(source[0]) == {"fire hydrant": [0, 0, 0, 0, 0]}
    source.image_path(1).unlink()
    with pytest.raises(DataError, match=r"30, '.*': .*No such file"):
        to_example(replace(source[1], image=source.image_path(0)), np.random.default_rng(0))


def test_stubs_beside_good_outlines_are_left_out_and_told(tmp_path: Path) -> None:
    rows = [0, 0, 4, 0, 4, 2, 0, 2]
    annotations = [
        {"image_id": 30, "category_id": 2, "segmentation": [[1, 2], rows, [1, 2, 3, 4, 5]]},
        {"image_id": 30, "category_id": 2, "segmentation": [1, 2, 3, 4]},
        {"image_id": 30, "category_id": 5, "segmentation": [[1, 2, 3, 4]]},
        {"image_id": 4, "category_id": 2, "segmentation": [[1, 2, 3, 4]]},
        {"image_id": 4, "category_id": 5, "segmentation": []},
    ]
    source = CocoInstancesSource(*write_json(tmp_path, annotations=annotations))
    assert bands(source[1]) == {"fire hydrant": [1, 1, 0, 0, 0]}
    told = "a polygon needs three points or more, x and y of each; this one has"
    assert [text.partition(f": {told} ") for text in source[1].dropped] == [
        (f"'{name}'", f": {told} ", f"{count} numbers")
        for name, count in (("fire hydrant", 2), ("fire hydrant", 5), ("fire hydrant", 4), ("dog", 4))
    ]
    with pytest.raises(DataError, match="coco-instances, picture 4, 'fire hydrant': a polygon needs three points"):
        source[0]
    annotations[3]["segmentation"] = None
    (query,) = CocoInstancesSource(*write_json(tmp_path, annotations=annotations[:4]), absent_classes=9)[0].queries
    assert query.text == "dog" and query.absent  # what has no outline may be there all the same
    assert CocoInstancesSource(*write_json(tmp_path, annotations=annotations))[0].dropped == (
        "'fire hydrant': an annotation has no outline",
        "'dog': an annotation has no outline",
    )


def test_a_pair_that_is_not_there_is_named_with_its_folder(tmp_path: Path) -> None:
    write_picture(tmp_path / "images/deep/a.jpg")
    (tmp_path / "masks/deep").mkdir(parents=True)
    with pytest.raises(DataError, match=r"\(deep/a\.jpg with deep/a\.png, \.\.\.\)"):
        IndexMapSource(tmp_path / "images", tmp_path / "masks", NAMES)


def test_boxes_alone_are_no_masks(tmp_path: Path) -> None:
    boxes = [{"image_id": 30, "category_id": 2, "bbox": [0, 0, 4, 2], **more} for more in ({}, {"segmentation": []})]
    with pytest.raises(
        DataError, match=r"none of its 2 annotations has an outline \(`segmentation`\), only boxes\. .*SAM"
    ):
        CocoInstancesSource(*write_json(tmp_path, annotations=boxes))
    assert len(CocoInstancesSource(*write_json(tmp_path, annotations=[]))) == 3


def test_file_names_as_they_are_written_on_windows(tmp_path: Path) -> None:
    annotations, images = write_json(tmp_path)
    (images / "deep").mkdir()
    (images / "30.jpg").rename(images / "deep/30.jpg")
    annotations.write_text(annotations.read_text().replace('"30.jpg"', r'"deep\\30.jpg"'))
    source = CocoInstancesSource(annotations, images)
    assert source.image_path(1) == images / "deep/30.jpg" and source[1].image.is_file()
    assert list(source.files()) == [source.image_path(index) for index in range(3)]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["coco", "coco without sizes", "maps"])
def test_masks_of_pictures_as_they_are_stored(tmp_path: Path, form: str, orientation: int) -> None:
    corner = np.zeros((16, 24), np.uint8)
    corner[:8, :8] = 1
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "pictures").mkdir()
    Image.fromarray(255 * corner).save(tmp_path / "pictures/1.jpg", exif=exif, quality=100)
    if form == "maps":
        Image.fromarray(corner).save(tmp_path / "1.png")
        entry = {"masks": ".", "images": "pictures", "classes": "classes.txt"}
        (tmp_path / "classes.txt").write_text("background\nthe corner\nthe moon")
    else:
        size = {"height": 16, "width": 24} if form == "coco" else {}
        tree = {
            "images": [{"id": 1, "file_name": "1.jpg", **size}],
            "annotations": [{"image_id": 1, "category_id": 1, "segmentation": [[0, 0, 8, 0, 8, 8, 0, 8]]}],
            "categories": [{"id": 1, "name": "the corner"}],
        }
        (tmp_path / "own.json").write_text(json.dumps(tree))
        entry = {"coco": "own.json", "images": "pictures"}
    paths = {key: str(tmp_path / name) for key, name in entry.items()}
    example = to_example(open_own({**paths, "exif": "stored"})[0], np.random.default_rng(0))
    (mask,) = (mask for talk in example.conversations for mask in talk.masks)
    assert np.array_equal(mask, np.asarray(example.image.convert("L")) > 127)
    if orientation > 4 and form != "coco without sizes":  # a size that EXIF swaps is noticed
        with pytest.raises(
            DataError, match="the mask is 24 x 16, the picture 16 x 24 pixels; if EXIF turns the picture"
        ):
            to_example(open_own({**paths, "exif": "displayed"})[0], np.random.default_rng(0))


def test_missing_paths(tmp_path: Path) -> None:
    annotations, images = write_json(tmp_path)
    with pytest.raises(DataError, match=r"(?s)no file .*other\.json.*Expected"):
        CocoInstancesSource(tmp_path / "other.json", images)
    with pytest.raises(DataError, match=r"no folder .*other"):
        CocoInstancesSource(annotations, tmp_path / "other")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty has none of the 3 pictures of .*own\.json \(4\.jpg"):
        CocoInstancesSource(annotations, tmp_path / "empty")


@pytest.mark.parametrize("split", ["val2017", "train2017"])
def test_real_coco(real_data: Path, split: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = real_data / "dataset/coco"
    path = folder / f"annotations/instances_{split}.json"
    source, reference = CocoInstancesSource(path, folder / split), COCO(path)
    assert [source[i].id for i in range(len(source))] == [str(number) for number in sorted(reference.imgs)]
    names = {number: category["name"] for number, category in reference.cats.items()}
    crowds = 0
    for index in range(0, len(source), 3):
        record = source[index]
        assert record.image.is_file()
        expected: dict[str, np.ndarray] = {}
        for annotation in reference.imgToAnns[int(record.id)]:
            mask, name = reference.annToMask(annotation), names[annotation["category_id"]]
            expected[name] = expected.get(name, 0) | mask
            crowds += annotation["iscrowd"]
        assert {query.text for query in record.queries} == set(expected)
        for query in record.queries:
            assert np.array_equal(query.mask(), expected[query.text])
    assert crowds > 0
    to_example(source[0], np.random.default_rng(0))


def test_published_lvis(tmp_path: Path) -> None:
    """Outlines of federated categories; the pictures are not here, an empty one stands for the first."""
    path = PUBLISHED / "lvis_val.json"
    tree = json.loads(path.read_text())
    with pytest.raises(DataError, match="none of the 9 pictures"):
        CocoInstancesSource(path, path.parent)
    assert any(image["not_exhaustive_category_ids"] for image in tree["images"])
    names = {category["id"]: category["name"].replace("_", " ") for category in tree["categories"]}
    assert len(names) == 90
    write_picture(tmp_path / tree["images"][0]["file_name"])
    source = CocoInstancesSource(path, tmp_path, absent_classes=3)
    for index, image in enumerate(sorted(tree["images"], key=lambda each: each["id"])):
        own = {a["category_id"] for a in tree["annotations"] if a["image_id"] == image["id"]}
        record = source[index]
        assert record.id == str(image["id"])
        there = {query.text for query in record.queries if query.kind == "semantic"}
        assert there == {names[number] for number in own - set(image["not_exhaustive_category_ids"])}
        absent = {query.text for query in record.queries if query.kind == "absent"}
        assert absent <= {names[number] for number in image["neg_category_ids"]} and not absent & there
        if index % 2 == 0:
            assert all(query.mask().any() == (query.kind == "semantic") for query in record.queries)
