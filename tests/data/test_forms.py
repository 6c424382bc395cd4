"""Forms that are written: the programs whose forms these are find in them what was put there, pixel by pixel."""

from __future__ import annotations

import csv
import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

from self1e.data.forms import FORMS, LOSSES
from self1e.data.forms.marked import Marked, Thing
from self1e.data.forms.needs import MissingPackage
from self1e.data.masks import polygon_pixels
from self1e.data.own_entries import open_own
from self1e.data.records import Source
from self1e.segment.journal import is_whole
from self1e.segment.results import Segmentation

pytestmark = pytest.mark.filterwarnings("ignore:OpenCV")

LABELS = ["the red boat", "Hündchen", "a whale"]
SHAPE = (40, 56)


def masks() -> tuple[np.ndarray, np.ndarray]:
    """Noise of many parts with holes, and a ring in which something lies; they overlap."""
    boat = np.random.default_rng(5).random(SHAPE) < 0.45
    dog = np.zeros(SHAPE, bool)
    dog[5:30, 10:40], dog[8:20, 14:30], dog[10:14, 18:22] = True, False, True
    return boat, dog


@pytest.fixture
def pictures(tmp_path: Path) -> list[Marked]:
    """Two, one in a folder of its own; a whale is not there."""
    boat, dog = masks()
    things = [
        (Thing(LABELS[0], boat, 0.9), Thing(LABELS[1], dog, 0.75), Thing(LABELS[2], dog & ~dog, 0.97, there=False)),
        (Thing(LABELS[1], ~boat, 0.5),),
    ]
    found = []
    for name, those in zip(("a.png", "deep/b.png"), things, strict=True):
        image = tmp_path / "photos" / name
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SHAPE[::-1], (9, 90, len(name))).save(image)
        found.append(Marked(name, those, image, name.removesuffix(".png")))
    return found


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def write(form: str, pictures: list[Marked], folder: Path, labels: list[str] = LABELS) -> None:
    writer = pickle.loads(pickle.dumps(FORMS[form].writer(folder, labels)))
    kept = []
    for marked in pictures:
        if FORMS[form].file:
            file = FORMS[form].path(folder, marked.stem)
            file.parent.mkdir(parents=True, exist_ok=True)
            writer.write(file, marked)
        kept.append(json.loads(json.dumps(writer.kept(marked))))
    writer.finish(kept, {"model": "tiny"})
    written = [FORMS[form].path(folder, marked.stem) for marked in pictures if FORMS[form].file]
    assert all(file.is_file() for file in [*written, *(folder / file for file in FORMS[form].whole)])


def by_class(classes: list[str], detections: Any) -> dict[str, np.ndarray]:
    """The union of supervision's masks."""
    found: dict[str, np.ndarray] = {}
    for mask, number in zip(detections.mask, detections.class_id, strict=True):
        found[classes[number]] = found.get(classes[number], False) | mask
    return found


def same(found: dict[str, np.ndarray], marked: Marked) -> bool:
    expected = {thing.label: thing.pixels() for thing in marked.present}
    return found.keys() == expected.keys() and all(np.array_equal(found[each], expected[each]) for each in expected)


def asked(source: Source, index: int) -> dict[str, np.ndarray]:
    return {query.text: query.mask() == 1 for query in source[index].queries if not query.absent}


@pytest.mark.parametrize("form", ["coco", "coco-polygons"])
def test_coco_is_read_by_pycocotools_and_by_ourselves(form: str, pictures: list[Marked], out: Path) -> None:
    write(form, pictures, out)
    coco = COCO(str(out / f"{form}.json"))
    assert [image["file_name"] for image in coco.dataset["images"]] == ["a.png", "deep/b.png"]
    assert coco.dataset["info"]["model"] == "tiny"
    ours = open_own({"coco": str(out / f"{form}.json"), "images": str(out.parent / "photos")})
    for index, marked in enumerate(pictures):
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=index + 1))
        assert [each["score"] for each in annotations] == [thing.score for thing in marked.present]
        assert isinstance(annotations[0]["segmentation"], dict if form == "coco" else list)
        names = [coco.cats[each["category_id"]]["name"] for each in annotations]
        assert same(dict(zip(names, (coco.annToMask(each) == 1 for each in annotations), strict=True)), marked)
        assert same(asked(ours, index), marked)


