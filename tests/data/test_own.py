"""A user's own JSONL: every form of a line, every form of a mask, every fault by file and line."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from self1e.conversation import Turn
from self1e.data.own import OwnSource
from self1e.data.records import DataError, Query, Talk, to_example

POLYGON = [2, 3, 12, 3, 12, 9, 2, 9]


def square() -> np.ndarray:
    mask = np.zeros((20, 30), np.uint8)
    mask[3:9, 2:12] = 1
    return mask


def write(folder: Path, *lines: Any) -> Path:
    Image.new("RGB", (30, 20)).save(folder / "a.jpg")
    file = folder / "mine.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return file


def only_query(folder: Path, line: dict[str, Any]) -> Query:
    (query,) = OwnSource(write(folder, {"image": "a.jpg", **line}))[0].queries
    return query


def test_lines_about_one_picture_are_one_record(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    file = write(
        tmp_path,
        {"image": "photos/b.png", "prompt": "the cat", "masks": [], "kind": "animal"},
        {"image": "a.jpg", "prompt": "left guy", "masks": [POLYGON], "id": 7, "width": 30, "height": 20},
        "",
        {"image": "photos/../photos/b.png", "prompt": "What is it?", "answer": "A cat."},
        {
            "image": "./photos/b.png",
            "prompts": [
                {"prompt": "Which of these barks", "masks": [POLYGON], "answer": "Dogs bark."},
                {"prompt": "which one", "form": "phrase", "masks": [POLYGON]},
                {"prompt": "How many?", "answer": "Two."},
            ],
        },
        {
            "image": "photos/b.png",
            "conversations": [{"question": "a", "answer": "b"}, {"question": "c", "answer": "d"}],
        },
        {
            "image": "photos/b.png",
            "conversations": [
                {"from": "human", "value": "<image>\ne"},
                {"from": "gpt", "value": "f"},
            ],
        },
    )
    Image.new("CMYK", (30, 20)).save(tmp_path / "photos/b.tif")
    (tmp_path / "photos/b.tif").rename(tmp_path / "photos/b.png")
    source = pickle.loads(pickle.dumps(OwnSource(file)))
    assert source.name == "mine" and len(source) == 2
    assert [record.id for record in source] == ["mine/a.jpg", "mine/photos/b.png"]
    first, second = source
    assert [(query.text, query.form, query.answer, query.kind) for query in first.queries] == [
        ("left guy", "phrase", "", "")
    ]
    assert [(query.text, query.form, query.answer, query.kind) for query in second.queries] == [
        ("the cat", "phrase", "", "animal"),
        ("Which of these barks", "sentence", "Dogs bark.", ""),
        ("which one", "phrase", "", ""),
    ]
    assert second.talks == (
        Talk((Turn("What is it?", "A cat."),)),
        Talk((Turn("How many?", "Two."),)),
        Talk((Turn("a", "b"), Turn("c", "d"))),
        Talk((Turn("e", "f"),)),
    )
    assert source.image_path(1) == second.image == tmp_path / "photos/b.png"
    example = to_example(second, np.random.default_rng(0), at_most=9, training=False)
    masks = {talk.turns[0].question: talk.masks[0] for talk in example.conversations if talk.segmenting}
    assert not masks["What is the cat in this image? Please output segmentation mask."].any()
    assert np.array_equal(masks["Which of these barks Please output segmentation mask."], square())
    assert len(example.conversations) == 7


def test_every_form_of_a_mask(tmp_path: Path) -> None:
    expected = square()
    code = coco_mask.encode(np.asfortranarray(expected))
    compressed = {"size": code["size"], "counts": code["counts"].decode()}
    flat = expected.T.reshape(-1)
    runs = np.diff([0, *(np.flatnonzero(np.diff(flat)) + 1), flat.size]).tolist()
    for name, image in {
        "grey.png": Image.fromarray(expected * 255),
        "ones.png": Image.fromarray(expected),
        "bits.png": Image.fromarray(expected * 255).convert("1"),
        "rgb.png": Image.fromarray(np.stack([expected * 0, expected * 9, expected * 0], axis=2)),
        "deep.png": Image.fromarray(expected.astype(np.uint16) * 256),
        "soft.png": Image.fromarray(expected * 7),
    }.items():
        image.save(tmp_path / name)
    palette = Image.fromarray(expected, "P")
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.save(tmp_path / "palette.png", transparency=0)
    pairs = [[2, 3], [12, 3], [12, 9], [2, 9]]
    halves = [[2, 3, 7, 3, 7, 9, 2, 9], [7, 3, 12, 3, 12, 9, 7, 9]]
    whole = [
        *("grey.png", "ones.png", "bits.png", "rgb.png", "deep.png", "soft.png", "palette.png"),
        *(compressed, {"size": [20, 30], "counts": runs}, [compressed]),
        *(POLYGON, [POLYGON], pairs, [pairs], halves, [halves[0], [[7, 3], [12, 3], [12, 9], [7, 9]]]),
    ]
    for mask in whole:
        assert np.array_equal(only_query(tmp_path, {"prompt": "it", "masks": [mask]}).mask(), expected), mask
    union = only_query(tmp_path, {"prompt": "it", "masks": [[0, 12, 5, 12, 5, 18, 0, 18], "grey.png", []]}).mask()
    expected[12:18, :5] = 1
    assert np.array_equal(union, expected) and union.dtype == np.uint8
    beyond = only_query(tmp_path, {"prompt": "it", "masks": [[-9, -9, 99, -9, 99, 99, -9, 99]]}).mask()
    assert beyond.all()


def test_a_palette_is_read_by_its_colours(tmp_path: Path) -> None:
    """Pillow's adaptive palettes begin with the most frequent colour, and black may have any number."""
    expected = np.ones((20, 30), np.uint8)
    expected[3:9, 2:12] = 0
    for name, picture in {
        "adaptive.png": Image.fromarray(255 * expected).convert("RGB").quantize(2),
        "cmyk.tif": Image.fromarray(255 * np.stack([0 * expected] * 3 + [1 - expected], axis=2), "CMYK"),
    }.items():
        picture.save(tmp_path / name)
    with Image.open(tmp_path / "adaptive.png") as adaptive:
        assert (np.array(adaptive) != 0).mean() < 0.5  # by its numbers, it would be the complement
    for name in ("adaptive.png", "cmyk.tif"):
        assert np.array_equal(only_query(tmp_path, {"prompt": "it", "masks": [name]}).mask(), expected), name
    for name, colours in (("none.png", None), ("black.png", [0] * 768)):  # written as numbers, without colours
        palette = Image.fromarray(expected, "P")
        if colours is not None:
            palette.putpalette(colours)
        palette.save(tmp_path / name)
        with pytest.raises(DataError, match=rf"{name} has several numbers, but all are black in its palette"):
            only_query(tmp_path, {"prompt": "it", "masks": [name]}).mask()
    palette = Image.fromarray(1 - expected, "P")
    palette.putpalette([255, 0, 0, 0, 0, 0])
    palette.save(tmp_path / "red.png", transparency=0)
    with pytest.raises(DataError, match=r"red\.png has transparency"):
        only_query(tmp_path, {"prompt": "it", "masks": ["red.png"]}).mask()


