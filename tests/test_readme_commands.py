"""The tool that runs the README's commands finds what it should, and notices failures."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("readme_commands.py")
spec = importlib.util.spec_from_file_location("readme_commands", SCRIPT)
assert spec and spec.loader
readme_commands = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = readme_commands
spec.loader.exec_module(readme_commands)

MARKDOWN = """# Title

```bash
echo one
echo two
```

```text
not me
```

<!-- not run: needs a GPU -->
```bash
train
```

1. In a list:

   ```python title="x"
   if True:
       print("hi")
   ```

````markdown
```bash
inner
```
````

```console
$ neither me
```
"""


def test_finds_blocks() -> None:
    blocks = readme_commands.find_blocks(MARKDOWN)
    assert [(block.language, block.line, block.skip) for block in blocks] == [
        ("bash", 3, ""),
        ("bash", 13, "needs a GPU"),
        ("python", 19, ""),
    ]
    assert blocks[0].body == "echo one\necho two\n"
    assert blocks[2].body == 'if True:\n    print("hi")\n'


def test_a_comment_counts_only_on_the_line_before() -> None:
    (block,) = readme_commands.find_blocks("<!-- not run: far away -->\n\n```bash\ntrue\n```\n")
    assert not block.skip
    with pytest.raises(ValueError, match="reason"):
        readme_commands.find_blocks("<!-- not run: -->\n```bash\ntrue\n```\n")


@pytest.mark.parametrize(
    ("language", "body", "status"),
    [
        ("bash", "touch made; test -f made", 0),
        ("bash", "false\ntrue", 1),
        ("bash", "false | true", 1),
        ("bash", "python -c 'import sys; sys.exit(sys.prefix == sys.base_prefix)'; ! read line", 0),
        ("python", "import pathlib; pathlib.Path('made').write_text('')", 0),
        ("python", "raise SystemExit(3)", 3),
        ("bash", "sleep 60", 124),
    ],
)
def test_runs_blocks(tmp_path: Path, language: str, body: str, status: int) -> None:
    timeout = 1 if status == 124 else 60
    assert readme_commands.run_block(readme_commands.Block(language, body, 1, ""), tmp_path, timeout) == status
