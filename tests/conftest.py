"""What all tests share."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from noise import Exported, Models

    from self1e.engines.artefact import Artefact

# One thread for each process of the tests: their tensors are too small for more, and there is a process a core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

GOLDEN = Path(__file__).parent / "golden"
INTERNVL_PIECES = 151_643
"""Entries of InternVL3's vocabulary; the ids of its special tokens follow them."""
REAL_DATA = Path(os.environ.get("SELF1E_REAL_DATA") or Path(__file__).parents[2] / "shared" / "real-data")


@pytest.fixture(scope="session")
def golden() -> Path:
    """What the released code computed, recorded; see the README there."""
    return GOLDEN


@pytest.fixture(scope="session")
def internvl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """InternVL3-2B's tokenizer as far as the recorded conversations need it, its other ids taken by fillers."""
    folder = shutil.copytree(GOLDEN / "internvl3-tokenizer", tmp_path_factory.mktemp("internvl") / "tokenizer")
    vocabulary = json.loads((folder / "vocab.json").read_text())
    fillers = set(range(INTERNVL_PIECES)) - set(vocabulary.values())
    (folder / "vocab.json").write_text(json.dumps(vocabulary | {f"filler {number}": number for number in fillers}))
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Photographs and annotations of others, which may not be copied into this repository."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"needs photographs and annotations of others in {REAL_DATA} (see CONTRIBUTING.md)")
    return REAL_DATA


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model with its tokenizer: 64 px tiles, 16 image tokens each, masks of 32 x 32. For reading only.

    Every weight is random and matters, unlike in a model that was just initialised: what a mask should depend on,
    it visibly does.
    """
    import torch
    from tiny import TINY

    from self1e.processing.prompts import PHRASE_QUESTIONS, SEG_ANSWERS
    from self1e.processing.tokenizers import train_tokenizer
    from self1e.training.build_from_scratch import build_from_scratch

    texts = [question.format(phrase=f"{colour} ball") for question in PHRASE_QUESTIONS for colour in ("red", "blue")]
    model, processor = build_from_scratch(TINY, train_tokenizer([*texts, *SEG_ANSWERS], vocab_size=400), seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(centre + 0.2 * torch.randn(parameter.shape, generator=generator))
    folder = tmp_path_factory.mktemp("tiny-model")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def models(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Models:
    """The tiny model, whose pictures look at `[SEG]`; or nano, whose do not."""
    from self1e.checkpoints.hub import BUNDLED
    from self1e.processing.processor import CONFIG_NAME

    nano = shutil.copytree(BUNDLED["nano"], tmp_path_factory.mktemp("nano") / "model")
    (nano / "nouns.json").write_text('{"words": {"ball": []}}')
    settings = json.loads((nano / CONFIG_NAME).read_text())
    (nano / CONFIG_NAME).write_text(json.dumps(settings | {"refine": "guided"}))
    return lambda looking: tiny_model_folder if looking else nano


@pytest.fixture(scope="session")
def exported(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """`exported(looking, kind, precision)`: an exported model, made when it is first asked for. For reading only."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from noise import samples

    from self1e.engines.artefact import open_artefact
    from self1e.export.export import Exporter
    from self1e.files import locked

    folder_of_all = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder_of_all = folder_of_all.parent  # an export takes long enough that processes of tests share it
    traced: dict[bool, Exporter] = {}

    def export(looking: bool, kind: str = "onnx", precision: str = "float32") -> Artefact:
        folder = folder_of_all / "exported" / f"{looking}-{kind}-{precision}"
        folder.parent.mkdir(exist_ok=True)
        with (folder.parent / f"{looking}.lock").open("wb") as file, locked(file):
            if not folder.exists():
                if looking not in traced:
                    traced[looking] = Exporter(str(models(looking)))
                traced[looking].write(kind, folder, precision, samples=samples())
        return open_artefact(folder)

    return export


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """`cli("segment", path, ...)`: what the command does with these arguments, in a wide terminal."""
    from command_line import Outcome

    from self1e.cli import run

    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> object:
        capsys.readouterr()
        code = run([str(each) for each in arguments])
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A folder with a released checkpoint of `tiny_model()`."""
    from builders import tiny_model
    from official import official_config, official_tensors, write_folder

    return write_folder(tmp_path / "release", official_config(), official_tensors(tiny_model()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says at the end what was not run, and why."""
    stats = terminalreporter.stats
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in stats.get("skipped", ()))
    if left_out := len(stats.get("deselected", ())):
        reasons["slow or heavy, or not chosen (`make test-slow`, `make test-all`)"] = left_out
    if reasons:
        terminalreporter.write_sep("-", "not run")
        for reason, tests in reasons.most_common():
            terminalreporter.write_line(f"{tests:4} {reason}")
