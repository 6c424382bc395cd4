"""Finds model folders, on this machine or on the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from self1e.checkpoints.weights import CheckpointError, read_json

PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.jinja")  # settings, weights, tokenizer; no code, no pickles
HUB_OPTIONS = ("subfolder", "revision", "cache_dir", "token", "local_files_only", "force_download")
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def resolve_folder(name: str, **location: Any) -> Path:
    """The local folder of a checkpoint, downloaded first if `name` is a Hub id.

    Args:
        name: Folder, or Hub id such as `OpenGVLab/InternVL3-2B`.
        location: Any of `HUB_OPTIONS`: a `subfolder` inside it, the `revision` (branch, tag, commit) on the Hub, and
            the others as `huggingface_hub` takes them.

    Raises:
        CheckpointError: When there is no such folder and it cannot be downloaded.
    """
    return _folder_with(name, PATTERNS, **location)


def read_config(name: str, **location: Any) -> dict[str, Any]:
    """The content of the `config.json` of a folder or Hub id; nothing else is downloaded. See `resolve_folder`.

    Raises:
        CheckpointError: When there is no such folder or file, or it is damaged.
    """
    folder = _folder_with(name, ("config.json",), **location)
    if not (folder / "config.json").is_file():
        where = "/".join(filter(None, (name, location.get("subfolder"))))
        raise CheckpointError(
            f"{where} is no model folder: it has no config.json; if models lie in folders inside of it, name one as "
            "subfolder"
        )
    return read_json(folder / "config.json")


def _folder_with(name: str, patterns: tuple[str, ...], subfolder: str = "", **hub: Any) -> Path:
    """The folder of `name`, with the files that match `patterns` at least; not those in folders inside of it."""
    if Path(name).is_dir():
        folder = Path(name) / subfolder
        if not folder.is_dir():
            raise CheckpointError(f"{name} has no folder {subfolder}")
        return folder
    if not HUB_ID.fullmatch(name):
        raise CheckpointError(f"there is no folder {name}")
    prefix = f"{subfolder.strip('/')}/" if subfolder else ""
    try:
        root = snapshot_download(
            name,
            allow_patterns=[prefix + pattern for pattern in patterns],
            ignore_patterns=[f"{prefix}*/*"],  # for the Hub, a star stands for slashes, too
            **hub,
        )
    except Exception as error:  # no connection, no such repository, no access, full disk: huggingface_hub says which
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{name} is no folder here and cannot be had from the Hugging Face Hub ({reason}); "
            "check the name and the connection, or download it elsewhere and give its folder"
        ) from error
    return Path(root) / subfolder
