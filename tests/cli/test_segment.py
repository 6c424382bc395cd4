"""`self1e segment`, on a tiny random model."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Cli, Outcome, assert_one_sentence, save_picture
from PIL import Image
from pycocotools.coco import COCO

from self1e.cli.segment_report import Report
from self1e.data.own_entries import open_own
from self1e.processing.sources import Address
from self1e.segment.journal import JOURNAL_NAME
from self1e.segment.nouns import TaughtNouns
from self1e.segment.results import Segmentation
from self1e.segment.runner import TiledPicture
from self1e.segment.segmenter import Segmenter

Segment = Cli


@pytest.fixture
def segment(cli: Cli, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Segment:
    """`self1e segment` with the tiny model, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Outcome:
        return cli("segment", "--model", tiny_model_folder, *arguments)

    return call


@pytest.fixture
def finds(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Says which prompts are to be found; a random model finds what it likes."""
    wanted: dict[str, bool] = {}

    def result(image: Image.Image, prompt: str) -> Segmentation:
        mask = np.full((1, image.height, image.width), wanted.get(prompt, True))
        return Segmentation(mask, [0.9], prompt, "[SEG].", image, "tiny")

    def results(
        self: Segmenter, requests: list[tuple[TiledPicture, list[str]]], **options: object
    ) -> list[list[Segmentation]]:
        return [[result(picture.image, prompt) for prompt in prompts] for picture, prompts in requests]

    monkeypatch.setattr(Segmenter, "segment", results)
    return wanted


def files_in(folder: Path | str) -> list[str]:
    """Names of all files, sorted, but for the list of what is done."""
    return sorted(path.name for path in Path(folder).iterdir() if path.name != JOURNAL_NAME)


def test_overlay_by_default(segment: Segment, picture: Path, tiny_model_folder: Path) -> None:
    outcome = segment(picture, "-p", "the red car")
    overlay = Path("segmented/street.the-red-car.overlay.png")
    assert outcome.code in (0, 1)
    assert outcome.err == ""
    assert str(overlay) in outcome.out
    assert str(tiny_model_folder) in outcome.out
    assert Image.open(overlay).size == (80, 60)


def test_all_formats_agree_with_the_segmenter(segment: Segment, picture: Path, tiny_model_folder: Path) -> None:
    segment(picture, "-p", "the red car", "--format", "overlay,mask,cutout,json,coco", "--out", "new/results")
    names = files_in("new/results")
    suffixes = ("cutout.png", "json", "mask.png", "overlay.png")
    assert names == ["coco.json", *(f"street.the-red-car.{suffix}" for suffix in suffixes)]
    expected = Segmenter.from_pretrained(tiny_model_folder).segment(picture, "the red car")
    record = json.loads(Path("new/results/street.the-red-car.json").read_text())
    assert record == {"image": str(picture), "file_name": "street.png", **expected.to_dict()}
    np.testing.assert_array_equal(np.asarray(Image.open("new/results/street.the-red-car.mask.png")) > 0, expected.mask)


def test_edges_and_votes(segment: Segment, picture: Path, tiny_model_folder: Path) -> None:
    options = {"refine": "guided", "votes": 2}
    segment(picture, "-p", "the red car", "--format", "mask", "--refine", "guided", "--votes", 2, "--out", "out")
    segmenter = Segmenter.from_pretrained(tiny_model_folder)
    expected = segmenter.segment(picture, "the red car", **options).mask
    np.testing.assert_array_equal(np.asarray(Image.open("out/street.the-red-car.mask.png")) > 0, expected)
    assert (expected != segmenter.segment(picture, "the red car").mask).any()
    outcome = segment(picture, "-p", "the red car", "--format", "mask", "--votes", 2, "--out", "out")
    assert_one_sentence(outcome, "street.the-red-car.mask.png exists already", "--overwrite")  # another command


def test_json_lines_on_stdout(segment: Segment, finds: dict[str, bool], tmp_path: Path) -> None:
    pictures = [save_picture(tmp_path / name) for name in ("a.png", "b.png")]
    outcome = segment(*pictures, "-p", "a dog", "-p", "Où est l'été?", "--format", "json")
    records = [json.loads(line) for line in outcome.out.splitlines()]
    assert [(record["image"], record["prompt"]) for record in records] == [
        (str(path), prompt) for path in pictures for prompt in ("a dog", "Où est l'été?")
    ]
    assert Segmentation.from_dict(records[0]).found
    assert outcome.err == ""
    assert sorted(tmp_path.iterdir()) == pictures


def test_names_and_prompts_that_are_no_utf8(segment: Segment, finds: dict[str, bool], tmp_path: Path) -> None:
    """Python hands them on as halves of surrogate pairs."""
    path = save_picture(tmp_path / os.fsdecode(b"caf\xe9.png"))
    outcome = segment(path, "-p", "a \udcff", "--format", "json")
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    assert (record["image"], record["prompt"]) == (str(path), "a \udcff")
    assert segment(path, "-p", "a \udcff", "--format", "json,mask,coco", "--out", "out").code == 0
    (written,) = [file for file in Path("out").glob("*.json") if file.name != "coco.json"]
    assert json.loads(written.read_text()) == record


def test_coco_file(segment: Segment, finds: dict[str, bool], tmp_path: Path) -> None:
    pictures = [save_picture(tmp_path / name) for name in ("a.png", "b.png")]
    finds["a cat"] = False
    segment(*pictures, "-p", "a cat", "-p", "a dog", "--format", "coco")
    coco = COCO("segmented/coco.json")
    assert [entry["file_name"] for entry in coco.dataset["images"]] == ["a.png", "b.png"]
    assert coco.dataset["info"]["images"] == str(tmp_path)
    assert [entry["name"] for entry in coco.dataset["categories"]] == ["a cat", "a dog"]
    assert [(each["image_id"], each["category_id"]) for each in coco.dataset["annotations"]] == [(1, 2), (2, 2)]
    assert coco.annToMask(coco.dataset["annotations"][0]).all()


def test_parts_are_annotations_of_their_own(segment: Segment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every form that has instances. What is not found stays one thing that is not there."""
    mask = np.zeros((1, 60, 80), bool)
    mask[0, 5:20, 5:25], mask[0, 30:50, 40:70], mask[0, 55, 3:6] = True, True, True

    def results(
        self: Segmenter, requests: list[tuple[TiledPicture, list[str]]], **_: object
    ) -> list[list[Segmentation]]:
        return [
            [
                Segmentation(mask & (text == "boats"), [0.8], text, "[SEG].", picture.image, "tiny", None, 5)
                for text in texts
            ]
            for picture, texts in requests
        ]

    monkeypatch.setattr(Segmenter, "segment", results)
    save_picture(tmp_path / "photos" / "deep" / "a.png")
    formats = "json,coco,coco-polygons,labelme,yolo,csv,jsonl,index"
    arguments = ("photos", "-r", "-p", "boats", "-p", "a whale", "--format", formats)
    for out, options, parts in (("whole", [], 1), ("parts", ["--instances"], 2)):
        assert segment(*arguments, "--out", out, *options).code == 0
        folder = Path(out)
        for name in ("coco.json", "coco-polygons.json"):
            tree = json.loads((folder / name).read_text())
            assert [each["category_id"] for each in tree["annotations"]] == [1] * parts
        results_file = Segmentation.from_dict(json.loads((folder / "deep" / "a.boats.json").read_text()))
        assert len(results_file) == parts
        shapes = json.loads((folder / "labelme" / "deep" / "a.json").read_text())["shapes"]
        assert len({shape["group_id"] for shape in shapes}) == 1 and len(shapes) == (3 if parts == 1 else 2)
        assert len((folder / "labels" / "deep" / "a.txt").read_text().splitlines()) == len(shapes)
        assert (folder / "results.csv").read_text().count(",boats,yes,") == parts
        assert (folder / "results.csv").read_text().count(",a whale,no,") == 1
    assert tree["annotations"][0]["area"] == 300 and tree["annotations"][1]["area"] == 600


def test_lists_say_what_to_segment_where(segment: Segment, finds: dict[str, bool], tmp_path: Path) -> None:
    for name in ("lists/a.png", "lists/deep/b.png"):
        save_picture(tmp_path / name)
    Path("lists/all.csv").write_text("id,image,prompt\n1,a.png,a dog\n2,deep/b.png,a cat\n3,a.png,a cow\n", "utf-8-sig")
    lines = [
        {"image": "a.png", "prompt": "a dog"},
        {"image": "deep/b.png", "prompts": [{"prompt": "a cat", "masks": []}]},
    ]
    lines.append({"image": "a.png", "prompts": ["a cow"]})
    Path("lists/all.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for number, name in enumerate(("all.csv", "all.jsonl")):
        out = f"out{number}"
        outcome = segment(f"lists/{name}", "--format", "mask,coco,labelme", "--out", out)
        assert outcome.code == 0 and outcome.err == ""
        masks = sorted(path.relative_to(out).as_posix() for path in Path(out).rglob("*.png"))
        assert masks == ["a.a-cow.mask.png", "a.a-dog.mask.png", "deep/b.a-cat.mask.png"]
        tree = json.loads(Path(out, "coco.json").read_text())
        assert tree["info"]["images"] == str(tmp_path / "lists")
        names = {category["id"]: category["name"] for category in tree["categories"]}
        assert [(each["image_id"], names[each["category_id"]]) for each in tree["annotations"]] == [
            (1, "a dog"),
            (1, "a cow"),
            (2, "a cat"),
        ]
    outcome = segment("lists/all.csv", "-p", "a bird", "--format", "json")
    assert [json.loads(line)["prompt"] for line in outcome.out.splitlines()] == [
        *("a bird", "a dog", "a cow"),
        *("a bird", "a cat"),
    ]
    Path("lists/all.csv").write_text("image,prompt\na.png,a dog\na.png,a cow\ndeep/b.png,a cow\ndeep/b.png,a cat\n")
    again = segment("lists/all.csv", "--format", "mask,coco,labelme", "--out", "out0")
    assert "note: 1 of 2 pictures were done before" in again.err  # the other is asked for something new


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.csv", "image;prompt\na.png;a dog\n", "needs columns called image and prompt in its first line"),
        ("a.csv", "image,prompt\n", "is empty"),
        ("a.csv", "image,prompt\na.png\n", "line 2: needs an `image` and its `prompt`"),
        ("a.csv", "image,prompt\na.png,  \n", "a prompt is empty"),
        ("a.jsonl", '{"image": "a.png"}', "line 1: is no object with `image` and `prompt`"),
        ("a.jsonl", "[1]", "line 1: is no object"),
        ("a.jsonl", b"\xff\xff", "cannot read the list"),
    ],
)
def test_lists_that_cannot_be_used(segment: Segment, name: str, content: str | bytes, what: str) -> None:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    assert_one_sentence(segment(name), name if "prompt is empty" not in what else "", what)


