"""`self1e segment --server`: a server segments, results are written here."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from serving import KILLER, picture

from self1e.cli import run

LAKESIDE = Path(__file__).parents[2] / "examples" / "pictures" / "lakeside.png"
ASKED = ("-p", "the red boat", "-p", "the sun", "--format", "mask,json,coco")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A picture, one that is too large for the server, and one that is broken."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(LAKESIDE.read_bytes())
    (folder / "b.png").write_bytes(picture((2000, 2000)))
    (folder / "c.png").write_bytes(b"no picture")
    monkeypatch.chdir(tmp_path)
    return folder


def failures() -> list[dict[str, str]]:
    with Path("there/failed.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_files_are_those_of_a_model_here(address: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["segment", "photos", *ASKED, "--server", address, "--out", "there"]) == 2  # two of three failed
    told = capsys.readouterr().err
    assert "2000x2000 are more than 1,000,000 pixels" in told and "c.png" in told
    rows = failures()
    assert [row["picture"] for row in rows] == ["b.png", "c.png"]
    assert run(["segment", "photos/a.png", *ASKED, "--model", "nano", "--out", "here"]) == 0
    for name in ("a.the-red-boat.mask.png", "a.the-sun.mask.png"):
        assert Path("there", name).read_bytes() == Path("here", name).read_bytes()
    there, here = (json.loads(Path(out, "a.the-red-boat.json").read_text()) for out in ("there", "here"))
    assert there["masks"] == here["masks"] and there["found"]
    (photos / "b.png").unlink()
    (photos / "c.png").write_bytes(LAKESIDE.read_bytes())
    assert run(["segment", "photos", *ASKED, "--server", address, "--out", "there"]) == 0  # goes on
    assert "1 of 2 pictures were done before" in capsys.readouterr().err
    assert [each["file_name"] for each in json.loads(Path("there/coco.json").read_text())["images"]] == [
        "a.png",
        "c.png",
    ]


@pytest.mark.slow
def test_a_picture_that_kills_the_model_is_one_failure(address: str, photos: Path) -> None:
    (photos / "b.png").write_bytes(picture(KILLER))
    assert run(["segment", "photos", *ASKED, "--server", address, "--out", "there"]) == 2
    rows = failures()
    assert [row["picture"] for row in rows] == ["b.png", "c.png"] and "killed by signal 9" in rows[0]["reason"]
    assert Path("there/a.the-sun.mask.png").is_file()


def test_what_does_not_go_together(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["segment", "photos", *ASKED, "--server", "http://127.0.0.1:9", "--model", "nano"]) == 2
    assert "--server has a model of its own" in capsys.readouterr().err
    for option in (("--batch", "8"), ("--processes", "2"), ("--ray", "auto")):
        assert run(["segment", "photos", *ASKED, "--server", "http://127.0.0.1:9", *option]) == 2
        assert "leave out --processes, --ray and --batch" in capsys.readouterr().err
    assert run(["segment", "photos", *ASKED, "--server", "http://127.0.0.1:9", "--votes", "2"]) == 2
    assert "--server has neither --refine nor --votes" in capsys.readouterr().err
    assert run(["segment", "photos", *ASKED, "--server", "http://127.0.0.1:9"]) == 2
    assert "does `self1e serve` run there?" in capsys.readouterr().err
    assert not Path("segmented").exists()