def test_coco_is_read_by_supervision(pictures: list[Marked], out: Path) -> None:
    import supervision

    write("coco", pictures, out)
    found = supervision.DetectionDataset.from_coco(str(out.parent / "photos"), str(out / "coco.json"))
    assert all(same(by_class(found.classes, found[i][2]), marked) for i, marked in enumerate(pictures))


def test_labelme_is_read_by_supervision(pictures: list[Marked], out: Path) -> None:
    import supervision

    write("labelme", pictures, out)
    for marked in pictures:
        assert marked.image is not None
        folder = FORMS["labelme"].path(out, marked.stem).parent
        found = supervision.DetectionDataset.from_labelme(str(marked.image.parent), str(folder))
        assert [Path(path) for path in found.image_paths] == [marked.image]
        ((_, _, detections),) = found
        assert len(detections) == len(marked.present)  # the parts of a thing are one
        assert same(by_class(found.classes, detections), marked)


def test_labelme_files_are_of_the_published_form(pictures: list[Marked], out: Path) -> None:
    """The checks of labelme 6.3.1's own reader, which is itself asked by a slow test."""
    write("labelme", pictures, out)
    for marked in pictures:
        file = FORMS["labelme"].path(out, marked.stem)
        tree = json.loads(file.read_text("utf-8"))
        assert (file.parent / tree["imagePath"]).samefile(marked.image or "")
        assert tree["imageData"] is None and (tree["imageHeight"], tree["imageWidth"]) == SHAPE
        assert isinstance(tree["version"], str) and tree["flags"] == {}
        for shape in tree["shapes"]:
            assert {"label", "points", "group_id", "shape_type", "flags", "description"} <= shape.keys()
            assert isinstance(shape["label"], str) and shape["shape_type"] == "polygon"
            assert len(shape["points"]) > 2 and all(len(point) == 2 for point in shape["points"])
            assert shape["group_id"] is None or isinstance(shape["group_id"], int)


def test_yolo_is_read_by_supervision(pictures: list[Marked], out: Path) -> None:
    import supervision

    write("yolo", pictures, out)
    assert yaml.safe_load((out / "data.yaml").read_text())["names"] == dict(enumerate(LABELS))
    for marked in pictures:
        place = FORMS["yolo"].path(out, marked.stem)
        images = Path(str(place.parent).replace("labels", "images"))
        assert (images / f"{place.stem}.png").samefile(marked.image or "")
        found = supervision.DetectionDataset.from_yolo(str(images), str(place.parent), str(out / "data.yaml"))
        ((_, _, detections),) = found
        assert same(by_class(found.classes, detections), marked)
        cut: dict[str, np.ndarray] = {}  # as ultralytics has it, which cuts what is behind the point off
        for line in place.read_text().splitlines():
            number, *shares = line.split()
            corners = np.array(shares, np.float32).reshape(-1, 2) * SHAPE[::-1]
            label = LABELS[int(number)]
            cut[label] = cut.get(label, False) | polygon_pixels(corners.astype(int), *SHAPE)
        assert same(cut, marked)
    assert sorted(path.name for path in (out.parent / "photos").rglob("*")) == ["a.png", "b.png", "deep"]


#: For each form a program that writes the masks that it reads in argv[1] to argv[2], as STEM|LABEL.
READERS = {
    "labelme": """
import sys
from pathlib import Path
import numpy as np
from labelme._label_file import read_label_file
from labelme.utils import img_data_to_arr, shape_to_mask
found = {}
for file in Path(sys.argv[1], "labelme").rglob("*.json"):
    data = read_label_file(str(file))
    shape = img_data_to_arr(data.image_data).shape[:2]
    for each in data.shapes:
        key = f"{file.relative_to(Path(sys.argv[1], 'labelme')).with_suffix('').as_posix()}|{each['label']}"
        found[key] = found.get(key, False) | shape_to_mask(shape, each["points"], each["shape_type"])
np.savez(sys.argv[2], **found)
""",
    "ultralytics": """
import sys
from pathlib import Path
import numpy as np
from ultralytics.cfg import get_cfg
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset
data = check_det_dataset(str(Path(sys.argv[1], "data.yaml")), autodownload=False)
hyp = get_cfg(overrides={"mask_ratio": 1, "overlap_mask": False})
found = {}
for each in YOLODataset(img_path=data["train"], data=data, task="segment", imgsz=56, augment=False, hyp=hyp):
    stem = Path(each["im_file"]).relative_to(data["train"]).with_suffix("").as_posix()
    for mask, number in zip(each["masks"].numpy(), each["cls"].numpy().ravel()):
        key = f"{stem}|{data['names'][int(number)]}"
        found[key] = found.get(key, False) | (mask[8:48] == 1)  # without what makes the picture square
np.savez(sys.argv[2], **found)
""",
}