def write_table(file: Path, **columns: Any) -> Path:
    """A Parquet file with two rows in a group."""
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow (self1e[parquet])")
    from pyarrow.parquet import write_table as write

    write(pyarrow.table(columns), file, row_group_size=2)
    return file


def test_a_table_of_paths(segment: Segment, finds: dict[str, bool], tmp_path: Path) -> None:
    for name in ("lists/a.png", "lists/deep/b.png"):
        save_picture(tmp_path / name)
    images = ["a.png", "deep/b.png", "a.png"]
    table = write_table(Path("lists/all.parquet"), image=images, prompt=["a dog", "a cat", "a cow"], id=[1, 2, 3])
    assert segment(table, "--format", "mask,coco", "--out", "out").code == 0
    masks = sorted(path.relative_to("out").as_posix() for path in Path("out").rglob("*.png"))
    assert masks == ["a.a-cow.mask.png", "a.a-dog.mask.png", "deep/b.a-cat.mask.png"]
    assert json.loads(Path("out/coco.json").read_text())["info"]["images"] == str(tmp_path / "lists")
    table = write_table(Path("lists/none.parquet"), image=images)
    assert_one_sentence(segment(table), "there is no prompt")
    assert segment(table, "-p", "a bird", "--format", "json").out.count('"a bird"') == 2


