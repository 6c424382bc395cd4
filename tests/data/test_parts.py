"""PACO and PASCAL-Part from JSON in their true formats, with every kind of outline."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from self1e.data.parts import PacoSource, PascalPartSource, spoken_part
from self1e.data.records import DataError, Record, to_example

PUBLISHED = Path(__file__).parent / "published"
WIDTH, HEIGHT = 12, 9


def box(left: int, top: int, right: int, bottom: int) -> list[int]:
    """The outline of a rectangle, as a polygon."""
    return [left, top, right, top, right, bottom, left, bottom]


def filled(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for left, top, right, bottom in boxes:
        mask[max(top, 0) : bottom, max(left, 0) : right] = 1
    return mask


def runs(mask: np.ndarray) -> dict[str, Any]:
    """An uncompressed run-length code, column by column, that begins with zeros."""
    counts, value = [0], 0
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return {"size": list(mask.shape), "counts": counts}


def compressed(mask: np.ndarray) -> dict[str, Any]:
    code = coco_mask.encode(np.asfortranarray(mask))
    return {"size": code["size"], "counts": code["counts"].decode()}


CATEGORIES = [
    {"id": 23, "name": "trash_can", "supercategory": "OBJECT"},
    {"id": 207, "name": "car_(automobile)", "supercategory": "OBJECT"},
    {"id": 2000, "name": "trash_can:handle", "supercategory": "PART"},
    {"id": 2001, "name": "car_(automobile):steeringwheel", "supercategory": "PART"},
    {"id": 2002, "name": "vacuum:colied_tube", "supercategory": "PART"},
]


def picture(number: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "file_name": f"train2017/{number:012d}.jpg",
        "height": HEIGHT,
        "width": WIDTH,
        "neg_category_ids": [999],
        "not_exhaustive_category_ids": [],
        **more,
    }


def outline(image: int, category: int, segmentation: Any, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": 0, **more}


def write(root: Path, images: list[Any], annotations: list[Any], categories: list[Any] = CATEGORIES) -> Path:
    """A PACO tree; annotations are numbered. Returns the root."""
    path = root / "vlpart/paco/annotations/paco_lvis_v1_train.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    numbered = [{"id": number, **annotation} for number, annotation in enumerate(annotations, 1)]
    path.write_text(json.dumps({"images": images, "annotations": numbered, "categories": categories}))
    (root / "coco/train2017").mkdir(parents=True, exist_ok=True)
    for image in images:
        if isinstance(name := image.get("file_name"), str):
            Image.new("L", (WIDTH, HEIGHT)).save(root / "coco" / name)
    return root


def masks_of(record: Record) -> dict[str, np.ndarray]:
    assert len({query.text for query in record.queries}) == len(record.queries)
    return {query.text: query.mask() for query in record.queries}


@pytest.mark.parametrize(
    ("name", "phrase", "kind"),
    [
        ("trash_can", "trash can", "semantic"),
        ("trash_can:handle", "handle of the trash can", "part"),
        ("mouse_(computer_equipment)", "mouse", "semantic"),
        ("mouse_(computer_equipment):scroll_wheel", "scroll wheel of the mouse", "part"),
        ("vacuum:colied_tube", "coiled tube of the vacuum", "part"),
        ("bus:license plate", "license plate of the bus", "part"),
        ("potted plant:pot", "pot of the potted plant", "part"),
    ],
)
def test_how_parts_are_said(name: str, phrase: str, kind: str) -> None:
    assert spoken_part(name) == (phrase, kind)


def test_every_kind_of_outline(tmp_path: Path) -> None:
    annotations = [
        outline(7, 2000, [box(1, 1, 4, 3)]),
        outline(7, 2000, compressed(filled((3, 2, 6, 8)))),  # overlaps the one before
        outline(7, 23, [box(8, 0, 40, 5), box(-9, 7, 2, 30)]),  # beyond the picture
        outline(7, 23, runs(filled((5, 5, 6, 6))), iscrowd=1),
        outline(7, 207, [runs(filled((0, 0, 1, 1))), compressed(filled((11, 8, 12, 9)))]),
        outline(7, 2001, []),
        outline(7, 2002, [[]]),
        outline(7, 2002, None),
        outline(9, 207, box(2, 2, 3, 3)),
        outline(9, 207, []),
        outline(12345, 207, [box(2, 2, 3, 3)]),  # of a picture that is not listed
    ]
    with pytest.warns(UserWarning, match="not list the pictures of 1 of its 11 annotations, such as picture 12345: "):
        source = PacoSource(write(tmp_path, [picture(9), picture(7), picture(10)], annotations))
    assert source.name == "paco" and len(source) == 3
    assert [source[i].id for i in range(3)] == ["7", "9", "10"]
    record = source[0]
    assert record.image == source.image_path(0) == tmp_path / "coco/train2017/000000000007.jpg"
    assert [(q.text, q.form, q.kind) for q in record.queries] == [
        ("trash can", "phrase", "semantic"),
        ("car", "phrase", "semantic"),
        ("handle of the trash can", "phrase", "part"),
    ]
    masks = masks_of(record)
    assert np.array_equal(masks["handle of the trash can"], filled((1, 1, 4, 3), (3, 2, 6, 8)))
    assert np.array_equal(masks["trash can"], filled((8, 0, 12, 5), (0, 7, 2, 9), (5, 5, 6, 6)))
    assert np.array_equal(masks["car"], filled((0, 0, 1, 1), (11, 8, 12, 9)))
    assert np.array_equal(masks_of(source[1])["car"], filled((2, 2, 3, 3)))
    assert source[2].queries == ()


def test_records_become_examples_in_other_processes(tmp_path: Path) -> None:
    annotations = [outline(7, 2000, [box(1, 1, 4, 3)]), outline(7, 23, compressed(filled((0, 0, 2, 2))))]
    source = pickle.loads(pickle.dumps(PacoSource(write(tmp_path, [picture(7)], annotations))))
    example = to_example(pickle.loads(pickle.dumps(source[0])), np.random.default_rng(0))
    assert sorted(int(talk.masks[0].sum()) for talk in example.conversations) == [4, 6]
    assert example.image.mode == "RGB" and example.id == "7"


def test_what_is_not_exhaustive_is_not_asked(tmp_path: Path) -> None:
    # 5000 is one of LVIS's categories, which PACO does not have.
    images = [picture(1, not_exhaustive_category_ids=[207, 5000]), picture(2, not_exhaustive_category_ids=[2000])]
    annotations = [
        outline(image, category, [box(0, 0, 2, 2)]) for image in (1, 2) for category in (23, 207, 2000, 2001)
    ]
    source = PacoSource(write(tmp_path, images, annotations))
    assert set(masks_of(source[0])) == {"trash can", "handle of the trash can"}
    assert set(masks_of(source[1])) == {"trash can", "car", "steering wheel of the car"}


def test_same_phrases_are_one(tmp_path: Path) -> None:
    categories = [*CATEGORIES, {"id": 208, "name": "car"}, {"id": 208, "name": "car"}]
    annotations = [outline(1, 207, [box(0, 0, 2, 2)]), outline(1, 208, [box(4, 4, 6, 6)])]
    masks = masks_of(PacoSource(write(tmp_path, [picture(1)], annotations, categories))[0])
    assert list(masks) == ["car"]
    assert np.array_equal(masks["car"], filled((0, 0, 2, 2), (4, 4, 6, 6)))


def test_broken_records_are_told_apart(tmp_path: Path) -> None:
    images = [picture(number) for number in range(1, 8)]
    images += [picture(1), picture(2, width=WIDTH + 1)]  # the same again; one that contradicts
    del images[2]["file_name"]
    images[3]["height"], images[4]["width"] = -9, "12"
    annotations = [outline(1, 23, [box(0, 0, 2, 2)]), outline(6, 77, [box(0, 0, 2, 2)])]
    annotations += [{"image_id": 7, "segmentation": [box(0, 0, 2, 2)]}]
    source = PacoSource(write(tmp_path, images, annotations))
    assert len(source) == 7
    assert len(source[0].queries) == 1
    for index, what in enumerate(
        ("differ", "no `file_name`", "`height`", "`width`", "category 77", "category None"), 1
    ):
        with pytest.raises(DataError, match=rf"paco, picture {index + 1}: .*{what}"):
            source[index]
    with pytest.raises(DataError, match="picture 3: has no `file_name`"):
        source.image_path(2)


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"file_name": 7}, "no `file_name`"),
        ({"height": float("nan")}, "`height`"),
        ({"width": float("inf")}, "`width`"),
        ({"width": 12.5}, "`width`"),
        ({"height": 10**6, "width": 10**6}, "1000000 x 1000000 pixels are more"),
        ({"not_exhaustive_category_ids": 207}, "`not_exhaustive_category_ids` should be a list"),
        ({"neg_category_ids": "23"}, "`neg_category_ids` should be a list"),
    ],
)
def test_pictures_of_wrong_types(tmp_path: Path, more: dict[str, Any], what: str) -> None:
    images = [picture(1, **more), picture(2, height=float(HEIGHT))]
    source = PacoSource(write(tmp_path, images, [outline(n, 23, [box(0, 0, 2, 2)]) for n in (1, 2)]))
    assert list(masks_of(source[1])) == ["trash can"]
    with pytest.raises(DataError, match=rf"paco, picture 1: .*{what}"):
        source[0]


def test_ids_are_the_same_however_they_are_written(tmp_path: Path) -> None:
    annotations = [
        {"image_id": 7.0, "category_id": 23.0, "segmentation": [box(0, 0, 2, 2)]},
        {"image_id": "7", "category_id": "23", "segmentation": [box(4, 4, 6, 6)]},
        {"image_id": 7, "category_id": 207, "segmentation": [box(4, 4, 6, 6)]},
    ]
    images = [picture(7, not_exhaustive_category_ids=[207.0])]
    masks = masks_of(PacoSource(write(tmp_path, images, annotations))[0])
    assert list(masks) == ["trash can"]
    assert np.array_equal(masks["trash can"], filled((0, 0, 2, 2), (4, 4, 6, 6)))


@pytest.mark.parametrize(
    ("segmentation", "what"),
    [
        ([[1, 2, 3, 4]], "three points"),
        ([[1, 2, 3, 4, 5, 6, 7]], "7 numbers"),
        ({"size": [HEIGHT, WIDTH + 1], "counts": [(WIDTH + 1) * HEIGHT]}, "does not fit"),
        ({"counts": [1]}, "needs `size`"),
        ("polygon", "not str"),
    ],
)
def test_broken_outlines(tmp_path: Path, segmentation: Any, what: str) -> None:
    source = PacoSource(write(tmp_path, [picture(1)], [outline(1, 23, segmentation)]))
    with pytest.raises(DataError, match=f"1, 'trash can': .*{what}"):
        to_example(source[0], np.random.default_rng(0))


def test_a_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    source = PacoSource(write(tmp_path, [picture(1)], [outline(1, 23, [box(0, 0, 2, 2)])]))
    Image.new("RGB", (HEIGHT, WIDTH)).save(source.image_path(0))
    with pytest.raises(DataError, match="mask is 12 x 9, the picture 9 x 12"):
        to_example(source[0], np.random.default_rng(0))


def test_unusable_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)no file .*paco_lvis_v1_train\.json.*ROOT/coco.*facebookresearch/paco"):
        PacoSource(tmp_path)
    write(tmp_path, [picture(1)], [])
    path = tmp_path / "vlpart/paco/annotations/paco_lvis_v1_train.json"
    tree = json.loads(path.read_text())
    for broken, what in (
        ("{", "cannot read"),
        ("[]", "list `images`"),
        (json.dumps({**tree, "categories": {}}), "list `categories`"),
        (json.dumps({**tree, "annotations": ["a"]}), "list `annotations`"),
        (json.dumps({**tree, "categories": [{"id": 1}]}), "`id` and `name`"),
        (json.dumps({**tree, "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}), "both 'a' and 'b'"),
        (json.dumps({**tree, "images": []}), "lists no pictures"),
        (json.dumps({**tree, "images": [picture(2)]}), "none of the 1 pictures"),
    ):
        path.write_text(broken)
        with pytest.raises(DataError, match=what):
            PacoSource(tmp_path)


def test_pascal_part(tmp_path: Path) -> None:
    folder = tmp_path / "vlpart/pascal_part"
    with pytest.raises(DataError, match=r"(?s)no file .*train\.json.*JPEGImages.*VLPart"):
        PascalPartSource(tmp_path)
    (folder / "VOCdevkit/VOC2010/JPEGImages").mkdir(parents=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "VOCdevkit/VOC2010/JPEGImages/2008_000003.jpg")
    tree = {
        "images": [{"id": 1, "file_name": "2008_000003.jpg", "height": HEIGHT, "width": WIDTH}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 24, "segmentation": compressed(filled((0, 0, 3, 3))), "iscrowd": 0},
            {"id": 1, "image_id": 1, "category_id": 24, "segmentation": [box(6, 0, 9, 3)], "iscrowd": 0},
        ],
        "categories": [{"id": 19, "name": "bus:license plate", "abbr": "bus:liplate"}, {"id": 24, "name": "bus:wheel"}],
    }
    (folder / "train.json").write_text(json.dumps(tree))
    source = PascalPartSource(tmp_path)
    assert source.name == "pascal-part" and source.image_path(0).is_file()
    masks = masks_of(source[0])
    assert list(masks) == ["wheel of the bus"]
    assert np.array_equal(masks["wheel of the bus"], filled((0, 0, 3, 3), (6, 0, 9, 3)))
    assert source[0].queries[0].kind == "part"


def test_published_names() -> None:
    paco = (PUBLISHED / "paco_lvis.txt").read_text().splitlines()
    phrases = [spoken_part(name) for name in paco]
    assert len(set(phrases)) == len(paco) == 531
    assert sum(kind == "semantic" for _, kind in phrases) == 75
    pascal = (PUBLISHED / "pascal_part.txt").read_text().splitlines()
    phrases += [spoken_part(name) for name in pascal]
    assert len(pascal) == 93
    assert not [phrase for phrase, _ in phrases if set(phrase) & set("_():") or phrase != phrase.strip()]
    assert all((" of the " in phrase) == (kind == "part") for phrase, kind in phrases)
