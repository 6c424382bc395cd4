"""`self1e segment` goes on where it was ended, and loses nothing that someone made."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import Cli, Outcome, assert_one_sentence, save_picture
from PIL import Image

from self1e.cli.segment_report import Report
from self1e.segment.journal import JOURNAL_NAME, Journal, is_whole
from self1e.segment.results import Segmentation
from self1e.segment.runner import TiledPicture
from self1e.segment.segmenter import Segmenter

FORMATS = "mask,json,labelme,yolo,index,coco,csv"

Run = Callable[..., Outcome]


class Model:
    """Stands for the model; what it finds depends on the picture.

    Attributes:
        seen: The grey value of each picture that it was asked about.
        interrupt_at: The picture at which Ctrl-C is pressed.
    """

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.interrupt_at = -1

    def segment(self, requests: list[tuple[TiledPicture, list[str]]], **_: object) -> list[list[Segmentation]]:
        answers = []
        for picture, prompts in requests:
            value = picture.image.getpixel((0, 0))[0]
            if value == self.interrupt_at:
                raise KeyboardInterrupt
            self.seen.append(value)
            mask = np.zeros((1, picture.image.height, picture.image.width), bool)
            mask[0, value % 40 :, value % 30 :] = value % 3 > 0
            answers.append([Segmentation(mask, [0.5], each, "[SEG].", picture.image, "tiny") for each in prompts])
        return answers


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    made = Model()
    monkeypatch.setattr(Segmenter, "segment", lambda _, requests, **options: made.segment(requests, **options))
    return made


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(10):
        grey(tmp_path / "photos" / ("deep" if number % 2 else "") / f"{number}.png", number)
    return tmp_path / "photos"


def grey_at(path: Path, value: int) -> bytes:
    """Writes a picture of one value, and gives its bytes back."""
    grey(path, value)
    return path.read_bytes()


def grey(path: Path, value: int) -> None:
    save_picture(path)  # makes the folder
    Image.new("RGB", (80, 60), (value, value, value)).save(path)


@pytest.fixture
def run(cli: Cli, tiny_model_folder: Path, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object, out: str = "out", pictures: tuple[object, ...] = ("photos", "-r")) -> Outcome:
        return cli(
            "segment",
            *pictures,
            "-p",
            "a dog",
            "--format",
            FORMATS,
            "--out",
            out,
            "--model",
            tiny_model_folder,
            *arguments,
        )

    return call


def contents(folder: str) -> dict[str, bytes]:
    """All files but the list of what is done, in which times stand."""
    files = [path for path in Path(folder).rglob("*") if path.is_file() and path.name != JOURNAL_NAME]
    return {str(path.relative_to(folder)): path.read_bytes().replace(b'"out"', b'"whole"') for path in files}


def test_ctrl_c_and_the_same_command_give_what_one_run_gives(run: Run, model: Model) -> None:
    assert run(out="whole").code == 0
    model.seen.clear()
    model.interrupt_at = 5
    assert run().code == 130
    before = set(model.seen)
    assert 1 <= len(before) < 10
    model.interrupt_at = -1
    model.seen.clear()
    outcome = run()
    assert outcome.code == 0
    assert f"note: {10 - len(model.seen)} of 10 pictures were done before\n" in outcome.err
    assert before | set(model.seen) == set(range(10)) and len(model.seen) < 10
    assert "6 of 10 found by tiny" in outcome.out  # those of before, too
    assert contents("out") == contents("whole")


def test_nothing_is_left_to_do(run: Run, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run()
    monkeypatch.setattr(Segmenter, "from_pretrained", None)  # the model is not even loaded
    monkeypatch.setattr(Segmenter, "load", None)
    before = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*")}
    again = run()
    assert again.code == first.code == 0 and again.out.splitlines() == first.out.splitlines()[-1:]
    assert before == {path: path.stat().st_mtime_ns for path in Path("out").rglob("*")}
    Path("out/coco.json").unlink()
    assert run().code == 0 and Path("out/coco.json").is_file()


def test_files_that_are_missing_or_cut_short_are_made_again(run: Run, model: Model) -> None:
    run(out="whole")
    run()
    model.seen.clear()
    for name, left in (("0.a-dog.mask.png", 50), ("deep/1.a-dog.json", 100), ("labelme/2.json", 0)):
        file = Path("out") / name
        file.write_bytes(file.read_bytes()[:left])
    Path("out/masks/4.png").unlink()
    Path("out/coco.json").write_bytes(b"{")
    assert run().code == 0
    assert sorted(model.seen) == [0, 1, 2, 4]
    assert contents("out") == contents("whole")


def test_of_a_large_file_only_the_end_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("self1e.segment.journal.LARGEST_PARSED", 20)
    for name, content, whole in (
        ("coco.json", b'{"a": [' + b"1, " * 9 + b"1]}\n", True),
        ("coco.json", b'{"a": [' + b"1, " * 9 + b"1]}", True),
        ("coco.json", b'{"a": [' + b"1, " * 9, False),
        ("coco.json", b'{"a": 1', False),
    ):
        (tmp_path / name).write_bytes(content)
        assert is_whole(tmp_path / name) is whole


def test_what_files_of_all_pictures_need_is_not_kept_in_memory(run: Run, model: Model) -> None:
    run()
    settings = json.loads((Path("out") / JOURNAL_NAME).read_text().splitlines()[0])["settings"]
    journal = Journal(Path("out"), settings)
    assert len(journal.done) == 10 and not any("whole" in entry for entry in journal.done.values())
    (whole,) = journal.whole(["deep/3.png"])
    assert whole.keys() == {"labelme", "yolo", "index", "coco", "csv"}
    assert whole["coco"]["picture"]["file_name"] == "deep/3.png"


def test_a_picture_that_has_changed_is_done_again(run: Run, model: Model, photos: Path) -> None:
    run()
    model.seen.clear()
    grey(photos / "4.png", 44)
    grey(photos / "new.png", 7)
    assert run().code == 0 and sorted(model.seen) == [7, 44]
    assert len(json.loads(Path("out/coco.json").read_text())["images"]) == 11


def test_what_someone_corrected_is_left_as_it_is(run: Run, model: Model, photos: Path) -> None:
    run()
    corrected = Path("out/labelme/4.json")
    corrected.write_text(json.dumps({"corrected": True}))
    assert run().err == "note: 10 of 10 pictures were done before\n"
    grey(photos / "4.png", 44)
    outcome = run()
    assert "note: out/labelme/4.json was changed after it was written, and is left as it is" in outcome.err
    assert json.loads(corrected.read_text()) == {"corrected": True}
    grey(photos / "4.png", 45)
    assert "out/labelme/4.json was changed" in run().err  # and so every time
    assert json.loads(corrected.read_text()) == {"corrected": True}
    assert run("--overwrite").code == 0
    assert "shapes" in json.loads(corrected.read_text())


def test_what_someone_put_there_is_not_replaced(run: Run, model: Model, photos: Path) -> None:
    run()
    theirs = [Path("out/labelme/new.json"), Path("out/new.a-dog.mask.png")]
    for file in theirs:
        file.write_text("mine")
    grey(photos / "new.png", 7)
    assert_one_sentence(run(), f"{theirs[0]} exists already (and 1 more)", "--overwrite")
    assert [file.read_text() for file in theirs] == ["mine", "mine"]
    assert run("--overwrite").code == 0 and "shapes" in theirs[0].read_text()


def test_what_a_killed_run_wrote_is_ours(run: Run, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt  # a signal would do nothing in a test run in the background, where shells ignore it

    with monkeypatch.context() as killed:
        killed.setattr(Journal, "add_done", interrupted)  # after the first files
        assert run().code == 130
    assert Path("out/0.a-dog.mask.png").exists() and run().code == 0
    run(out="whole")
    assert contents("out") == contents("whole")


def test_a_corrected_file_of_all_pictures_is_not_replaced(run: Run, model: Model, photos: Path) -> None:
    run()
    Path("out/coco.json").write_text('{"corrected": true}')
    assert run().code == 0
    grey(photos / "new.png", 7)
    assert_one_sentence(run()._replace(out=""), "out/coco.json exists already", "--overwrite")
    assert json.loads(Path("out/coco.json").read_text()) == {"corrected": True}
    (photos / "new.png").unlink()
    Path("out/results.csv").unlink()
    assert_one_sentence(run()._replace(out=""), "out/coco.json exists already", "--overwrite")
    assert json.loads(Path("out/coco.json").read_text()) == {"corrected": True}


def test_files_of_all_pictures_become_whole(
    run: Run, model: Model, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pictures() -> list[str]:
        return [each["file_name"] for each in json.loads(Path("out/coco.json").read_text())["images"]]

    run()
    grey(photos / "a.png", 41)
    with monkeypatch.context() as killed:  # when all pictures were done
        killed.setattr(Report, "write_whole", lambda _: None)
        run()
    assert len(pictures()) == 10
    model.seen.clear()
    assert run().code == 0 and model.seen == []
    assert len(pictures()) == 11 and "a.png" in pictures()

    grey(photos / "a.png", 42)  # the same names, but not the same masks
    with monkeypatch.context() as killed:
        killed.setattr(Report, "write_whole", lambda _: None)
        run()
    before = Path("out/coco.json").read_bytes()
    assert run().code == 0 and Path("out/coco.json").read_bytes() != before

    (photos / "a.png").unlink()
    (photos / "deep" / "1.png").unlink()
    assert run().code == 0 and len(pictures()) == 9 and not {"a.png", "deep/1.png"} & {*pictures()}
    rows = Path("out/results.csv").read_text("utf-8-sig").splitlines()
    assert len(rows) == 10 and not any(row.startswith(("a.png", "deep/1.png")) for row in rows)


def test_failed_pictures_are_listed_and_tried_again(run: Run, model: Model, photos: Path) -> None:
    good = (photos / "4.png").read_bytes()
    (photos / "4.png").write_bytes(good[:60])
    (photos / "deep" / "5.png").write_bytes(b"")
    outcome = run()
    assert outcome.code == 2 and "2 failed, see out/failed.csv" in outcome.out
    with Path("out/failed.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["picture"], row["prompts"]) for row in rows] == [("4.png", "a dog"), ("deep/5.png", "a dog")]
    assert "5.png is empty" in rows[1]["reason"]
    assert len(json.loads(Path("out/coco.json").read_text())["images"]) == 8
    (photos / "4.png").write_bytes(good)
    grey(photos / "deep" / "5.png", 5)
    model.seen.clear()
    assert run().code == 0 and sorted(model.seen) == [4, 5]
    assert not Path("out/failed.csv").exists()
    run(out="whole")
    assert contents("out") == contents("whole")


def test_failures_of_pictures_that_are_gone_are_forgotten(run: Run, model: Model, photos: Path) -> None:
    for name in ("a.png", "b.png"):
        (photos / name).write_bytes(b"")
    assert run().code == 2 and len(Path("out/failed.csv").read_text("utf-8-sig").splitlines()) == 3
    (photos / "a.png").unlink()
    assert run().code == 2
    assert [row.split(",")[0] for row in Path("out/failed.csv").read_text("utf-8-sig").splitlines()[1:]] == ["b.png"]
    (photos / "b.png").unlink()
    assert run().code == 0 and not Path("out/failed.csv").exists()
    (photos / "b.png").write_bytes(b"")
    run()
    assert run("--overwrite", pictures=("photos/[0-9].png",)).code == 0 and not Path("out/failed.csv").exists()


def test_a_list_of_failures_that_is_not_ours_is_left_alone(run: Run, model: Model, photos: Path) -> None:
    run()
    theirs = Path("out/failed.csv")
    theirs.write_text("mine")
    assert run().code == 0 and theirs.read_text() == "mine"
    (photos / "a.png").write_bytes(b"")
    assert_one_sentence(run(), "out/failed.csv exists already")
    assert theirs.read_text() == "mine"
    assert run("--overwrite").code == 2 and "a.png" in theirs.read_text()
    theirs.write_text(theirs.read_text() + "checked\n")
    assert_one_sentence(run(), "out/failed.csv exists already")
    assert theirs.read_text().endswith("checked\n")


def test_what_a_picture_that_failed_did_not_write_is_not_ours(run: Run, model: Model, photos: Path) -> None:
    (photos / "a.png").write_bytes(b"")
    assert run().code == 2
    theirs = Path("out/a.a-dog.mask.png")
    theirs.write_text("mine")
    grey(photos / "a.png", 41)
    assert_one_sentence(run(), f"{theirs} exists already", "--overwrite")
    assert theirs.read_text() == "mine"


def test_a_file_of_all_pictures_that_is_corrected_during_a_run_is_left_alone(
    run: Run, model: Model, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    coco, begin = Path("out/coco.json"), Journal.begin
    monkeypatch.setattr(Journal, "begin", lambda self: (coco.write_text('{"corrected": true}'), begin(self)))
    grey(photos / "a.png", 41)
    outcome = run()
    assert outcome.code == 2  # not all that was asked for is there
    assert "out/coco.json was changed by someone else, and is left as it is" in outcome.err
    assert json.loads(coco.read_text()) == {"corrected": True}


def test_a_list_that_grows_goes_on(run: Run, model: Model, photos: Path, cli: Cli, tiny_model_folder: Path) -> None:
    """With a new prompt, too, whose number is the next one."""
    rows = ["image,prompt", "0.png,sea", "1.png,boat"]
    for number in range(3):
        grey(photos / f"{number}.png", number + 1)

    def segment(*rows: str) -> Outcome:
        model.seen.clear()
        (photos / "list.csv").write_text("\n".join(rows))
        return cli("segment", photos / "list.csv", "-f", FORMATS, "-o", "out", "--model", tiny_model_folder)

    assert segment(*rows).code == 0 and model.seen == [1, 2]
    assert segment(rows[0], "2.png,air", *rows[1:]).code == 0 and model.seen == [3]
    assert segment(rows[0], *rows[:0:-1], "2.png,air").code == 0 and model.seen == []
    assert segment(rows[0], *rows[1:], "1.png,air", "2.png,air").code == 0 and model.seen == [2]
    names = {each["id"]: each["name"] for each in json.loads(Path("out/coco.json").read_text())["categories"]}
    assert names == {1: "sea", 2: "boat", 3: "air"}
    assert Path("out/classes.txt").read_text().split() == ["background", "sea", "boat", "air"]
    assert Path("out/labels/0.txt").read_text().startswith("0 ")
    assert {line[0] for line in Path("out/labels/1.txt").read_text().splitlines()} == {"1", "2"}
    (photos / "3.png").write_bytes(b"")
    assert segment(*rows, "3.png,kite", "3.png,sea").code == 2
    assert "3.png,kite; sea," in Path("out/failed.csv").read_text("utf-8-sig")


def test_prompts_in_another_order_are_the_same(run: Run, model: Model, cli: Cli, tiny_model_folder: Path) -> None:
    for order in (("sea", "boat"), ("boat", "sea")):
        model.seen.clear()
        prompts = [word for prompt in order for word in ("-p", prompt)]
        assert cli("segment", "photos/0.png", *prompts, "-f", "coco", "--model", tiny_model_folder).code in (0, 1)
    assert model.seen == []


def test_a_folder_that_results_go_into_is_not_fed_on_them(run: Run, model: Model, photos: Path) -> None:
    assert run(out="photos").code == 0
    model.seen.clear()
    assert run(out="photos").code == 0 and model.seen == []
    assert run(out="photos/one").code == 0 and len(model.seen) == 10
    model.seen.clear()
    assert run(out="photos/two").code == 0 and len(model.seen) == 10
    assert run(out="three", pictures=("photos/*",)).code == 0
    assert len(json.loads(Path("three/coco.json").read_text())["images"]) == 5


def test_pictures_that_yolo_puts_in_place(run: Run, model: Model, photos: Path, cli: Cli, tmp_path: Path) -> None:
    theirs = grey_at(tmp_path / "out" / "images" / "4.png", 99)
    outcome = run()
    assert outcome.code == 2 and "4.png is there already, and is another picture than" in outcome.err
    assert theirs == Path("out/images/4.png").read_bytes()
    Path("out/images/4.png").unlink()
    assert run().code == 0
    model.seen.clear()
    grey(photos / "4.png", 44)
    outcome = run()  # the link is as it was, though the picture is not
    assert outcome.code == 0 and outcome.err == "note: 9 of 10 pictures were done before\n" and model.seen == [44]
    with (photos / "4.png").open("ab") as file:
        file.write(b"what some programs write behind a PNG")
    assert run().code == 0 and len(model.seen) == 2 and run().code == 0 and len(model.seen) == 2

    photos.rename("moved")
    assert_one_sentence(run(pictures=("moved", "-r")), "exists already", "--overwrite")
    assert run("--overwrite", pictures=("moved", "-r")).code == 0
    assert Path("out/images/4.png").resolve() == tmp_path / "moved" / "4.png"


def test_pictures_that_are_in_place_already(run: Run, model: Model, photos: Path) -> None:
    """A folder `images` becomes a data set where it lies."""
    photos.rename("images")
    for _ in range(2):
        assert run(out=".", pictures=("images", "-r")).code == 0
        assert len(model.seen) == 10 and not Path("images/4.png").is_symlink()


def test_a_picture_of_the_user_in_the_place_of_one_without_a_file(
    run: Run, model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    theirs = grey_at(tmp_path / "out" / "images" / "stdin.png", 99)
    content = Path("photos/4.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert_one_sentence(run(pictures=("-",)), "out/images/stdin.png exists already")
    assert Path("out/images/stdin.png").read_bytes() == theirs


@pytest.mark.parametrize("change", [["-p", "a cat"], ["--instances"], ["--max-tiles", "2"], ["--template", "phrase"]])
def test_another_command_does_not_go_on(run: Run, model: Model, change: list[str]) -> None:
    run()
    before = contents("out")
    assert_one_sentence(run(*change), "exists already", "--overwrite")
    assert contents("out") == before


def test_other_weights_are_another_command(run: Run, model: Model, tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model_folder, tmp_path / "model")
    assert run("--model", folder).code == 0
    assert run("--model", folder).code == 0
    for name in ("model.safetensors", "config.json"):
        before = (folder / name).stat()
        os.utime(folder / name, (1, 1))
        assert_one_sentence(run("--model", folder), "exists already")
        os.utime(folder / name, ns=(before.st_atime_ns, before.st_mtime_ns))
    (folder / "calibration.json").write_text('{"scale": 1.0, "shift": 0.0}')
    assert_one_sentence(run("--model", folder), "exists already")
    (folder / "calibration.json").unlink()
    assert run("--model", folder).code == 0


def test_files_that_another_command_has_replaced_are_not_ours(run: Run, model: Model) -> None:
    run()
    run("--tolerance", 1, "--overwrite")
    assert_one_sentence(run(), "exists already")
    model.seen.clear()
    assert run("--tolerance", 1).code == 0 and model.seen == []


def test_overwrite_starts_anew(run: Run, model: Model) -> None:
    run()
    model.seen.clear()
    assert run("--overwrite").code == 0 and sorted(model.seen) == list(range(10))


def test_names_stay_when_a_picture_comes_before_its_namesake(run: Run, model: Model, photos: Path) -> None:
    run()
    before = Path("out/4.a-dog.mask.png").read_bytes()
    grey(photos / "4.bmp", 48)
    assert run().code == 0
    assert Path("out/4.a-dog.mask.png").read_bytes() == before and Path("out/4-2.a-dog.mask.png").is_file()


def test_a_line_that_was_cut_short(run: Run, model: Model) -> None:
    run(out="whole")
    run()
    journal = Path("out") / JOURNAL_NAME
    lines = journal.read_bytes().splitlines(keepends=True)
    of_pictures = [number for number, line in enumerate(lines) if b'"picture"' in line]
    journal.write_bytes(b"".join(lines[: of_pictures[5]]) + lines[of_pictures[5]][:40])
    for name in ("classes.txt", "coco.json", "data.yaml", "results.csv"):
        (Path("out") / name).unlink()  # which were not there yet
    model.seen.clear()
    assert run().code == 0 and len(model.seen) == 5
    assert contents("out") == contents("whole")
    model.seen.clear()
    assert run().code == 0 and model.seen == []


@pytest.mark.parametrize(
    "line", ['{"run": "x", "picture": "q", "files": null}', '{"run": 1}', "[]", "2", '{"run": "x"']
)
def test_a_line_of_another_shape(run: Run, model: Model, line: str) -> None:
    run()
    journal = Path("out") / JOURNAL_NAME
    journal.write_text(journal.read_text() + line + "\n")
    model.seen.clear()
    assert run().code == 0 and model.seen == []
    journal.write_text(line + "\n" + journal.read_text())
    assert_one_sentence(run(), JOURNAL_NAME, "move it away")


def test_a_file_of_that_name_that_is_not_ours(run: Run, model: Model) -> None:
    Path("out").mkdir()
    (Path("out") / JOURNAL_NAME).write_text("eggs\nmilk\n")
    assert_one_sentence(run(), JOURNAL_NAME, "move it away")
    (Path("out") / JOURNAL_NAME).unlink()
    Path("out/failed.csv").write_text("mine")
    assert_one_sentence(run(), "out/failed.csv exists already")


@pytest.mark.slow
def test_runs_side_by_side_share_what_is_written_of_all_pictures(tiny_model_folder: Path, tmp_path: Path) -> None:
    """Two processes, each with every other picture, that write files of all pictures at the same time."""
    for number in range(12):
        save_picture(tmp_path / "photos" / f"{number % 2}-{number}.png", number)
    command = [sys.executable, "-c", IN_TURN, "segment", "-p", "a dog", "--format", FORMATS, "--device", "cpu"]
    command += ["--model", str(tiny_model_folder), "--out"]
    parts = [["out", "photos/0-*.png"], ["out", "photos/1-*.png"]]
    running = [subprocess.Popen([*command, *part], cwd=tmp_path, stderr=subprocess.PIPE) for part in parts]
    assert [process.communicate()[1] for process in running] == [b"", b""]
    assert {process.returncode for process in running} <= {0, 1}
    assert subprocess.run([*command, "whole", "photos"], cwd=tmp_path).returncode in (0, 1)
    assert contents(str(tmp_path / "out")) == contents(str(tmp_path / "whole"))


IN_TURN = """
import sys, time
from pathlib import Path
from self1e.cli import run
from self1e.segment.journal import Journal

