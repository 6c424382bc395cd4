"""The RefCOCO family, in files written here as the published ones are, and on real photographs and masks."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools.coco import COCO

from self1e.data.records import DataError, to_example
from self1e.data.refer import REFER_SETS, ReferSource, held_out_images
from self1e.data.unpickle import load_refs

SQUARE = [[2.0, 3.0, 12.0, 3.0, 12.0, 9.0, 2.0, 9.0]]  # rows 3..8, columns 2..11


def square() -> np.ndarray:
    mask = np.zeros((20, 30), np.uint8)
    mask[3:9, 2:12] = 1
    return mask


def python2_pickle(tree: Any) -> bytes:
    """What Python 2's `pickle.dump(tree, file)` writes: protocol 0, byte strings."""

    def written(part: Any) -> str:
        if isinstance(part, list):
            return "(l" + "".join(f"{written(each)}a" for each in part)
        if isinstance(part, dict):
            return "(d" + "".join(f"{written(key)}{written(value)}s" for key, value in part.items())
        return f"S{part!r}\n" if isinstance(part, str) else f"I{part}\n"

    return (written(tree) + ".").encode("latin-1")


def ref(ref_id: int, image_id: int, ann_id: Any, split: str, *sentences: str, **more: Any) -> dict[str, Any]:
    told = [
        {"tokens": text.split(), "raw": text, "sent_id": 10 * ref_id + i, "sent": text.lower()}
        for i, text in enumerate(sentences)
    ]
    return {
        "sent_ids": [each["sent_id"] for each in told],
        "file_name": f"COCO_train2014_{image_id:012d}_{ref_id}.jpg",
        "ann_id": ann_id,
        "ref_id": ref_id,
        "image_id": image_id,
        "split": split,
        "sentences": told,
        "category_id": 1,
        **more,
    }


def picture(image_id: int) -> dict[str, Any]:
    return {"id": image_id, "file_name": f"COCO_train2014_{image_id:012d}.jpg", "height": 20, "width": 30, "license": 1}


def annotation(ann_id: int, image_id: int, segmentation: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": ann_id,
        "image_id": image_id,
        "segmentation": segmentation,
        "iscrowd": 0,
        "area": 1,
        "bbox": [0, 0, 1, 1],
        "category_id": 1,
        **more,
    }


def write(root: Path, dataset: str, split_by: str, refs: Any, images: list, annotations: list) -> None:
    folder = root / "refer_seg" / dataset
    folder.mkdir(parents=True, exist_ok=True)
    if dataset == "grefcoco":
        (folder / f"grefs({split_by}).json").write_text(json.dumps(refs))
    else:
        (folder / f"refs({split_by}).p").write_bytes(python2_pickle(refs))
    tree = {"info": {}, "licenses": [], "categories": [], "images": images, "annotations": annotations}
    (folder / "instances.json").write_text(json.dumps(tree))
    for pictures in ("mscoco/images/train2014", "saiapr_tc-12"):
        (root / "refer_seg/images" / pictures).mkdir(parents=True, exist_ok=True)


def test_one_record_a_picture_one_query_a_sentence(tmp_path: Path) -> None:
    refs = [
        ref(0, 7, 70, "train", "Left Guy", "guy on left "),
        ref(1, 5, 50, "train", "dog"),
        ref(2, 7, 71, "train", "the table"),
        ref(3, 7, 70, "val", "held back"),
    ]
    write(
        tmp_path,
        "refcoco",
        "unc",
        refs,
        [picture(7), picture(5)],
        [
            annotation(70, 7, SQUARE),
            annotation(71, 7, [[14, 3, 20, 3, 20, 9], [0, 15, 4, 15, 4, 19, 0, 19], [1, 2]]),
            annotation(50, 5, SQUARE),
            annotation(999, 999, "not used, so not looked at"),
        ],
    )
    source = ReferSource(tmp_path, "refcoco", "unc", "train")
    assert source.name == "refcoco_unc_train" and len(source) == 2
    assert [record.id for record in source] == ["refcoco_unc_train/5", "refcoco_unc_train/7"]
    record = source[1]
    assert record.image == source.image_path(1)
    assert record.image == tmp_path / "refer_seg/images/mscoco/images/train2014/COCO_train2014_000000000007.jpg"
    assert [query.text for query in record.queries] == ["left guy", "guy on left", "the table"]
    assert {(query.form, query.kind, query.answer) for query in record.queries} == {("phrase", "refer", "")}
    assert np.array_equal(record.queries[0].mask(), square())
    assert record.queries[0].mask().dtype == np.uint8
    assert record.queries[2].mask()[15:19, :4].all()  # the second polygon of the annotation
    assert [text.partition(":")[0] for text in record.dropped] == ["reference 2"]
    again = pickle.loads(pickle.dumps(source))[1]
    assert np.array_equal(again.queries[2].mask(), record.queries[2].mask())


