"""`self1e chat`, `info`, `convert`, `train`, `eval`, `merge` and `toyland`, on tiny random models."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import Cli, Outcome, assert_one_sentence, save_picture
from PIL import Image
from pycocotools import mask as coco_mask
from safetensors.torch import load_file, save_file
from torch.distributed.run import get_args_parser
from transformers.utils import logging

from self1e.conversation import Turn
from self1e.evaluation.samples import SampleFile
from self1e.segment.calibration import Calibration
from self1e.segment.chat import Chat
from self1e.segment.load import CALIBRATION_NAME, load_model
from self1e.segment.nouns import TaughtNouns
from self1e.segment.options import LoadOptions
from self1e.segment.results import Segmentation
from self1e.toyland import toyland_example

# ------------------------------------------------------------------------------------------------------------- chat


@pytest.fixture
def recorded(golden: Path) -> Path:
    """A tiny checkpoint in the layout of the release, and in the same folder what the released code made of it."""
    return golden / "tiny-internvl3-qwen2"


@pytest.fixture
def talk(cli: Cli, tiny_model_folder: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`self1e chat` with lines on standard input; the answer to "where" points, any other does not."""

    def ask(self: Chat, question: str, **options: object) -> Segmentation:
        image = self.picture.image
        points = question.startswith("where")
        masks = np.ones((int(points), image.height, image.width), bool)
        text = f"{len(self.turns)} before. " + "It is [SEG]." * points
        self.turns.append(Turn(question, text))
        return Segmentation(masks, [0.8] * points, question, text, image, "tiny")

    monkeypatch.setattr(Chat, "ask", ask)
    monkeypatch.chdir(tmp_path)

    def call(*lines: str, terminal: bool = False) -> Outcome:
        stdin = io.StringIO("".join(f"{line}\n" for line in lines))
        stdin.isatty = lambda: terminal  # type: ignore[method-assign]
        monkeypatch.setattr("sys.stdin", stdin)
        return cli("chat", picture, "--model", tiny_model_folder)

    return call


def test_chat_from_a_pipe(talk: Cli) -> None:
    outcome = talk("what is this?", "", "where is it?", "where else?")
    assert outcome.code == 0
    assert "0 before." in outcome.out and "2 before." in outcome.out
    assert sorted(path.name for path in Path("segmented").iterdir()) == [
        f"street.chat-{number}.overlay.png" for number in (1, 2)
    ]


def test_chat_commands(talk: Cli, tmp_path: Path) -> None:
    save_picture(tmp_path / "other.png")
    lines = [
        "/help",
        "where?",
        "/save talk.json",
        "/reset",
        "why?",
        "/image other.png",
        "where?",
        "/quit",
        "never read",
    ]
    outcome = talk(*lines)
    assert outcome.code == 0
    assert outcome.out.count("0 before.") == 3
    assert "never" not in outcome.out
    assert Path("segmented/other.chat-1.overlay.png").exists()
    saved = json.loads(Path("talk.json").read_text())
    assert [turn["question"] for turn in saved["turns"]] == ["where?"]
    assert Segmentation.from_dict(saved["turns"][0]).found


def test_chat_goes_on_after_errors(talk: Cli) -> None:
    outcome = talk("/image missing.png", "/image", "/unknown", "/save", "why?")
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 4
    assert "0 before." in outcome.out


def test_chat_on_a_terminal_ends_politely(talk: Cli) -> None:
    outcome = talk("why?", terminal=True)
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.out.endswith("\n")


def test_chat_with_the_model_itself(
    cli: Cli, tiny_model_folder: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("what is this?\n"))
    outcome = cli("chat", picture, "--model", tiny_model_folder, "--out", picture.parent / "out")
    assert outcome.code == 0
    assert "> what is this?" in outcome.out


def test_chat_needs_a_picture(cli: Cli, tiny_model_folder: Path) -> None:
    assert_one_sentence(cli("chat", "missing.png", "--model", tiny_model_folder), "missing.png")


# ------------------------------------------------------------------------------------------------------------- info