def test_pieces_that_are_no_polygons_are_left_out_and_told(tmp_path: Path) -> None:
    stubs = [[1, 2], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7]]
    told = "line 1, mask 1: a polygon needs three points or more, x and y of each; this one has"
    pairs = [[2, 3], [12, 3], [12, 9], [2, 9]]
    for mask in ([POLYGON, *stubs], [stubs[0], pairs, *stubs[1:]]):
        (record,) = OwnSource(write(tmp_path, {"image": "a.jpg", "prompt": "it", "masks": [mask]}))
        assert np.array_equal(record.queries[0].mask(), square())
        assert [text.split("jsonl, ")[1] for text in record.dropped] == [f"{told} {n} numbers" for n in (2, 4, 7)]
    mask = [pairs, [[1, 1], [2, 2]], [[5, 5]]]  # as pairs, too
    (record,) = OwnSource(write(tmp_path, {"image": "a.jpg", "prompt": "it", "masks": [mask]}))
    assert np.array_equal(record.queries[0].mask(), square())
    assert [text.split("jsonl, ")[1] for text in record.dropped] == [f"{told} {n} numbers" for n in (4, 2)]
    lines = [{"image": "a.jpg", "prompt": "a", "masks": [[1, 2]]}, {"image": "a.jpg", "prompt": "b", "masks": []}]
    (record,) = OwnSource(write(tmp_path, *lines))
    assert [query.text for query in record.queries] == ["b"] and len(record.dropped) == 1
    talk = {"conversations": [{"question": "a", "answer": "It is [SEG]."}], "masks": [[[1, 2]]]}
    with pytest.raises(DataError, match=r"line 1: of the mask of a \[SEG\] nothing remains: \[\[1, 2\]\]"):
        OwnSource(write(tmp_path, {"image": "a.jpg", **talk}))[0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_of_pictures_as_they_are_stored(tmp_path: Path, orientation: int) -> None:
    lines = [{"image": "a.jpg", "prompt": "it", "masks": [mask]} for mask in (POLYGON, "a.png", coded(square()))]
    conversation = {"conversations": [{"question": "a", "answer": "It is [SEG]."}], "masks": ["a.png"]}
    file = write(tmp_path, *lines, {"image": "a.jpg", **conversation})
    Image.fromarray(255 * square()).save(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(255 * square()).save(tmp_path / "a.jpg", exif=exif, quality=100)
    example = to_example(OwnSource(file, stored=True)[0], np.random.default_rng(0), at_most=9)
    seen = np.asarray(example.image.convert("L")) > 127
    masks = [mask for talk in example.conversations for mask in talk.masks]
    assert len(masks) == 4 and all(np.array_equal(mask, seen) for mask in masks)
    if orientation > 4:
        with pytest.raises(DataError, match="EXIF turns the picture: is it `exif: stored`"):
            to_example(OwnSource(file)[0], np.random.default_rng(0), at_most=9)


def coded(mask: np.ndarray) -> dict[str, Any]:
    code = coco_mask.encode(np.asfortranarray(mask))
    return {"size": code["size"], "counts": code["counts"].decode()}


def test_paths_as_they_are_written_on_windows(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    file = write(
        tmp_path, *({"image": f"photos{bar}b.png", "prompt": bar, "masks": [f"photos{bar}b.png"]} for bar in "\\/")
    )
    Image.fromarray(square()).save(tmp_path / "photos/b.png")
    (record,) = OwnSource(file)
    assert record.id == "mine/photos/b.png" and [query.text for query in record.queries] == ["\\", "/"]
    assert all(np.array_equal(query.mask(), square()) for query in record.queries)
    (tmp_path / "photos\\b.png").touch()  # here, a name may hold a backslash
    assert len(OwnSource(file)) == 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_encodings_of_windows(tmp_path: Path, encoding: str) -> None:
    file = write(tmp_path)
    lines = ["", *(json.dumps({"image": "a.jpg", "prompt": text, "masks": []}, ensure_ascii=False) for text in "äਊ")]
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    file.write_bytes((mark + "\r\n".join(lines)).encode(encoding))  # a half of the last letter is a line feed
    (record,) = OwnSource(file)
    assert [query.text for query in record.queries] == ["ä", "ਊ"]
    file.write_bytes(file.read_bytes()[:-1])
    if encoding != "utf-8-sig":
        with pytest.raises(DataError, match="begins as UTF-16"):
            OwnSource(file)


def test_keys_that_mean_nothing_are_told_once(tmp_path: Path) -> None:
    prompt = {"prompt": "it", "masks": [POLYGON], "license": 3}
    lines = [
        {"image": "a.jpg", **prompt, "source": "web"},
        {"image": "a.jpg", "prompts": [prompt, prompt | {"score": 0.7}]},
        {"image": "a.jpg", "conversations": [{"question": "a", "answer": "b", "annotator": "me"}]},
    ]
    with pytest.warns(UserWarning) as told:
        source = OwnSource(write(tmp_path, *lines))
        assert len(source[0].queries) == 3 and len(source[0].talks) == 1
    (warning,) = told
    named = "'annotator', 'license', 'score', 'source'"
    assert str(warning.message).endswith(f"mine.jsonl: keys that mean nothing here are left aside: {named}")


def test_what_it_is_read_from(tmp_path: Path) -> None:
    talk = {"conversations": [{"question": "a", "answer": "[SEG] [SEG]"}], "masks": [["e.png", "f.png"], [[1, 2]]]}
    lines = [
        {"image": "a.jpg", "prompt": "it", "masks": [POLYGON, "b.png", "c\\d.png"]},
        {"image": "a.jpg", "prompts": [{"prompt": "it", "masks": ["g.png"]}], "masks": None},
        {"image": "b.jpg", **talk},
        "nonsense",
    ]
    names = [str(path.relative_to(tmp_path)) for path in OwnSource(write(tmp_path, *lines)).files()]
    assert names == ["a.jpg", "b.png", "c/d.png", "g.png", "b.jpg", "e.png", "f.png"]


def test_masks_are_about_the_upright_picture(tmp_path: Path) -> None:
    file = write(tmp_path, {"image": "a.jpg", "prompt": "it", "masks": [[0, 0, 20, 0, 20, 30, 0, 30]]})
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    example = to_example(OwnSource(file)[0], np.random.default_rng(0))
    assert example.image.size == (20, 30) and example.conversations[0].masks[0].all()


def test_conversations_keep_their_words_and_point_several_times(tmp_path: Path) -> None:
    line = {
        "image": "a.jpg",
        "conversations": [
            {"question": "Who is here?", "answer": "A cat [SEG] and a dog [SEG]."},
            {"question": "Where is the bird?", "answer": "It is [SEG]."},
        ],
        "masks": [POLYGON, [], ["all.png", {"size": [20, 30], "counts": [600]}]],
        "kind": "mine",
    }
    Image.new("L", (30, 20), 255).save(tmp_path / "all.png")
    record = OwnSource(write(tmp_path, line))[0]
    assert not record.queries and [talk.kind for talk in record.talks] == ["mine"]
    (talk,) = to_example(record, np.random.default_rng(0)).conversations
    assert [turn.answer for turn in talk.turns] == ["A cat [SEG] and a dog [SEG].", "It is [SEG]."]
    assert np.array_equal(talk.masks[0], square())
    assert not talk.masks[1].any() and talk.masks[2].all()


def test_an_explanation_may_begin_with_the_mark(tmp_path: Path) -> None:
    line = {"prompt": "Which barks?", "masks": [POLYGON], "answer": "It is [SEG]. Dogs bark."}
    assert only_query(tmp_path, line).answer == "Dogs bark."


TWO = [{"question": "a", "answer": "It is [SEG]."}, {"question": "b", "answer": "c"}]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"prompt": "a", "mask": []}, "unknown key 'mask': keys here are answer, conversations"),
        ({"prompt": "a"}, "needs `masks`"),
        ({}, "needs one of `prompt`, `prompts` and `conversations`, but has none of them"),
        ({"prompt": "a", "prompts": []}, "but has prompt and prompts"),
        ({"prompt": " ", "masks": []}, "`prompt` should be text"),
        ({"prompt": "a", "masks": POLYGON}, "`masks` should be a list of paths"),
        ({"prompt": "a", "masks": "a.png"}, "`masks` should be a list of paths"),
        ({"prompt": "a", "masks": [], "form": "word"}, "`form` should be 'phrase' or 'sentence', not 'word'"),
        ({"prompt": "a", "masks": [], "kind": 3}, "`kind` should be text"),
        ({"prompt": "a", "masks": [], "answer": None}, "`answer` should be text"),
        ({"prompt": "a", "answer": "b", "form": "phrase"}, "`form` and `kind` belong to prompts with `masks`"),
        ({"prompt": "a", "answer": "It is [SEG]."}, "answer 1 holds [SEG]"),
        ({"prompt": "a", "masks": [], "answer": "The dog [SEG] barks."}, "[SEG] can stand only at the beginning"),
        ({"prompt": "a", "masks": [], "answer": "It is [SEG]. And [SEG]."}, "[SEG] can stand only at the beginning"),
        ({"prompts": []}, "`prompts` should be a list of objects"),
        ({"prompts": [{"prompt": "a", "masks": []}, {"prompt": "b"}]}, "prompt 2: needs `masks`"),
        ({"prompts": [{"prompt": "a", "masks": [], "image": "b"}]}, "prompt 1: unknown key 'image'"),
        ({"prompts": [{"prompt": "a", "masks": []}], "masks": []}, "unknown key 'masks'"),
        ({"conversations": []}, "questions and answers in turn"),
        ({"conversations": ["a", "b"]}, "`conversations` should be a list of turns"),
        ({"conversations": [{"question": "a"}]}, "turn 1: `answer` should be text"),
        ({"conversations": [{"question": "a", "answer": "b", "mask": 1}]}, "turn 1: unknown key 'mask'"),
        ({"conversations": [{"question": "a", "answer": "b"}], "answer": "c"}, "unknown key 'answer'"),
        ({"conversations": [{"question": "a", "answer": "b"}], "kind": "c"}, "`kind` belongs to conversations with"),
        ({"conversations": [{"question": "a", "answer": "b"}], "masks": [[]]}, "hold 0 [SEG], but `masks` has 1"),
        ({"conversations": TWO}, "hold 1 [SEG], but `masks` has 0"),
        ({"conversations": TWO, "masks": [[], []]}, "hold 1 [SEG], but `masks` has 2"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, line: dict[str, Any], message: str) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "b.jpg")
    file = write(
        tmp_path,
        {"image": "a.jpg", "prompt": "a", "masks": []},
        "",
        {"image": "b.jpg", **line},
        {"image": "b.jpg", "prompt": "a", "masks": []},
    )
    source = OwnSource(file)
    assert len(source) == 2 and source[0].queries
    with pytest.raises(DataError, match=r"mine\.jsonl, line 3") as fault:
        source[1]
    assert message in str(fault.value)


