"""Which weights a figure was taken with."""

from __future__ import annotations

import hashlib
from pathlib import Path

CHUNK = 1 << 22


def sha256(paths: list[Path]) -> str:
    """The SHA-256 of the contents of these files, one after the other; of a single file, what `sha256sum` says."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
