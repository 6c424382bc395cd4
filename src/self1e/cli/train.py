"""`self1e train`: a training run from its settings file."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from self1e.cli.terminal import CliError, bars_for_terminals_only, show

NAME = "train"
NEEDED = ("accelerate", "peft", "pydantic", "tensorboard")  # the extra `train` of this package
EXAMPLES = """[dim]Examples:[/]

  self1e train configs/nano/1-vision.yaml

  self1e train configs/nano/1-vision.yaml --set optimisation.steps=100 --set output=runs/try

  self1e train configs/recipes/2b.yaml --dry-run --set data.root=DATASETS"""


def command(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", show_default=False, help="YAML file with the settings of the run.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", show_default=False, help="Change a setting, with dots for levels. Repeatable."
        ),
    ] = None,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="auto, or cpu to leave a GPU alone.")] = "auto",
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Take two steps, say what the run would need, and keep nothing.")
    ] = False,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", show_default=False, help="Of a dry run: the tokenizer of a base model that is not here."
        ),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Refuse to go on from an earlier run of that folder.")] = False,
) -> None:
    """Train a model as a settings file says.

    An interrupted run goes on from its last checkpoint when it is started again.
    """
    need_training_extra("training")
    changes = dict(map(parse_override, overrides or []))
    from self1e.training.config import load_config

    if device not in ("auto", "cpu"):
        raise CliError(f"unknown --device {device!r}: training takes auto or cpu")
    settings = load_config(config, changes)

    import logging

    logging.basicConfig(format="%(message)s")
    logging.getLogger("self1e").setLevel(logging.INFO)
    bars_for_terminals_only()
    if dry:
        from self1e.training.dry_run import dry_run

        for line in dry_run(settings, device=device, tokenizer=tokenizer).lines():
            show(line)
        return
    if tokenizer is not None:
        raise CliError("--tokenizer is for --dry-run: a real run has the tokenizer of its base model")
    from self1e.training.run import train

    model = train(settings, device=device, fresh=fresh)
    if os.environ.get("RANK", "0") == "0":  # of several processes, one speaks
        show(f"the trained model: {model}")


def need_training_extra(what: str) -> None:
    """Stops with advice where the packages for training are not installed.

    Raises:
        CliError: When one is missing. `what` needs them.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise CliError(f"{what} needs {', '.join(missing)}, not installed here: pip install 'self1e[train]'")


def parse_override(text: str) -> tuple[str, Any]:
    """`key=value`, the value as YAML reads it.

    Raises:
        CliError: When it is not of that form.

    >>> parse_override("optimisation.steps=100"), parse_override("output=runs/try")
    (('optimisation.steps', 100), ('output', 'runs/try'))
    """
    import yaml

    from self1e.training.config import read_yaml

    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise CliError(f"--set {text!r} is not of the form KEY=VALUE, such as optimisation.steps=100")
    try:
        parsed = read_yaml(value)
    except yaml.YAMLError:
        raise CliError(f"--set {key.strip()}: {value!r} is not a YAML value") from None
    return key.strip(), parsed
