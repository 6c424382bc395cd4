"""Finds a checkpoint (bundled, in a folder, or on the Hugging Face Hub) and opens it, once: `open_checkpoint`."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HTTPError

from self1e.checkpoints.errors import ModelError
from self1e.checkpoints.names import HEAD, RELEASED_HEAD, Layout, layout_of
from self1e.checkpoints.weights import ADAPTERS, WeightFiles, read_json
from self1e.files import expand_user

BUNDLED = {name: Path(__file__).parents[1] / "assets" / name for name in ("mini", "nano")}
"""Models that come with the package. A folder of the same name is given as "./nano"."""

PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.jinja")  # settings, weights, tokenizer; no code, no pickles
ADAPTER_CONFIG = "adapter_config.json"
BASE_SHA256 = "base_sha256"
"""In the settings of adapters: what `Checkpoint.sha256` of their base was when they were trained."""

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


class HubOptions(TypedDict, total=False):
    """How to download, as `huggingface_hub` takes it."""

    cache_dir: str | Path | None
    token: str | bool | None
    local_files_only: bool
    force_download: bool


@dataclass(frozen=True)
class Checkpoint:
    """A model folder that was found and opened.

    Attributes:
        name: As it was asked for, with subfolder and revision.
        folder: Where it is on this machine.
        settings: The content of its `config.json`.
        layout: Whose names its settings and tensors have; see `self1e.checkpoints.names`.
        weights: Its weight files, of which the headers were read.
        base: If these are low-rank adapters, the name of the model that they were trained on.
    """

    name: str
    folder: Path
    settings: dict[str, Any]
    layout: Layout
    weights: WeightFiles
    base: str | None = None

    @property
    def can_segment(self) -> bool:
        """Whether it has the refilling head; a base model has none."""
        return any(name.startswith((HEAD, RELEASED_HEAD)) for name in self.weights.shapes)

    def open_base(self) -> Checkpoint:
        """The model that adapters were trained on; this one, if it is none.

        Raises:
            ModelError: When it cannot be found any more.
        """
        if self.base is None:
            return self
        try:
            return open_checkpoint(self.base)
        except ModelError as error:
            raise ModelError(
                f"the model that {self.folder} adapts cannot be opened: {error}. If it is elsewhere, or has another "
                f"name: self1e merge {self.folder} DST --base MODEL"
            ) from None

    def parts(self) -> list[Checkpoint]:
        """This one; behind adapters, the model that they were trained on, of which they are a part."""
        return [self] if self.base is None else [self, *self.open_base().parts()]

    def numbers(self) -> Counter[torch.dtype]:
        """How many numbers are stored in each type; see `WeightFiles.numbers`. Adapters come on top of their base."""
        return sum((part.weights.numbers() for part in self.parts()), Counter())

    def sha256(self) -> str:
        """Of all weights, as `WeightFiles.sha256`; of adapters together with their base."""
        own, *others = (part.weights.sha256() for part in self.parts())
        return hashlib.sha256(" ".join((own, *others)).encode()).hexdigest() if others else own

    def not_finite(self) -> list[str]:
        """Names of the tensors that hold NaN or infinity; with adapters, those of their base as well."""
        return [name for part in self.parts() for name in part.weights.not_finite()]

    def __str__(self) -> str:
        """What kind of model it is."""
        if self.base is not None:
            return f"adapters of {self.base}; `self1e merge` writes the model that they make of it"
        if self.layout == "self1e":
            return "self1e model"
        return f"{'SELF1E release' if self.can_segment else 'InternVL base model'} ({self.layout} layout)"


def open_checkpoint(
    name: str | PathLike[str],
    *,
    revision: str | None = None,
    subfolder: str | None = None,
    **hub: Unpack[HubOptions],
) -> Checkpoint:
    """Finds a model, downloads it if need be, and opens its files.

    Args:
        name: One of `BUNDLED`, a folder, or a Hub id such as `OpenGVLab/InternVL3-2B`.
        revision: Branch, tag or commit on the Hub.
        subfolder: Folder of the model inside of `name`.
        hub: See `HubOptions`.

    Raises:
        ModelError: When there is no such model, it cannot be downloaded, or it is incomplete, damaged or of a
            kind that is not known here.
    """
    name, subfolder = str(name), (subfolder or "").strip("/")
    full_name = "/".join(filter(None, (name, subfolder)))
    place = _local_folder(name, revision)
    # The settings first, before gigabytes are downloaded.
    folder = _inside(place or _download(name, revision, subfolder, ("config.json",), hub), subfolder)
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{full_name} is no model folder: it has no config.json; if models lie in folders inside of it, name one "
            "as subfolder"
        )
    settings = read_json(folder / "config.json")
    layout = layout_of(settings)
    if place is None:
        folder = _inside(_download(name, revision, subfolder, PATTERNS, hub), subfolder)
    full_name += f"@{revision}" if revision else ""
    weights = WeightFiles(folder)
    base = None
    if weights.paths[0].name == ADAPTERS:
        base = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path") or ""
    return Checkpoint(full_name, folder, settings, layout, weights, base)


def _local_folder(name: str, revision: str | None) -> Path | None:
    """The folder that is called `name`; None for a model on the Hub."""
    folder = BUNDLED.get(name) or expand_user(name)
    if name in BUNDLED and not (folder / "config.json").is_file():
        raise ModelError(
            f"the bundled model {name!r} is missing from this installation (no {folder}): install self1e again, "
            "or name a model folder or a Hub id"
        )
    if folder.is_file():
        raise ModelError(f"{name} is a file: give the folder that it is in")
    if name and folder.is_dir():
        if revision:
            raise ModelError(f"revision {revision!r} was given, but {name} is no model on the Hub: leave it out")
        return folder
    if not HUB_ID.fullmatch(name):
        bundled = " or ".join(map(repr, BUNDLED))
        raise ModelError(f"there is no model {name!r}: give {bundled}, an existing folder, or a Hub id like owner/name")
    return None


def _inside(folder: Path, subfolder: str) -> Path:
    if not (folder / subfolder).is_dir():
        raise ModelError(f"{folder} has no folder {subfolder}")
    return folder / subfolder


def _download(name: str, revision: str | None, subfolder: str, patterns: tuple[str, ...], options: HubOptions) -> Path:
    """The local copy of a repository, with the files of `subfolder` that match; not those in folders inside of it."""
    prefix = f"{subfolder}/" if subfolder else ""
    try:
        root = snapshot_download(
            name,
            revision=revision,
            allow_patterns=[prefix + pattern for pattern in patterns],
            ignore_patterns=[f"{prefix}*/*"],  # for the Hub, a star stands for slashes, too
            **options,
        )
    except (OSError, ValueError, HTTPError) as error:  # connection, disk, names, access: huggingface_hub says which
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{name} is no folder here and cannot be had from the Hugging Face Hub ({reason}); "
            "check the name and the connection, or download it elsewhere and give its folder"
        ) from error
    return Path(root)