def test_segmentations_in_all_their_forms(tmp_path: Path) -> None:
    expected = square()
    flat = expected.T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()  # runs down the columns, outside first
    half, other = expected.copy(), expected.copy()
    half[:5], other[5:] = 0, 0
    out_of_picture = [[-5.0, 3.0, 12.0, 3.0, 12.0, 9.0, -5.0, 9.0]]
    forms = [
        SQUARE,
        {"size": [20, 30], "counts": counts},
        [{"size": [20, 30], "counts": counts}],
        [encoded(half), encoded(other)],
        SQUARE[0],
        [],
        out_of_picture,
    ]
    refs = [ref(i, 1, i, "val", f"form {i}") for i in range(len(forms))]
    annotations = [annotation(i, 1, form, iscrowd=int(i == 1)) for i, form in enumerate(forms)]
    write(tmp_path, "refclef", "unc", refs, [{**picture(1), "file_name": "00/images/1.jpg"}], annotations)
    source = ReferSource(tmp_path, "refclef", "unc", "val")
    masks = [query.mask() for query in source[0].queries]
    assert all(np.array_equal(mask, expected) for mask in masks[:5])
    assert not masks[5].any()
    expected[3:9, :12] = 1
    assert np.array_equal(masks[6], expected)
    assert source.image_path(0) == tmp_path / "refer_seg/images/saiapr_tc-12/00/images/1.jpg"


def encoded(mask: np.ndarray) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    code = coco_mask.encode(np.asfortranarray(mask))
    return {"size": code["size"], "counts": code["counts"].decode()}


def test_splits(tmp_path: Path) -> None:
    splits = ("train", "val", "testA", "testB", "testAB", "testBC")
    refs = [ref(i, i, i, split, split) for i, split in enumerate(splits)]
    write(tmp_path, "refclef", "unc", refs, [picture(i) for i in range(6)], [])

    def found(split: str) -> list[int]:
        source = ReferSource(tmp_path, "refclef", "unc", split)
        return [int(source.image_path(i).stem[-1]) for i in range(len(source))]

    assert found("train") == [0] and found("val") == [1]
    assert found("testA") == [2, 4] and found("testB") == [3, 4, 5] and found("testC") == [5]
    assert found("test") == [2, 3, 4, 5]


def test_grefcoco(tmp_path: Path) -> None:
    refs = [
        ref(0, 3, [30], "val", "one", no_target=False),
        ref(1, 3, [30, 31, 30], "val", "both", no_target=False),
        ref(2, 3, [-1], "val", "a unicorn", no_target=True),
        ref(3, 4, [-1], "testA", "nothing"),
        ref(4, 4, [], "testA", "nothing either", no_target=True),
    ]
    crowd = {"size": [20, 30], "counts": [0, 20, 580]}
    write(
        tmp_path,
        "grefcoco",
        "unc",
        refs,
        [picture(3), picture(4)],
        [
            annotation(30, 3, SQUARE),
            annotation(31, 3, crowd, iscrowd=1),
        ],
    )
    queries = ReferSource(tmp_path, "grefcoco", "unc", "val")[0].queries
    assert [query.kind for query in queries] == ["refer", "multi-target", "no-target"]
    union = square()
    union[:, 0] = 1
    assert np.array_equal(queries[1].mask(), union)
    empty = queries[2].mask()
    assert empty.shape == (20, 30) and empty.dtype == np.uint8 and not empty.any()
    queries = ReferSource(tmp_path, "grefcoco", "unc", "testA")[0].queries
    assert [query.kind for query in queries] == ["no-target"] * 2


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (ref(8, 1, 99, "val", "x"), "reference 8: instances.json has no annotation with id 99"),
        (ref(8, 2, 10, "val", "x"), "annotation 10 belongs to picture 1"),
        (ref(8, 9, 10, "val", "x"), "instances.json has no picture with id 9"),
        (ref(8, 3, 10, "val", "x"), "several different pictures with id 3"),
        (ref(8, 1, 11, "val", "x"), "several different annotations with id 11"),
        (ref(8, 1, "10", "val", "x"), "`ann_id` should be a number"),
        (ref(8, 1, [], "val", "x"), "`ann_id` should be a number"),
        (ref(8, 1, [10, -1], "val", "x"), "is said to have no target"),
        (ref(8, 1, [10], "val", "x", no_target=1), "is said to have no target"),
        (ref(8, 1, 10, "val", " "), "a sentence needs a text `sent`"),
        (ref(8, 1, 10, "val"), "has no list of `sentences`"),
    ],
)
def test_broken_records_are_told_of_by_their_id(tmp_path: Path, broken: dict, message: str) -> None:
    images = [picture(1), picture(1), picture(2), picture(3), {**picture(3), "width": 31}]
    annotations = [annotation(10, 1, SQUARE), annotation(11, 1, SQUARE), annotation(11, 1, [])]
    write(tmp_path, "refcoco", "unc", [broken, ref(0, 1, 10, "val", "fine")], images, annotations)
    source = ReferSource(tmp_path, "refcoco", "unc", "val")
    stems = [source.image_path(i).stem for i in range(len(source))]
    bad = stems.index(f"COCO_train2014_{broken['image_id']:012d}")
    with pytest.raises(DataError, match=f"refcoco_unc_val/{broken['image_id']}") as fault:
        source[bad]
    assert message in str(fault.value)
    assert all(source[i].queries for i in range(len(source)) if i != bad)