def test_lines_without_a_picture_are_not_lost(tmp_path: Path) -> None:
    file = write(tmp_path, "nonsense", {"image": "a.jpg", "prompt": "a", "masks": []}, {"prompt": "a"}, "[]")
    source = OwnSource(file)
    assert len(source) == 4 and source[0].id == "mine/a.jpg"
    for index, line in ((1, 1), (2, 3), (-1, 4)):
        for read in (source.__getitem__, source.image_path):
            with pytest.raises(DataError, match=rf"mine\.jsonl, line {line}\b"):
                read(index)
    with pytest.raises(IndexError):
        source[4]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("missing.png", "missing.png"),
        ("a.jpg", "is a JPEG that may blur the rim"),
        ("soft.webp", "is a WEBP that may blur the rim"),
        ("soft.jp2", "is a JPEG2000 that may blur the rim"),
        ("soft.tif", "is a TIFF that may blur the rim"),
        ("nan.tif", "has pixels that are no number (NaN)"),
        ("clear.png", "has transparency"),
        ("small.png", "is 3 x 2 pixels, but the picture is 30 x 20"),
        ("mine.jsonl", "cannot identify image file"),
        ([1, 2, 3, 4], "three points or more"),
        ([[1, 2], [3, 4], ["a", 5]], "a polygon is a list of numbers"),
        ({"size": [2, 3], "counts": [6]}, "does not fit"),
        ({"counts": [6]}, "needs `size` and `counts`"),
        ({"size": [20, 30], "counts": [1, 2]}, "add up to 3"),
    ],
)
def test_faulty_masks_name_file_line_and_mask(tmp_path: Path, mask: Any, message: str) -> None:
    Image.new("RGBA", (30, 20)).save(tmp_path / "clear.png")
    Image.new("L", (3, 2)).save(tmp_path / "small.png")
    for name, options in (("soft.webp", {}), ("soft.jp2", {}), ("soft.tif", {"compression": "jpeg"})):
        Image.fromarray(255 * square()).save(tmp_path / name, **options)
    Image.fromarray(np.full((20, 30), np.nan, np.float32)).save(tmp_path / "nan.tif")
    source = OwnSource(write(tmp_path, "", {"image": "a.jpg", "prompt": "it", "masks": [[], mask]}))
    with pytest.raises(DataError, match=r"mine\.jsonl, line 2, mask 2") as fault:
        to_example(source[0], np.random.default_rng(0))
    assert message in str(fault.value)


