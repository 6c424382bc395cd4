"""`self1e data check` and `self1e data stats`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Cli, assert_one_sentence, save_picture
from PIL import Image

import self1e.cli
from tests.data.drawn_sets import draw_sets

pytestmark = pytest.mark.usefixtures("own_place")

BOX = [5, 5, 45, 5, 45, 40, 5, 40]


@pytest.fixture
def own_place(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the test's own to run in: a check writes into it."""
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))


def own_file(folder: Path, good: int = 6, broken: int = 0, name: str = "own") -> Path:
    lines: list[dict[str, Any]] = []
    for number in range(good):
        save_picture(folder / f"{name}-{number}.png", seed=number + len(name))
        lines.append({"image": f"{name}-{number}.png", "prompt": f"box [{number}]", "masks": [BOX], "kind": "box"})
        lines.append({"image": f"{name}-{number}.png", "prompt": "What is it?", "answer": "Noise."})
    lines += [{"image": f"missing-{i}.png", "prompt": "the box", "masks": [BOX]} for i in range(broken)]
    (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder / f"{name}.jsonl"


def settings(folder: Path, data: dict[str, Any]) -> Path:
    tree = {"output": str(folder / "run"), "init": "nano", "data": data, "optimisation": {"steps": 10}}
    (folder / "config.yaml").write_text(json.dumps(tree))
    return folder / "config.yaml"


def mine(folder: Path, **more: Any) -> Path:
    return settings(folder, {"parts": {"mine": {"rate": 2, "own": [{"jsonl": str(own_file(folder, **more))}]}}})


def test_sound_data(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("data", "check", mine(tmp_path), "--out", tmp_path / "out", "--workers", 0)
    assert outcome.code == 0
    assert outcome.out.rstrip().endswith("training may start")
    assert "records" in outcome.out and "own" in outcome.out and "broken:" not in outcome.out
    remark = "no data.root, so pictures of public benchmarks are not looked for; right for data of your own"
    assert outcome.err == f"note: {remark}\n"
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["may_start"] and report["total"]["records"] == 6 == report["total"]["talks"]
    with Image.open(tmp_path / "out" / "contact-sheet.jpg") as sheet:
        assert sheet.format == "JPEG" and sheet.width > 700 and sheet.height > 500
        pixels = np.asarray(sheet.convert("RGB"), np.int16)
    assert (pixels[..., 0] - pixels[..., 1] > 60).mean() > 0.02  # magenta over noise

    again = cli("data", "check", mine(tmp_path), "--out", tmp_path / "out", "--workers", 0)
    assert_one_sentence(again, "report.json exists already", "--overwrite")
    outcome = cli("data", "check", mine(tmp_path), "--out", tmp_path / "out", "--overwrite", "--sheet", 0)
    assert outcome.code == 0 and outcome.out.count("contact-sheet") == 0


def test_names_that_are_no_utf8(cli: Cli, tmp_path: Path) -> None:
    file = own_file(tmp_path, good=1)
    names = [os.fsdecode(byte + b".png") for byte in (b"\xfe", b"\xff")]
    save_picture(tmp_path / "a.png").rename(tmp_path / names[0])
    lines = [{"image": name, "prompt": "the box", "masks": [BOX]} for name in names]
    file.write_text("\n".join(map(json.dumps, lines)))
    config = settings(tmp_path, {"parts": {"mine": {"rate": 1, "own": [{"jsonl": str(file)}]}}})
    outcome = cli("data", "check", config, "--workers", 0, "--set", "data.broken_share=0.5")
    assert outcome.code == 0 and f"there is no file {tmp_path}/?.png" in outcome.out
    (fault,) = json.loads(Path("data-check", "report.json").read_text("utf-8"))["sources"][0]["faults"]
    assert fault["record"] == f"own/{names[1]}"


def test_broken_records(cli: Cli, tmp_path: Path) -> None:
    config = mine(tmp_path, broken=14)
    outcome = cli("data", "check", config)
    assert outcome.code == 1
    assert f"written: {Path('data-check', 'report.json')}" in outcome.out
    assert sorted(path.name for path in Path("data-check").iterdir()) == ["contact-sheet.jpg", "report.json"]
    assert "broken: missing picture (14)" in outcome.out and "... and 4 more" in outcome.out
    assert outcome.out.count("there is no file") == 10
    assert "training should not start:\n  70.00% of the records" in outcome.out
    assert_one_sentence(cli("data", "check", config), "report.json exists already", "--overwrite")
    assert cli("data", "check", config, "--set", "data.broken_share=0.75", "--overwrite").code == 0


def test_nothing_usable(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("data", "check", mine(tmp_path, good=0, broken=2), "--out", tmp_path / "out")
    assert outcome.code == 1 and "is empty: none of its 2 records can be used" in outcome.out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.json"]


def test_an_older_sheet_is_not_taken_for_a_new_one(cli: Cli, tmp_path: Path) -> None:
    assert "contact-sheet.jpg" in cli("data", "check", mine(tmp_path), "--out", tmp_path / "out", "--workers", 0).out
    again = cli("data", "check", mine(tmp_path, good=0, broken=2), "--out", tmp_path / "out", "--overwrite")
    assert f"written: {tmp_path / 'out' / 'report.json'}\n" in again.out


def test_a_fault_names_its_record(cli: Cli, tmp_path: Path) -> None:
    """Even if the number of the record is a number in the reason, too."""
    save_picture(tmp_path / "a.png", seed=1)
    tree = {
        "images": [{"id": 4, "file_name": "a.png", "width": 80, "height": 60}],
        "annotations": [{"image_id": 4, "category_id": 1, "segmentation": [[1, 2, 3, 5, "a"]]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(tree))
    own = [{"coco": str(tmp_path / "coco.json"), "images": str(tmp_path)}]
    outcome = cli("data", "check", settings(tmp_path, {"parts": {"mine": {"rate": 1, "own": own}}}))
    assert outcome.code == 1
    assert (
        "coco-instances, 4: 'cat': a polygon is a list of numbers x0, y0, x1, y1, ..., not [1, 2, 3, 5" in outcome.out
    )


def test_pictures_without_objects_and_pieces_that_are_no_polygons(cli: Cli, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / name, seed=ord(name[0]))
    tree = {
        "images": [{"id": n, "file_name": f"{name}.png"} for n, name in enumerate("ab")],
        "annotations": [{"image_id": 1, "category_id": 1, "segmentation": [BOX, [1, 2, 3, 4]]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(tree))
    own = [{"coco": str(tmp_path / "coco.json"), "images": str(tmp_path)}]
    config = settings(tmp_path, {"parts": {"mine": {"rate": 1, "own": own}}})
    outcome = cli("data", "check", config, "--workers", 0)
    assert outcome.code == 0 and "passed over" in outcome.out
    assert (
        "left out (no fault, what else is in these pictures is used)" in outcome.out
        and "coco-instances, 1, 'cat': a polygon needs" in outcome.out
    )
    assert "note: coco-instances: 1 of 2 pictures have no objects" in outcome.err
    report = json.loads(Path("data-check", "report.json").read_text())
    assert (report["total"]["silent"], report["total"]["broken"], report["total"]["dropped"]) == (1, 0, 1)
    assert "passed over" in cli("data", "stats", config, "--workers", 0).out


def test_several_sources_and_warnings(cli: Cli, tmp_path: Path) -> None:
    first, second = own_file(tmp_path), own_file(tmp_path, name="[red]")
    (tmp_path / "own-9.png").write_bytes((tmp_path / "own-1.png").read_bytes())
    line = {"image": "own-9.png", "prompt": "far", "masks": [[900, 900, 950, 900, 950, 950]]}
    first.write_text(first.read_text() + "\n" + json.dumps(line))
    parts = {
        "[bold]a[/]": {"rate": 3, "own": [{"jsonl": str(first)}, {"jsonl": str(second)}]},
        "off": {"rate": 0, "own": [{"jsonl": str(first)}]},
    }
    outcome = cli("data", "check", settings(tmp_path, {"parts": parts}), "--workers", 0)
    assert outcome.code == 0
    assert "[red]" in outcome.out and "all " in outcome.out
    assert "empty masks" in outcome.out and "own, own/own-9.png: 'far'" in outcome.out
    assert f"{tmp_path / 'own-1.png'} = {tmp_path / 'own-9.png'}" in outcome.out
    assert "note: the part 'off' is left out" in outcome.err


def test_leaks(cli: Cli, tmp_path: Path) -> None:
    parts = {"sem_seg": {"rate": 1, "sets": ["cocostuff"]}}
    data = {"root": str(draw_sets(tmp_path / "sets")), "parts": parts}
    config = settings(tmp_path, data)
    outcome = cli("data", "check", config, "--workers", 0)
    assert outcome.code == 0 and "left out" in outcome.out
    outcome = cli("data", "check", config, "--workers", 0, "--set", "data.hold_out=false", "--overwrite")
    assert outcome.code == 1
    assert "cocostuff, 000000000009.jpg" in outcome.out and "1 of 3 records of cocostuff show pictures" in outcome.out


def test_validation_data_are_read_too(cli: Cli, tmp_path: Path) -> None:
    config = mine(tmp_path)
    val = own_file(tmp_path, good=2, broken=1, name="val")

    def looked_at(file: Path) -> str:
        return f"validation={{data: {{parts: {{a: {{rate: 1, own: [{{jsonl: {file}}}]}}}}}}}}"

    outcome = cli("data", "check", config, "--set", looked_at(tmp_path / "lost.jsonl"))
    assert outcome.code == 2 and "lost.jsonl" in outcome.err
    outcome = cli("data", "check", config, "--workers", 0, "--set", looked_at(val))
    assert outcome.code == 0  # a run draws none of the broken ones
    assert "val (validation), val/missing-0.png: there is no file" in outcome.out
    first, second = json.loads(Path("data-check", "report.json").read_text())["sources"]
    assert (first["name"], first["share"]) == ("own", 1)
    assert (second["name"], second["part"]) == ("val (validation)", "validation")
    assert (second["share"], second["read"], second["broken"]) == (0, 3, 1)


def test_class_counts(cli: Cli, tmp_path: Path) -> None:
    file = own_file(tmp_path, good=13)
    line = {"image": "own-0.png", "prompt": "box [7]", "masks": [BOX]}
    file.write_text(file.read_text() + "\n" + json.dumps(line))
    config = settings(tmp_path, {"parts": {"mine": {"rate": 1, "own": [{"jsonl": str(file)}]}}})
    outcome = cli("data", "check", config, "--workers", 0)
    assert "box [7] 2, box [0] 1, box [10] 1, and 10 others" in outcome.out
    (source,) = json.loads(Path("data-check", "report.json").read_text())["sources"]
    assert source["phrases"] == {f"box [{number}]": 1 + (number == 7) for number in range(13)}
    cli("data", "stats", config, "--json", tmp_path / "stats.json", "--workers", 0)
    assert json.loads((tmp_path / "stats.json").read_text())["sources"][0]["phrases"] == source["phrases"]


def test_unusable_settings(cli: Cli, tmp_path: Path) -> None:
    for command in ("check", "stats"):
        assert_one_sentence(cli("data", command, tmp_path / "none.yaml"), "cannot read the configuration")
        of_plugin = settings(tmp_path, {"toyland": {"scenes": 4}})
        assert_one_sentence(cli("data", command, of_plugin), "trains on toyland", "data.parts")
        outcome = cli("data", command, settings(tmp_path, {"scenes": 4}))  # as it was written before plugins
        assert outcome.code == 2 and "data: {toyland: {scenes: ...}}" in outcome.err
        missing = settings(tmp_path, {"parts": {"mine": {"rate": 1, "own": [{"jsonl": "none.jsonl"}]}}})
        assert_one_sentence(cli("data", command, missing), "none.jsonl")
        assert_one_sentence(cli("data", command, settings(tmp_path, {"parts": {"a": {"rate": 1}}})), "no source")
    assert_one_sentence(cli("data", "check", mine(tmp_path), "--out", tmp_path / "own.jsonl"), "it is a file")
    assert_one_sentence(cli("data", "stats", mine(tmp_path), "--json", tmp_path / "own.jsonl"), "exists already")


def test_stats(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("data", "stats", mine(tmp_path), "--json", tmp_path / "stats.json", "--sample", 3, "--workers", 0)
    assert outcome.code == 0
    assert (
        "a run of 80 examples" in outcome.out
        and "box [0] 1, box [1] 1, box [2] 1, and 3 others" in outcome.out
        and "13.33" in outcome.out
    )
    tree = json.loads((tmp_path / "stats.json").read_text())
    (source,) = tree["sources"]
    again = cli("data", "stats", mine(tmp_path), "--sample", 0, "--workers", 0, "--set", "optimisation.accumulate=4")
    assert "a run of 320 examples" in again.out
    assert tree["examples"] == 80 and source["masks"] == 3 and source["kinds"] == {"box": 6, "words": 6}
    assert source["area"]["50"] == pytest.approx(40 * 35 / (80 * 60))


@pytest.mark.parametrize("command", [["data"], ["data", "check"], ["data", "stats"]])
def test_help(cli: Cli, command: list[str]) -> None:
    outcome = cli(*command, "--help")
    assert outcome.code == 0 and "Usage: self1e data" in outcome.out
    node: Any = self1e.cli.typer.main.get_command(self1e.cli.app)
    for name in command:
        node = node.commands[name]
    assert node.help and all(parameter.help for parameter in node.params)