@pytest.mark.slow
@pytest.mark.parametrize(("program", "form"), [("labelme", "labelme"), ("ultralytics", "yolo")])
def test_the_programs_themselves_read_what_was_written(
    program: str, form: str, pictures: list[Marked], out: Path, tmp_path: Path
) -> None:
    """With their own readers, pixel by pixel; ultralytics with all that it does to a picture in a training run."""
    python = os.environ.get(f"SELF1E_{program.upper()}") or (sys.executable if find_spec(program) else "")
    if not python:
        pytest.skip(f"SELF1E_{program.upper()} names no Python that has {program} (docs/forms.md)")
    write(form, pictures, out)
    environment = os.environ | {"HOME": str(tmp_path), "YOLO_OFFLINE": "true", "QT_QPA_PLATFORM": "offscreen"}
    command = [python, "-c", READERS[program], str(out), str(tmp_path / "found.npz")]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)
    found = dict(np.load(tmp_path / "found.npz"))
    expected = {f"{each.stem}|{thing.label}": thing.pixels() for each in pictures for thing in each.present}
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], expected[key]) for key in expected)


def test_yolo_takes_no_other_picture_for_this_one(pictures: list[Marked], out: Path) -> None:
    write("yolo", pictures, out)
    write("yolo", pictures, out)
    (out / "images" / "a.png").unlink()
    (out / "images" / "a.png").write_bytes(b"another")
    with pytest.raises(FileExistsError, match=r"images.a\.png is there already, and is another picture"):
        write("yolo", pictures, out)


@pytest.mark.parametrize("form", ["yolo", "labelme", "jsonl"])
def test_a_picture_without_a_file_is_written_where_files_are_named(form: str, out: Path) -> None:
    picture = Image.new("RGB", (8, 6), "red")
    things = (Thing("dog", np.ones((6, 8), bool)),)
    write(form, [Marked("x.jpg", things, None, "x", (6, 8), picture)], out, ["dog"])
    assert Image.open(out / "images" / "x.png").tobytes() == picture.tobytes()
    entry = {"yolo": {"yolo": "data.yaml"}, "labelme": {"labelme": "labelme"}, "jsonl": {"jsonl": "data.jsonl"}}[form]
    source = open_own({key: str(out / path) for key, path in entry.items()})
    assert source.image_path(0).samefile(out / "images" / "x.png") and asked(source, 0)["dog"].all()


@pytest.mark.parametrize("labels", [LABELS, [*(f"class {number}" for number in range(300)), *LABELS]])
def test_index_maps_are_read_by_ourselves(labels: list[str], pictures: list[Marked], out: Path) -> None:
    """The smaller thing has what two share; more classes than 8 bits can number are numbered in 16."""
    boat, dog = masks()
    assert 0 < dog.sum() < boat.sum()
    with pytest.warns(UserWarning, match=rf"masks: several classes share {(boat & dog).sum()} pixels, "):
        write("index", pictures, out, labels)
    lower, upper, whale = pictures[0].things
    on_top = [replace(pictures[0], things=(replace(lower, mask=boat & ~dog), upper, whale)), pictures[1]]
    pixels = np.asarray(Image.open(out / "masks" / "a.png"))
    start = labels.index(LABELS[0]) + 1
    np.testing.assert_array_equal(pixels, np.where(dog, start + 1, np.where(boat, start, 0)))
    assert (out / "classes.txt").read_text("utf-8").splitlines() == ["background", *labels]
    entry = {"masks": "out/masks", "images": "photos", "classes": "out/classes.txt"}
    ours = open_own({key: str(out.parent / path) for key, path in entry.items()})
    assert [same(asked(ours, index), marked) for index, marked in enumerate(on_top)] == [True, True]