digest, add_done = Journal.digest, Journal.add_done

def first(self, names):  # has read what is done, and lets the other one do its pictures; the lock lets it do no more
    Path("has-read").touch()
    ends = time.monotonic() + 3
    while time.monotonic() < ends and b'"holds"' not in Path("out/done.jsonl").read_bytes():
        time.sleep(0.02)
    return digest(self, names)

def second(self, *arguments):
    while not Path("has-read").exists():
        time.sleep(0.02)
    add_done(self, *arguments)

if sys.argv[-1].startswith("photos/0"):
    Journal.digest = first
else:
    Journal.add_done = second
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_after_kill_9(processes: int, tiny_model_folder: Path, tmp_path: Path) -> None:
    """The real model in a real process, ended at once in the middle of its work."""
    photos = tmp_path / "photos"
    for number in range(24):
        save_picture(photos / f"{number:02}.png", number)
    command = [sys.executable, "-m", "self1e", "segment", photos, "-p", "a dog", "--format", FORMATS, "--device", "cpu"]
    command += ["--model", tiny_model_folder, "--processes", str(processes), "--out"]
    process = subprocess.Popen([*command, tmp_path / "out"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    journal = tmp_path / "out" / JOURNAL_NAME
    while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b'"picture"') < 5):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 5 <= journal.read_bytes().count(b'"picture"') < 24
    assert not (tmp_path / "out" / "coco.json").exists()
    leftover = tmp_path / "out" / "labels" / ".0123456789abcdef.tmp"
    leftover.write_bytes(b"half of a file")
    again = subprocess.run([*command, tmp_path / "out"], capture_output=True, text=True)
    assert "of 24 pictures were done before" in again.stderr
    whole = subprocess.run([*command, tmp_path / "whole"], capture_output=True, text=True)
    assert again.returncode == whole.returncode in (0, 1)
    assert not leftover.exists()
    assert contents(str(tmp_path / "out")) == contents(str(tmp_path / "whole"))
