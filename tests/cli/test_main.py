"""What all sub-commands share: help, errors, exit codes, streams."""

from __future__ import annotations

import inspect
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Cli, assert_one_sentence, save_picture
from small_runs import own_data, write_config

import self1e.cli
from self1e import Segmenter
from self1e.checkpoints.hub import BUNDLED
from self1e.cli.options import DEFAULT_MODEL, MODEL_HELP
from self1e.version import __version__

COMMANDS = (
    ["segment"],
    ["chat"],
    ["info"],
    ["convert"],
    ["train"],
    ["eval"],
    ["data"],
    ["data", "check"],
    ["data", "stats"],
    ["merge"],
    ["export"],
    ["doctor"],
    ["toyland"],
    ["toyland", "draw"],
)


@pytest.mark.parametrize("command", [[], *COMMANDS])
def test_help(cli: Cli, command: list[str]) -> None:
    outcome = cli(*command, "--help")
    assert outcome.code == 0
    assert "Usage: self1e" in outcome.out
    assert outcome.err == ""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, and another one to work in."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def test_home_is_found_in_every_option(cli: Cli, home: Path, tmp_path: Path) -> None:
    """A shell expands `~` where a word begins with it, not in `--out=~/x`."""
    settings = write_config(home, own_data(home), init="nano")
    assert cli("data", "stats", settings, "--json=~/stats.json", "--workers", 0).code == 0
    assert cli("toyland", "draw", "--seed", 1, "--out=~/drawn").code == 0  # the command of a plugin
    model = ("--model=~/tiny", "--max-tiles", 1)
    shutil.copytree(BUNDLED["nano"], home / "tiny")
    assert cli("segment", "~/drawn/toyland-1.png", "-p", "the tree", "-f", "mask", "--out=~/masks", *model).code < 2
    assert cli("eval", "~/tiny", "~/own.jsonl", "--limit", 1, "--worst", 0, "--out=~/results").code == 0
    assert {path.name for path in home.iterdir()} >= {"stats.json", "drawn", "masks", "results"}
    assert not any((tmp_path / "here").iterdir())


def test_home_is_found_in_lists_of_paths_and_not_in_texts(cli: Cli, home: Path) -> None:
    given: list[object] = []
    commands = self1e.cli.typer.Typer()

    @commands.command()
    def of_a_plugin(files: list[Path], text: str = "", out: Path | None = None) -> None:
        given.extend([files, text, out])

    self1e.cli.expand_paths(commands)
    self1e.cli.typer.main.get_command(commands).main(["~/a", "b", "--text=~/c"], standalone_mode=False)
    assert given == [[home / "a", Path("b")], "~/c", None]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command: list[str]) -> None:
    node = self1e.cli.typer.main.get_command(self1e.cli.app)
    for name in command:
        node = node.get_command(None, name)
    assert node.help
    for parameter in node.params:
        assert parameter.help, parameter.name


def test_help_is_fast() -> None:
    """It comes without torch, transformers or numpy."""
    script = (
        "import sys; from self1e.cli import run; run(['segment', '--help']); "
        "sys.exit(sorted({'torch', 'transformers', 'numpy', 'PIL'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


#: Packages that are installed for training, evaluation and tests, or come with others, and have no part in a mask. Of
#: these, transformers imports accelerate and scipy where they are installed.
NO_PART = {"matplotlib", "pandas", "peft", "sklearn", "tensorboard", "torchao", "torchmetrics", "torchvision"}
NO_PART |= {"self1e.training", "self1e.evaluation", "self1e.toyland"}


def test_import_is_light() -> None:
    heavy = "{'torch', 'transformers', 'numpy', 'PIL', 'rich'}"
    script = f"import sys, self1e; sys.exit(sorted({heavy} & set(sys.modules)) or 0)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_auto_classes_know_the_processor_wherever_the_model_is_known() -> None:
    script = (
        "import sys; from transformers import AutoProcessor; from self1e import SELF1EForSegmentation; "
        "print(type(AutoProcessor.from_pretrained(sys.argv[1])).__name__)"
    )
    ran = subprocess.run([sys.executable, "-c", script, str(BUNDLED["nano"])], capture_output=True, text=True)
    assert ran.stdout == "SELF1EProcessor\n"


def test_segmenting_imports_what_it_uses(tmp_path: Path) -> None:
    script = (
        "import sys; from self1e.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(*(name for name, module in sys.modules.items() if module is not None), file=sys.stderr)"
    )
    picture = save_picture(tmp_path / "picture.png")
    arguments = ["segment", str(picture), "-p", "the cow", "--format", "json"]
    ran = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
    assert ran.returncode in (0, 1), ran.stderr
    assert json.loads(ran.stdout)["prompt"] == "the cow"
    imported = set(ran.stderr.splitlines()[-1].split())
    assert "torch" in imported
    assert not NO_PART & imported


def test_version(cli: Cli) -> None:
    assert cli("--version") == (0, f"self1e {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["segment"], ["IMAGE", "self1e segment --help"]),
        (["segment", "x.png"], ["--prompt"]),
        (["segmnt"], ["segmnt"]),
        (["segment", "x.png", "-p", "y", "--max-tiles", "0"], ["--max-tiles"]),
        (["segment", "x.png", "-p", "y", "--template", "verse"], ["--template"]),
        (["eval", "nano", "imagenet"], ["imagenet"]),
    ],
)
def test_usage_errors(cli: Cli, arguments: list[str], words: list[str]) -> None:
    assert_one_sentence(cli(*arguments), *words)


