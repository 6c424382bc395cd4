"""Whether the weights of a checkpoint fit its settings, told from the headers of its files before anything is built."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import InternVLForConditionalGeneration

from self1e.checkpoints.names import HEAD, our_names
from self1e.checkpoints.weights import CheckpointError, WeightFiles
from self1e.model.config import SELF1EConfig
from self1e.model.refilling import RefillingHead

EMBEDDINGS = "model.language_model.embed_tokens.weight"
LM_HEAD = "lm_head.weight"


@dataclass(frozen=True)
class Source:
    """Where a tensor comes from: a tensor of the source, or one of the equal `parts` into which its rows fall."""

    name: str
    part: int = 0
    parts: int = 1

    def load(self, files: WeightFiles) -> Tensor:
        """The tensor itself."""
        if self.parts == 1:
            return files.load(self.name)
        rows = files.shapes[self.name][0] // self.parts
        return files.load_rows(self.name, self.part * rows, (self.part + 1) * rows)


@contextmanager
def blame_config(folder: Path) -> Iterator[None]:
    """Any error in the block is one of the settings in `folder`; transformers checks these in many ways, or not at all.

    Raises:
        CheckpointError: Instead of that error.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{folder / 'config.json'} does not describe a model ({reason})") from error


def check_own_layout(folder: Path, files: WeightFiles, settings: dict[str, Any]) -> None:
    """Makes sure that a folder of this package's layout can be built and loaded.

    Args:
        folder: Of the checkpoint, for messages.
        files: Its weights.
        settings: The content of its `config.json`.

    Raises:
        CheckpointError: When the settings describe no model, or one that the weights do not fit.
    """
    with blame_config(folder):
        config = SELF1EConfig.from_dict(settings)
        expected = expected_shapes(config)
    sources, unexpected = match_names(files, "self1e")
    if config.tie_word_embeddings:
        sources.pop(LM_HEAD, None)
    raise_unless_fitting(folder, files, sources, unexpected, expected)


def expected_shapes(config: SELF1EConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the model that `config` describes."""
    with torch.device("meta"):  # shapes only, no memory
        tensors = InternVLForConditionalGeneration(config).state_dict()
        tensors |= {HEAD + name: tensor for name, tensor in RefillingHead(config).state_dict().items()}
    if config.tie_word_embeddings:
        del tensors[LM_HEAD]
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def match_names(files: WeightFiles, layout: str) -> tuple[dict[str, Source], list[str]]:
    """Our name of every tensor of the source, and the names that have none.

    Raises:
        CheckpointError: When two tensors have the same name here.
    """
    sources: dict[str, Source] = {}
    unexpected = []
    for name in files.shapes:
        ours = our_names(name, layout)
        if ours is None:
            unexpected.append(name)
            continue
        for part, our_name in enumerate(ours):
            if our_name in sources:
                raise CheckpointError(f"{name} and {sources[our_name].name} are two tensors for {our_name}")
            sources[our_name] = Source(name, part, len(ours))
    return sources, unexpected


def raise_unless_fitting(
    folder: Path,
    files: WeightFiles,
    sources: dict[str, Source],
    unexpected: list[str],
    expected: dict[str, tuple[int, ...]],
    fresh_head: bool = False,
) -> None:
    """Every expected tensor is there in its shape, and no other.

    Raises:
        CheckpointError: With all that are missing, unexpected, or misshapen.
    """
    missing = [name for name in expected if name not in sources and not (fresh_head and name.startswith(HEAD))]
    unexpected = [*unexpected, *(source.name for name, source in sources.items() if name not in expected)]
    misshapen = {}
    for name, source in sources.items():
        if name not in expected:
            continue
        found = files.shapes[source.name]
        wanted = (expected[name][0] * source.parts, *expected[name][1:])
        if found != wanted:
            misshapen[source.name] = f"{source.name} {list(found)} instead of {list(wanted)}"
    problems = {"missing": missing, "unexpected": sorted(set(unexpected)), "misshapen": list(misshapen.values())}
    lines = [f"{len(names)} {kind}: {', '.join(names)}" for kind, names in problems.items() if names]
    if lines:
        raise CheckpointError("\n".join([f"the weights in {folder} do not fit its config.json", *lines]))
