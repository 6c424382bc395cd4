"""`self1e export`: what it refuses, and what it promises of files."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Cli, assert_one_sentence
from noise import Exported, Models, noise, samples
from safetensors.torch import load_file, save_file

import self1e
from self1e import ModelError, Segmenter
from self1e.engines import programs
from self1e.engines.artefact import SETTINGS, Verified, open_artefact, sha256_of
from self1e.engines.programs import has_bfloat16
from self1e.export import speed
from self1e.export.export import Exporter, bare_name
from self1e.export.verify import (
    ExportError,
    compared,
    maps_to_check,
    sample_maps,
    samples_to_check,
    verify,
    verify_exported,
)
from self1e.segment import on_engine
from self1e.segment.agreement import MaskMap, PromptedPicture
from self1e.segment.on_engine import EngineRunner


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "openvino"])
@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_fewer_bits_give_the_same_masks(exported: Exported, kind: str, precision: str) -> None:
    """Of nano; to be as far off as float32 would mean that nothing was rounded."""
    for package in ("openvino", "nncf"):
        pytest.importorskip(package)
    full, fewer = (exported(False, kind, each) for each in ("float32", precision))
    assert full.verified is not None and fewer.verified is not None
    assert fewer.verified.iou >= 0.97 and fewer.verified.largest_difference > 10 * full.verified.largest_difference
    sizes = [sum(path.stat().st_size for path in each.folder.iterdir()) for each in (full, fewer)]
    assert sizes[1] < (0.6 if precision == "float16" else 0.5) * sizes[0]
    found = Segmenter.from_pretrained(fewer.folder).segment(noise(), "the red ball", logits=True)
    assert found.logits is not None and np.isfinite(found.logits).all()


TORCH_ALONE = """
import sys
for hidden in ("transformers", "safetensors", "huggingface_hub", "self1e.model.network", "self1e.segment.load"):
    sys.modules[hidden] = None  # cannot be imported
import numpy as np
from self1e import Segmenter
segmenter = Segmenter.from_pretrained(sys.argv[1])
assert segmenter.runner.facts()["engine"] == "torch"
np.save(sys.argv[3], segmenter.segment(sys.argv[2], "the red ball", logits=True).logits)
"""


@pytest.mark.slow
def test_torch_alone_runs_it(exported: Exported, models: Models, tmp_path: Path) -> None:
    """Without transformers, and without the code of the model."""
    artefact = exported(True, "torch")
    assert artefact.verified is not None and artefact.verified.largest_difference < 1e-3
    picture, logits = tmp_path / "noise.png", tmp_path / "logits.npy"
    noise().save(picture)
    command = [sys.executable, "-c", TORCH_ALONE, str(artefact.folder), str(picture), str(logits)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    model = Segmenter.from_pretrained(models(True), device="cpu", dtype="float32")
    expected = model.segment(picture, "the red ball", logits=True).logits
    assert expected is not None and np.abs(np.load(logits) - expected).max() < 1e-3


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_numbers_of_a_large_program_lie_beside_it(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """Where one file may not hold them. Engines find them there, and the check of files knows them."""
    pytest.importorskip(engine)
    import onnx

    from self1e.export import to_onnx

    small = exported(False)  # before the limit changes, as others read it, too
    monkeypatch.setattr(to_onnx, "MOST_BYTES", 0)
    folder = shutil.copytree(small.folder, tmp_path / "large")
    for name in small.programs.values():
        to_onnx.save(onnx.load(folder / name), folder / name)
    files = {path.name: sha256_of(path) for path in folder.iterdir() if path.name != SETTINGS}
    assert files.keys() - small.files.keys() == {"picture.onnx.data", "masks.onnx.data"}
    assert (folder / "masks.onnx").stat().st_size < 0.2 * (small.folder / "masks.onnx").stat().st_size
    dataclasses.replace(small, folder=folder, files=files).write()
    ours, theirs = (Segmenter.from_pretrained(each, engine=engine) for each in (folder, small.folder))
    one, other = (each.segment(noise(), "the ball", logits=True).logits for each in (ours, theirs))
    assert one is not None and other is not None and np.abs(one - other).max() < 1e-4
    (folder / "masks.onnx.data").unlink()
    with pytest.raises(ModelError, match=r"has no masks\.onnx\.data"):
        open_artefact(folder)


def test_what_changes_masks_is_refused(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the figures, and by the limits of the precision."""
    other = EngineRunner(exported(False))
    masks, before = other._masks, sample_maps(other, samples())

    def verified(precision: str) -> Verified:
        return verify(before, sample_maps(other, samples()), precision, pictures=2)

    assert verified("float32").changed == 0
    monkeypatch.setattr(other, "_masks", lambda arrays: {"logits": masks(arrays)["logits"] + 0.002})
    with pytest.raises(ExportError, match=r"differ by 0\.002 at most.* 0\.001 is the most"):
        verified("float32")
    assert verified("float16").largest_difference == pytest.approx(0.002, rel=0.01)
    monkeypatch.setattr(other, "_masks", lambda arrays: {"logits": -masks(arrays)["logits"]})
    with pytest.raises(ExportError, match=r"int8 changes the masks of this model: .*IoU of 0\.0000.* 0\.97 is"):
        verified("int8")