def test_what_is_marked_first_has_a_pixel_of_two_things_of_one_size(out: Path) -> None:
    (out / "masks").mkdir()
    writer = FORMS["index"].writer(out, LABELS)
    left, right = np.zeros((2, 4, 8), bool)
    left[:, :5], right[:, 3:] = True, True
    for number, things in enumerate(((left, right), (right, left)), start=1):
        labelled = [Thing(LABELS[index], mask) for index, mask in enumerate(things)]
        writer.write(out / "masks" / "a.png", Marked("a.png", tuple(labelled), None, "a", (4, 8)))
        pixels = np.asarray(Image.open(out / "masks" / "a.png"))
        assert (pixels[:, 3:5] == 1).all() and set(pixels[0].tolist()) == {1, 2}, number


def test_lines_are_read_by_ourselves(pictures: list[Marked], out: Path) -> None:
    write("jsonl", pictures, out)
    ours = open_own({"jsonl": str(out / "data.jsonl")})
    assert all(same(asked(ours, index), marked) for index, marked in enumerate(pictures))
    assert [query.text for query in ours[0].queries if query.absent] == ["a whale"]


def test_table(pictures: list[Marked], out: Path) -> None:
    write("csv", pictures, out)
    with (out / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["picture"], row["prompt"], row["found"], row["score"]) for row in rows] == [
        ("a.png", "the red boat", "yes", "0.9000"),
        ("a.png", "Hündchen", "yes", "0.7500"),
        ("a.png", "a whale", "no", "0.9700"),
        ("deep/b.png", "Hündchen", "yes", "0.5000"),
    ]
    assert rows[1] | {"area": "", "score": ""} == {
        **dict(zip(("picture", "prompt", "found", "score", "area"), ("a.png", "Hündchen", "yes", "", ""), strict=True)),
        **dict(zip(("x", "y", "width", "height"), ("10", "5", "30", "25"), strict=True)),
    }
    assert int(rows[1]["area"]) == masks()[1].sum() and rows[2]["area"] == ""


@pytest.mark.parametrize("rows", [2, 10_000])
def test_parquet_is_read_by_pyarrow(
    rows: int, pictures: list[Marked], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mask comes back; a file may have several row groups."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow (self1e[parquet])")
    from pycocotools import mask as coco_mask

    monkeypatch.setattr("self1e.data.forms.parquet.ROWS", rows)
    write("parquet", pictures, out)
    table = [SimpleNamespace(**row) for row in parquet.read_table(out / "results.parquet").to_pylist()]
    assert is_whole(out / "results.parquet")
    assert {row.model for row in table} == {"tiny"}
    told = [(marked.name, thing) for marked in pictures for thing in marked.things]
    assert len(table) == len(told) == 4
    for row, (name, thing) in zip(table, told, strict=True):
        assert (row.image, row.prompt, row.found, row.score) == (name, thing.label, thing.there, thing.score)
        mask = coco_mask.decode({"size": [row.height, row.width], "counts": row.rle}) == 1
        np.testing.assert_array_equal(mask, thing.pixels())
        result = Segmentation(thing.pixels()[None], [0.0])  # type: ignore[arg-type]
        assert row.area == result.area and (row.box is None if result.box is None else tuple(row.box) == result.box)
    content = (out / "results.parquet").read_bytes()
    (out / "results.parquet").write_bytes(content[:-3])
    assert not is_whole(out / "results.parquet")


def test_a_form_says_what_it_needs_before_any_work(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackage, match=r"needs another package, pyarrow: pip install 'self1e\[parquet\]'"):
        FORMS["parquet"].check()


def test_the_page_has_a_row_for_each_form() -> None:
    page = (Path(__file__).parents[2] / "docs" / "forms.md").read_text("utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| `")
    ]
    told = {row[0].strip("`"): row[1:] for row in rows}
    for name, form in FORMS.items():
        files, written, read, cannot = told[name]
        assert all(f"`{file}`" in files for file in (form.file, *form.whole) if file)
        assert written == (f"`segment --format {name}`" if form.written else "-")
        assert cannot == (", ".join(LOSSES[each] for each in form.cannot_hold) or "-")
        assert all(f"{key.rstrip('?')}: " in read for key in form.entry if not key.endswith("?"))


def test_rows_are_sound() -> None:
    for name, form in FORMS.items():
        assert form.name == name and set(form.cannot_hold) <= LOSSES.keys()
        assert form.written or form.entry
        assert form.module or form.suffix
