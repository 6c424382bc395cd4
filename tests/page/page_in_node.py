"""Runs functions of the page `docs/try` in Node.js, where it is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "try"

_FRAME = """
import {{ readFileSync }} from "node:fs";
{imports}
const answer = async (given) => {{ {body} }};
const plain = (_, value) => (ArrayBuffer.isView(value) ? Array.from(value) : value);
process.stdout.write(JSON.stringify(await answer(JSON.parse(readFileSync(0, "utf-8"))), plain));
"""


def in_node(imports: str, body: str, given: Any) -> Any:
    """What a JavaScript function of `given` returns; typed arrays come as lists.

    Args:
        imports: From modules of the page: "./words.js" and others.
        body: Of the function, which may await.
        given: As JSON knows it.
    """
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node.js (20.19 or newer)")
    program = _FRAME.format(imports=imports, body=body)
    done = subprocess.run(
        [node, "--input-type=module", "--eval", program],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=PAGE,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
