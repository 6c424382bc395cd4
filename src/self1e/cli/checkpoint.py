"""What the files of a model say about it, without building the model."""

from __future__ import annotations

import hashlib
from pathlib import Path

CHUNK = 1 << 22


def model_folder(model: str, revision: str | None = None, subfolder: str | None = None) -> Path:
    """The local folder of a model; one on the Hub is downloaded first, unless it has been before.

    Raises:
        CheckpointError: When there is no such model.
    """
    from self1e.loading import BUNDLED
    from self1e.modeling.hub import resolve_folder

    folder = BUNDLED.get(model, Path(model).expanduser())
    location = {key: value for key, value in (("revision", revision), ("subfolder", subfolder)) if value}
    return resolve_folder(str(folder) if folder.is_dir() else model, **location)


def weight_files(folder: Path) -> list[Path]:
    """The files with the weights of a model folder, in order; other safetensors that lie there do not count."""
    from self1e.modeling.weights import INDEX_FILE, SINGLE_FILE, read_json

    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    return [folder / name for name in sorted(set(read_json(folder / INDEX_FILE)["weight_map"].values()))]


def sha256(paths: list[Path]) -> str:
    """The SHA-256 of the contents of these files, one after the other; of a single file, what `sha256sum` says."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
