"""The converter on a checkpoint of the 8B model's shapes, far larger than what it may keep in memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from official import IDS, official_config, official_tensors

from self1e import SELF1EForSegmentation
from self1e.checkpoints.names import our_settings
from self1e.checkpoints.presets import TEXT_SHAPES, VISION_SHAPE, VOCABULARY
from self1e.model.config import SELF1EConfig

SHARDS = 4
MOST_GIB = 4
CONVERTING = """
import sys
from benchmarks.machine import peak_gib
from self1e.cli import run
code = run(sys.argv[1:])
print(peak_gib())
sys.exit(code)
"""


def empty_checkpoint(folder: Path) -> int:
    """Writes an official checkpoint full of zeros, as sparse files that take no room; the number of its bytes."""
    width, mlp_width, layers, heads, key_value_heads = TEXT_SHAPES["8B"]
    config = official_config(
        text={
            "hidden_size": width,
            "intermediate_size": mlp_width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": key_value_heads,
            "vocab_size": VOCABULARY,
        },
        force_image_size=448,
    )
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    config["vision_config"] |= dict(zip(names, VISION_SHAPE, strict=True)) | {"image_size": 448}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    with torch.device("meta"):
        tensors = official_tensors(
            SELF1EForSegmentation(SELF1EConfig(**our_settings(config, "official"), **IDS, tie_word_embeddings=False))
        )
    weight_map, total = {}, 0
    for shard in range(SHARDS):
        header, end = {}, 0
        file = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        for name in list(tensors)[shard::SHARDS]:
            start, end = end, end + 2 * tensors[name].numel()
            header[name] = {"dtype": "BF16", "shape": list(tensors[name].shape), "data_offsets": [start, end]}
            weight_map[name] = file
        head = json.dumps(header).encode()
        with (folder / file).open("wb") as handle:
            handle.write(len(head).to_bytes(8, "little") + head)
            handle.truncate(8 + len(head) + end)
        total += end
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return total


@pytest.mark.heavy
def test_8b_converts_in_little_memory(tmp_path: Path) -> None:
    size = empty_checkpoint(tmp_path / "official")
    assert size > 15 * 2**30
    if shutil.disk_usage(tmp_path).free < 1.2 * size:
        pytest.skip(f"needs {1.2 * size / 2**30:.0f} GiB of free disk")
    arguments = ["convert", tmp_path / "official", tmp_path / "model"]
    done = subprocess.run(
        [sys.executable, "-c", CONVERTING, *map(str, arguments)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    peak = float(done.stdout.splitlines()[-1])
    print(f"{size / 2**30:.1f} GiB converted with a peak of {peak:.1f} GiB")
    assert peak < MOST_GIB
    assert sum(path.stat().st_size for path in (tmp_path / "model").glob("*.safetensors")) > 15 * 2**30
    shutil.rmtree(tmp_path / "model")
