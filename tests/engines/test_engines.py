"""Exported models beside the models that they were made of."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from building import build, copy_sources
from command_line import Cli, assert_one_sentence
from noise import PROMPTS, Exported, Models, noise

from self1e import ModelError, Segmenter
from self1e.checkpoints.hub import open_checkpoint
from self1e.engines import programs
from self1e.engines.artefact import SETTINGS, TOKENIZER, open_artefact, sha256_of
from self1e.engines.programs import has_bfloat16
from self1e.evaluation.benchmarks import open_benchmark
from self1e.evaluation.run import EvaluationError, check_settings
from self1e.export.verify import compared, samples_to_check
from self1e.processing.prompts import PromptError
from self1e.segment.agreement import MaskMap, mask_maps
from self1e.segment.on_engine import EngineRunner
from self1e.segment.options import LoadOptions
from self1e.segment.results import Segmentation
from self1e.segment.runner import NumbersError
from self1e.serve.model_process import facts_of
from self1e.web.models import LocalModel

CLOSE = 1e-3


def assert_same(ours: list[Segmentation], theirs: list[Segmentation]) -> None:
    """Logits agree to `CLOSE`, and masks wherever these are not closer to 0 than that."""
    for one, other in zip(ours, theirs, strict=True):
        assert one.logits is not None and other.logits is not None
        assert np.abs(one.logits - other.logits).max() < CLOSE
        sure = np.abs(other.logits) >= CLOSE
        assert np.array_equal(one.masks & sure, other.masks & sure)
        assert np.allclose(one.scores, other.scores, atol=1e-4)
        assert (one.prompt, one.text, one.size, one.image) == (other.prompt, other.text, other.size, other.image)


@pytest.mark.parametrize("looking", [True, False])
@pytest.mark.parametrize(
    ("kind", "engine"),
    [
        ("onnx", "onnxruntime"),
        ("onnx", "openvino"),
        pytest.param("openvino", "openvino", marks=pytest.mark.slow),
        pytest.param("torch", "torch", marks=pytest.mark.slow),
    ],
)
def test_masks_are_those_of_the_model(
    exported: Exported, models: Models, looking: bool, kind: str, engine: str
) -> None:
    """Of any number of pictures, tiles, rows and words, whatever the numbers were when torch traced it."""
    pytest.importorskip(engine)
    artefact = exported(looking, kind)
    ours = Segmenter.from_pretrained(artefact.folder, engine=engine, max_tiles=4)
    theirs = Segmenter.from_pretrained(models(looking), device="cpu", dtype="float32", max_tiles=4)
    assert ours.runner.packed == theirs.runner.packed == (not looking)
    pairs: list[Any] = [(noise(), PROMPTS), (noise(300, 90, seed=1), PROMPTS[0]), (noise(60, 180, seed=2), PROMPTS[:2])]
    found, expected = (each.segment(pairs, logits=True, template="auto") for each in (ours, theirs))
    for of_ours, of_theirs in zip(found, expected, strict=True):
        assert_same(*([each] if isinstance(each, Segmentation) else each for each in (of_ours, of_theirs)))
    assert np.abs(found[0][0].logits - found[0][1].logits).max() > 0.01  # or the comparison would mean little


@pytest.fixture(scope="module")
def maps_in_full(exported: Exported) -> list[MaskMap]:
    """Of nano, in float32."""
    return mask_maps(EngineRunner(exported(False)), samples_to_check()[:4])


@pytest.mark.parametrize(("precision", "dtype"), [("float16", "float32"), ("int8", "bfloat16")])
def test_openvino_reads_onnx_of_any_precision_and_computes_in_both_types(
    exported: Exported, maps_in_full: list[MaskMap], precision: str, dtype: str
) -> None:
    """Masks are nearly those in float32. Were logits not to differ at all, nothing would have been rounded."""
    pytest.importorskip("openvino")
    if dtype == "bfloat16" and not has_bfloat16():
        pytest.skip("this CPU has no instructions for bfloat16")
    options = LoadOptions(engine="openvino", dtype=dtype)
    ours = Segmenter.load(exported(False, "onnx", precision), options)
    found = compared(maps_in_full, mask_maps(ours.runner, samples_to_check()[:4]), pictures=4)
    assert found.iou >= 0.97 and 1e-3 < found.largest_difference < 3, found
    assert ours.runner.dtype == precision + (" in bfloat16" if dtype == "bfloat16" else "")
    one, other = (each.segment(noise(), "ball", logits=True) for each in (copy.deepcopy(ours), ours))
    assert_same([one], [other])


def test_a_cpu_without_bfloat16(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "has_bfloat16", lambda: False)
    folder = exported(False).folder
    with pytest.raises(ValueError, match="this CPU has no instructions for bfloat16: leave dtype out"):
        Segmenter.from_pretrained(folder, engine="openvino", dtype="bfloat16")


@pytest.mark.parametrize(
    ("precision", "computing", "said"),
    [
        ("float32", "float32", "overflow in float32$"),
        ("int8", "float32", "overflow in int8: export it in float32$"),
        ("int8", "bfloat16", "overflow in bfloat16: leave dtype out$"),
    ],
)
def test_an_overflow_says_what_would_help(exported: Exported, precision: str, computing: str, said: str) -> None:
    runner: Any = EngineRunner(exported(False))
    runner.artefact, runner.computing = dataclasses.replace(runner.artefact, precision=precision), computing
    runner._masks = lambda arrays: {"logits": np.full((1, 8, 8), np.inf, np.float32)}
    with pytest.raises(NumbersError, match=said):
        mask_maps(runner, [(noise(), ["the ball"])])


def test_types_are_offered_only_with_engines_that_run_the_model() -> None:
    with pytest.raises(ValueError, match=r"onnxruntime computes in float32, .* or use engine='openvino'$"):
        programs.choose_computing("onnxruntime", "onnx", "bfloat16")
    with pytest.raises(ValueError, match=r"torch computes in float32, not in bfloat16: leave dtype out$"):
        programs.choose_computing("torch", "torch", "bfloat16")


def test_a_picture_is_encoded_once(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = Segmenter.from_pretrained(exported(False).folder)
    runner: Any = segmenter.runner
    encode, times = runner._encode, []
    monkeypatch.setattr(runner, "_encode", lambda arrays: times.append(1) or encode(arrays))
    picture = segmenter.set_image(noise())
    several = segmenter.segment(prompt=PROMPTS, logits=True)
    assert_same([segmenter.segment(picture, prompt, logits=True) for prompt in PROMPTS], several)
    assert len(times) == 1
    assert picture.nbytes > 3 * 96 * 96 + sum(each.nbytes for each in picture.features.values()) - 1


def test_what_belongs_to_the_model_comes_along(exported: Exported, models: Models) -> None:
    ours = Segmenter.from_pretrained(exported(False).folder)
    theirs = Segmenter.from_pretrained(models(False), device="cpu")
    assert ours.calibration is not None and ours.calibration == theirs.calibration
    assert exported(False).model == models(False).name, "and not whose disk it was on"
    assert ours.nouns is not None and list(ours.nouns) == ["ball"]
    with pytest.warns(UserWarning, match="was not taught 'the cat'"):
        ours.segment(noise(), "the cat")
    assert "exported" in repr(ours) and ours.processor.max_tiles == theirs.processor.max_tiles
    given, guided, resized = (
        ours.segment(noise(), "the ball", refine=way, logits=True) for way in (None, "guided", "none")
    )
    assert_same([given], [guided])
    assert (
        given.logits is not None and resized.logits is not None and np.abs(given.logits - resized.logits).max() > 1e-3
    )


def test_what_servers_and_evaluations_say_of_it(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = Segmenter.from_pretrained(exported(False).folder)
    facts = facts_of(segmenter)
    assert (facts["engine"], facts["device"], facts["dtype"]) == ("onnxruntime", "cpu", "float32")
    assert facts["context"] == 2048 and facts["calibrated"] and facts["nouns"] == ["ball"]
    benchmark = open_benchmark("toyland|scenes=1", tmp_path)
    check_settings(segmenter, benchmark, tmp_path, exported(False).sha256())
    monkeypatch.setattr("onnxruntime.__version__", "0.1")
    with pytest.raises(EvaluationError, match=r"versions: .*'onnxruntime': .* now"):
        check_settings(segmenter, benchmark, tmp_path, exported(False).sha256())
    monkeypatch.undo()
    check_settings(segmenter, benchmark, tmp_path, exported(False).sha256())
    other = Segmenter.from_pretrained(exported(False).folder, engine="openvino")
    with pytest.raises(EvaluationError, match="engine: onnxruntime there, openvino now"):
        check_settings(other, benchmark, tmp_path, exported(False).sha256())


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_a_page_that_shows_it_does_not_offer_to_explain(exported: Exported, engine: str) -> None:
    runner = EngineRunner(exported(False))
    runner.engine = engine
    assert not LocalModel(Segmenter(runner)).explains


def test_copies_and_other_processes_load_it_again(exported: Exported) -> None:
    segmenter = Segmenter.from_pretrained(exported(False).folder)
    segmenter.set_image(noise())
    expected = [segmenter.segment(prompt="the ball", logits=True)]
    for other in (copy.deepcopy(segmenter), pickle.loads(pickle.dumps(segmenter))):
        assert_same([other.segment(prompt="the ball", logits=True)], expected)


def test_what_an_exported_model_cannot_do(exported: Exported, models: Models) -> None:
    folder = exported(False).folder
    segmenter = Segmenter.from_pretrained(folder)
    with pytest.raises(ValueError, match="writes no answers: chat with the model that it was made of"):
        segmenter.chat(noise(), "What is this?")
    with pytest.raises(AttributeError, match="exported model, which has no `model`"):
        _ = segmenter.model
    with pytest.raises(PromptError, match="too long"):
        segmenter.segment(noise(), "ball " * 20_000)
    with pytest.raises(ValueError, match="encoded by another model"):
        segmenter.segment(Segmenter.from_pretrained(models(False), device="cpu").encode(noise()), "ball")
    for options, said in (
        ({"device": "cuda"}, "run on the CPU, not on 'cuda'"),
        ({"quantize": "int8", "compile": True}, "whose quantize, compile cannot be chosen"),
        ({"dtype": "bfloat16"}, "onnxruntime computes in float32, not in bfloat16: .* or use engine='openvino'"),
        ({"dtype": "float16", "engine": "openvino"}, "openvino computes in float32 or bfloat16, not in float16: leave"),
        ({"engine": "tensorflow"}, "unknown engine 'tensorflow'"),
        ({"engine": "torch"}, "torch does not run what was exported to onnx"),
    ):
        with pytest.raises(ValueError, match=said):
            Segmenter.from_pretrained(folder, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'onnxruntime' runs exported models, and nano is none"):
        Segmenter.from_pretrained("nano", engine="onnxruntime")


def test_commands_that_need_answers_say_so_at_once(exported: Exported, cli: Cli, tmp_path: Path) -> None:
    folder = exported(False).folder
    noise().save(tmp_path / "noise.png")
    assert_one_sentence(cli("chat", tmp_path / "noise.png", "--model", folder), "writes no answers: chat with the")
    outcome = cli("eval", folder, "toyland|scenes=2", "--answer", "generated", "--out", tmp_path / "out")
    assert_one_sentence(outcome, "toyland", "is an exported model, which writes none: leave that out")
    assert not (tmp_path / "out").exists()


def test_folders_that_are_damaged(exported: Exported, tmp_path: Path) -> None:
    folder = shutil.copytree(exported(False).folder, tmp_path / "copy")
    artefact = open_artefact(folder)
    artefact.check_files()
    assert artefact.sha256() == exported(False).sha256()
    settings = json.loads((folder / SETTINGS).read_text())

    def refused(said: str) -> None:
        with pytest.raises(ModelError, match=said):
            Segmenter.from_pretrained(folder)

    for changes, said in (
        ({"format": 99}, "has format 99, and 1 is known here: export the model again, or update"),
        ({"colour": "red"}, "unknown: colour"),
        ({"kind": "tensorflow"}, "unknown kind 'tensorflow'"),
        ({"refine": "sharp"}, "unknown refine 'sharp'"),
        ({"files": settings["files"] | {"../outside": "0"}}, "'../outside' is not in the folder"),
        ({"files": settings["files"] | {"/etc/hostname": "0"}}, "'/etc/hostname' is not in the folder"),
        ({"files": list(settings["files"])}, "files is .* must be dict"),
        ({"image_size": "256"}, "image_size is '256', and must be int"),
        ({"kind": ["onnx"]}, "kind is .* must be str"),
        ({"programs": settings["programs"] | {"masks": ["masks.onnx"]}}, "no program 'masks' among its files"),
        ({"outputs": settings["outputs"] | {"masks": "logits"}}, "no program 'masks' among its files"),
        ({"programs": settings["programs"] | {"masks": "../masks.onnx"}}, "no program 'masks' among its files"),
        ({"programs": {"picture": "picture.onnx"}}, "no program 'masks' among its files"),
        ({"outputs": {"masks": ["logits"]}}, "no program 'picture' among its files"),
        ({"files": {name: "0" for name in settings["files"] if name != TOKENIZER}}, "no tokenizer.json among"),
        ({"outputs": settings["outputs"] | {"masks": ["logits", 5]}}, "no program 'masks' among its files"),
        ({"outputs": settings["outputs"] | {"masks": ["maps"]}}, "program 'masks' gives maps, and no logits"),
        ({"files": settings["files"] | {TOKENIZER: 5}}, "files is .* must have a text for each file"),
        ({"source_sha256": None}, "source_sha256 is None, and must be str"),
        ({"packed": 1}, "packed is 1, and must be bool"),
        ({"map_side": 0}, "map_side is 0, and must be at least 1"),
        ({"calibration": [[0, 1]]}, r"calibration is \[\[0, 1\]\], and must be dict"),
        ({"calibration": {"present": 5}}, "calibration: .*: export the model again"),
        ({"calibration": {"present": [[0, 2]]}}, "calibration: .* outside .*: export the model again"),
        ({"calibration": {"past": []}}, "calibration: unknown keys .*: export the model again"),
        ({"nouns": ["ball"]}, r"nouns is \['ball'\], and must be dict"),
        ({"nouns": {"ball": ["balls"]}}, "nouns: nouns must have the form .*: export the model again"),
        ({"nouns": {"words": {"ball": [None]}}}, "nouns: nouns must have the form .*: export the model again"),
        ({"verified": settings["verified"] | {"iou": "1"}}, "verified is .* must have numbers, and names of engines"),
        ({"verified": settings["verified"] | {"telling": "1"}}, "verified is .* must have numbers"),
        ({"verified": settings["verified"] | {"engines": "openvino"}}, "verified is .* names of engines"),
        ({"verified": []}, "cannot be used .*: export the model again"),
        ({"prefix": [1, 2]}, r"another `prefix` than self1e .* has: \[1, 2\], in place of .*; export the model again"),
        ({"special": {"[SEG]": 5}}, "with another `special`"),
        ({"special": {}}, "with another `special`"),
        ({"mean": [0.5, 0.5, 0.5]}, r"with another `mean` .*: \[0.5, 0.5, 0.5\], in place of"),
        ({"mean": ["a", None]}, "with another `mean`"),
        ({"deviation": settings["deviation"][::-1]}, "with another `deviation`"),
        ({"questions": {"phrase": "{phrase}?"}}, "with another `questions`"),
        ({"questions": settings["questions"] | {"sentence": None}}, "with another `questions`"),
        ({"answer": "It is [SEG]."}, r"with another `answer` .*: 'It is \[SEG\]\.', in place of"),
    ):
        (folder / SETTINGS).write_text(json.dumps(settings | changes))
        refused(said)
    for unreadable in ("{", "[" * 100_000):
        (folder / SETTINGS).write_text(unreadable)
        refused("cannot be read")
    (folder / SETTINGS).write_text(json.dumps(settings))
    tokenizer = (folder / TOKENIZER).read_bytes()
    for name, content, said in (
        (TOKENIZER, tokenizer[:1000], "tokenizer.json cannot be read"),
        (
            TOKENIZER,
            tokenizer.replace(b"[SEG]", b"[MASK]"),
            r"tokenizer.json is of another model \(the tokenizer has no \[SEG\] token",
        ),
        ("masks.onnx", b"nothing", "onnxruntime cannot load .*masks.onnx"),
    ):
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        refused(rf"{name} is not what was exported \(its SHA-256 differs\)")
        dataclasses.replace(artefact, files=artefact.files | {name: sha256_of(folder / name)}).write()
        refused(said)
        (folder / name).write_bytes(kept)
        artefact.write()
    (folder / "masks.onnx").unlink()
    refused("has no masks.onnx")
    with pytest.raises(ModelError, match=r"is incomplete: it has no masks\.onnx"):
        artefact.check_files()


def test_flipped_bits_are_seen_whenever_it_is_loaded(exported: Exported, cli: Cli, tmp_path: Path) -> None:
    """Engines load such files, and give other masks."""
    folder = shutil.copytree(exported(False).folder, tmp_path / "copy")
    segmenter = Segmenter.from_pretrained(folder)
    program = folder / "masks.onnx"
    content = bytearray(program.read_bytes())
    content[len(content) // 2] ^= 1
    program.write_bytes(content)
    EngineRunner._open(segmenter.runner, "masks")  # type: ignore[arg-type]
    for load in (Segmenter.from_pretrained, lambda _: copy.deepcopy(segmenter)):
        with pytest.raises(ModelError, match=r"masks\.onnx is not what was exported"):
            load(folder)
    noise().save(tmp_path / "noise.png")
    out = tmp_path / "out"
    for command in (
        ("eval", folder, "toyland|scenes=2"),
        ("segment", tmp_path / "noise.png", "-p", "x", "--model", folder),
    ):
        assert_one_sentence(cli(*command, "--out", out), "masks.onnx is not what was exported")
        assert not list(out.rglob("*.json"))


def test_an_artefact_says_what_is_in_it(exported: Exported, models: Models, tmp_path: Path) -> None:
    artefact = exported(True)
    copied = dataclasses.replace(artefact, folder=shutil.copytree(artefact.folder, tmp_path / "copy"))
    (copied.folder / SETTINGS).unlink()
    copied.write()
    assert open_artefact(copied.folder) == copied
    assert {path.name for path in artefact.folder.iterdir()} == {SETTINGS, *artefact.files}
    assert artefact.verified is not None and artefact.verified.pictures == artefact.verified.masks == 2
    assert artefact.verified.largest_difference < CLOSE
    both = [engine for engine in ("onnxruntime", "openvino") if find_spec(engine)]
    assert artefact.verified.engines == both and f"in {' and '.join(both)}, masks agree" in str(artefact.verified)
    assert artefact.image_size == 64 and artefact.map_side == 16
    assert Path(artefact.model).name == models(True).name
    assert artefact.source_sha256 == open_checkpoint(str(models(True))).sha256()


def test_a_folder_of_an_earlier_version_is_read(exported: Exported, tmp_path: Path) -> None:
    """It does not say how many masks have pixels, nor which engines were looked at."""
    folder = shutil.copytree(exported(False).folder, tmp_path / "copy")
    settings = json.loads((folder / SETTINGS).read_text())
    for name in ("telling", "engines"):
        del settings["verified"][name]
    (folder / SETTINGS).write_text(json.dumps(settings))
    assert str(open_artefact(folder).verified).endswith("masks agree to an IoU of 1.0000 (2 masks of 2 pictures)")


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where self1e-runtime is installed: what is in its wheel."""
    folder = tmp_path_factory.mktemp("runtime")
    wheel = build(copy_sources(folder / "sources") / "runtime", "wheel", folder / "dist")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


