"""The whole chain at the true shapes of InternVL3-2B, with the real tokenizer on real photographs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.heavy
def test_2b_segments_photographs_within_24_gib(real_data: Path) -> None:
    photographs = sorted((real_data / "dataset/refer_seg/images").rglob("*.jpg"))[:2]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.full_size"),
            *("--tokenizer", str(real_data / "tokenizer/InternVL3-2B")),
            *map(str, photographs),
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    print(facts)
    assert facts["parameters"] > 2e9
    assert facts["pictures"] == 2
    assert facts["peak_gib"] < 24