def test_files_that_are_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*mine\.jsonl"):
        OwnSource(tmp_path / "mine.jsonl")
    with pytest.raises(DataError, match="is empty"):
        OwnSource(write(tmp_path, "", "  "))


def test_real_photographs_with_their_masks(real_data: Path, tmp_path: Path) -> None:
    """COCO annotations as they are, in a file elsewhere that names pictures by absolute paths."""
    coco = real_data / "dataset/coco"
    tree = json.loads((coco / "annotations/instances_val2017.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"], image["file_name"]) for image in tree["images"]}
    names = {category["id"]: category["name"] for category in tree["categories"]}
    annotations = [each for each in tree["annotations"] if each["iscrowd"]][:5] + tree["annotations"][:40]
    lines = [
        {
            "image": str(coco / "val2017" / sizes[each["image_id"]][2]),
            "prompt": f"{names[each['category_id']]} {i}",
            "masks": [each["segmentation"]],
        }
        for i, each in enumerate(annotations)
    ]
    masks = {}
    for record in OwnSource(write(tmp_path, *lines)):
        example = to_example(record, np.random.default_rng(0), at_most=100, training=False)
        assert len(example.conversations) == len(record.queries)
        masks |= {query.text: query.mask() for query in record.queries}
    assert len(masks) == len(annotations)
    for i, each in enumerate(annotations):
        height, width, _ = sizes[each["image_id"]]
        codes = coco_mask.frPyObjects(each["segmentation"], height, width)
        pixels = coco_mask.decode(codes)
        expected = pixels if pixels.ndim == 2 else pixels.any(axis=2)
        assert np.array_equal(masks[f"{names[each['category_id']]} {i}"], expected)