WITHOUT_TORCH = """
import sys
from importlib.machinery import PathFinder
class Others(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.split(".")[0] in ("torch", "transformers", "huggingface_hub", "safetensors", "yaml")
        return None if hidden else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Others
"""
IN_RUNTIME = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from pathlib import Path
import self1e
from self1e.cli import run
assert Path(self1e.__file__).is_relative_to(sys.path[0])
"""


def in_runtime(runtime: Path, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs code where self1e-runtime is installed."""
    return subprocess.run(
        [sys.executable, "-c", code, str(runtime), *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_it_runs_without_torch(exported: Exported, runtime: Path, tmp_path: Path, engine: str) -> None:
    """In Python and on the command line, from what the wheel of self1e-runtime holds."""
    pytest.importorskip(engine)
    noise().save(tmp_path / "noise.png")
    imported = "import importlib\nfor name in sys.argv.pop(1).split(): importlib.import_module(name)\n"
    files = (path.relative_to(runtime).with_suffix("") for path in runtime.rglob("*.py") if path.stem[0] != "_")
    command = ["segment", tmp_path / "noise.png", "-p", "the red ball", "-p", "the cup on the left", "--votes", "2"]
    command += ["--model", exported(False).folder, "--engine", engine, "--out", tmp_path / "out"]
    command += ["--format", "overlay,mask,json,coco,labelme"]
    code = WITHOUT_TORCH + IN_RUNTIME + imported + "sys.exit(run(sys.argv[1:]))"
    done = in_runtime(runtime, code, " ".join(".".join(path.parts) for path in files), *command)
    assert done.returncode in (0, 1), done.stderr
    assert "found" in done.stdout
    result = json.loads((tmp_path / "out" / "noise.the-red-ball.json").read_text())
    assert (result["width"], result["height"], result["text"]) == (96, 96, "[SEG].")


ASKED = """
import contextlib, io, json
for command in json.loads(sys.argv[3]):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        code = run(command)
    print(json.dumps([code, said.getvalue()]))
try:
    self1e.Segmenter.from_pretrained(sys.argv[1]).explain(sys.argv[2], "the ball")
except AttributeError as error:
    print(json.dumps([None, str(error)]))
"""


def test_what_the_runtime_has_and_lacks(exported: Exported, runtime: Path, tmp_path: Path) -> None:
    """Torch is hidden from the process, but not from those that it starts: it may be there, for something else."""
    model, damaged = exported(False).folder, shutil.copytree(exported(False).folder, tmp_path / "damaged")
    (damaged / TOKENIZER).write_text("")
    pictures = [tmp_path / "one.png", tmp_path / "other.png"]
    for seed, picture in enumerate(pictures):
        noise(seed=seed).save(picture)
    segment = ["segment", *map(str, pictures), "-p", "the ball", "--out", str(tmp_path / "out"), "--overwrite"]
    asked = [
        (["info", str(model), "--no-hash"], ""),
        (["info", str(model)], ""),
        (["info", str(damaged)], "SHA-256 differs"),
        (["info", "nano"], "nano is no folder that `self1e export` made"),
        ([*segment, "--model", "nano"], "all else needs torch and the whole package"),
        ([*segment, "--model", str(model), "--processes", "2"], ""),
        ([*segment, "--model", str(model), "--ray", "auto"], "self1e-runtime runs exported models"),
        ([*segment, "--server", "http://127.0.0.1:1"], "self1e-runtime runs exported models and has no self1e.client"),
    ]
    commands = json.dumps([command for command, _ in asked])
    done = in_runtime(runtime, WITHOUT_TORCH + IN_RUNTIME + ASKED, model, pictures[0], commands)
    assert done.returncode == 0, done.stderr
    *outcomes, (_, unexplained) = (json.loads(line) for line in done.stdout.splitlines() if line[:1] == "[")
    for (code, said), (command, expected) in zip(outcomes, asked, strict=True):
        assert code == 2 if expected else code in (0, 1), (command, said)
        assert expected in said and "Traceback" not in said, (command, said)
    assert "is an exported model, which has no `model`" in unexplained
