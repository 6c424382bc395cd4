"""`self1e data convert`: what comes out is what went in, but for what is counted."""

from __future__ import annotations

import json
import sys
from collections import Counter
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
    shared = "masks: several classes share 16 pixels, of which a map holds one class: that of the smallest"
    assert outcome.code == 0 and (shared in outcome.err if form == "index" else outcome.err == "")
    counts = {"jsonl": "1 picture with 2 things", "index": "3 pictures with 2 things"}
    assert f"{counts.get(form, '3 pictures with 3 things')}: out" in outcome.out
    told = [line.strip().partition("  ") for line in outcome.out.partition("not carried over:\n")[2].splitlines()]
    lost = {what: count for count, _, what in told}
    always = {"a box": "1"} | ({} if "coco" in form else {"that something is a crowd": "1"})
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
            },
        }[form]
    )
    before = masks({"coco": "instances.json", "images": "photos"})
    if form == "index":
        cat = before["a.png"]["cat"]  # 97 pixels, and the dog 100
        before["a.png"]["dog"] = [pixel for pixel in before["a.png"]["dog"] if pixel not in cat]
    entry = OUT.get(form, {"masks": "out/masks", "images": "photos", "classes": "out/classes.txt"})
    if "coco" in form:
        tree = json.loads(Path(entry["coco"]).read_text())
        crowds = [type(each["segmentation"]) for each in tree["annotations"] if each["iscrowd"]]
        assert crowds == [dict]  # run lengths, as COCO has crowds
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
    assert outcome.code == 0 and "1 picture with 1 thing:" in outcome.out
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
        ("results=photos,min_score=80", "yolo=out", ["`min_score` is a number from 0 to 1, not 80.0"]),
        ("results=photos,min_score=nan", "yolo=out", ["`min_score` is a number from 0 to 1, not nan"]),
        ("labelme=a,labelme=b", "yolo=out", ["says labelme twice"]),
        ("cvat=a.xml", "yolo=out", ["`cvat` needs `images` beside it"]),
        ("coco=instances.json,image=photos", "yolo=out", ["says image=: did you mean images=?"]),
    ],
)
def test_bad_usage(coco: str, cli: Cli, source: str, target: str, words: list[str]) -> None:
    assert_one_sentence(cli("data", "convert", source, target), *words)


def instances(file: str, pictures: list[str], label: str = "dog", *others: str, **of_picture: Any) -> None:
    """A COCO file in which each picture shows a box of the label, and others are categories, too."""
    tree = {
        "images": [{"id": n, "file_name": name} | of_picture for n, name in enumerate(pictures)],
        "annotations": [
            {"image_id": n, "category_id": 1, "segmentation": [box(0, 0, 9, 9)]} for n in range(len(pictures))
        ],
        "categories": [{"id": n, "name": name} for n, name in enumerate((label, *others), start=1)],
    }
    Path(file).write_text(json.dumps(tree))