@pytest.mark.parametrize("kind", ["bytes", "as Hugging Face"])
def test_a_table_of_pictures(segment: Segment, finds: dict[str, bool], tmp_path: Path, kind: str) -> None:
    """Read when they are needed, a row group at a time; one of them is broken, one is missing."""
    contents: list[Any] = [save_picture(tmp_path / f"{n}.png", n, (40 + n, 30)).read_bytes() for n in range(5)]
    contents[3:] = [b"broken", None]
    if kind == "as Hugging Face":
        contents = [{"bytes": content, "path": f"{number}.png"} for number, content in enumerate(contents)]
    table = write_table(Path("some.photos.parquet"), image=contents, prompt=[["a dog"], ["a dog", "a cat"], [], [], []])
    outcome = segment(table, "-p", "a bird", "--format", "json,mask", "--out", "out")
    assert outcome.code == 2 and outcome.err.count("error: ") == 2
    assert "some.photos.parquet, row 3 is no picture" in outcome.err
    assert "some.photos.parquet, row 4 holds no picture" in outcome.err
    records = [json.loads(path.read_text()) for path in sorted(Path("out").glob("*.json"))]
    assert [(each["file_name"], each["prompt"], each["width"]) for each in records] == [
        ("some-photos-0000000", "a bird", 40),
        ("some-photos-0000000", "a dog", 40),
        ("some-photos-0000001", "a bird", 41),
        ("some-photos-0000001", "a cat", 41),
        ("some-photos-0000001", "a dog", 41),
        ("some-photos-0000002", "a bird", 42),
    ]
    assert (
        "note: 3 of 5 pictures were done before"
        in segment(table, "-p", "a bird", "--format", "json,mask", "--out", "out").err
    )


