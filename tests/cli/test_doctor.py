"""`self1e doctor`: what is well is told, and what is broken does not keep it from telling the rest."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import Cli
from PIL import Image

from self1e.checkpoints.hub import BUNDLED
from self1e.cli import doctor, doctor_packages, doctor_torch, machine
from self1e.cli.doctor_report import Report
from self1e.segment.quantise import CHECK_PICTURES
from self1e.toyland.generate import generate_scene

ROOT = Path(__file__).parents[2]


def step(name: str) -> doctor_torch.Step:
    return next(each for each in doctor_torch.STEPS if each.name == name)


def fake_package(folder: Path, name: str, code: str) -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(code)
    return folder


@pytest.mark.slow
def test_all_is_well_here(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-m", "self1e", "doctor", "--json"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout
    told = json.loads(ran.stdout)
    assert told["problems"] == []
    assert told["versions"]["torch"] == torch.__version__
    assert told["self-test"]["mini"].startswith("IoU 0.9")
    assert told["self-test"]["seconds"].keys() == {each.name for each in doctor_torch.STEPS}


def test_every_step_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", torch.get_num_threads)
    monkeypatch.setattr(machine, "memory", lambda: 64 * 2**30)
    report = Report()
    assert all(doctor_torch.taken(each, report) for each in doctor_torch.STEPS)
    assert report.problems == []
    tests = report.sections["self-test"]
    assert tests.keys() == BUNDLED.keys()
    assert all(str(told).startswith("IoU 0.9") for told in tests.values())
    assert report.sections["torch"]["threads"] == torch.get_num_threads()
    engines = [name for name in ("onnxruntime", "openvino") if find_spec(name)]
    told = str(report.sections["choices"].get("engine"))
    assert (" --to fastest " in told) == bool(engines) and all(name in told for name in engines)


def test_the_right_mask_is_that_of_the_scene() -> None:
    scene = generate_scene(int(doctor_torch.PICTURE.removeprefix("toyland-")), size=448)
    sky = scene.object_mask(*(thing.id for thing in scene.things if thing.kind == "sky"))
    assert np.array_equal(np.asarray(Image.open(CHECK_PICTURES / f"{doctor_torch.PICTURE}-mask.png")), sky)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "raise ImportError('libtorch_cpu.so: cannot open it')",
            "ImportError: libtorch_cpu.so: cannot open it (~/torch/",
        ),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGILL)",
            "the process ended with signal SIGILL, Fatal Python",
        ),
        ("import time; time.sleep(60)", "it did not end in 2 s"),
    ],
    ids=["import", "dies", "hangs"],
)
def test_broken_torch(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str) -> None:
    """The rest is told, and nothing of the home folder's name."""
    monkeypatch.syspath_prepend(fake_package(tmp_path, "torch", code))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    monkeypatch.setattr(doctor, "PATIENCE", 2 if "sleep" in code else 60)
    outcome = cli("doctor")
    assert outcome.code == 1
    assert f"  torch cannot be used here: {said}" in outcome.out
    assert "-> Install it again: pip install --force-reinstall torch" in outcome.out
    assert f"cpu           {machine.cpu_name()}" in outcome.out
    assert "  numpy         2" in outcome.out
    assert re.search(r"  HF_TOKEN +set\n", outcome.out)
    assert "hf_very_secret" not in outcome.out and str(tmp_path) not in outcome.out


def test_a_damaged_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(BUNDLED["nano"], tmp_path / "nano")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    monkeypatch.setitem(BUNDLED, "nano", folder)
    report = Report()
    assert not doctor_torch.taken(step("nano"), report)
    assert "nano cannot be used here: ModelError" in report.problems[0].what
    assert "git checkout src/self1e/assets" in report.problems[0].do


def test_a_model_that_marks_something_else(tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUNDLED, "nano", tiny_model_folder)
    report = Report()
    assert doctor_torch.taken(step("nano"), report)
    assert "nano marks 'the sky' wrongly on " in report.problems[0].what


@pytest.mark.parametrize(("asked", "cores", "slow"), [("1", 2, True), (None, 2, False), (None, 8, True)])
def test_one_thread(monkeypatch: pytest.MonkeyPatch, asked: str | None, cores: int, slow: bool) -> None:
    if asked is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    report = Report()
    doctor_torch.look_at_torch(report)
    assert [problem.do[: len("Set OMP_NUM_THREADS=8")] for problem in report.problems] == (
        [f"Set OMP_NUM_THREADS={cores}"] if slow else []
    )