def test_a_mask_that_is_none_names_the_record(tmp_path: Path) -> None:
    write(tmp_path, "refcoco", "unc", [ref(0, 1, 10, "val", "dog")], [picture(1)], [annotation(10, 1, "nonsense")])
    source = ReferSource(tmp_path, "refcoco", "unc", "val")
    Image.new("CMYK", (30, 20)).save(source.image_path(0))
    with pytest.raises(DataError, match="refcoco_unc_val/1, 'dog'"):
        to_example(source[0], np.random.default_rng(0))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"refs\(umd\)\.p.*\n.*\n.*\n.*instances\.json(.|\n)*https://"):
        ReferSource(tmp_path, "refcocog", "umd", "val")
    with pytest.raises(DataError, match=r"no refcoco\(umd\): known are refclef\(unc\)"):
        ReferSource(tmp_path, "refcoco", "umd", "val")
    with pytest.raises(DataError, match="no split 'testA': it has train, val, test"):
        ReferSource(tmp_path, "refcocog", "umd", "testA")
    write(tmp_path, "refcoco", "unc", [ref(0, 1, 10, "val", "dog")], [], [])
    with pytest.raises(DataError, match=r"no references of split 'train', only of val \(1\)"):
        ReferSource(tmp_path, "refcoco", "unc", "train")
    instances = tmp_path / "refer_seg/refcoco/instances.json"
    instances.write_text(instances.read_text()[:-30])
    with pytest.raises(DataError, match=r"instances\.json"):
        ReferSource(tmp_path, "refcoco", "unc", "val")
    (tmp_path / "refer_seg/images/mscoco/images/train2014").rmdir()
    with pytest.raises(DataError, match=r"there is no .*train2014"):
        ReferSource(tmp_path, "refcoco", "unc", "val")


def test_held_out_images(tmp_path: Path) -> None:
    assert held_out_images(tmp_path) == frozenset()
    write(tmp_path, "refcoco", "unc", [ref(0, 1, 1, "train", "a"), ref(1, 2, 1, "testB", "a")], [], [])
    write(tmp_path, "refcocog", "umd", [ref(0, 3, 1, "val", "a"), ref(1, 2, 1, "train", "a")], [], [])
    write(tmp_path, "refcocog", "google", [ref(0, 4, 1, "val", "a"), ref(1, 5, 1, "train", "a")], [], [])
    write(tmp_path, "grefcoco", "unc", [ref(0, 6, [-1], "testA", "a")], [], [])
    write(tmp_path, "refclef", "unc", [ref(0, 77, 1, "val", "a")], [], [])
    assert held_out_images(tmp_path) == {2, 3, 4, 6}


class Evil:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (Path(self.path),)


def test_pickles_of_every_kind_are_read(tmp_path: Path) -> None:
    refs = [ref(i, 2**40 + i, i, "train", f"café {i}") for i in range(3)]
    path = tmp_path / "refs(unc).p"
    for content in [python2_pickle(refs), *(pickle.dumps(refs, protocol) for protocol in range(6))]:
        path.write_bytes(content)
        assert load_refs(path) == refs