def test_tables_that_cannot_be_used(segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_one_sentence(
        segment(write_table(Path("a.parquet"), picture=["a.png"])), "needs a column called image", "picture"
    )
    assert_one_sentence(segment(write_table(Path("b.parquet"), image=[""])), "b.parquet, line 0: needs an `image`")
    Path("c.parquet").write_bytes(b"PAR1")
    assert_one_sentence(segment("c.parquet"), "cannot read the list c.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert_one_sentence(segment("b.parquet", "-p", "x"), "b.parquet needs another package, pyarrow: pip install")
    assert_one_sentence(segment("b.png", "-p", "x", "--format", "parquet"), "this form needs another package, pyarrow")


def test_something_has_to_be_asked(segment: Segment, picture: Path) -> None:
    assert_one_sentence(segment(picture), "there is no prompt", "-p")


def test_a_picture_on_standard_input(
    segment: Segment, finds: dict[str, bool], picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(picture.read_bytes())))
    assert segment("-", "-p", "a dog", "--format", "mask,yolo,labelme,json").code == 0
    assert (
        Image.open("segmented/stdin.a-dog.mask.png").size == (80, 60) == Image.open("segmented/images/stdin.png").size
    )
    assert json.loads(Path("segmented/stdin.a-dog.json").read_text())["image"] == "-"


def test_another_picture_on_standard_input_has_files_of_its_own(
    segment: Segment, finds: dict[str, bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def piped(content: bytes) -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        return segment("-", "-p", "a dog", "--format", "mask,coco,yolo", "--out", "out")

    first, second = (save_picture(tmp_path / f"{n}.png", n, (80 + n, 60)).read_bytes() for n in range(2))
    assert piped(first).code == 0
    before = {path: path.read_bytes() for path in Path("out").rglob("stdin*")}
    assert piped(second).code == 0
    assert "1 of 1 pictures were done before" in piped(first).err and "1 of 1" in piped(second).err
    assert len(before) == 3 and before == {path: path.read_bytes() for path in before}
    images = json.loads(Path("out/coco.json").read_text())["images"]
    assert {image["file_name"]: image["width"] for image in images} == {"stdin": 80, "stdin-2": 81}
    assert Image.open("out/images/stdin-2.png").width == 81


def test_addresses_of_one_file_name_are_several_pictures(
    segment: Segment, finds: dict[str, bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = save_picture(tmp_path / "1.png").read_bytes()
    monkeypatch.setattr(Address, "read", lambda self: content)
    first, second, third = (f"https://x.org/{folder}/1.png" for folder in "abc")

    def fetched(*names: object) -> list[tuple[str, str]]:
        assert segment(*names, "-p", "a dog", "--allow-urls", "-f", "mask,coco", "-o", "out").code == 0
        images = json.loads(Path("out/coco.json").read_text())["images"]
        assert files_in("out") == sorted(
            ["coco.json", *(f"{Path(image['file_name']).stem}.a-dog.mask.png" for image in images)]
        )
        return [(image["file_name"], image.get("coco_url", "")) for image in images]

    assert fetched(first) == [("1.png", first)]
    assert fetched(second) == [("1-2.png", second), ("1.png", first)]  # what was fetched before stays
    assert fetched(third, second, first) == [("1-2.png", second), ("1-3.png", third), ("1.png", first)]
    outcome = segment("1.png", "-p", "a dog", "-f", "mask,coco", "-o", "out")
    assert_one_sentence(outcome, f"1.png in out came from {first}")
    Path("out/1-3.a-dog.mask.png").unlink()
    assert fetched("1.png", first, "--overwrite") == [("1-2.png", first), ("1.png", "")]


def test_pictures_at_addresses(
    segment: Segment, finds: dict[str, bool], picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are named by the ends of their addresses, and fetched only if that is allowed."""
    content = picture.read_bytes()
    monkeypatch.setattr(Address, "read", lambda self: content if "x.org" in self.url else b"")
    urls = ["https://x.org/street.png?a=1", "https://x.org/b/street.png", "https://y.org/c.jpg"]
    assert_one_sentence(segment(*urls, "-p", "a dog"), urls[0], "--allow-urls")
    assert_one_sentence(segment("http://x.org/a.png", "-p", "a dog", "--allow-urls"), "only https:// can")
    outcome = segment(picture, *urls, "-p", "a dog", "--allow-urls", "--format", "mask,coco,yolo")
    assert outcome.code == 2 and "https://y.org/c.jpg is empty" in outcome.err
    images = json.loads(Path("segmented/coco.json").read_text())["images"]
    assert {image["file_name"]: image.get("coco_url") for image in images} == {
        "street.png": None,
        "street-2.png": urls[0],
        "street-3.png": urls[1],
    }
    assert {path.name for path in Path("segmented/images").iterdir()} == {image["file_name"] for image in images}


def test_exit_code_says_whether_anything_was_found(segment: Segment, finds: dict[str, bool], picture: Path) -> None:
    finds["a cat"] = False
    outcome = segment(picture, "-p", "a cat", "--out", "one")
    assert outcome.code == 1
    assert "not found" in outcome.out and "0 of 1 found" in outcome.out
    outcome = segment(picture, "-p", "a cat", "-p", "a dog", "--out", "two")
    assert outcome.code == 0
    assert "1 of 2 found" in outcome.out


def test_a_long_prompt_leaves_the_figures_in_sight(segment: Segment, finds: dict[str, bool], picture: Path) -> None:
    outcome = segment(picture, "-p", "the red\nboat " * 20, "-p", "the lake", "--format", "mask")
    lines = [line for line in outcome.out.splitlines() if line.startswith("street.png")]
    assert len(lines) == 2 and {line.index("found") for line in lines} == {lines[0].index("found")}
    assert lines[0].index("found") < 70


def test_equal_stems_do_not_collide(segment: Segment, finds: dict[str, bool], tmp_path: Path) -> None:
    pictures = [save_picture(tmp_path / name) for name in ("cat.png", "cat.bmp")]
    segment(*pictures, "-p", "the dog", "-p", "the dog?", "--format", "mask")
    assert files_in("segmented") == [
        f"{stem}.{prompt}.mask.png" for stem in ("cat-2", "cat") for prompt in ("the-dog-2", "the-dog")
    ]


def test_the_tree_of_folders_is_kept(segment: Segment, finds: dict[str, bool], tmp_path: Path) -> None:
    for name in ("1.png", "2024/1.png", "2024/may/1.png"):
        save_picture(tmp_path / "photos" / name)
    assert segment("photos", "-r", "-p", "a dog", "--format", "mask,json,coco", "--out", "photos/out").code == 0
    masks = sorted(path.relative_to("photos/out").as_posix() for path in Path("photos/out").rglob("*.png"))
    assert masks == ["1.a-dog.mask.png", "2024/1.a-dog.mask.png", "2024/may/1.a-dog.mask.png"]
    assert json.loads(Path("photos/out/2024/1.a-dog.json").read_text())["file_name"] == "2024/1.png"


@pytest.mark.filterwarnings("ignore:OpenCV")
@pytest.mark.parametrize("given", [["photos"], ["photos/a.png"], ["photos/a.png", "photos/deep/b.png"], ["photos/*"]])
def test_annotations_are_read_back_with_the_folder_given(
    segment: Segment, finds: dict[str, bool], tmp_path: Path, given: list[str]
) -> None:
    """By supervision and by ourselves: both look for `file_name` in the folder that they are told."""
    import supervision

    for name in ("a.png", "deep/b.png"):
        save_picture(tmp_path / "photos" / name)
    assert segment(*given, "-r", "-p", "a dog", "--format", "coco").code == 0
    found = supervision.DetectionDataset.from_coco("photos", "segmented/coco.json", force_masks=True)
    ours = open_own({"coco": "segmented/coco.json", "images": "photos"})
    assert [Path(path).resolve() for path in found.image_paths] == [
        ours.image_path(i).resolve() for i in range(len(ours))
    ]
    for index, (path, _, detections) in enumerate(found):
        record = ours[index]
        assert Path(path).samefile(record.image)
        assert [query.text for query in record.queries] == ["a dog"] == found.classes
        np.testing.assert_array_equal(detections.mask[0], record.queries[0].mask())


def test_existing_files_are_kept_unless_overwritten(
    segment: Segment, finds: dict[str, bool], picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment(picture, "-p", "a dog")
    with monkeypatch.context() as patch:
        patch.setattr(Segmenter, "from_pretrained", None)  # the model is not even loaded
        outcome = segment(picture, "-p", "a dog", "-p", "a cat")
    assert_one_sentence(outcome, "street.a-dog.overlay.png", "--overwrite")
    assert segment(picture, "-p", "a dog", "--overwrite").code == 0


def test_one_bad_picture_among_many(segment: Segment, finds: dict[str, bool], picture: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(picture.read_bytes()[:200])
    outcome = segment(broken, picture, "missing.png", "-p", "a dog")
    assert outcome.code == 2
    assert [line.partition(" ")[0] for line in outcome.err.splitlines()] == ["error:"] * 2
    assert "broken.png" in outcome.err and "missing.png" in outcome.err
    assert "1 of 1 found" in outcome.out


def test_a_picture_with_too_many_tiles_costs_itself_only(
    segment: Segment, tiny_model_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "short"
    shutil.copytree(tiny_model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 200
    (folder / "config.json").write_text(json.dumps(config))
    wide = save_picture(tmp_path / "wide.png", size=(600, 60))
    arguments = ("-p", "a dog", "--format", "mask,coco", "--model", folder, "--max-tiles", "12")
    small = save_picture(tmp_path / "small.png", size=(10, 10))
    outcome = segment(wide, small, *arguments)
    assert outcome.code == 2
    assert_one_sentence(outcome._replace(out=""), f"{wide} takes", "use fewer tiles")
    tree = json.loads(Path("segmented/coco.json").read_text())
    assert [Path(image["file_name"]).name for image in tree["images"]] == ["small.png"]


def test_annotations_are_kept_when_a_run_ends_early(
    segment: Segment, finds: dict[str, bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [save_picture(tmp_path / f"{number}.png") for number in range(3)]
    add = Report.add

    def fail(self: Report, done: Any) -> None:
        if done.index == 2:
            raise OSError("no space left on device")
        add(self, done)

    monkeypatch.setattr(Report, "add", fail)
    assert segment(*names, "-p", "a dog", "--format", "mask,coco").code != 0
    tree = json.loads(Path("segmented/coco.json").read_text())
    assert [Path(image["file_name"]).name for image in tree["images"]] == ["0.png", "1.png"]


def test_processes_give_what_one_gives(segment: Segment, picture: Path, tmp_path: Path) -> None:
    folder = picture.parent
    for seed in range(3):
        save_picture(folder / f"{seed}.png", seed)
    broken = folder / "1.png"
    broken.write_bytes(b"not a picture")
    outcomes = []
    for out, processes in (("one", 1), ("two", 2)):
        outcome = segment(
            folder, "-p", "a dog", "-p", "a cat", "--format", "mask,json,coco", "--out", out, "--processes", processes
        )
        assert outcome.code == 2
        assert "1.png" in outcome.err
        outcomes.append((outcome.out.replace(out, "OUT"), outcome.err))
    assert outcomes[0] == outcomes[1]
    one, two = ({name: (Path(out) / name).read_bytes() for name in files_in(out)} for out in ("one", "two"))
    assert len(one) == 2 + 3 * 2 * 2
    assert one == two


def dies(*_: object, **loading: object) -> None:
    """Takes the place of loading a model for which there is no memory."""
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_what_is_told_of_a_picture_is_told_once(segment: Segment, tmp_path: Path, processes: int) -> None:
    for number in range(3):
        Image.fromarray(np.full((40, 60), 4095, np.uint16)).save(tmp_path / f"{number}.png")
    outcome = segment(*(f"{number}.png" for number in range(3)), "-p", "a dog", "--processes", processes)
    assert sorted(outcome.err.splitlines()) == [
        f"note: {number}.png holds uint16 values from 4095 to 4095, and is read as 0 (black) to 4095 (white): scale it "
        "yourself if that is not what they mean"
        for number in range(3)
    ]


def test_a_prompt_that_is_too_long_does_not_end_the_run(segment: Segment, picture: Path) -> None:
    Path("list.csv").write_text(f"image,prompt\n{picture},a dog\n{save_picture(Path('b.png'))},{'dog ' * 5000}\n")
    outcome = segment("list.csv", "-f", "coco", "-o", "out")
    assert outcome.code == 2 and "too long" in outcome.err and "1 failed, see out/failed.csv" in outcome.out
    assert len(json.loads(Path("out/coco.json").read_text())["images"]) == 1


def test_processes_that_die(segment: Segment, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_picture(picture.parent / "another.png")
    monkeypatch.setattr("self1e.cli.segment.load_on_device", dies)
    outcome = segment(picture.parent, "-p", "a dog", "--processes", 2)
    assert_one_sentence(outcome, "killed by signal 9 before it was ready", "use fewer processes")


def test_ctrl_c_stops_all_processes(tiny_model_folder: Path, tmp_path: Path) -> None:
    """A terminal sends it to all of them."""
    folder, out = tmp_path / "pictures", tmp_path / "out"
    save_picture(folder / "0000.png")
    for number in range(1, 2000):  # so many that the work is not done before the signal comes
        os.link(folder / "0000.png", folder / f"{number:04}.png")
    command = [sys.executable, "-u", "-m", "self1e", "segment", folder, "-p", "a dog", "--format", "mask", "--out", out]
    command += ["--model", tiny_model_folder, "--device", "cpu", "--processes", "2"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # Tests that were started in the background have it ignored, and what they start would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    for _ in range(2):  # the head of the table, and a picture
        process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate()  # comes back when no process is left that could write
    assert (process.returncode, err) == (130, b"")
    names = files_in(out)
    assert 1 <= len(names) < 2000
    for name in names:
        assert name.endswith(".a-dog.mask.png")
        Image.open(out / name).load()


def test_ctrl_c_leaves_whole_files_only(
    segment: Segment, tmp_path: Path, finds: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "many"
    for number in range(20):
        save_picture(folder / f"{number:02}.png", number)
    calls = 0

    def interrupted(self: Segmenter, requests: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        return found(self, requests, **options)

    found = Segmenter.segment
    monkeypatch.setattr(Segmenter, "segment", interrupted)
    outcome = segment(folder, "-p", "a dog")
    assert (outcome.code, outcome.err) == (130, "")
    names = files_in("segmented")
    assert names == [f"{number:02}.a-dog.overlay.png" for number in range(len(names))]
    assert len(names) <= 7
    for name in names:
        Image.open(Path("segmented") / name).load()


@pytest.mark.parametrize("content", [b"", b"not a picture"])
def test_bad_picture(segment: Segment, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Segmenter, "from_pretrained", None)
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    assert_one_sentence(segment(path, "-p", "a dog"), "bad.png")


def test_huge_picture(segment: Segment, tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    Image.new("1", (20_000, 10_000)).save(path)
    assert_one_sentence(segment(path, "-p", "a dog"), "huge.png", "scale it down")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-p", ""], ["prompt", "empty"]),
        (["-p", "x" * 100_000], ["100,000 characters"]),
        (["-p", "x", "--format", "jpeg"], ["jpeg", "overlay"]),
        (["-p", "x", "--format", ","], ["format"]),
        (["-p", "x", "--model", "no-such-model"], ["no-such-model"]),
        (["-p", "x", "--model", "~nobody-of-this-name/model"], ["~nobody-of-this-name/model"]),
        (["-p", "x", "--device", "abacus"], ["abacus"]),
        (["-p", "x", "--dtype", "int3"], ["int3"]),
        (["-p", "x", "--out", "/proc/nowhere"], ["/proc/nowhere"]),
        (["-p", "x", "--out", "pictures/street.png"], ["it is a file"]),
        (["-p", "dog " * 499], ["too long"]),
    ],
)
def test_bad_input(segment: Segment, picture: Path, arguments: list[str], words: list[str]) -> None:
    assert_one_sentence(segment(picture, *arguments), *words)


def test_damaged_models(cli: Cli, picture: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    weights = (tiny_model_folder / "model.safetensors").read_bytes()
    config = json.loads((tiny_model_folder / "config.json").read_text())
    config["text_config"]["hidden_size"] = 64
    for name, files in {
        "cut-short": {"model.safetensors": weights[:1000]},
        "no-weights": {"model.safetensors": None},
        "no-tokenizer": {"tokenizer.json": None},
        "other-config": {"config.json": json.dumps(config).encode()},
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        for path in tiny_model_folder.iterdir():
            content = files.get(path.name, path.read_bytes())
            if content is not None:
                (folder / path.name).write_bytes(content)
        outcome = cli("segment", picture, "-p", "x", "--model", folder, "--out", tmp_path / "out", "--overwrite")
        assert outcome.code == 2
        assert outcome.out == ""
        assert "Traceback" not in outcome.err
        assert name in outcome.err


def test_what_a_model_was_not_taught_is_said_once(
    segment: Segment, picture: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "taught"
    shutil.copytree(tiny_model_folder, folder)
    TaughtNouns({"dog": ["dogs"], "cat": []}).write(folder)
    other = save_picture(tmp_path / "other.png")
    assert segment(picture, other, "-p", "the dogs", "-p", "What barks?", "--model", folder).err == ""
    outcome = segment(picture, other, "-p", "a dog", "-p", "a lute", "--model", folder, "--overwrite")
    assert outcome.err.count("note: ") == 1
    assert "was not taught 'a lute'" in outcome.err and "UltraDoughnut/SELF1E" in outcome.err