def test_more_threads_than_a_container_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    report = Report()
    doctor_torch.look_at_torch(report)
    assert "computes in 64 thread(s), and this process may use 2 core(s)" in report.problems[0].what


def test_too_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("self1e.segment.devices.automatic_device", lambda: (torch.device("cpu"), "there is no other"))
    monkeypatch.setattr(machine, "memory", lambda: 2 * 2**30)
    report = Report()
    doctor_torch.look_at_transformers(report)
    assert "2B model needs about" in report.problems[0].what and "2.0 GiB for cpu" in report.problems[0].what


def test_packages_that_do_not_suit_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = tmp_path / "torchvision-0.20.1.dist-info" / "METADATA"
    facts.parent.mkdir()
    facts.write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.20.1\nRequires-Dist: torch (==2.5.1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    report = Report()
    doctor_packages.look_at_packages(report)
    [problem] = [each for each in report.problems if "torchvision" in each.what]
    assert problem.what.startswith("torchvision 0.20.1 needs torch==2.5.1, and there is 2.")
    assert problem.do.startswith("pip uninstall torchvision: ")
    assert report.sections["versions"]["torchvision"] == "0.20.1"


def test_extras_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also versions that are too old, and a package that the core needs."""
    facts = tmp_path / "self1e-9.dist-info" / "METADATA"
    facts.parent.mkdir()
    lines = ["Requires-Dist: torch>=2.6", "Requires-Dist: no-such-package>=3", "Provides-Extra: train"]
    lines += ['Requires-Dist: accelerate>=999; extra == "train"', 'Requires-Dist: no-peft; extra == "train"']
    facts.write_text("\n".join(["Metadata-Version: 2.1", "Name: self1e", "Version: 9", *lines, ""]))
    monkeypatch.syspath_prepend(tmp_path)
    report = Report()
    doctor_packages.look_at_packages(report)
    assert report.sections["versions"]["no-such-package"] == "missing"
    assert report.problems[0].do == "pip install 'no-such-package>=3'"
    train = report.sections["extras"]["train"]
    assert isinstance(train, dict)
    assert str(train["accelerate"]).endswith(" (needs >=999)") and train["no-peft"] == "missing"
    assert train["for"] == "self1e train and merge: pip install 'self1e[train]'"


def test_every_extra_is_explained() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert doctor_packages.EXTRAS.keys() == settings["project"]["optional-dependencies"].keys()


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    report = Report()
    doctor.look_at_disks(report)
    assert "Models cannot be downloaded" in report.problems[0].what and "HF_HOME" in report.problems[0].do


def test_a_part_that_fails_leaves_the_others(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_folder() -> Path:
        raise FileNotFoundError("the current folder is gone")

    monkeypatch.syspath_prepend(fake_package(tmp_path, "torch", "raise ImportError"))
    monkeypatch.setattr(Path, "cwd", no_folder)
    told = json.loads(cli("doctor", "--json").out)
    assert told["problems"][0]["what"].startswith("look_at_disks failed: FileNotFoundError: the current folder is gone")
    assert "environment" in told


@pytest.mark.parametrize("version", [1, 2])
def test_limits_of_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    """The narrowest of the groups around this process counts."""
    monkeypatch.setattr(machine, "PROC", tmp_path / "proc")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "cgroup")
    (tmp_path / "proc" / "self").mkdir(parents=True)
    if version == 1:
        groups, files = "9:cpuacct,cpu:/a/b\n8:memory:/a/b\n0::/\n", {"cpu/a/cpu.cfs_quota_us": "50000"}
        files |= {"cpu/a/cpu.cfs_period_us": "100000", "cpu/a/b/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_quota_us": "-1"}
        files |= {"memory/a/memory.limit_in_bytes": "12345", "memory/a/b/memory.limit_in_bytes": str(2**63 - 4096)}
    else:
        groups, files = "0::/a/b\n", {"a/cpu.max": "50000 100000", "a/b/cpu.max": "max 100000"}
        files |= {"a/memory.max": "12345", "a/b/memory.max": "max"}
    (tmp_path / "proc" / "self" / "cgroup").write_text(groups)
    for name, text in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(f"{text}\n")
    assert machine.cores() == 1
    assert machine.memory() == 12345


def test_a_machine_that_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PROC", tmp_path)
    monkeypatch.delattr(os, "sysconf_names")
    report = Report()
    doctor.look_at_machine(report)
    assert report.sections["machine"]["memory"] == "unknown; the machine has unknown free"
    assert machine.cores() >= 1