def test_info(cli: Cli, tiny_model_folder: Path) -> None:
    outcome = cli("info", tiny_model_folder)
    assert outcome.code == 0
    digest = hashlib.sha256((tiny_model_folder / "model.safetensors").read_bytes()).hexdigest()
    for words in ("32 wide, 2 heads", "16 tokens a tile", "rfa", "image_to_segmentation", "float32", digest):
        assert words in outcome.out
    assert digest not in cli("info", tiny_model_folder, "--no-hash").out


def test_info_lists_nouns(cli: Cli, tiny_model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model_folder, tmp_path / "taught")
    TaughtNouns({"dog": ["dogs"], "traffic light": []}).write(tmp_path / "taught")
    told = cli("info", tmp_path / "taught", "--no-hash").out
    assert "2: dog, traffic light" in told and "hardly found" not in told
    TaughtNouns({"dog": [], "pole": [], "cat": []}, iou={"dog": 0.8, "pole": 0.01}).write(tmp_path / "taught")
    told = cli("info", tmp_path / "taught", "--no-hash").out
    assert re.search(r"nouns +1: dog\s+hardly found, or not measured +2: pole, cat\s", told)


def test_info_of_a_release(cli: Cli, recorded: Path) -> None:
    outcome = cli("info", recorded)
    assert outcome.code == 0
    assert "SELF1E release" in outcome.out


def test_info_of_nothing(cli: Cli, tmp_path: Path) -> None:
    assert_one_sentence(cli("info", "no-such-model"), "no-such-model")
    assert_one_sentence(cli("info", tmp_path), "config.json")


# ---------------------------------------------------------------------------------------------------------- convert


def test_convert_and_verify(cli: Cli, recorded: Path, tmp_path: Path) -> None:
    arguments = ("convert", recorded, tmp_path / "model", "--verify", recorded)
    outcome = cli(*arguments)
    assert outcome.code == 0, outcome.err
    assert "all" in outcome.out and "agree" in outcome.out
    assert_one_sentence(cli(*arguments), "exists")
    assert cli(*arguments, "--overwrite", "--tolerance", "0").code == 1


def test_convert_with_token_ids(cli: Cli, recorded: Path, tmp_path: Path) -> None:
    """The checkpoint has no tokenizer to tell them."""
    assert_one_sentence(cli("convert", recorded, tmp_path / "model"), "--seg-token-id")
    outcome = cli("convert", recorded, tmp_path / "model", "--seg-token-id", 310, "--image-token-id", 300)
    assert outcome.code == 0, outcome.err
    assert "[SEG] is token 310, <IMG_CONTEXT> 300" in outcome.out


def test_convert_nothing(cli: Cli, tmp_path: Path) -> None:
    assert_one_sentence(cli("convert", tmp_path / "missing", tmp_path / "model"), "missing")
    assert_one_sentence(cli("convert", tmp_path, tmp_path / "model", "--dtype", "int3"), "int3")
    assert not (tmp_path / "model").exists()


# ------------------------------------------------------------------------------------------------------------ train