def test_pickles_cannot_run_anything(tmp_path: Path) -> None:
    path, sign = tmp_path / "refs(unc).p", tmp_path / "ran"
    refs: list[Any] = [ref(0, 1, 1, "train", "a")]
    for evil in (Evil(str(sign)), np.float64(1), np.zeros(2), Path, print):
        for protocol in (0, 2, 5):
            path.write_bytes(pickle.dumps([*refs, evil], protocol))
            with pytest.raises(DataError, match=r"asks for [\w.]+, which may run code") as fault:
                load_refs(path)
            assert str(path) in str(fault.value) and not sign.exists()
    path.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    with pytest.raises(DataError, match=r"asks for os\.system"):
        load_refs(path)
    path.write_bytes(b"(lPsomething\na.")
    with pytest.raises(DataError, match="outside of it"):
        load_refs(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        b"(lp0\n",
        python2_pickle([ref(0, 1, 1, "train", "a")])[:-20],
        b"X\xff\xff\xff\x7f",
        b"I1\n.",
        python2_pickle({"a": 1}),
        python2_pickle([1]),
        python2_pickle([{1: "a"}]),
        python2_pickle([{"image_id": 1}]),
        python2_pickle([{"image_id": "1", "split": "train"}]),
        pickle.dumps([{"image_id": True, "split": "val"}]),
    ],
)
def test_files_that_are_no_references(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "refs(unc).p"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"refs\(unc\)\.p"):
        load_refs(path)


def test_real_photographs_and_masks(real_data: Path) -> None:
    root = real_data / "dataset"
    expressions = 0
    for (dataset, split_by), splits in REFER_SETS.items():
        if not list((root / "refer_seg" / dataset).glob(f"*refs({split_by})*")):
            continue
        coco = COCO()
        coco.dataset = json.loads((root / "refer_seg" / dataset / "instances.json").read_text())
        coco.createIndex()
        for split in splits:
            wanted = [each for each in raw_refs(root, dataset, split_by) if each["split"] == split]
            if not wanted:
                continue
            source = ReferSource(root, dataset, split_by, split)
            assert len(source) == len({each["image_id"] for each in wanted})
            for record in source:
                example = to_example(record, np.random.default_rng(0), at_most=100, training=False)
                assert len(example.conversations) == len(record.queries) > 0
            queries = [(record.image.stem, query) for record in source for query in record.queries]
            assert len(queries) == sum(len(each["sentences"]) for each in wanted)
            expressions += len(queries)
            for each in wanted:
                stem, text = f"{each['image_id']:012d}", each["sentences"][0]["sent"]
                masks = [query.mask() for name, query in queries if name.endswith(stem) and query.text == text]
                ids = each["ann_id"] if isinstance(each["ann_id"], list) else [each["ann_id"]]
                targets = [independent_mask(coco.anns[i], coco.imgs[each["image_id"]]) for i in ids if i != -1]
                expected = np.any(targets, axis=0) if targets else np.zeros_like(masks[0])
                assert any(np.array_equal(mask, expected) for mask in masks)
    assert expressions > 90
    assert held_out_images(root) == {
        each["image_id"]
        for dataset, split_by in (("refcoco", "unc"), ("refcocog", "umd"), ("grefcoco", "unc"))
        for each in raw_refs(root, dataset, split_by)
        if each["split"] != "train"
    }


def raw_refs(root: Path, dataset: str, split_by: str) -> list[dict[str, Any]]:
    folder = root / "refer_seg" / dataset
    if dataset == "grefcoco":
        return json.loads((folder / f"grefs({split_by}).json").read_text())
    return load_refs(folder / f"refs({split_by}).p")


def independent_mask(ann: dict[str, Any], image: dict[str, Any]) -> np.ndarray:
    """By pycocotools' own class where it can, else the sum of run lengths that are decoded one by one."""
    from pycocotools import mask as coco_mask

    coco = COCO()
    coco.imgs = {image["id"]: image}
    parts = ann["segmentation"]
    if isinstance(parts, list) and isinstance(parts[0], dict):
        return sum(coco_mask.decode({**part, "counts": part["counts"].encode()}).astype(int) for part in parts) > 0
    return coco.annToMask({**ann, "image_id": image["id"]}) > 0


def test_pixels_against_pillow(tmp_path: Path) -> None:
    """Not only pycocotools against itself: a slanted polygon drawn by Pillow differs at the rim only."""
    points = [2, 17, 14, 1, 27, 8, 20, 16]
    write(tmp_path, "refcoco+", "unc", [ref(0, 1, 1, "val", "a")], [picture(1)], [annotation(1, 1, [points])])
    mask = ReferSource(tmp_path, "refcoco+", "unc", "val")[0].queries[0].mask()
    drawn = Image.new("L", (30, 20))
    ImageDraw.Draw(drawn).polygon(points, fill=1)
    assert (mask != np.array(drawn)).sum() < 0.2 * mask.sum() and mask.sum() > 150
