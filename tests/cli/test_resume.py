"""`self1e segment` goes on where it was ended, and loses nothing that someone made."""

from __future__ import annotations

import csv
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

from self1e.segment.journal import JOURNAL_NAME, Journal, is_whole
from self1e.segment.passes import TiledPicture
from self1e.segment.results import Segmentation
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
    assert run("--overwrite").code == 0
    assert "shapes" in json.loads(corrected.read_text())


def test_a_corrected_file_of_all_pictures_is_not_replaced(run: Run, model: Model, photos: Path) -> None:
    run()
    Path("out/coco.json").write_text('{"corrected": true}')
    assert run().code == 0
    grey(photos / "new.png", 7)
    assert_one_sentence(run()._replace(out=""), "out/coco.json exists already", "--overwrite")
    assert json.loads(Path("out/coco.json").read_text()) == {"corrected": True}


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
    os.utime(folder / "model.safetensors", (1, 1))
    assert_one_sentence(run("--model", folder), "exists already")


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
    journal.write_bytes(b"".join(lines[:6]) + lines[6][:40])
    model.seen.clear()
    assert run().code == 0 and len(model.seen) == 5
    assert contents("out") == contents("whole")
    model.seen.clear()
    assert run().code == 0 and model.seen == []


def test_a_file_of_that_name_that_is_not_ours(run: Run, model: Model) -> None:
    Path("out").mkdir()
    (Path("out") / JOURNAL_NAME).write_text("eggs\nmilk\n")
    assert_one_sentence(run(), JOURNAL_NAME, "move it away")
    (Path("out") / JOURNAL_NAME).unlink()
    Path("out/failed.csv").write_text("mine")
    assert_one_sentence(run(), "out/failed.csv exists already")


def test_runs_side_by_side_share_what_is_written_of_all_pictures(run: Run, model: Model) -> None:
    run(out="whole", pictures=("photos",))
    for part in ("photos/[0-4].png", "photos/[5-9].png"):
        assert run(pictures=(part,)).code == 0
    assert contents("out") == contents("whole")


@pytest.mark.parametrize("processes", [1, 2])
def test_after_kill_9(processes: int, tiny_model_folder: Path, tmp_path: Path) -> None:
    """The real model in a real process, ended at once in the middle of its work."""
    photos = tmp_path / "photos"
    for number in range(24):
        save_picture(photos / f"{number:02}.png", number)
    command = [sys.executable, "-m", "self1e", "segment", photos, "-p", "a dog", "--format", FORMATS, "--device", "cpu"]
    command += ["--model", tiny_model_folder, "--processes", str(processes), "--out"]
    process = subprocess.Popen([*command, tmp_path / "out"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    journal = tmp_path / "out" / JOURNAL_NAME
    while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < 6):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 6 <= journal.read_bytes().count(b"\n") < 25
    assert not (tmp_path / "out" / "coco.json").exists()
    again = subprocess.run([*command, tmp_path / "out"], capture_output=True, text=True)
    assert "of 24 pictures were done before" in again.stderr
    whole = subprocess.run([*command, tmp_path / "whole"], capture_output=True, text=True)
    assert again.returncode == whole.returncode in (0, 1)
    assert contents(str(tmp_path / "out")) == contents(str(tmp_path / "whole"))