def content(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def test_what_lies_outside_of_the_picture_is_told(coco: str, cli: Cli) -> None:
    instances("c.json", ["a.png", "deep/b.png"])
    tree = json.loads(Path("c.json").read_text())
    tree["annotations"][0]["segmentation"] = [box(100, 100, 120, 120)]
    Path("c.json").write_text(json.dumps(tree))
    outcome = cli("data", "convert", "coco=c.json,images=photos", "coco=out")
    assert "2 pictures with 1 thing:" in outcome.out and "1  a thing that has no pixel in the picture" in outcome.out
    (annotation,) = json.loads(Path("out/coco.json").read_text())["annotations"]
    assert annotation["area"] == 81


def test_a_data_set_is_not_written_into_the_folder_that_it_is_read_from(coco: str, cli: Cli) -> None:
    """Where it would be read twice."""
    assert cli("data", "convert", coco, "labelme=a").code == 0
    before = content("a")
    for source, target in (("a/labelme", "a/labelme"), ("a", "a/labelme/new")):
        assert_one_sentence(cli("data", "convert", f"labelme={source}", f"labelme={target}"), "is in what is read")
    for source in ("a", "a/labelme"):
        assert_one_sentence(cli("data", "convert", f"labelme={source}", "labelme=a"), "is what is read")
    assert content("a") == before


def test_a_space_behind_a_comma_is_nothing(coco: str, cli: Cli) -> None:
    assert cli("data", "convert", coco.replace(",", ", "), "labelme=out").code == 0


@pytest.mark.parametrize("name", ["../photos/a.png", "..\\photos\\a.png"])
@pytest.mark.parametrize("form", ["labelme", "yolo", "index", "coco", "jsonl"])
def test_nothing_is_written_outside_of_the_folder(name: str, form: str, coco: str, cli: Cli) -> None:
    Path("lists").mkdir()
    instances("lists/c.json", [name])
    before = content("photos")
    assert cli("data", "convert", "coco=lists/c.json,images=lists", f"{form}=.", "--overwrite").code == 0
    assert content("photos") == before
    made = {"labelme": "labelme/a.json", "yolo": "labels/a.txt", "index": "masks/a.png"}
    assert all(Path(file).is_file() for key, file in made.items() if key == form)
    if form == "coco":
        assert json.loads(Path("coco.json").read_text())["images"][0]["file_name"] == "a.png"


def test_what_is_read_is_not_written_over(coco: str, cli: Cli) -> None:
    assert cli("data", "convert", coco, "yolo=out").code == 0
    before = content("out")
    outcome = cli("data", "convert", "yolo=out/data.yaml", "yolo=out", "--overwrite")
    assert_one_sentence(outcome, "is what is read: write elsewhere")
    assert content("out") == before


def test_pictures_in_place_stay_as_they_are(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_picture(Path("disk/a.png"), 1, (WIDTH, HEIGHT))
    Path("ds").mkdir()
    Path("ds/images").symlink_to(Path("disk").resolve())
    instances("c.json", ["a.png"])
    for more in ([], ["--overwrite"]):
        assert cli("data", "convert", "coco=c.json,images=ds/images", "yolo=ds", *more).code == 0
        assert not Path("ds/images/a.png").is_symlink()
    assert masks({"yolo": "ds/data.yaml"})["a.png"].keys() == {"dog"}


@pytest.mark.parametrize("form", ["yolo", "labelme", "index"])
def test_two_data_sets_do_not_mix(form: str, coco: str, cli: Cli) -> None:
    """What is left of an earlier one would be read with the classes of this one."""
    instances("one.json", ["a.png"], "dog", "boat")
    instances("two.json", ["deep/b.png"], "cat", "horse")
    assert cli("data", "convert", "coco=one.json,images=photos", f"{form}=out").code == 0
    before = content("out")
    for more in ([], ["--overwrite"]):
        outcome = cli("data", "convert", "coco=two.json,images=photos", f"{form}=out", *more)
        assert_one_sentence(outcome, "are of no picture of this data set", "remove what an earlier run wrote")
    assert content("out") == before


def test_a_picture_that_is_broken_now_leaves_no_older_labels(coco: str, cli: Cli) -> None:
    assert cli("data", "convert", coco, "yolo=out").code == 0
    assert Path("out/labels/a.txt").is_file() and Path("out/images/a.png").is_symlink()
    Path("photos/a.png").write_bytes(b"")
    assert cli("data", "convert", coco, "yolo=out", "--overwrite").code == 2
    assert not Path("out/labels/a.txt").exists() and not Path("out/images/a.png").is_symlink()
    assert Path("photos/a.png").exists()


def test_pictures_of_one_stem_cannot_share_an_index_map(coco: str, cli: Cli) -> None:
    save_picture(Path("photos/a.jpg"), 9, (WIDTH, HEIGHT))
    instances("c.json", ["a.jpg", "a.png"])
    assert_one_sentence(cli("data", "convert", "coco=c.json,images=photos", "index=out"), "a.png", "rename one of them")
    assert not Path("out").exists()
    assert cli("data", "convert", "coco=c.json,images=photos", "yolo=out").code == 0
    assert Path("out/images/a.jpg").exists() and Path("out/images/a-2.png").exists()


@pytest.mark.parametrize("label", ["Background", "void", "ignore", "unlabeled"])
def test_classes_that_mean_no_class_in_index_maps(label: str, coco: str, cli: Cli) -> None:
    instances("c.json", ["a.png"], label)
    outcome = cli("data", "convert", "coco=c.json,images=photos", "index=out")
    assert_one_sentence(outcome, repr(label), "choose another form or name")


def test_pictures_that_are_not_there_are_told(coco: str, cli: Cli) -> None:
    shapes = '<polygon label="dog" points="1,1;9,1;9,9"/>'
    picture = f'<image name="a.png" width="{WIDTH}" height="{HEIGHT}">{shapes}</image>'
    Path("a.xml").write_text(f"<annotations>{picture}</annotations>")
    outcome = cli("data", "convert", "cvat=a.xml,images=nowhere", "yolo=out")
    assert outcome.code == 2 and "a.png: [Errno 2] No such file" in outcome.err
    assert not Path("out/images/a.png").is_symlink()
    save_picture(Path("photos/a.png"), 1, (2 * WIDTH, HEIGHT))  # another size than when it was marked
    outcome = cli("data", "convert", "cvat=a.xml,images=photos", "index=out2")
    assert outcome.code == 2 and "the mask is 40 x 30, the picture 80 x 30 pixels" in outcome.err


def test_coco_files_are_read_as_in_training(coco: str, cli: Cli) -> None:
    """Ids as text in one place, no file name, sizes of 0 and far too large."""
    instances("c.json", ["a.png", "deep/b.png", "deep/c.png"], height=0, width=0)
    tree = json.loads(Path("c.json").read_text())
    for image in tree["images"]:
        image["id"] = str(image["id"])
    tree["annotations"][0]["category_id"] = "1"
    tree["annotations"].append({"image_id": 0, "category_id": 1, "segmentation": [[]], "bbox": [1, 1, 2, 2]})
    del tree["images"][1]["file_name"]
    tree["images"][2] |= {"height": 60_000, "width": 60_000}
    Path("c.json").write_text(json.dumps(tree))
    outcome = cli("data", "convert", "coco=c.json,images=photos", "jsonl=out")
    assert outcome.code == 2 and "1 picture with 1 thing:" in outcome.out and "1  a box" in outcome.out
    assert "picture 1: has no `file_name`" in outcome.err and "60000 x 60000 pixels are more than" in outcome.err
    (line,) = map(json.loads, Path("out/data.jsonl").read_text().splitlines())
    assert (line["image"], line["prompt"]) == ("../photos/a.png", "dog")


def test_a_package_that_is_missing_is_named(coco: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    assert_one_sentence(cli("data", "convert", "labelme=photos", "coco=out"), "pip install 'self1e[forms]'")


def test_yolo_pictures_are_copied_whole_or_not_at_all(coco: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there can be no links."""

    def no_links(*_: Any) -> None:
        raise OSError("no links here")

    def cut(file: Any, out: Any) -> None:
        out.write(file.read(10))
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "symlink_to", no_links)
    with monkeypatch.context() as context:
        context.setattr("shutil.copyfileobj", cut)
        assert_one_sentence(cli("data", "convert", coco, "yolo=out"), "the disk is full")
    assert not list(Path("out/images").rglob("*.png"))
    assert cli("data", "convert", coco, "yolo=out", "--overwrite").code == 0
    Path("out/images/deep/b.png").unlink()  # the others stay, as they are the same
    assert cli("data", "convert", coco, "yolo=out", "--overwrite").code == 0
    assert Path("out/images/a.png").read_bytes() == Path("photos/a.png").read_bytes()


def test_another_picture_in_the_place_of_one_is_told_before_anything_is_written(coco: str, cli: Cli) -> None:
    assert cli("data", "convert", coco, "yolo=out").code == 0
    before = content("out")
    save_picture(Path("other/deep/c.png"), 7, (WIDTH, HEIGHT))
    for name in ("a.png", "deep/b.png"):
        save_picture(Path("other") / name, 7, (WIDTH, HEIGHT))
    assert_one_sentence(cli("data", "convert", coco.replace("photos", "other"), "yolo=out"), "exists already")
    assert content("out") == before
    assert cli("data", "convert", coco.replace("photos", "other"), "yolo=out", "--overwrite").code == 0
    assert Path("out/images/a.png").samefile("other/a.png")  # a link that we made is made anew
    Path("out/images/deep/c.png").unlink()
    save_picture(Path("out/images/deep/c.png"), 8, (WIDTH, HEIGHT))
    Path("out/labels/a.txt").write_text("mine")
    outcome = cli("data", "convert", coco, "yolo=out", "--overwrite")
    assert_one_sentence(outcome, "out/images/deep/c.png is there already, and is another picture than")
    assert Path("out/labels/a.txt").read_text() == "mine"


def test_pictures_of_one_name_in_several_folders(coco: str, cli: Cli) -> None:
    Path("lists").mkdir()
    lines = [
        {"image": f"../photos/{folder}/1.png", "prompt": "dog", "masks": [box(0, 0, size, size)]}
        for folder, size in (("x", 5), ("y", 20))
    ]
    for folder, seed in (("x", 1), ("y", 2)):
        save_picture(Path("photos", folder, "1.png"), seed, (WIDTH, HEIGHT))
    Path("lists/m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert cli("data", "convert", "jsonl=lists/m.jsonl", "coco=out").code == 0
    source = open_own({"coco": "out/coco.json", "images": "photos"})
    found = {str(source.image_path(i)): int(source[i].queries[0].mask().sum()) for i in range(2)}
    assert found == {"photos/x/1.png": 25, "photos/y/1.png": 400}


def test_each_map_is_read_twice_at_most(coco: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for what is in it, and once for its pixels, when the first ones have been looked at for black and white."""
    import self1e.data.semantic as semantic

    assert cli("data", "convert", coco, "index=out").code == 0
    read: Counter[str] = Counter()
    reader = semantic.read_index_map
    monkeypatch.setattr(semantic, "read_index_map", lambda path: (read.update([path.name]), reader(path))[1])
    entry = "masks=out/masks,images=photos,classes=out/classes.txt"
    assert cli("data", "convert", entry, "labelme=out2").code == 0
    assert read == {"a.png": 4, "b.png": 2, "c.png": 2}  # a.png has two classes
