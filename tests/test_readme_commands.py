"""Every code block of README and docs is run, or is what it says; and the tool that runs them notices failures."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
import readme_commands
import yaml
from readme_commands import ROOT, Block

PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"])
BLOCKS = [(page, block) for page in PAGES for block in readme_commands.all_blocks(page.read_text("utf-8"))]
LEFT_OUT = [(page, block) for page, block in BLOCKS if block.skip]
PROGRAMS = ("self1e", "python", "pip", "make", "curl", "torchrun", "accelerate", "git", "export", "ray", "for", "cp")
COMMANDS = re.compile(rf"^(?:\w+=\S+ )*(?:\$ )?(?:{'|'.join(PROGRAMS)}) ", re.M)
ONE_FILE_FOR_ALL = {"extending.md"}
"""Pages whose Python blocks are files of a package, which a test of its own builds (tests/test_extending.py)."""

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

```yaml
# mine.yaml
output: runs/mine
```

<!-- first: mkdir photos
touch photos/a.jpg -->
<!-- beside: self1e serve -->
```bash
curl http://127.0.0.1:8000
```
"""


def test_finds_blocks() -> None:
    blocks = readme_commands.find_blocks(MARKDOWN)
    assert [(block.language, block.line, block.skip, block.file) for block in blocks] == [
        ("bash", 3, "", ""),
        ("bash", 13, "needs a GPU", ""),
        ("python", 19, "", ""),
        ("yaml", 34, "", "mine.yaml"),
        ("bash", 42, "", ""),
    ]
    assert blocks[0].body == "echo one\necho two\n"
    assert blocks[2].body == 'if True:\n    print("hi")\n'
    assert (blocks[4].first, blocks[4].beside) == ("mkdir photos\ntouch photos/a.jpg", "self1e serve")


def test_a_comment_counts_only_right_before() -> None:
    (block,) = readme_commands.find_blocks("<!-- not run: far away -->\n\n```bash\ntrue\n```\n")
    assert not block.skip
    with pytest.raises(ValueError, match="`not run` needs a text"):
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
    assert readme_commands.run_block(Block(language, body, 1), tmp_path, timeout) == status


def test_files_and_what_comes_first_are_there(tmp_path: Path) -> None:
    readme_commands.run_block(Block("yaml", "# mine.yaml\nsteps: 3\n", 1), tmp_path, 60)
    block = Block("bash", "grep -q 'steps: 3' mine.yaml && test -d photos", 1, first="mkdir photos")
    assert readme_commands.run_block(block, tmp_path, 60) == 0
    python = Block("python", "import os; assert os.path.isdir('other')", 1, first="mkdir other")
    assert readme_commands.run_block(python, tmp_path, 60) == 0
    failing = Block("bash", "true", 1, first="false")
    assert readme_commands.run_block(failing, tmp_path, 60) == 1


def test_a_server_runs_beside_a_block(tmp_path: Path) -> None:
    (tmp_path / "readyz").write_text("yes")
    (tmp_path / "server.sh").write_text('exec "$PYTHON" -m http.server --bind 127.0.0.1 "$2"\n')
    body = "import urllib.request as r; assert r.urlopen('http://127.0.0.1:8000/readyz').read() == b'yes'"
    block = Block("python", body, 1, beside="bash server.sh")
    assert readme_commands.run_block(block, tmp_path, 60) == 0
    with pytest.raises(RuntimeError, match="was not ready"):
        readme_commands.run_block(Block("bash", "true", 1, beside="false"), tmp_path, 60)


# --------------------------------------------------------------------------------------------------- pages of the docs


def name(page_and_block: object) -> str:
    return f"{page_and_block[0].name}:{page_and_block[1].line}" if isinstance(page_and_block, tuple) else ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in ONE_FILE_FOR_ALL], ids=lambda page: page.name
)
def test_commands_of_pages_run(page: Path, tmp_path: Path) -> None:
    if not any(not block.skip for block in readme_commands.find_blocks(page.read_text("utf-8"))):
        pytest.skip("pages without a command that runs here")
    assert readme_commands.run_page(page, readme_commands.copy_of_repository(tmp_path), timeout=600)


@pytest.mark.slow
@pytest.mark.parametrize("left_out", LEFT_OUT, ids=name)
def test_commands_that_are_left_out(left_out: tuple[Path, Block]) -> None:
    pytest.skip(f"commands of the docs: {left_out[1].skip}")


def test_commands_are_marked_as_such() -> None:
    """What one would type is `bash`, so that it is run, or says why it is not."""
    shown = [(page, block) for page, block in BLOCKS if block.language not in ("bash", "python", "yaml")]
    assert not [name(each) for each in shown if COMMANDS.search(each[1].body)]


def test_settings_are_what_they_say() -> None:
    for page, block in BLOCKS:
        match block.language:
            case "yaml":
                assert isinstance(yaml.safe_load(block.body), dict), (page, block.line)
            case "toml":
                assert tomllib.loads(block.body), (page, block.line)
            case "json":
                assert [json.loads(line) for line in block.body.splitlines() if line], (page, block.line)
            case "xml":
                ElementTree.fromstring(block.body)