def test_unexpected_errors_have_no_traceback_unless_asked_for(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr("self1e.cli.segment.make_plan", broken)
    assert_one_sentence(cli("segment", "x.png", "-p", "y"), "KeyError", "--debug")
    with pytest.raises(KeyError):
        cli("segment", "x.png", "-p", "y", "--debug")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["segment", "Ель.png", "-p", "the tree — 树", "--format", "mask,coco", "--model", "Модель"],
        ["segment", "Нет.png", "-p", "the tree", "--model", "Модель"],
        ["chat", "Ель.png", "--model", "Модель"],
        ["info", "Модель"],
        ["eval", "Модель", "Данные.jsonl", "--worst", "2"],
        ["data", "check", "Запуск.yaml", "--workers", "0", "--out", "Итог"],
        ["data", "stats", "Запуск.yaml", "--workers", "0", "--json", "Итог.json"],
        ["merge", "Модель", "Новая"],
        ["toyland", "draw", "--seed", "1", "--out", "Мир"],
    ],
)
def test_any_encoding_of_the_streams(
    home: Path, monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path, arguments: list[str], encoding: str
) -> None:
    """Names and words in letters that a terminal or a redirect has not do not end the work."""
    Path("Модель").symlink_to(tiny_model_folder)
    save_picture(Path("Ель.png"))
    Path("Данные.jsonl").write_text('{"image": "Ель.png", "prompt": "the tree — 树", "masks": []}', "utf-8")
    data = {"parts": {"Мои": {"rate": 1, "own": [{"jsonl": "Данные.jsonl"}]}}}
    write_config(home, data, init="Модель").rename("Запуск.yaml")
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding, "strict") for _ in range(2))
    asked = io.TextIOWrapper(io.BytesIO("Where is the tree — 树?".encode()), "utf-8")
    for name, stream in (("stdin", asked), ("stdout", out), ("stderr", err)):
        monkeypatch.setattr(sys, name, stream)
    with pytest.raises(SystemExit) as ended:
        self1e.cli.main(
            ["--debug", *arguments, *(["--model", "Модель"] if arguments[0] in ("segment", "chat") else [])]
        )
    said = "".join(stream.buffer.getvalue().decode(encoding) for stream in (out, err))
    assert (ended.value.code or 0) < 2 or "\\u041d\\u0435\\u0442.png" in said  # "Нет.png", which is not there
    if "mask,coco" in arguments:
        assert json.loads(Path("segmented/coco.json").read_text("utf-8"))["categories"][0]["name"] == "the tree — 树"


def test_questions_that_are_no_text(cli: Cli, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("Où?".encode()), "ascii"))
    outcome = cli("chat", picture, "--model", "nano")
    assert_one_sentence(outcome, "no text in ascii", "PYTHONIOENCODING=utf-8")


def test_ctrl_c_is_quiet(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("self1e.cli.segment.make_plan", interrupted)
    assert cli("segment", "x.png", "-p", "y") == (130, "", "")


def test_a_reader_that_goes_away_is_no_error() -> None:
    script = (
        "import sys; from self1e.cli import main, segment; from self1e.cli.terminal import show\n"
        "def lines(*_): [show('a line') for _ in range(100_000)]\n"
        "segment.make_plan = lines; main(['segment', 'x.png', '-p', 'y'])"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 141


def test_the_model_by_default_is_bundled() -> None:
    """And the same in Python and on the command line."""
    assert {"mini", "nano"} == set(BUNDLED)
    assert all(f"'{name}'" in MODEL_HELP for name in BUNDLED)
    assert inspect.signature(Segmenter.from_pretrained).parameters["name"].default == DEFAULT_MODEL == "mini"