def test_train(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    logging.enable_progress_bar()

    def train(settings: object, **options: object) -> Path:
        seen.append((settings, options))
        assert not logging.is_progress_bar_enabled()  # this is no terminal
        return Path("runs/model")

    monkeypatch.setattr("self1e.training.run.train", train)
    config = tmp_path / "config.yaml"
    config.write_text("output: runs\narchitecture: {}\ndata: {toyland: {}}\noptimisation: {steps: 10}\n")
    overrides = ("--set", "optimisation.steps=3", "--set", "optimisation.learning_rate=1e-4", "--set", "output=else")
    outcome = cli("train", config, *overrides, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    settings, options = seen[0]
    assert (settings.optimisation.steps, settings.optimisation.learning_rate, settings.output) == (3, 1e-4, "else")
    assert options == {"device": "cpu", "fresh": False}
    assert "runs/model" in outcome.out


def test_train_with_bad_settings(cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("output: runs\n")
    assert_one_sentence(cli("train", tmp_path / "missing.yaml"), "missing.yaml")
    assert_one_sentence(cli("train", config, "--set", "steps"), "KEY=VALUE")
    outcome = cli("train", config)
    assert outcome.code == 2
    assert "optimisation" in outcome.err and "Traceback" not in outcome.err


# ------------------------------------------------------------------------------------------------------------- eval


def test_eval_toyland(cli: Cli, tiny_model_folder: Path, tmp_path: Path) -> None:
    out, path = tmp_path / "results", tmp_path / "figures.json"
    arguments = ("eval", tiny_model_folder, "toyland|seed=3", "--out", out, "--worst", 2, "--limit")
    outcome = cli(*arguments, 1, "--json", path)
    assert outcome.code == 0, outcome.err
    assert "cIoU" in outcome.out and "all that segment" in outcome.out
    figures = json.loads(path.read_text())
    for key in ("ciou", "giou", "n_acc", "t_acc", "vqa_accuracy", "kinds", "model", "weights_sha256", "versions"):
        assert key in figures
    assert (figures["seed"], figures["n"], figures["benchmark"]) == (3, 1, "toyland")
    (folder,) = out.glob("*/toyland-3/given")
    assert json.loads((folder / "figures.json").read_text()) == figures
    assert (folder / "report.html").read_text().count("<section>") == 2 + 1
    first = (folder / "samples-0.jsonl").read_text()
    outcome = cli(*arguments, 2)
    assert outcome.code == 0 and "1 of 2 pictures were done before" in outcome.err
    assert (folder / "samples-0.jsonl").read_text().startswith(first)
    assert json.loads((folder / "figures.json").read_text())["n"] == 2
    assert_one_sentence(cli(*arguments, 1, "--json", path), "--overwrite")
    for wrong, said in (("scenes=0", "number of scenes must be from 1"), ("size=9", "seed=NUMBER")):
        assert_one_sentence(cli("eval", tiny_model_folder, f"toyland|{wrong}", "--out", out), said)


def test_figures_say_what_they_are_of(cli: Cli, tiny_model_folder: Path, tmp_path: Path) -> None:
    """Settings, weights and versions stand beside the figures, in the folder of results and in the file asked for."""
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps({"image": "a.png", "prompt": "the thing", "masks": []}))
    out, path = tmp_path / "results", tmp_path / "all.json"
    outcome = cli("eval", tiny_model_folder, own, "--out", out, "--limit", 1, "--worst", 0, "--json", path)
    assert outcome.code == 0, outcome.err
    (file,) = out.rglob("figures.json")
    figures = json.loads(file.read_text())
    assert figures == json.loads(path.read_text())
    digest = hashlib.sha256((tiny_model_folder / "model.safetensors").read_bytes()).hexdigest()
    assert figures["weights_sha256"] == digest and digest[:8] in str(file)
    assert set(figures["versions"]) == {"self1e", "python", "torch", "transformers", "numpy"}
    settings = {"benchmark": str(own), "answer": "given", "limit": 1, "max_tiles": 1, "min_area": 1, "samples": 1}
    assert settings.items() <= figures.items()


def test_eval_of_broken_records_alone_fails(cli: Cli, tiny_model_folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps({"image": "missing.png", "prompt": "the thing", "masks": []}))
    outcome = cli("eval", tiny_model_folder, own, "--out", tmp_path / "results", "--worst", 0)
    assert outcome.code == 2
    assert "nothing measured" in outcome.out and "missing.png" in outcome.err


def test_answers_in_words_are_generated_ones(cli: Cli, tiny_model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "gqa" / "images").mkdir(parents=True)
    Image.new("RGB", (20, 20), "red").save(tmp_path / "gqa" / "images" / "a.jpg")
    line = {"image": "gqa/images/a.jpg", "question": "Is it red?", "question_id": "x", "answer": "surely not said"}
    (tmp_path / "gqa" / "testdev_balanced.jsonl").write_text(json.dumps(line))
    out = tmp_path / "results"
    outcome = cli("eval", tiny_model_folder, "gqa|testdev", "--root", tmp_path, "--out", out)
    assert outcome.code == 0, outcome.err
    (file,) = out.rglob("figures.json")
    assert file.parent.name == json.loads(file.read_text())["answer"] == "generated"
    assert 'alt="picture" src="data:image/' in (file.parent / "report.html").read_text()


@pytest.mark.slow
def test_two_processes_measure_what_one_does(cli: Cli, tiny_model_folder: Path, tmp_path: Path) -> None:
    for number in range(3):
        save_picture(tmp_path / f"{number}.png", number)
    masks = [[2, 2, 40, 2, 40, 30, 2, 30]]
    lines = [{"image": f"{number}.png", "prompt": "the thing", "masks": masks[:number]} for number in range(3)]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    fixed = ("eval", tiny_model_folder, tmp_path / "own.jsonl", "toyland|scenes=3", "--device", "cpu", "--out")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "self1e"]
    done = subprocess.run(
        [*command, *map(str, fixed), str(tmp_path / "two")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("ciou") == done.stdout.count("cIoU") == 1  # one of them speaks
    assert cli(*fixed, tmp_path / "one").code == 0
    ones, twos = (sorted((tmp_path / name).rglob("figures.json")) for name in ("one", "two"))
    assert len(ones) == len(twos) == 2
    for one, two in zip(ones, twos, strict=True):
        of_one, of_two = (json.loads(each.read_text()) | {"seconds": 0} for each in (one, two))
        assert of_two == of_one
        assert (two.parent / "samples.csv").read_text() == (one.parent / "samples.csv").read_text()
        shares = [[each.record for each in SampleFile(two.parent / f"samples-{process}.jsonl")] for process in (0, 1)]
        assert shares == [[0, 2], [1]]


def test_a_launch_that_lacks_something_fails_before_the_work(
    cli: Cli, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_picture(tmp_path / "a.png")
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps({"image": "a.png", "prompt": "the thing", "masks": []}))
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    assert_one_sentence(cli("eval", tiny_model_folder, own, "--out", tmp_path / "results"), "MASTER_ADDR")
    assert not (tmp_path / "results").exists()


def test_torchrun_leaves_the_options_of_eval_alone() -> None:
    """Its parser looks at all words of the line, and refuses beginnings of several options of its own."""
    ours = ["eval", "nano", "toyland|scenes=2", "--root", "x", "--limit", "2", "--worst", "1", "--json", "f.json"]
    told = get_args_parser().parse_args(["--standalone", "-m", "self1e", *ours])
    assert told.training_script_args == ours


# ------------------------------------------------------------------------------------------------------------ merge


def test_a_model_to_give_away(cli: Cli, tiny_model_folder: Path, tmp_path: Path) -> None:
    calibrating = ("--calibrate", "toyland|seed=99", "--limit", 1)
    outcome = cli("merge", tiny_model_folder, tmp_path / "model", "--dtype", "float16", *calibrating)
    assert outcome.code == 0, outcome.err
    assert "MB" in outcome.out
    loaded = load_model(tmp_path / "model", LoadOptions(device="cpu"))
    assert loaded.calibration is not None
    weights, exported = (load_file(each / "model.safetensors") for each in (tiny_model_folder, tmp_path / "model"))
    assert weights.keys() == exported.keys()
    assert all((exported[name] == weights[name].half()).all() for name in weights)
    assert_one_sentence(cli("merge", tiny_model_folder, tmp_path / "model"), "exists")
    assert_one_sentence(cli("merge", tiny_model_folder, tmp_path / "other", "--base", "nano"), "a whole model")
    assert_one_sentence(cli("merge", tiny_model_folder, tmp_path / "other", "--dtype", "int3"), "int3")
    outcome = cli("merge", tiny_model_folder, tmp_path / "other", "--calibrate", "imagenet")
    assert_one_sentence(outcome, "no benchmark 'imagenet'")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_average(cli: Cli, tiny_model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model_folder, tmp_path / "later")
    weights = load_file(tiny_model_folder / "model.safetensors")
    later = {name: weight + 1 for name, weight in weights.items()}
    save_file(later, tmp_path / "later" / "model.safetensors", metadata={"format": "pt"})
    mixing = ("--average", tmp_path / "later", "--share", 0.25, "--dtype", "float32")
    assert cli("merge", tiny_model_folder, tmp_path / "model", *mixing).code == 0
    averaged = load_file(tmp_path / "model" / "model.safetensors")
    for name, weight in weights.items():
        torch.testing.assert_close(averaged[name], weight + 0.25)
    assert_one_sentence(cli("merge", "nano", tmp_path / "other", *mixing), "text_config")
    config = json.loads((tmp_path / "later" / "config.json").read_text())
    config |= {"image_to_segmentation": False, "ce_weight": 9}
    (tmp_path / "later" / "config.json").write_text(json.dumps(config))
    outcome = cli("merge", tiny_model_folder, tmp_path / "other", *mixing)
    assert_one_sentence(outcome, "differ in image_to_segmentation:")


def test_merging_keeps_what_belongs_to_the_model(cli: Cli, tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "calibrated"
    shutil.copytree(tiny_model_folder, folder)
    settings = json.loads((folder / "processor_config.json").read_text()) | {"max_tiles": 4}
    (folder / "processor_config.json").write_text(json.dumps(settings))
    calibration = Calibration(present=((0.5, 0.25), (1.0, 0.75)))
    (folder / CALIBRATION_NAME).write_text(json.dumps(calibration.to_dict()))
    TaughtNouns({"dog": ["dogs"]}, iou={"dog": 0.5}).write(folder)
    assert cli("merge", folder, tmp_path / "model").code == 0
    assert json.loads((tmp_path / "model" / "processor_config.json").read_text())["max_tiles"] == 4
    exported = json.loads((tmp_path / "model" / CALIBRATION_NAME).read_text())
    assert Calibration.from_dict(exported) == calibration
    assert TaughtNouns.read(tmp_path / "model") == TaughtNouns.read(folder)


def test_an_average_of_finished_models(cli: Cli, tiny_model_folder: Path, tmp_path: Path) -> None:
    """It knows the nouns of the first but not their figures, is stored as that is, and has nobody's calibration."""
    finished, earlier = tmp_path / "finished", tmp_path / "earlier"
    for folder, dtype in ((finished, torch.float16), (earlier, torch.float32)):
        shutil.copytree(tiny_model_folder, folder)
        stored = load_file(tiny_model_folder / "model.safetensors").items()
        drawn = {name: (weight + torch.rand(weight.shape)).to(dtype) for name, weight in stored}
        save_file(drawn, folder / "model.safetensors", metadata={"format": "pt"})
    calibration = Calibration(present=((0.5, 0.25), (1.0, 0.75)))
    (finished / CALIBRATION_NAME).write_text(json.dumps(calibration.to_dict()))
    TaughtNouns({"dog": ["dogs"]}, iou={"dog": 0.5}).write(finished)
    TaughtNouns({"cat": ["cats"]}).write(earlier)
    outcome = cli("merge", finished, tmp_path / "model", "--average", earlier, "--share", 0.15)
    assert outcome.code == 0 and "scores are raw" in outcome.err
    ours, theirs, averaged = (load_file(each / "model.safetensors") for each in (finished, earlier, tmp_path / "model"))
    for name, weight in ours.items():
        assert torch.equal(averaged[name], weight.float().lerp(theirs[name], 0.15).half())
    assert TaughtNouns.read(tmp_path / "model") == TaughtNouns({"dog": ["dogs"]})  # its figures are of other weights
    assert not (tmp_path / "model" / CALIBRATION_NAME).exists()
    outcome = cli("merge", earlier, tmp_path / "reversed", "--average", finished)
    assert outcome.code == 0 and "scores are raw" not in outcome.err
    assert not (tmp_path / "reversed" / CALIBRATION_NAME).exists()


# ---------------------------------------------------------------------------------------------------------- toyland


def test_toyland_draw(cli: Cli, tmp_path: Path) -> None:
    arguments = ("toyland", "draw", "--seed", 5, "-n", 2, "--size", 96, "--questions", "--out", tmp_path)
    assert cli(*arguments).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"toyland-{seed}.{suffix}" for seed in (5, 6) for suffix in ("json", "png")
    ]
    example = toyland_example(5, training=False, size=96)
    path = tmp_path / "toyland-5.png"
    np.testing.assert_array_equal(np.asarray(Image.open(path)), np.asarray(example.image))
    asked = json.loads((tmp_path / "toyland-5.json").read_text())["questions"]
    assert [entry["question"] for entry in asked] == [talk.turns[0].question for talk in example.conversations]
    for entry, talk in zip(asked, example.conversations, strict=True):
        for rle, mask in zip(entry.get("masks", []), talk.masks, strict=True):
            np.testing.assert_array_equal(coco_mask.decode(rle), mask)
    assert_one_sentence(cli(*arguments), "--overwrite")