@pytest.mark.parametrize(
    ("looking", "wrong", "several", "said"),
    [
        (False, "onnxruntime", True, "in onnxruntime, several prompts asked together: "),
        (True, "onnxruntime", True, "in onnxruntime, several prompts asked together: "),
        (False, "openvino", False, "in openvino: "),
    ],
)
def test_every_engine_is_asked_for_one_prompt_and_for_several(
    exported: Exported, monkeypatch: pytest.MonkeyPatch, looking: bool, wrong: str, several: bool, said: str
) -> None:
    """In one row, where pictures do not look at `[SEG]`, and in several, where they do."""
    pytest.importorskip(wrong)
    asked = set[tuple[str, int, int]]()

    def open_program(path: Path, engine: str, *given: Any, **options: Any) -> Any:
        program = programs.open_program(path, engine, *given, **options)

        def run(arrays: Any) -> Any:
            found = program(arrays)
            if "marks" in arrays:
                asked.add((engine, len(arrays["marks"]), arrays["conversations"].max()))
                if engine == wrong and len(arrays["marks"]) > several:
                    found["logits"] += 0.02
            return found

        return run

    artefact = exported(looking)
    before = maps_to_check(EngineRunner(artefact), samples())
    monkeypatch.setattr(on_engine, "open_program", open_program)
    with pytest.raises(ExportError, match=rf"^{said}the exported model differs from the model: .* by 0\.02"):
        verify_exported(artefact, before, samples())
    assert ("onnxruntime", 1, 0) in asked and ("onnxruntime", 3, 0 if looking else 3) in asked


def test_it_is_said_how_many_masks_could_be_compared() -> None:
    half, nothing = np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 8, 8), np.full((1, 8, 8), -1, np.float32)
    for maps, said in (
        ([half, nothing, nothing], r"IoU of 1.0000 \(3 masks of 3 pictures, 1 with pixels\)$"),
        ([nothing, nothing], "nothing to compare was found in any of 2 masks of 2 pictures: give --check-pictures$"),
    ):
        given = [(each, (8, 8)) for each in maps]
        assert re.search(said, str(verify(given, given, "int8", pictures=len(maps))))


def test_a_mask_that_turns_empty_is_refused_whatever_the_mean_is() -> None:
    def maps(value: float) -> list[MaskMap]:
        half = np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 8, 8)
        return [(half, (8, 8))] * 40 + [(half + value, (8, 8))]

    found = compared(maps(0), maps(-2), pictures=41)
    assert found.iou > 0.97 and found.masks == 41 and found.changed == 32
    with pytest.raises(ExportError, match="int8 loses what this model finds: 1 of 41 masks turn empty"):
        verify(maps(0), maps(-2), "int8", pictures=41)


def test_pictures_to_check_on() -> None:
    pictures = [image for image, _ in samples_to_check()]
    assert len(pictures) == 20
    assert len({np.asarray(image).tobytes() for image in pictures}) == 20
    assert sum(max(image.size) >= 2 * min(image.size) for image in pictures) == 2


@pytest.mark.slow
def test_what_appears_while_it_is_made_is_kept(models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    from self1e.export import export

    notes = tmp_path / "exported" / "notes"

    def others_write_too(*given: Any) -> None:
        notes.parent.mkdir()
        notes.write_text("theirs")

    monkeypatch.setattr(export, "verify_exported", others_write_too)
    with pytest.raises(FileExistsError, match="exists: choose another folder"):
        export.export_model(str(models(True)), "onnx", notes.parent, samples=samples())
    assert [(path.name, path.read_text()) for path in notes.parent.iterdir()] == [("notes", "theirs")]
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]


