"""A quick start, each in a process of its own."""

import subprocess
import sys

import pytest

START = """
import sys
from self1e.cli.startup import started_quickly
def load():
    from self1e import Segmenter
    return Segmenter.from_pretrained("nano", device="cpu")
segmenter = started_quickly(load)
assert segmenter.model.folded
"""

COMPILER = """
import torch
assert "_dynamo" not in vars(torch) and not [name for name in sys.modules if name.startswith("torch._dynamo")]
seen = []
def backend(graph, inputs):
    seen.append(graph)
    return graph.forward
doubled = torch.compile(lambda numbers: numbers * 2, backend=backend)
assert doubled(torch.ones(3)).sum() == 6 and len(seen) == 1
"""

MODELS = """
import transformers.models
from transformers.utils import import_utils
quick = transformers.models._import_structure
slow = import_utils.spread_import_structure(
    import_utils.create_import_structure_from_path.__wrapped__(transformers.models.__file__)
)
assert {(name, one) for name, each in quick.items() for one in each} == {
    (name, one) for group in slow.values() for name, each in group.items() for one in each
}
"""

WATCH = """
import os, sys
folders = []
sys.addaudithook(lambda event, arguments: folders.append(str(arguments[0])) if event == "os.scandir" else None)
"""

COUNT = """
walked = [folder for folder in folders if folder.endswith(os.path.join("transformers", "models"))]
assert len(walked) == 1, walked
"""

WITHOUT_DECORATORS = "import self1e.cli.startup as startup; startup.DECORATORS = ()"
FOUND_COMPILER = "assert 'torch._dynamo.convert_frame' in sys.modules"

MORE_WANTED = """
from self1e.cli.startup import started_quickly
import torch
calls = []
def load():
    calls.append(None)
    try:
        return torch._dynamo.config.verbose
    except AttributeError as error:
        raise ValueError("no model") from error
assert started_quickly(load) is False and len(calls) == 2
"""

WRONG_ANYHOW = """
from self1e.cli.startup import started_quickly
calls = []
def load():
    calls.append(None)
    raise ValueError("no model")
try:
    started_quickly(load)
except ValueError:
    assert len(calls) == 1
else:
    raise AssertionError("no error")
"""


@pytest.mark.parametrize(
    "script",
    [
        START + COMPILER,
        START + MODELS,
        WATCH + START + COUNT,
        WITHOUT_DECORATORS + START + FOUND_COMPILER,
        MORE_WANTED,
        WRONG_ANYHOW,
    ],
    ids=[
        "torch can compile afterwards",
        "all models are known",
        "models are listed once",
        "where decorators are missing it starts as usual",
        "where more is missing, too",
        "an error of its own is raised at once",
    ],
)
def test_quick_start(script: str) -> None:
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