def test_pictures_are_looked_at_before_the_work(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    outcome = cli("export", tmp_path / "nowhere", tmp_path / "out", "--to", "onnx", "--check-pictures", tmp_path)
    assert_one_sentence(outcome, "broken.png")


def test_a_model_is_called_by_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However its folder is given; what is no folder keeps its name."""
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert {bare_name(name) for name in (".", "../mine/", "~/mine", str(folder))} == {"mine"}
    assert [bare_name(name) for name in ("mini", "owner/name@main")] == ["mini", "owner/name@main"]


def test_ones_own_pictures_are_compared_beside_the_bundled(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from self1e.export import export

    given: list[PromptedPicture] = []

    def exported(*_: Any, samples: list[PromptedPicture], **__: Any) -> None:
        given.extend(samples)
        raise ModelError("seen enough")

    monkeypatch.setattr(export, "export_model", exported)
    noise().save(tmp_path / "noise.png")
    options = ("--check-pictures", tmp_path, "--check-prompt", "the ball", "--check-prompt", "the kite")
    assert_one_sentence(cli("export", "nano", tmp_path / "out", "--to", "onnx", *options), "seen enough")
    assert len(given) == 21 and given[-1] == (tmp_path / "noise.png", ["the ball", "the kite"])


@pytest.mark.slow
def test_the_command(cli: Cli, models: Models, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    outcome = cli("export", models(True), folder, "--to", "onnx", "--precision", "float16")
    assert outcome.code == 0, outcome.err
    assert "MB, onnx in float16" in outcome.out and "20 pictures" in outcome.out
    assert json.loads((folder / SETTINGS).read_text())["verified"]["pictures"] == 20
    open_artefact(folder).check_files()
    assert_one_sentence(cli("export", models(True), folder, "--to", "onnx"), "exists")
    noise().save(tmp_path / "noise.png")
    picture, out = tmp_path / "noise.png", tmp_path / "out"
    outcome = cli("segment", picture, "-p", "the ball", "--model", folder, "--out", out, "--engine", "onnxruntime")
    assert outcome.code in (0, 1), outcome.err
    assert (out / "noise.the-ball.overlay.png").is_file()
    outcome = cli("segment", picture, "-p", "the ball", "--model", folder, "--out", out, "--engine", "onnxruntime")
    assert "1 of 1 pictures were done before" in outcome.err
    assert "onnx, float16" in cli("info", folder).out


@pytest.mark.slow
def test_the_fastest_is_kept(cli: Cli, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for engine in ("onnxruntime", "openvino"):
        pytest.importorskip(engine)
    outcome = cli("export", models(True), tmp_path / "measured", "--to", "fastest")
    kept = (tmp_path / "measured").exists()  # if torch is not faster, which is the machine's affair
    assert (outcome.out if kept else outcome.err).count(" times as fast here as torch (") >= 2
    assert outcome.code == (0 if kept else 2)
    times = {"openvino": 0.9, "openvino --dtype bfloat16": 1.2, "onnx": 1.4, "torch --dtype bfloat16": 1.3}

    def speed_of(runner: Any, model: Any) -> speed.Speed:
        way = runner.artefact.kind if hasattr(runner, "artefact") else "torch"
        way += " --dtype bfloat16" if "bfloat16" in runner.dtype else ""
        return speed.Speed(1.0, 1.0, times[way], 3, "cpu, float32")

    monkeypatch.setattr(speed, "speed_of", speed_of)
    monkeypatch.setattr(speed, "LEAST_IOU", 0.5)  # masks of that model are noise
    monkeypatch.setattr(speed, "cpu_has_bfloat16", has_bfloat16)
    if not has_bfloat16():
        del times["openvino --dtype bfloat16"], times["torch --dtype bfloat16"]
    folder = tmp_path / "exported"
    found = speed.export_fastest(str(models(True)), folder, "float32", samples=samples())
    assert {kind: each.times for kind, each in found.speeds.items()} == times and not found.refused
    found.artefact.check_files()
    assert found.artefact.kind == "onnx" and open_artefact(folder) == found.artefact
    times["onnx"] = 1.0
    if has_bfloat16():
        with pytest.raises(
            ExportError, match=r"fastest here --dtype bfloat16 \(openvino is 0.90 .*--to openvino exports"
        ):
            speed.export_fastest(str(models(True)), tmp_path / "none", "float32", samples=samples())
        times["torch --dtype bfloat16"] = 1.1
        outcome = cli("export", models(True), tmp_path / "half", "--to", "fastest")
        assert outcome.code == 0 and open_artefact(tmp_path / "half").kind == "openvino"
        assert "openvino --dtype bfloat16 is the fastest here: give --dtype bfloat16 to what runs" in outcome.out
        shutil.rmtree(tmp_path / "half")
        monkeypatch.setattr(speed, "LEAST_IOU", 2.0)
        monkeypatch.setattr(speed, "cpu_has_bfloat16", lambda: False)
        reason = r"openvino --dtype bfloat16: bfloat16 changes the masks"
        with pytest.raises(ExportError, match=rf"fastest here \(openvino is 0.90 times.*; {reason}.*--to onnx"):
            speed.export_fastest(str(models(True)), tmp_path / "none", "float32", samples=samples())
    for has in ("has_bfloat16", "cpu_has_bfloat16"):
        monkeypatch.setattr(speed, has, lambda: False)
    with pytest.raises(ExportError, match=r"torch is the fastest here \(openvino is 0.90 times.*--to onnx"):
        speed.export_fastest(str(models(True)), tmp_path / "none", "float32", samples=samples())
    with pytest.raises(FileExistsError):
        speed.export_fastest(str(models(True)), folder, "float32", samples=samples())
    write = Exporter.write

    def lacking(self: Exporter, kind: str, *given: Any, **options: Any) -> Any:
        if kind == "openvino":
            raise ModelError("to export to openvino needs something: pip install it")
        return write(self, kind, *given, **options)

    monkeypatch.setattr(Exporter, "write", lacking)
    with pytest.raises(ExportError, match=r"fastest here \(onnx is 1.00.*; openvino: to export to openvino"):
        speed.export_fastest(str(models(True)), tmp_path / "none", "float32", samples=samples())
    times["onnx"] = 1.1
    outcome = cli("export", models(True), tmp_path / "left", "--to", "fastest")
    assert outcome.code == 0 and outcome.out.startswith("onnx: 1.10 times as fast here as torch")
    assert "openvino is left out: to export to openvino needs something: pip install it" in outcome.err
    open_artefact(tmp_path / "left").check_files()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "measured") == ["exported", "left"]


@pytest.mark.slow
def test_an_overflow_is_a_refusal(models: Models, tmp_path: Path) -> None:
    """Weights that float16 cannot hold, of a model that is sound in float32."""
    pytest.importorskip("onnxruntime")
    folder = shutil.copytree(models(True), tmp_path / "large")
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("fuse.linear_2.weight"))
    save_file(weights | {name: 1e6 * weights[name]}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ExportError, match=r"onnx: the model's numbers overflow in float16"):
        speed.export_fastest(str(folder), tmp_path / "exported", "float16", samples=samples())
    assert [path.name for path in tmp_path.iterdir()] == ["large"]


class Slow:
    """A runner that takes so many seconds of a clock which it moves."""

    device, dtype = "cpu", "float32"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


@pytest.mark.parametrize(("seconds", "pairs"), [((2.0, 0.5), 4), ((0.01, 0.04), 15), ((30.0, 40.0), 3)])
def test_speed_is_measured_in_turns(monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], pairs: int) -> None:
    clock, ran = [0.0], list[Any]()

    def run(runner: Any, samples: Any) -> None:
        ran.append(runner)
        clock[0] += runner.seconds

    monkeypatch.setattr(speed, "mask_maps", run)
    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock[0])
    model, exported = runners = [Slow(each) for each in seconds]
    found = speed.speed_of(exported, model)  # type: ignore[arg-type]
    assert (found.pairs, found.way) == (pairs, "cpu, float32")
    assert (found.model, found.exported, found.times) == pytest.approx((*seconds, seconds[0] / seconds[1]))
    assert ran[:6] == [*runners, *reversed(runners), *runners] and len(ran) == 2 + 2 * pairs


def test_what_cannot_be_exported(cli: Cli, models: Models, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    assert_one_sentence(cli("export", models(True), folder, "--to", "tensorflow"), "tensorflow")
    assert_one_sentence(cli("export", models(True), folder, "--to", "onnx", "--check-prompt", "x"), "--check-pictures")
    outcome = cli("export", models(True), folder, "--to", "torch", "--precision", "int8")
    assert_one_sentence(outcome, "float32, not in int8")
    assert not folder.exists() and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("package", "kind", "precision"),
    [("onnx", "onnx", "float16"), ("onnxscript", "openvino", "float32"), ("nncf", "openvino", "int8")],
)
def test_a_package_that_is_missing_is_named_before_any_work(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, kind: str, precision: str
) -> None:
    monkeypatch.setattr(self1e, "export", self1e.export)  # is put back in the end, as these modules are:
    for name in [name for name in sys.modules if name.startswith("self1e.export")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    outcome = cli("export", tmp_path / "no-model", tmp_path / "exported", "--to", kind, "--precision", precision)
    assert_one_sentence(outcome, f"to export to {kind} needs {package}: pip install 'self1e[export]'")
